"""What goes wrong: one clear line for each cause, the right exit code, nothing paid for lost."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import Cli, deaf_server, once, results, to, write_jsonl
from wavespeed_async.cli import _results, main
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

CREDITS = "Insufficient credits. Please top up your account to continue."
HELLO: list[dict[str, Any]] = [{"model": "flux-dev", "prompt": "hello"}]


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def _take_credits(emulator: Emulator) -> None:
    for _ in range(300):
        emulator.next(status_code=400, body={"code": 400, "message": CREDITS}, kind="submit")


def _submissions(emulator: Emulator) -> int:
    return sum(request.kind == "submit" for request in emulator.requests)


def test_no_network(cli: Cli) -> None:
    """Without a server, all requests fail for one reason, which is told once, and nothing ran."""
    write_jsonl(Path("a.jsonl"), HELLO * 12)
    ran = cli("batch", "a.jsonl", "--base-url", "http://127.0.0.1:9")
    assert ran.code == 1
    (line,) = ran.lines
    assert line.startswith("wavespeed-async: 12 requests failed: ")
    assert "127.0.0.1" in line
    entries = results(Path("pictures"))
    assert len(entries) == 12
    assert entries[0]["id"] is None
    assert entries[0]["error"]["type"] == "APIConnectionError"


def test_a_wrong_key_stops_a_batch(cli: Cli) -> None:
    """A key that the API does not know is told, and the rest of a batch is not sent."""
    write_jsonl(Path("a.jsonl"), HELLO * 300)
    with Emulator(api_key="another-key", per=1) as emulator:
        ran = cli("batch", "a.jsonl", *to(emulator))
        assert _submissions(emulator) < 100
    assert ran.code == 1
    failed, stopped = ran.lines
    assert re.match(r"wavespeed-async: \d+ requests? failed: Invalid API key", failed)
    assert re.match(r"wavespeed-async: stopped, \d+ of 300 not finished: each further", stopped)


def test_what_runs_is_waited_for_when_credits_run_out(cli: Cli) -> None:
    """Out of credits, nothing more is sent, and pictures that are paid for are still fetched."""
    write_jsonl(Path("a.jsonl"), HELLO * 300)
    with Emulator(latency=0.5, latency_cv=0, per=1, pictures=False) as emulator:
        with once(
            lambda: len(emulator.predictions) > 3,
            lambda: _take_credits(emulator),
        ):
            ran = cli("batch", "a.jsonl", *to(emulator))
        made = emulator.predictions
    assert ran.code == 1
    assert 3 < len(made) < 100
    assert {path.stem for path in ran.paths} == {prediction.id for prediction in made}
    assert CREDITS in ran.lines[0]
    assert "stopped" in ran.lines[1]
    assert "pictures in" in ran.lines[2]
    assert len(ran.lines) == 3


def test_a_dead_server_is_told_once(cli: Cli) -> None:
    """A submission that got no answer is told as one that may be billed, in one line."""
    with deaf_server() as url:
        ran = cli("run", "flux-dev", "--prompt", "a", "--base-url", url)
    assert ran.code == 1
    (line,) = ran.lines
    assert line.startswith("wavespeed-async: 1 request failed: the submission of ")
    assert "may exist and be billed" in line
    assert results(Path("pictures"))[0]["error"]["type"] == "SubmissionUnconfirmedError"


def test_predictions_that_never_end_stop_a_batch(cli: Cli) -> None:
    """A batch stops once predictions that outlast their time hold all slots: none would come."""
    write_jsonl(Path("a.jsonl"), HELLO * 50)
    with Emulator(latency=600.0, latency_cv=0.0, pictures=False) as emulator:
        ran = cli(
            *("batch", "a.jsonl", "--base-url", emulator.url),
            *("--concurrency", "3", "--timeout", "0.5", "--per", "1"),
        )
    assert ran.code == 1
    assert any(
        line.endswith("predictions that did not end in time take all the slots")
        for line in ran.lines
    )
    assert len(emulator.predictions) == 3


def test_closed_streams_are_no_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stdout and stderr closed by the shell a command does its work all the same."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["models"]) == 0
    assert main(["run", "flux-dev", "--size", "1*1"]) == 2


def test_a_dead_server_stops_a_batch(cli: Cli) -> None:
    """A batch stops once submissions without an answer hold all slots: none would become free."""
    write_jsonl(Path("a.jsonl"), HELLO * 50)
    with deaf_server() as url:
        ran = cli("batch", "a.jsonl", "--base-url", url, "--concurrency", "3")
    assert ran.code == 1
    failed, stopped = ran.lines
    assert failed.startswith("wavespeed-async: 3 requests failed: the submission of ")
    assert stopped.endswith(
        "47 of 50 not finished: submissions without an answer take all the slots"
    )


def test_a_server_that_dies_leaves_ids(cli: Cli) -> None:
    """When the server dies in the middle of a run, the ids of what still runs are told."""
    write_jsonl(Path("a.jsonl"), HELLO * 3)
    with Emulator(latency=60, per=1) as emulator:
        url = emulator.url
        with once(
            lambda: len(emulator.predictions) == 3, lambda: emulator.__exit__(None, None, None)
        ):
            ran = cli(
                *("batch", "a.jsonl", "--base-url", url, "--per", "1", "--timeout", "1.5"),
                *("--min-poll-interval", "0.1"),
            )
        ids = {prediction.id for prediction in emulator.predictions}
    assert ran.code == 1
    told = [line.split()[0] for line in ran.lines if line.startswith("  ")]
    assert set(told) == ids
    assert "3 still running; the API keeps them for 7 days:" in ran.err
    assert {entry["id"] for entry in results(Path("pictures"))} == ids


@pytest.mark.parametrize("body", ["<html>hello", "null", '{"code": 200}', "{"])
def test_a_server_that_answers_garbage(cli: Cli, emulator: Emulator, body: str) -> None:
    """An answer that is not the API's is told in one line, and nothing is sent again."""
    emulator.next(body=body.encode(), kind="submit")
    ran = cli("run", "flux-dev", "--prompt", "a", *to(emulator))
    assert ran.code == 1
    (line,) = ran.lines
    assert "not in the API's format" in line
    assert _submissions(emulator) == 1


def test_predictions_that_fail_are_told_once(cli: Cli, emulator: Emulator) -> None:
    """Predictions that fail for one reason are told in one line, with how many they are."""
    for number in range(3):
        data = {"id": f"{number:032x}", "status": "failed", "error": "Boom\nboom", "outputs": []}
        body = {"code": 200, "message": "success", "data": data}
        emulator.next(body=body, kind="submit")
    write_jsonl(Path("a.jsonl"), HELLO * 4)
    ran = cli("batch", "a.jsonl", *to(emulator))
    assert ran.code == 1
    assert ran.lines[0] == "wavespeed-async: 3 requests failed: prediction failed: Boom boom"
    assert "1 of 4 done: 1 picture in pictures" in ran.lines[1]
    assert len(ran.lines) == 2


def test_a_full_disk_stops_a_batch(cli: Cli) -> None:
    """A full disk is told in one line, no more is sent, and the ids of what was made are told."""
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": f"{n}"} for n in range(60)])
    with Emulator(latency=0.05, per=1) as emulator, _files_up_to(100_000):
        ran = cli("batch", "a.jsonl", *to(emulator), "--concurrency", "2")
        made = {prediction.id for prediction in emulator.predictions}
    assert ran.code == 1
    assert 1 <= len(made) < 20
    assert "File too large" in ran.lines[0]
    assert ran.lines[1].endswith("not finished: a picture could not be written")
    told = {line.split()[0] for line in ran.lines if line.startswith("  ")}
    assert told == made
    assert [*Path("pictures").glob("*.png")] == []


def test_results_that_cannot_be_written_stop_a_batch(cli: Cli) -> None:
    """Where `results.jsonl` cannot grow, the ids of pictures that it lacks are told."""
    Path("o").mkdir()
    (Path("o") / "results.jsonl").write_bytes(b" " * 99_990 + b"\n")
    write_jsonl(Path("a.jsonl"), HELLO * 60)
    with (
        Emulator(latency=0.05, per=1, pictures=False) as emulator,
        _files_up_to(100_000),
    ):
        ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator), "--concurrency", "2")
        made = {prediction.id for prediction in emulator.predictions}
    assert ran.code == 1
    assert ran.lines[0].endswith("the results cannot be written: File too large")
    told = {line.split()[0] for line in ran.lines if line.startswith("  ")}
    assert told == made
    assert any("made and saved, but not in the results:" in line for line in ran.lines)


@pytest.mark.parametrize("out", ["file/folder", "file"])
def test_a_folder_that_cannot_be_written_to(cli: Cli, emulator: Emulator, out: str) -> None:
    """A folder that cannot be is told in one line before anything is sent."""
    Path("file").write_text("a file")
    ran = cli("run", "flux-dev", "--prompt", "a", "--out", out, *to(emulator))
    assert ran.code == 2
    (line,) = ran.lines
    assert line.startswith(f"wavespeed-async: cannot write to {out}: ")
    assert emulator.requests == ()


def test_a_disk_that_is_full_already(cli: Cli, emulator: Emulator) -> None:
    """A disk without room is told before anything is sent."""
    with _files_up_to(_results.PROBE // 2):
        ran = cli("run", "flux-dev", "--prompt", "a", *to(emulator))
    assert ran.code == 2
    (line,) = ran.lines
    assert line == "wavespeed-async: cannot write to pictures: File too large"
    assert emulator.requests == ()


def test_bad_lines_send_nothing(cli: Cli, emulator: Emulator) -> None:
    """A file with a bad line is refused as a whole, with the line's number and the reason."""
    write_jsonl(Path("a.jsonl"), [*HELLO, {"model": "flux-dev", "strength": 2}])
    ran = cli("batch", "a.jsonl", *to(emulator))
    assert ran.code == 2
    (line,) = ran.lines
    assert line.startswith("wavespeed-async: a.jsonl:2: wavespeed-ai/flux-dev: strength must be ")
    assert emulator.requests == ()
    assert not Path("pictures").exists()


# --- streams -------------------------------------------------------------------------------------


def _broken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Put a pipe that nobody reads in the place of a stream."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, name, os.fdopen(writer, "w", encoding="utf-8"))


def test_a_broken_pipe_loses_no_picture(
    cli: Cli, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody reads stdout any longer, all pictures are made all the same."""
    write_jsonl(Path("a.jsonl"), HELLO * 5)
    with monkeypatch.context() as patch:
        _broken(patch, "stdout")
        ran = cli("batch", "a.jsonl", *to(emulator))
        sys.stdout.close()
    assert ran.code == 0
    assert len(results(Path("pictures"))) == 5
    assert "5 of 5 done" in ran.err


def test_stderr_that_nobody_reads_is_no_matter(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe on stderr changes nothing about the exit code."""
    with monkeypatch.context() as patch:
        _broken(patch, "stderr")
        assert cli("run", "flux-dev", "--seed", "x").code == 2
        sys.stderr.close()


def test_stdout_that_takes_nothing_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that cannot be written is told in one line, and the exit code is 1."""
    with Path("/dev/full").open("w", encoding="utf-8") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        ran = cli("models")
    assert ran.code == 1
    assert ran.lines == ["wavespeed-async: No space left on device"]


def test_a_terminal_of_another_encoding(cli: Cli, emulator: Emulator) -> None:
    """What a terminal's encoding lacks is replaced, and no reason to fail."""
    sys.stderr.reconfigure(encoding="ascii")  # type: ignore[union-attr]  # pytest's is a TextIOWrapper
    sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]  # as above
    ran = cli("run", "flux-dev", "--prompt", "ä", "--out", "größe", *to(emulator))
    assert ran.code == 0
    assert ran.out.startswith("gr??e/")
    assert len([*Path("größe").glob("*.png")]) == 1
