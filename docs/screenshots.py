"""Take the pictures of the pages: the demo, a batch, the emulator and the FastAPI example.

    python docs/screenshots.py

It needs all extras, Playwright and Debian's Chromium. Everything runs on this machine; pictures are
written as WebP beside the pages, in `docs/images/`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1200, 800
MOST_BYTES = 150_000
QUALITIES = (80, 65, 50, 35)
COLOURS = ("amber", "indigo", "moss", "slate", "coral", "ivory", "plum", "teal")
ARRIVED = "[...document.images].filter(i => i.complete && i.naturalWidth).length >= 7"
WARES = ("a scarf", "a kite", "a teapot", "a lighthouse", "a rowing boat")


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the Chromium in which the pages are tested."""
    sys.path.append(str(ROOT))
    from tests.chromium import running  # noqa: PLC0415 (tests are no package that is installed)

    with running() as chromium:
        yield chromium


def write(name: str, taken: bytes) -> Path:
    """Write a screenshot as small as it has to be, at the best quality that is so."""
    image = Image.open(BytesIO(taken)).convert("RGB")
    for quality in QUALITIES:
        written = BytesIO()
        image.save(written, "WEBP", quality=quality, method=6)
        if written.tell() <= MOST_BYTES:
            break
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.webp"
    path.write_bytes(written.getvalue())
    return path


def called(*arguments: str, address: str = "") -> None:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "wavespeed_async", *arguments]
    known = {**os.environ, "WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": address}
    subprocess.run(command, env=known, check=True, capture_output=True)  # noqa: S603 (our own command)


def take_demo(page: Page, folder: Path) -> None:
    """Run the demonstration, and open what it leaves."""
    called("demo", "--out", str(folder / "demo"))
    page.goto((folder / "demo" / "index.html").as_uri())


def take_batch(page: Page, folder: Path) -> None:
    """Run a batch of forty, some of which fail, and open its page."""
    asked = folder / "prompts.csv"
    prompts = [f"{ware}, {colour}" for ware in WARES for colour in COLOURS]
    prompts[7] += " [outcome: failed-1200]"
    asked.write_text("model,prompt\n" + "".join(f'flux-dev,"{p}"\n' for p in prompts), "utf-8")
    with Emulator(latency=2.0, seed=4) as emulator:
        try:
            called("batch", str(asked), "--out", str(folder / "batch"), address=emulator.url)
        except subprocess.CalledProcessError as ended:
            if ended.returncode != 1:  # one fails, as it is asked to
                raise
    page.goto((folder / "batch" / "index.html").as_uri())


def take_emulator(page: Page, folder: Path) -> None:
    """Look at the emulator while a batch runs."""
    asked = folder / "more.csv"
    prompts = [f"{ware} in {colour}" for ware in WARES for colour in COLOURS]
    asked.write_text("model,prompt\n" + "".join(f'flux-dev,"{p}"\n' for p in prompts), "utf-8")
    with Emulator(latency=4.0, seed=5) as emulator:
        page.goto(emulator.url)
        command = ["batch", str(asked), "--out", str(folder / "more"), "--base-url", emulator.url]
        with subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-m", "wavespeed_async", *command],
            env={**os.environ, "WAVESPEED_API_KEY": "a-key"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            page.wait_for_function("/(\\d+) completed/.exec(document.body.innerText)?.[1] >= 12")
            write("emulator", page.screenshot())
            running.wait()


def take_example(page: Page, _: Path) -> None:
    """Ask the FastAPI example for pictures, and look while some are made."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [sys.executable, "examples/fastapi_app.py", "--port", str(port), "--latency", "3"]
    known = {name: value for name, value in os.environ.items() if name != "WAVESPEED_API_KEY"}
    with subprocess.Popen(  # noqa: S603 (our own command)
        command, cwd=ROOT, env=known, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as serving:
        try:
            _wait_for(f"http://127.0.0.1:{port}")
            page.goto(f"http://127.0.0.1:{port}")
            page.fill(
                "#prompts",
                "\n".join(f"{ware}, {colour}" for colour in COLOURS[:3] for ware in WARES),
            )
            page.click("button.main")
            page.wait_for_function(ARRIVED)
            write("fastapi", page.screenshot())
        finally:
            serving.terminate()


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(url, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"{url} does not answer")


SHOTS: dict[str, Callable[[Page, Path], None]] = {
    "demo": take_demo,
    "batch": take_batch,
    "emulator": take_emulator,
    "fastapi": take_example,
}


def main() -> None:
    """Take those that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*SHOTS, []], help="all by default")
    names = parser.parse_args().names or [*SHOTS]
    with TemporaryDirectory() as folder, browser() as chromium:
        for name in names:
            # Pages that allow no script but their own are asked whether they are ready.
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, bypass_csp=True)
            SHOTS[name](page, Path(folder))
            if name not in {"emulator", "fastapi"}:  # those are taken in the midst of their work
                page.wait_for_timeout(500)
                write(name, page.screenshot())
            page.close()
            path = IMAGES / f"{name}.webp"
            sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
