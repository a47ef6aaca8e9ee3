"""The program of the page about proxies goes through the proxy that it names."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import certifi
import httpx

from tests.docs.blocks import blocks_of, environment, ran_program
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

(PROGRAM,) = (block.code for block in blocks_of("docs/proxies.md") if block.language == "python")


@contextmanager
def proxy(seen: list[str]) -> Iterator[str]:
    """Pass on what comes to wherever it is to go, and note where that is."""

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            seen.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            answer = httpx.request(
                self.command, self.path, headers=headers, content=body, trust_env=False
            )
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = pass_on  # noqa: N815 (the names that http.server calls)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_program_goes_through_its_proxy(tmp_path: Path) -> None:
    """The submission, a poll and the download pass the proxy, and the picture is saved."""
    (tmp_path / "company.pem").write_text(certifi.contents(), encoding="utf-8")
    seen: list[str] = []
    with Emulator(latency=0.1) as emulator, proxy(seen) as address:
        ran_program(PROGRAM, tmp_path, emulator, STUDIO_PROXY=address)
        assert all(path.startswith(emulator.url) for path in seen)
    assert len([*(tmp_path / "pictures").glob("*.png")]) == 1
    assert len(seen) >= 3


def test_the_environment_names_a_proxy(tmp_path: Path) -> None:
    """Without a transport the client goes through the proxy of the environment, as it says."""
    plain = PROGRAM.replace("AsyncWaveSpeed(transport=transport)", "AsyncWaveSpeed()")
    plain = plain.replace('cafile="company.pem"', "").replace('os.environ["STUDIO_PROXY"]', "None")
    seen: list[str] = []
    with Emulator(latency=0.1) as emulator, proxy(seen) as address:
        known = {name: "" for name in environment() if name.lower() == "no_proxy"}
        ran_program(plain, tmp_path, emulator, **known, HTTP_PROXY=address, http_proxy=address)
    assert len(seen) >= 3
