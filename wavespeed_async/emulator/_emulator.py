"""The emulator as its users meet it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread

from wavespeed_async.emulator._app import Service
from wavespeed_async.emulator._server import Server
from wavespeed_async.emulator._state import (
    Kind,
    PredictionRecord,
    RequestRecord,
    Scripted,
    Settings,
)
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from starlette.types import ASGIApp

__all__ = ["Emulator"]


class Emulator:
    """Stand in for the API, on a loopback socket or in process.

    ::

        with Emulator(latency=0.5) as emulator:  # or `async with`, on asyncio and trio
            client = AsyncWaveSpeed("any key", base_url=emulator.url)

    It may be started again after it has stopped, and remembers all it has seen.

    Attributes:
        app: The same behaviour as an ASGI app, for `httpx.ASGITransport`.
        settings: How it behaves.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        requests: int = 120,
        per: float = 60.0,
        concurrency: int = 20,
        latency: float = 5.0,
        latency_cv: float = 0.3,
        api_key: str | None = None,
        seed: int = 0,
        polls_count: bool = True,
        sync_timeout: float = 90.0,
        pictures: bool = True,
        base64_prefix: bool = False,
        time_source: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set it up; nothing listens yet.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.
            requests: How many requests are answered in any window; one more is a 429.
            per: Length of the window in seconds.
            concurrency: How many predictions may run at once; one more is a 429.
            latency: Mean time of a prediction in seconds, log-normally distributed.
            latency_cv: Its coefficient of variation; 0 makes it constant.
            api_key: The only key that is known; None takes any.
            seed: Where ids, latencies and open seeds are drawn from.
            polls_count: Whether asking for results counts in the window.
            sync_timeout: How long a submission in sync mode is held, in seconds.
            pictures: Whether pictures are drawn; else each output is one tiny PNG, for fast tests.
            base64_prefix: Whether base64 outputs start with `data:`.
            time_source: A clock in seconds; `anyio.current_time` for a virtual one.
        """
        self.settings: Settings = Settings(
            requests=requests,
            per=per,
            concurrency=concurrency,
            latency=latency,
            latency_cv=latency_cv,
            api_key=api_key,
            seed=seed,
            polls_count=polls_count,
            sync_timeout=sync_timeout,
            pictures=pictures,
            base64_prefix=base64_prefix,
        )
        self._host = host
        self._port = port
        self._service = Service(self.settings, time_source)
        self._server: Server | None = None
        self.app: ASGIApp = self._service.app

    # --- starting and stopping -------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address it listens at, such as `http://127.0.0.1:8000`."""
        if self._server is None:
            message = "the emulator does not run: enter it first, with `with` or `async with`"
            raise ConfigurationError(message)
        return self._server.url

    def __enter__(self) -> Self:
        if self._server is not None:
            message = "the emulator runs already"
            raise ConfigurationError(message)
        self._server = Server(self.app, self._host, self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled test must not leave a server behind
            await anyio.to_thread.run_sync(self.__exit__, kind, error, traceback)

    # --- what it has seen ------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request of the API so far; outputs and samples are none."""
        with self._service.state() as (state, _):
            return tuple(state.requests)

    @property
    def predictions(self) -> tuple[PredictionRecord, ...]:
        """Every prediction so far, as it stands now."""
        with self._service.state() as (state, now):
            return state.predictions(now)

    @property
    def most_requests_in_window(self) -> int:
        """The most requests that were counted in any window; refused ones are not counted."""
        with self._service.state() as (state, _):
            return state.most_requests_in_window

    @property
    def most_running(self) -> int:
        """The most predictions that ran at once."""
        with self._service.state() as (state, _):
            return state.most_running

    @property
    def refused(self) -> int:
        """How many requests were answered 429."""
        with self._service.state() as (state, _):
            return state.refused

    # --- what it is told -------------------------------------------------------------------------

    def next(
        self,
        *,
        status_code: int = 200,
        body: Mapping[str, Any] | str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        lose: bool = False,
    ) -> None:
        """Script the answer to the next request of the API; calls queue up.

        Args:
            status_code: The status to answer.
            body: The body: a mapping is sent as JSON, a text as HTML; None is the envelope that
                belongs to the status.
            headers: Further headers.
            kind: Only the next request of this kind is meant: `submit` or `result`.
            lose: Do what the request asks, and close the connection instead of answering; nothing
                else than `kind` counts then. In process it raises `httpx.ReadError`.
        """
        scripted = Scripted(
            status_code=status_code, body=body, headers=headers or {}, kind=kind, lose=lose
        )
        with self._service.state() as (state, _):
            state.script(scripted)
