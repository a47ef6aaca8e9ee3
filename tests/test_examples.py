"""The examples as people run them: by their one command, against the emulator."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image

from tests.backends.serving import example
from tests.virtual import make_client, make_emulator
from wavespeed_async import Limiter, Limits
from wavespeed_async.emulator import Emulator
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
SLOW = 60.0
"""Seconds that a prediction takes which a test does not want to end."""


def environment(emulator: Emulator | None) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if "WAVESPEED" not in name}
    if emulator is None:
        return known
    return {**known, "WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": emulator.url}


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]


def run(
    name: str, *arguments: object, emulator: Emulator, typed: str = "", cwd: Path = EXAMPLES
) -> Any:
    """Run an example to its end."""
    return subprocess.run(  # noqa: S603 (our own example)
        command(name, *arguments),
        env=environment(emulator),
        cwd=cwd,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def started(
    name: str, *arguments: object, emulator: Emulator, folder: Path
) -> Iterator[subprocess.Popen[str]]:
    """Start an example in a folder; it is killed in the end, unless it has ended."""
    process = subprocess.Popen(  # noqa: S603 (our own example)
        command(name, *arguments),
        env=environment(emulator),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another process does in its own time."""
    end = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- what all of them owe -------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_an_example_says_how_it_is_started(program: Path) -> None:
    """The first lines have its command, and say what to do without a key."""
    first = program.read_text(encoding="utf-8").split('"""')[1]
    assert (
        f"    python examples/{program.name}" in first
        or f" python examples/{program.name}" in first
    )
    assert "Without a key" in first


def test_each_example_is_in_the_list() -> None:
    """The list of examples has every file, and no other."""
    listed = re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert sorted(listed) == sorted(files - {"README.md"})


# --- a CSV file -----------------------------------------------------------------------------------


def table(path: Path, rows: int, size: str = "512*512") -> Path:
    lines = [f"picture {number},{size}" for number in range(rows)]
    path.write_text("\n".join(["prompt,size", *lines]), encoding="utf-8")
    return path


def test_a_csv_file_becomes_pictures_however_often_it_is_stopped(tmp_path: Path) -> None:
    """Killed in the middle, the same command makes what is missing, and each picture once."""
    source, target = table(tmp_path / "prompts.csv", rows=6), tmp_path / "pictures"
    with Emulator(latency=1.0, pictures=False) as emulator:
        arguments = ("csv_fan_out.py", source, target)
        with started(*arguments, emulator=emulator, folder=tmp_path):
            until(lambda: len(emulator.predictions) >= 3)
        ended = run(*arguments, "--resubmit-unconfirmed", emulator=emulator)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.splitlines()[-1] == "6 of 6"
        prompts = [prediction.fields["prompt"] for prediction in emulator.predictions]
    assert len(prompts) == len(set(prompts)) == 6
    with (target / "results.csv").open(encoding="utf-8", newline="") as file:
        results = {int(row["row"]): row for row in csv.DictReader(file)}
    assert sorted(results) == [*range(6)]
    assert all((target / row["files"]).is_file() for row in results.values())
    assert results[3]["files"] == "00003.png"


def test_a_bad_row_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """A value out of range ends the program with field and value; nothing is billed."""
    source = table(tmp_path / "prompts.csv", rows=2, size="9*9")
    with Emulator(pictures=False) as emulator:
        ended = run("csv_fan_out.py", source, tmp_path / "out", emulator=emulator)
        assert ended.returncode == 1
        assert "size must be" in ended.stderr
        assert not emulator.requests


def test_a_failed_row_is_told(tmp_path: Path) -> None:
    """A row whose picture fails stands in the results with its reason; the exit code says so."""
    source, target = tmp_path / "prompts.csv", tmp_path / "out"
    source.write_text("prompt\na fox\na bear [outcome: failed-1200]\n", encoding="utf-8")
    with Emulator(latency=0.1, pictures=False) as emulator:
        ended = run("csv_fan_out.py", source, target, emulator=emulator)
    assert ended.returncode == 1
    assert "moderation" in (target / "results.csv").read_text(encoding="utf-8")


# --- a folder of pictures -------------------------------------------------------------------------


def test_a_folder_is_edited_once(tmp_path: Path) -> None:
    """Results are named after their sources; again, only what is new is made and fetched."""
    source, target = tmp_path / "photos", tmp_path / "edited"
    source.mkdir()
    for name in ("cat.png", "dog (1).jpg"):
        Image.new("RGB", (64, 64), "red").save(source / name)
    (source / "notes.txt").write_text("no picture", encoding="utf-8")
    arguments = ("edit_folder.py", source, target, "as a sketch")
    with Emulator(latency=0.1, pictures=False) as emulator:
        ended = run(*arguments, emulator=emulator)
        assert ended.returncode == 0, ended.stderr
        made = {path.name: path.stat().st_mtime_ns for path in target.glob("*.png")}
        assert sorted(name.partition("-")[0] for name in made) == ["cat", "dog_1_"]
        assert sorted(map(str, made)) == sorted(Path(line).name for line in ended.stdout.split())
        Image.new("RGB", (64, 64), "blue").save(source / "eel.webp")
        assert run(*arguments, emulator=emulator).returncode == 0
        images = [prediction.fields["images"][0] for prediction in emulator.predictions]
        assert len(emulator.uploads) == len(images) == 3
    after = {path.name: path.stat().st_mtime_ns for path in target.glob("*.png")}
    assert made.items() < after.items()
    assert len(after) == 3


def test_a_picture_that_cannot_be_edited_is_told(tmp_path: Path) -> None:
    """What fails is told beside its source, and the exit code says so."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "cat.png")
    wish = "a sketch [outcome: failed-1403]"
    with Emulator(latency=0.1, pictures=False) as emulator:
        arguments = (tmp_path / "photos", tmp_path / "out", wish)
        ended = run("edit_folder.py", *arguments, emulator=emulator)
    assert ended.returncode == 1
    assert "cat.png: " in ended.stderr


# --- a bot ----------------------------------------------------------------------------------------


def say_to(bot: subprocess.Popen[str], *messages: str) -> None:
    assert bot.stdin is not None
    bot.stdin.writelines(f"{message}\n" for message in messages)
    bot.stdin.flush()


def test_the_bot_answers_everybody(tmp_path: Path) -> None:
    """Each user gets pictures, reasons why there are none, or what can be asked."""
    typed = "ada /draw a fox\nbob /draw a bear [outcome: failed-1200]\ncal hello\n\n"
    with Emulator(latency=0.1, pictures=False) as emulator:
        ended = run("bot.py", emulator=emulator, typed=typed, cwd=tmp_path)
        url = emulator.url
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"@ada {url}" in ended.stdout
    assert re.search("@bob sorry: .*moderation", ended.stdout)
    assert "@cal I know /draw" in ended.stdout


def test_the_bot_forgets_what_a_user_cancels(tmp_path: Path) -> None:
    """What waits is never sent, what others want goes on."""
    with (
        Emulator(latency=2.0, latency_cv=0.0, pictures=False) as emulator,
        started("bot.py", emulator=emulator, folder=tmp_path) as bot,
    ):
        say_to(bot, *["bob /draw a fox"] * 4, "cal /draw a bear")
        until(lambda: len(emulator.predictions) == 3)
        say_to(bot, "bob /cancel")
        out, _ = bot.communicate(timeout=30)
        assert out.count("@cal http") == 1
        assert "@bob forgotten" in out
        assert "@bob http" not in out
        assert len(emulator.predictions) == 3


def test_the_bot_keeps_the_ids_of_what_runs(tmp_path: Path) -> None:
    """After Ctrl-C the next start tells of the pictures, without making them again."""
    with Emulator(latency=2.0, latency_cv=0.0, pictures=False) as emulator:
        with started("bot.py", emulator=emulator, folder=tmp_path) as bot:
            say_to(bot, "ada /draw a fox", "bob /draw a bear")
            until(lambda: len(emulator.predictions) == 2)
            bot.send_signal(signal.SIGINT)
            assert bot.wait(timeout=30) == 0
        kept = json.loads((tmp_path / "bot.json").read_text(encoding="utf-8"))
        ids = {prediction.fields["prompt"]: prediction.id for prediction in emulator.predictions}
        assert kept == {ids["a fox"]: "ada", ids["a bear"]: "bob"}
        with started("bot.py", emulator=emulator, folder=tmp_path) as bot:
            out, _ = bot.communicate(timeout=30)
        assert sorted(line.partition(" ")[0] for line in out.splitlines()) == ["@ada", "@bob"]
        assert len(emulator.predictions) == 2
    assert json.loads((tmp_path / "bot.json").read_text(encoding="utf-8")) == {}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> list[str]:
    """Serve messages where one picture runs at a time; answer what was drawn, in that order."""
    bot = example("bot")

    async def messages() -> AsyncIterator[str]:
        for line in lines:
            yield line
            await anyio.sleep(0.01)  # each comes after the one before

    said: list[str] = []
    monkeypatch.setattr(bot, "messages", messages)
    monkeypatch.setattr(bot, "say", lambda user, text: said.append(user))
    monkeypatch.setattr(bot, "KEPT", tmp_path / "bot.json")
    emulator = make_emulator(latency=5.0)
    monkeypatch.setattr(
        bot,
        "AsyncWaveSpeed",
        partial(make_client, emulator, limiter=Limiter(Limits(concurrency=1))),
    )
    await bot.main()
    assert len(said) == len(lines)
    return [str(prediction.fields["prompt"]) for prediction in emulator.predictions]


async def test_patrons_go_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the limits make somebody wait, a patron who came last is the next in turn."""
    lines = ("bob /draw b", "cal /draw c", "dan /draw d", "ada /draw a")
    assert await served(monkeypatch, tmp_path, *lines) == ["b", "a", "c", "d"]


async def test_nobody_takes_all_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who asks for many pictures has two under way; who asks for one comes right after those."""
    lines = (*(f"bob /draw b{number}" for number in range(5)), "cal /draw c")
    order = await served(monkeypatch, tmp_path, *lines)
    assert order == ["b0", "b1", "c", "b2", "b3", "b4"]


# --- a notebook -----------------------------------------------------------------------------------


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Without a key every cell runs, and shows its pictures."""
    copy = tmp_path / "run.ipynb"
    ended = subprocess.run(  # noqa: S603 (our own notebook)
        [
            *(sys.executable, "-c", "from nbclient.cli import main; main()"),
            *(str(EXAMPLES / "notebook.ipynb"), f"--output={copy}"),
        ],
        env={**environment(None), "IPYTHONDIR": str(tmp_path), "JUPYTER_PLATFORM_DIRS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert not [output for output in outputs if output["output_type"] in {"error", "stream"}]


def test_the_notebook_is_kept_without_outputs() -> None:
    """Nothing that a run leaves is in the repository's notebook."""
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
