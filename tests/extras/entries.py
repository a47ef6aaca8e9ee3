"""Every public way in that needs an extra, and what it says without.

As a program it tries those whose packages are not all here, names them on stdout, and tells on
stderr which of them does not say how to install its extra. It imports the standard library and the
package alone, so that it runs in a bare environment.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxDev, Prediction, Status
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ENTRIES", "Entry"]

DATABASE = "postgresql://127.0.0.1:1/app"
PROMPT = FluxDev(prompt="a lighthouse")


class Entry(NamedTuple):
    """Hold a way in: its name, its extra, what of the extra it needs, and what to do there.

    Where what stands `beside` is missing, one does not come so far.
    """

    name: str
    extra: str
    packages: frozenset[str]
    act: Callable[[], object]
    beside: frozenset[str] = frozenset()

    @property
    def is_tried(self) -> bool:
        """Whether it can be tried here: what it needs is not all here, the rest is."""
        return not _are_here(self.packages) and _are_here(self.beside)

    def line(self) -> str:
        """Answer what to tell who comes without the extra."""
        return f"pip install 'wavespeed-async[{self.extra}]'"

    def told(self) -> str:
        """Answer what was told; an error that is no answer to the user is raised."""
        try:
            return f"no error, but {self.act()!r}"
        except ConfigurationError as error:
            return str(error)


def _are_here(packages: frozenset[str]) -> bool:
    return all(find_spec(package) is not None for package in packages)


# --- ways in --------------------------------------------------------------------------------------


def _loaded(name: str) -> Callable[[], object]:
    return lambda: import_module(f"wavespeed_async.{name}")


def _command(*arguments: str) -> Callable[[], object]:
    """Call the command line; its one line on stderr is its error."""

    def act() -> None:
        told = io.StringIO()
        with redirect_stderr(told), redirect_stdout(told):
            code = import_module("wavespeed_async.cli").main(arguments)
        text = told.getvalue()
        if code != 2 or text.count("\n") != 1:
            message = f"exit code {code}: {text}"
            raise RuntimeError(message)
        raise ConfigurationError(text)

    return act


def _called(call: Callable[[AsyncWaveSpeed], Awaitable[object]], **settings: Any) -> Any:
    """Call a client, on asyncio."""

    async def act() -> object:
        async with AsyncWaveSpeed("a key", base_url="http://127.0.0.1:1", **settings) as client:
            return await call(client)

    return lambda: anyio.run(act)


async def _batch(client: AsyncWaveSpeed) -> None:
    async with client.batch([PROMPT], journal=DATABASE):
        pass


async def _image(client: AsyncWaveSpeed) -> object:
    made = Prediction(
        id="1", model="m", status=Status.COMPLETED, outputs=("http://127.0.0.1:1/1.png",)
    )
    return await client.image(made)


def _deliveries() -> object:
    return import_module("wavespeed_async.deliveries.redis").RedisDeliveries(
        "redis://127.0.0.1:1", account="studio"
    )


def _page() -> object:
    """Have the page of a batch written."""
    from wavespeed_async.batch import write_page  # noqa: PLC0415 (as users have it)

    async def act(folder: Path) -> None:
        async with AsyncWaveSpeed("a key", base_url="http://127.0.0.1:1") as client:
            async with client.batch([], journal=folder / "journal.sqlite") as outcomes:
                async for _ in outcomes:
                    pass
            await anyio.to_thread.run_sync(write_page, folder / "journal.sqlite")

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(act, Path(folder))
    return None


def _fixture() -> object:
    """Ask the pytest fixture for an emulator."""
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test_it.py"
        test.write_text("def test_it(wavespeed_emulator): pass\n", encoding="utf-8")
        told = io.StringIO()
        with redirect_stdout(told):
            alone = ("-c", os.devnull, "--rootdir", folder)  # whatever lies above the folder
            import_module("pytest").main(["-p", "no:cacheprovider", *alone, str(test)])
    raise ConfigurationError(told.getvalue())


_CLI = frozenset({"cyclopts", "rich"})
_PAGE = frozenset({"jinja2"})
_SERVER = frozenset({"PIL", "jinja2", "python_multipart", "starlette", "uvicorn"})
_REDIS = frozenset({"redis"})
_POSTGRES = frozenset({"psycopg"})
_TRANSPORT = frozenset({"aiohttp", "httpx_aiohttp"})

ENTRIES = (
    Entry("command line", "cli", _CLI, _command("--help")),
    Entry("python -m", "cli", _CLI, _command("models")),
    Entry("page of a batch", "cli", _PAGE, _page),
    Entry("Emulator", "emulator", _SERVER, _loaded("emulator")),
    Entry("pytest fixture", "emulator", _SERVER, _fixture, beside=frozenset({"pytest"})),
    Entry("command emulator", "emulator", _SERVER, _command("emulator"), beside=_CLI),
    Entry("command demo", "emulator", _SERVER - _PAGE, _command("demo"), beside=_CLI | _PAGE),
    Entry(
        'transport="aiohttp"',
        "aiohttp",
        _TRANSPORT,
        _called(lambda client: client.balance(), transport="aiohttp"),
    ),
    Entry(
        "backends.aiohttp",
        "aiohttp",
        frozenset({"aiohttp", "aiohttp_sse"}),
        _loaded("backends.aiohttp"),
    ),
    Entry(
        "backends.fastapi",
        "fastapi",
        frozenset({"fastapi", "sse_starlette", "starlette"}),
        _loaded("backends.fastapi"),
    ),
    Entry("backends.ray", "ray", frozenset({"pyarrow", "ray"}), _loaded("backends.ray")),
    Entry("RedisLimiter", "redis", _REDIS, _loaded("limits.redis")),
    Entry("RedisDeliveries", "redis", _REDIS, _deliveries),
    Entry("batch(journal=…)", "postgres", _POSTGRES, _called(_batch)),
    Entry(
        "JournalReader",
        "postgres",
        _POSTGRES,
        lambda: import_module("wavespeed_async.batch").JournalReader(DATABASE),
    ),
    Entry("OpenTelemetry", "otel", frozenset({"opentelemetry"}), _loaded("observe.otel")),
    Entry("client.image", "pillow", frozenset({"PIL"}), _called(_image)),
)
"""Whoever adds an extra adds its ways in: a test compares with `pyproject.toml`."""


# --- the program ----------------------------------------------------------------------------------


def main() -> int:
    """Try the ways in, and answer 1 where one says the wrong thing."""
    told = {entry: entry.told() for entry in ENTRIES if entry.is_tried}
    wrong = [f"{entry.name}: {text}" for entry, text in told.items() if entry.line() not in text]
    sys.stdout.writelines(f"{entry.name}\n" for entry in told)
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
