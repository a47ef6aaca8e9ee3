"""How many submissions one call makes where the answers are lost: each of them may be billed.

A server on this machine reads each request, and then does one thing for ever: it closes the
connection, answers 500, answers 504, or answers 429. Each SDK is asked for one
picture, with its usual settings but for its address, and given 60 seconds; the server counts the
POSTs. What is not installed is left out:

    pip install wavespeed fal-client replicate openai together
    python benchmarks/lost_answers.py --json docs/lost-answers.json --plot docs/lost-answers.svg
    python benchmarks/lost_answers.py --redraw docs/lost-answers.json --plot docs/lost-answers.svg
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from _apart import SPAWN
from _drawing import INK, OURS, RIVALS, drawing, plain

from wavespeed_async import AsyncWaveSpeed, __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0
PROMPT = "a lighthouse"
FATES = {"closed": None, "500": 500, "504": 504, "429": 429}


# --- the server ----------------------------------------------------------------------------------


@contextmanager
def server(status: int | None, seen: list[str]) -> Iterator[str]:
    """Read each request, note its method, and answer it with a status, or not at all."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.command)
            self.close_connection = True
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_GET = do_POST = do  # noqa: N815 (the names that http.server calls)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


# --- the SDKs ------------------------------------------------------------------------------------


def ours(url: str) -> None:
    """Ask for a picture through this package."""

    async def main() -> None:
        async with AsyncWaveSpeed("a-key", base_url=url) as client:
            await client.flux_dev(prompt=PROMPT)

    anyio.run(main)


def official(url: str) -> None:
    """Ask through the official SDK."""
    from wavespeed.api.client import Client  # noqa: PLC0415 (if it is installed)

    Client(api_key="a-key", base_url=url).run("wavespeed-ai/flux-dev", {"prompt": PROMPT})


def fal(url: str) -> None:
    """Ask through fal's, whose address is fixed: its requests are led here."""
    import httpx  # noqa: PLC0415 (as above)
    from fal_client import SyncClient  # noqa: PLC0415 (as above)

    class Here(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            here = httpx.URL(url)
            request.url = request.url.copy_with(scheme="http", host=here.host, port=here.port)
            return super().handle_request(request)

    client = SyncClient(key="a:key")
    usual = client._client  # noqa: SLF001 (the only way to its address)
    client.__dict__["_client"] = httpx.Client(
        transport=Here(), headers=usual.headers, timeout=usual.timeout
    )
    client.subscribe("fal-ai/flux/dev", arguments={"prompt": PROMPT})


def replicate(url: str) -> None:
    """Ask through Replicate's."""
    from replicate.client import Client  # noqa: PLC0415 (as above)

    Client(api_token="a-key", base_url=url).run(  # noqa: S106 (no real one)
        "black-forest-labs/flux-dev", input={"prompt": PROMPT}
    )


def openai(url: str) -> None:
    """Ask through OpenAI's."""
    from openai import OpenAI  # noqa: PLC0415 (as above)

    OpenAI(api_key="a-key", base_url=url).images.generate(model="gpt-image-1", prompt=PROMPT)


def together(url: str) -> None:
    """Ask through Together's."""
    from together import Together  # noqa: PLC0415 (as above)

    client = Together(api_key="a-key", base_url=url)
    client.images.generate(model="black-forest-labs/FLUX.1-dev", prompt=PROMPT)


SDKS: dict[str, Callable[[str], None]] = {
    "wavespeed-async": ours,
    "wavespeed": official,
    "replicate": replicate,
    "fal-client": fal,
    "openai": openai,
    "together": together,
}


# --- measured, told, drawn -----------------------------------------------------------------------


def called(name: str, url: str) -> None:
    """Make the call in a process of its own, and keep its words and its error to itself."""
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        suppress(Exception),
    ):
        SDKS[name](url)


def posts(name: str, status: int | None) -> int:
    """Count the POSTs of one call."""
    seen: list[str] = []
    with server(status, seen) as url:
        calling = SPAWN.Process(target=called, args=(name, url))
        calling.start()
        calling.join(PATIENCE)
        calling.kill()
        calling.join()
    return seen.count("POST")


def measured() -> list[dict[str, Any]]:
    """Measure each SDK that is installed."""
    rows = []
    for name in SDKS:
        try:
            known = __version__ if name == "wavespeed-async" else version(name)
        except PackageNotFoundError:
            sys.stderr.write(f"{name} is not installed\n")
            continue
        counts = {fate: posts(name, status) for fate, status in FATES.items()}
        rows.append({"sdk": name, "version": known, "posts": counts})
    return rows


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write a line for each SDK."""
    yield f"{'POSTs of one call':24}" + "".join(f"{fate:>8}" for fate in FATES)
    for row in rows:
        name = f"{row['sdk']} {row['version']}"
        yield f"{name:24}" + "".join(f"{row['posts'][fate]:8}" for fate in FATES)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw a group of bars for each SDK; 429 is left out, since it says that nothing was made."""
    shown = [fate for fate in FATES if fate != "429"]
    names = {"closed": "the connection is closed", "500": "500", "504": "504"}
    with drawing(path, 7.6, 3.6) as figure:
        axes = figure.subplots()
        for place, (fate, color) in enumerate(zip(shown, (OURS, *RIVALS), strict=False)):
            at = [number + (place - 1) * 0.26 for number in range(len(rows))]
            heights = [row["posts"][fate] for row in rows]
            axes.bar(at, heights, width=0.24, color=color, label=names[fate])
        axes.set_xticks(
            range(len(rows)), [f"{row['sdk']}\n{row['version']}" for row in rows], fontsize=9
        )
        axes.set_title("Submissions of one call whose answers are lost", color=INK)
        axes.set_ylim(0, 1.35 * max(max(row["posts"].values()) for row in rows))
        plain(axes)
        axes.set_axisbelow(True)
        axes.legend(loc="upper left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="where to write the counts")
    parser.add_argument("--plot", type=Path, help="where to draw them")
    parser.add_argument("--redraw", type=Path, help="take the counts from a file of --json")
    options = parser.parse_args()
    told = options.redraw
    rows = json.loads(told.read_text(encoding="utf-8")) if told else measured()
    for line in table(rows):
        sys.stdout.write(line + "\n")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
