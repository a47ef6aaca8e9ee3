"""Runs that go well: `run` and `batch` against the emulator."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.conftest import Cli, results, to, write_jsonl
from wavespeed_async.cli import _progress
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    import pytest


def test_run_makes_a_picture(cli: Cli, emulator: Emulator) -> None:
    """`run` saves the pictures, writes their paths alone to stdout, and ends with 0."""
    ran = cli(
        "run", "flux-dev", "--prompt", "hello", "--num-images", "2", "--out", "o", *to(emulator)
    )
    assert ran.code == 0
    assert len(ran.paths) == 2
    assert all(path.parent == Path("o") and path.stat().st_size for path in ran.paths)
    (line,) = ran.lines
    assert "1 of 1 done: 2 pictures in o" in line


def test_run_sends_what_the_options_say(cli: Cli, emulator: Emulator) -> None:
    """Options become the model's fields, each of its kind; what is left out has its default."""
    ran = cli(
        *(
            "run",
            "wavespeed-ai/flux-dev-lora",
            "--prompt",
            "a",
            "--seed",
            "-1",
            "--strength",
            "0.5",
        ),
        *("--num_inference_steps", "4", "--size", "512*768", "--no-enable-safety-checker"),
        *("--loras", "a/b:0.5", "--loras", "https://x/y:1", *to(emulator)),
    )
    assert ran.code == 0
    (made,) = emulator.predictions
    assert made.model == "wavespeed-ai/flux-dev-lora"
    wanted = {
        "prompt": "a",
        "strength": 0.5,
        "num_inference_steps": 4,
        "size": "512*768",
        "enable_safety_checker": False,
        "loras": [{"path": "a/b", "scale": 0.5}, {"path": "https://x/y", "scale": 1}],
        "guidance_scale": 3.5,
    }
    assert wanted.items() <= made.fields.items()
    assert made.fields["seed"] >= 0


def test_run_takes_several_addresses(cli: Cli, emulator: Emulator) -> None:
    """A list is given once for each of its items."""
    room, portrait = f"{emulator.url}/samples/room.png", f"{emulator.url}/samples/portrait.png"
    ran = cli(
        *("run", "flux-kontext-dev/multi", "--prompt", "a", "--images", room),
        *("--images", portrait, *to(emulator)),
    )
    assert ran.code == 0
    assert emulator.predictions[0].fields["images"] == [room, portrait]


def test_run_asks_any_model(cli: Cli, emulator: Emulator) -> None:
    """The fields of a model without a class are sent as JSON where they are JSON, else as text."""
    ran = cli(
        *("run", "wavespeed-ai/flux-dev-lora-ultra-fast", "--prompt", "a b"),
        *("--num-images", "2", "--loras", '[{"path": "x/y", "scale": 1}]', *to(emulator)),
    )
    assert ran.code == 0
    assert len(ran.paths) == 2
    assert emulator.predictions[0].fields == {
        "prompt": "a b",
        "num_images": 2,
        "loras": [{"path": "x/y", "scale": 1}],
    }


def test_batch_makes_all_pictures_and_tells_of_each(cli: Cli, emulator: Emulator) -> None:
    """`batch` saves all pictures; `results.jsonl` says of each request what was sent and made."""
    write_jsonl(
        Path("a.jsonl"),
        [{"model": "flux-dev", "prompt": f"número {n}", "num_images": 1 + n % 2} for n in range(6)],
    )
    ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator))
    assert ran.code == 0
    assert len(ran.paths) == 9
    entries = results(Path("o"))
    assert sorted(entry["index"] for entry in entries) == [*range(6)]
    known = {made.id: made for made in emulator.predictions}
    for entry in entries:
        made = known[entry["id"]]
        assert entry["line"] == entry["index"] + 1
        assert entry["model"] == made.model
        assert entry["fields"] == made.fields
        assert entry["seed"] == made.fields["seed"] >= 0
        assert entry["status"] == "completed"
        assert entry["error"] is None
        assert entry["inference_ms"] > 0
        assert len(entry["outputs"]) == len(entry["paths"]) == made.fields["num_images"]
        assert all((Path("o") / path).stat().st_size for path in entry["paths"])
    assert "número" in (Path("o") / "results.jsonl").read_text(encoding="utf-8")


def test_a_second_run_adds_to_the_results(cli: Cli, emulator: Emulator) -> None:
    """Results of earlier runs stay, and a line that was torn off does not spoil the next one."""
    folder = Path("o")
    folder.mkdir()
    (folder / "results.jsonl").write_text('{"index": 0}\n{"ind')
    for _ in range(2):
        assert cli("run", "flux-dev", "--prompt", "a", "--out", "o", *to(emulator)).code == 0
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ['{"index": 0}', '{"ind']
    assert len(lines) == 4


def test_pictures_are_not_repeated_in_the_results(cli: Cli, emulator: Emulator) -> None:
    """A picture as base64, sent or received, stands in the results by length and digest only."""
    picture = base64.b64encode(bytes(999)).decode()
    url = "https://example.org/" + "a" * 500
    write_jsonl(
        Path("a.jsonl"),
        [
            {"model": "flux-dev-lora", "prompt": "long " * 200, "image": picture},
            {"model": "wavespeed-ai/odd-fields", "prompt": "a", "class": "b", "tags": [url]},
        ],
    )
    assert cli("batch", "a.jsonl", *to(emulator)).code == 0
    first, second = sorted(results(Path("pictures")), key=lambda entry: int(entry["index"]))
    assert first["fields"]["prompt"] == "long " * 200
    assert first["fields"]["image"].startswith("<1332 characters, sha256 ")
    assert second["fields"]["tags"] == [url]


def test_base64_outputs_are_saved_and_not_repeated(cli: Cli) -> None:
    """Outputs that come as base64 become files, and are named by their digest in the results."""
    with Emulator(latency=0.05, per=1) as emulator:
        ran = cli("run", "flux-dev-lora", "--prompt", "a", "--size", "512*512", *to(emulator))
    assert ran.code == 0
    assert ran.paths[0].read_bytes().startswith(b"\x89PNG")
    (output,) = results(Path("pictures"))[0]["outputs"]
    assert output.startswith("<")
    assert "sha256" in output


def test_progress_is_plain_where_there_is_no_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, progress is a plain line on stderr now and then."""
    monkeypatch.setattr(_progress, "LINE_EVERY", 0.15)
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": "a"}] * 6)
    with Emulator(latency=0.3, per=1, concurrency=2, pictures=False) as emulator:
        ran = cli("batch", "a.jsonl", *to(emulator), "--concurrency", "2")
    assert ran.code == 0
    progress = [line for line in ran.err.splitlines() if " running, " in line]
    assert progress[0].startswith(
        "wavespeed-async: 0/6 done, 2 running, 0 failed, 0 pictures/min, "
    )
    assert any(line.endswith(" s left") and "/120 requests" in line for line in progress)
    assert "\x1b" not in ran.err


def test_progress_is_a_bar_on_a_terminal(
    cli: Cli, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, progress is a bar, and data still goes to stdout alone."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(_progress, "BAR_EVERY", 0.02)
    ran = cli("run", "flux-dev", "--prompt", "a", *to(emulator))
    assert ran.code == 0
    assert "\x1b[" in ran.err
    assert "0/1 done, 1 running" in ran.err
    assert len(ran.paths) == 1
    assert ran.paths[0].exists()
