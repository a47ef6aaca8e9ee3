"""The emulator as its users meet it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread

from wavespeed_async.emulator._app import Service
from wavespeed_async.emulator._faults import Faults
from wavespeed_async.emulator._records import (
    Kind,
    PredictionRecord,
    RequestRecord,
    Scripted,
    UploadRecord,
    WebhookRecord,
)
from wavespeed_async.emulator._requests import Refusal
from wavespeed_async.emulator._server import Server
from wavespeed_async.emulator._settings import (
    MEGABYTE,
    WEBHOOK_SECRET,
    WEEK,
    Counted,
    InputsName,
    Over,
    RetryAfter,
    Settings,
    WindowKind,
)
from wavespeed_async.emulator._wishes import Wishes
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from starlette.types import ASGIApp

__all__ = ["Emulator"]

LAST_PORT = 65535


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
        window: WindowKind = "sliding",
        concurrency_counts: Counted = "predictions",
        over: Over = "refuse",
        retry_after: RetryAfter | None = None,
        balance: float = 10_000.0,
        keep: float = WEEK,
        stuck_for: float | None = 600.0,
        upload_limit: int = 200 * MEGABYTE,
        list_inputs_as: InputsName = "inputs",
        webhook_secret: str | None = None,
        webhook_input: bool = False,
        webhook_pause: float = 1.0,
        faults: Faults | None = None,
        time_source: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set it up; nothing listens yet.

        Raises:
            ConfigurationError: There is no such port.
            ValueError: A setting cannot be.

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
            window: `sliding`, or `fixed` windows side by side, or a token `bucket`.
            concurrency_counts: What `concurrency` is of: `predictions` that run, or open
                `requests`.
            over: What becomes of what is over it: it is refused (`refuse`), or waits (`queue`).
            retry_after: How a 429 tells when to come again: not, in `seconds`, or as a `date`.
            balance: What the account has at first, in USD; each submission costs some.
            keep: How long predictions and uploads are kept, in seconds; 7 days.
            stuck_for: How long a prediction that is stuck runs until it ends as `timeout`, in
                seconds; for ever with None.
            upload_limit: How many bytes an upload may have; one more is a 413.
            list_inputs_as: Where a listed prediction has what was asked: `inputs` or `input`.
            webhook_secret: What webhooks are signed with; by default one that is always the same.
            webhook_input: Whether a webhook's body has what was asked, as `input`.
            webhook_pause: Seconds from the first try of a webhook to the second. Webhooks are
                called while the emulator listens, and on this machine only.
            faults: What goes wrong, and how often; nothing by default.
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
            window=window,
            concurrency_counts=concurrency_counts,
            over=over,
            retry_after=retry_after,
            balance=balance,
            keep=keep,
            stuck_for=stuck_for,
            upload_limit=upload_limit,
            list_inputs_as=list_inputs_as,
            webhook_secret=webhook_secret or WEBHOOK_SECRET,
            webhook_input=webhook_input,
            webhook_pause=webhook_pause,
            faults=faults or Faults(),
        )
        if not 0 <= port <= LAST_PORT:
            message = f"port must be from 0 to {LAST_PORT}: {port}"
            raise ConfigurationError(message)
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
        self._server = Server(self.app, self._host, self._port, self._service.courier.run)
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
    def uploads(self) -> tuple[UploadRecord, ...]:
        """Every upload that is kept; one whose `content` is None has not been used yet."""
        with self._service.state() as (state, now):
            return state.uploads.all(now)

    @property
    def webhooks(self) -> tuple[WebhookRecord, ...]:
        """Every call of a webhook so far, and those that were not made since they lead away."""
        with self._service.state() as (state, _):
            return tuple(state.outbox.records)

    @property
    def balance(self) -> float:
        """What the account has left, in USD."""
        with self._service.state() as (state, now):
            return state.balance(now)

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

    def refuse_connections(self, seconds: float) -> None:
        """Let nobody connect for so long; what is asked meanwhile never arrives.

        In process it raises `httpx.ConnectError`, by the emulator's clock. Over sockets nothing
        listens, by the real clock: connections that are idle are closed before this returns,
        others with the answer that they wait for.
        """
        with self._service.state() as (state, now):
            state.refuse(now, seconds)
        if self._server is not None:
            self._server.refuse(seconds)

    def next(
        self,
        *,
        status_code: int = 200,
        body: Mapping[str, Any] | str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        lose: bool = False,
        fault: str | None = None,
        outcome: str | None = None,
        status: str | None = None,
        shape: str | None = None,
    ) -> None:
        """Script the answer to the next request of the API; calls queue up.

        With one of the last four the request is done as usual, but for what they say.

        Args:
            status_code: The status to answer.
            body: The body: a mapping is sent as JSON, a text as HTML; None is the envelope that
                belongs to the status.
            headers: Further headers.
            kind: Only the next request of this kind is meant: `submit` or `result`.
            lose: Do what the request asks, and close the connection instead of answering; nothing
                else than `kind` counts then. In process it raises `httpx.ReadError`.
            fault: What goes wrong, by its name in `FAULTS`.
            outcome: How the prediction ends: a final status, or `failed-1200` and the like.
            status: The word that stands for its status while it runs, known or not.
            shape: How answers about it look: a name in `SHAPES`.

        Raises:
            ValueError: There is no such fault, outcome or shape.
        """
        wishes = Wishes(fault=fault, outcome=outcome, status=status, shape=shape)
        try:
            wishes.checked()
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        scripted = Scripted(
            status_code=status_code,
            body=body,
            headers=headers or {},
            kind=kind,
            lose=lose,
            wishes=None if wishes == Wishes() else wishes,
        )
        with self._service.state() as (state, _):
            state.script(scripted)
