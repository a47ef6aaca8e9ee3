"""Ctrl-C: what runs is named, nothing more is sent, and the exit code is 130."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from tests.cli.conftest import FAST, Cli, await_true, interrupt, once, to, write_jsonl
from wavespeed_async._codec import request_from
from wavespeed_async.cli import _app, _files
from wavespeed_async.emulator import Emulator


def _told(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines if line.startswith("  ")}


def test_ctrl_c_names_what_still_runs(cli: Cli) -> None:
    """At Ctrl-C a batch ends with 130, and the ids of what still runs are on stderr."""
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": "a"}] * 30)
    with (
        Emulator(latency=60, latency_cv=0, per=1) as emulator,
        once(lambda: len(emulator.predictions) == 5, interrupt),
    ):
        ran = cli("batch", "a.jsonl", *to(emulator), "--concurrency", "5")
    assert ran.code == 130
    assert _told(ran.lines) == {prediction.id for prediction in emulator.predictions}
    assert ran.lines[0] == "wavespeed-async: 5 still running; the API keeps them for 7 days:"
    assert ran.lines[-1] == "wavespeed-async: interrupted"


def test_ctrl_c_tells_of_submissions_on_their_way(cli: Cli) -> None:
    """A submission that was on its way at Ctrl-C and stays without an answer is told."""
    room = "/samples/room.png"
    with (
        Emulator(latency=60, per=1) as emulator,
        once(lambda: len(emulator.predictions) == 1, interrupt),
    ):
        ran = cli(
            *("run", "flux-kontext-dev/multi", "--prompt", "a", "--images", emulator.url + room),
            *("--enable-sync-mode", *to(emulator)),
        )
    assert ran.code == 130
    assert ran.lines[0] == "wavespeed-async: 1 unconfirmed: they may exist and be billed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_ends_the_program_in_time(number: signal.Signals) -> None:
    """A program of its own that is told to stop ends within 2.5 s, with 130 and the ids."""
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": "a"}] * 30)
    with Emulator(latency=60, per=1) as emulator:
        command = [sys.executable, "-m", "wavespeed_async", "batch", "a.jsonl"]
        arguments = ["--base-url", emulator.url, *FAST]
        with subprocess.Popen(  # noqa: S603 (our own program)
            [*command, *arguments], stderr=subprocess.PIPE, text=True
        ) as program:
            await_true(lambda: len(emulator.predictions) == 20)
            started = time.monotonic()
            program.send_signal(number)
            _, err = program.communicate(timeout=20)
        assert time.monotonic() - started < 2.5
        assert program.returncode == 130
        assert "Traceback" not in err
        assert _told(err.splitlines()) == {prediction.id for prediction in emulator.predictions}


def test_ctrl_c_while_a_file_is_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """At Ctrl-C the reading of a long file ends at the next line."""
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev"}] * 100_000)
    seen: list[object] = []
    real = request_from

    def slow(fields: dict[str, object]) -> object:
        seen.append(fields)
        time.sleep(0.001)
        return real(fields)

    monkeypatch.setattr(_files, "request_from", slow)
    with once(lambda: len(seen) > 10, interrupt):
        ran = cli("batch", "a.jsonl", "--base-url", "http://127.0.0.1:9")
    assert ran.code == 130
    assert ran.lines == ["wavespeed-async: interrupted"]
    assert len(seen) < 5_000


def test_ctrl_c_before_anything_has_begun(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the program still starts ends it with 130."""
    monkeypatch.setattr(_app, "call", lambda _: interrupt())
    ran = cli("models")
    assert ran.code == 130
    assert ran.lines == ["wavespeed-async: interrupted"]


def test_ctrl_c_where_signals_cannot_be_received(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without signals for event loops, Ctrl-C ends a run all the same."""

    def unsupported(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(anyio, "open_signal_receiver", unsupported)
    with (
        Emulator(latency=60, per=1) as emulator,
        once(lambda: len(emulator.predictions) == 1, interrupt),
    ):
        ran = cli("run", "flux-dev", "--prompt", "a", *to(emulator))
    assert ran.code == 130
    assert _told(ran.lines) == {emulator.predictions[0].id}


def test_the_emulator_runs_until_ctrl_c() -> None:
    """`emulator` says first, and at once, where it listens, and ends at Ctrl-C with 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "wavespeed_async", "emulator", "--seed", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("listening on http://127.0.0.1:")
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=20)
    assert program.returncode == 130
    assert err == "wavespeed-async: interrupted\n"
