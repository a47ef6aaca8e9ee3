"""The contributing guide, done: its model, its limiter and its fault, in a copy of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.guide import GUIDE, block_after, change, copied, files_of
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., Any]

pytestmark = pytest.mark.xdist_group("the contributing guide")

MODEL = "wavespeed_async/models/flux_schnell.py"
LIST = "wavespeed_async/models/_known.py"
FAULTS = "wavespeed_async/emulator/_faults.py"
ASKED = "schnell or Schnell or test_known or public_names or circles or test_each"
"""Which of those tests are asked here: what a new model can break; the rest is as it was."""
USE = """# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
import asyncio
from typing import assert_type

from wavespeed_async import AsyncWaveSpeed, FluxSchnell, Prediction


async def main() -> None:
    async with AsyncWaveSpeed() as client:
        picture = await client.flux_schnell(prompt="a lighthouse", size=(512, 512))
        assert_type(picture, Prediction)
        assert_type(FluxSchnell(prompt="a").num_inference_steps, int)
        print(picture.model, len(picture.outputs))


async def mistake(client: AsyncWaveSpeed) -> None:
    await client.flux_schnell(prompt="a", steps=4)  # type: ignore[call-arg]


asyncio.run(main())
"""
WORLD = """
import anyio
from tests.limits.world import Job, World
from timed import TimedLimiter, client
from wavespeed_async import Limits

jobs = [Job(at=1000.0, submits=True, work=5.0) for _ in range(9)]
world = World(Limits(requests=3, per=10.0), jobs, limiter_class=TimedLimiter)
world.play("asyncio")
world.check()


async def main() -> None:
    async with client:
        await client.flux_dev(prompt="a lighthouse")
    assert len(client.limiter.waits) >= 2
    print("kept")


anyio.run(main)
"""


def runner(folder: Path, emulator: Emulator) -> Run:
    """Answer what runs a program on a copy of the project."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "WAVESPEED_API_KEY": "a-key",
        "WAVESPEED_BASE_URL": emulator.url,
    }

    def run(*command: object) -> Any:
        return subprocess.run(  # noqa: S603 (the project's own tools)
            [sys.executable, *map(str, command)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Add flux-schnell to a copy of the project as the guide does, which takes two files."""
    folder = copied(tmp_path_factory.mktemp("project"))
    before = files_of(folder)
    change(folder, MODEL)
    change(folder, LIST)
    after = files_of(folder)
    assert {path for path in after if after[path] != before.get(path)} == {MODEL, LIST}
    assert before.keys() <= after.keys()
    language, limiter = block_after("## Add a limiter")
    assert language == "python"
    (folder / "timed.py").write_text(limiter, encoding="utf-8")
    (folder / "use.py").write_text(USE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def emulator() -> Any:
    with Emulator(latency=0.1, pictures=False) as emulator:
        yield emulator


@pytest.fixture
def run(changed: Path, emulator: Emulator) -> Run:
    return runner(changed, emulator)


def test_type_checkers_know_what_the_guide_adds(run: Run) -> None:
    """Both type checkers know the new model with its fields, and the limiter as an AnyLimiter."""
    checked = run("-m", "mypy", "--strict", "--config-file=", "use.py", "timed.py")
    assert checked.returncode == 0, checked.stdout
    checked = run("-m", "pyright", "--pythonpath", sys.executable, "use.py", "timed.py")
    assert checked.returncode == 0, checked.stdout


def test_two_files_make_pictures(run: Run, changed: Path) -> None:
    """The new method makes a picture of the new model, from Python and on the command line."""
    ended = run("-W", "error", "use.py")
    assert (ended.stdout, ended.stderr) == ("wavespeed-ai/flux-schnell 1\n", "")
    ended = run("-m", "wavespeed_async", "run", "flux-schnell", "--prompt", "a fox", "--out", "o")
    assert ended.returncode == 0, ended.stderr
    assert Path(changed, ended.stdout.strip()).is_file()
    ended = run("-m", "wavespeed_async", "run", "flux-schnell", "--prompt", "a", "--seed", "x")
    assert "flux-schnell: seed must be a whole number from -1" in ended.stderr.replace("\n", " ")


def test_two_files_are_known_to_files_of_requests_and_to_the_list(run: Run, changed: Path) -> None:
    """A line of JSONL may name the new model, and `models` lists it."""
    requests = changed / "requests.jsonl"
    requests.write_text('{"model": "flux-schnell", "prompt": "a bear"}\n', encoding="utf-8")
    ended = run("-m", "wavespeed_async", "batch", requests, "--out", "o2")
    assert ended.returncode == 0, ended.stderr
    assert "\nflux-schnell  Make pictures" in run("-m", "wavespeed_async", "models").stdout


def test_the_emulator_checks_the_new_model(changed: Path, emulator: Emulator) -> None:
    """The emulator of the copy refuses what the new class does not allow."""
    program = (
        "from wavespeed_async.emulator._requests import read_request\n"
        'read_request("wavespeed-ai/flux-schnell", {"prompt": "a", "num_images": 9})\n'
    )
    ended = runner(changed, emulator)("-c", program)
    assert "Refusal: wavespeed-ai/flux-schnell: num_images must be" in ended.stderr


def test_the_guards_ask_the_new_model_too(run: Run) -> None:
    """The tests that the guide names have cases of the new model, and those pass."""
    (named,) = re.findall(r"`pytest (tests/models [^`]+)`", " ".join(guide().split()))
    ended = run("-m", "pytest", "-v", "-p", "no:cacheprovider", *named.split(), "-k", ASKED)
    assert ended.returncode == 0, ended.stdout[-4000:]
    for test in ("test_known", "test_house", "test_codegen", "test_commands"):
        assert re.search(rf"{test}\.py::.*\[.*(flux.schnell|FluxSchnell)", ended.stdout), test


def test_the_new_files_pass_the_linter(run: Run) -> None:
    """What the guide shows is in the project's own style."""
    assert run("-m", "ruff", "check", "--no-cache", "wavespeed_async").returncode == 0
    formatted = run("-m", "ruff", "format", "--no-cache", "--check", "wavespeed_async")
    assert formatted.returncode == 0, formatted.stdout


def test_the_limiter_of_the_guide_keeps_the_limits(run: Run) -> None:
    """The guide's limiter keeps the limits at a server that counts, and notes its waits."""
    ended = run("-W", "error", "-c", WORLD)
    assert (ended.stdout, ended.stderr) == ("kept\n", "")


def test_the_fault_of_the_guide_befalls(tmp_path: Path, emulator: Emulator) -> None:
    """With the guide's change the emulator answers without a body, and the client knows that."""
    folder = copied(tmp_path / "project")
    change(folder, FAULTS)
    program = """
import asyncio
from wavespeed_async import AsyncWaveSpeed, SubmissionUnconfirmedError
from wavespeed_async.emulator import Emulator


async def main() -> None:
    async with (
        Emulator(latency=0.0, pictures=False) as emulator,
        AsyncWaveSpeed(base_url=emulator.url) as client,
    ):
        try:
            await client.flux_dev(prompt="a lighthouse [fault: empty]")
        except SubmissionUnconfirmedError:
            print(emulator.requests[0].fault, len(emulator.predictions))


asyncio.run(main())
"""
    ended = runner(folder, emulator)("-W", "error", "-c", program)
    assert (ended.stdout, ended.stderr) == ("empty 1\n", "")


def test_what_the_guide_names_is_there() -> None:
    """Every file, folder and test that the guide names exists, but for the one that it adds."""
    root = GUIDE.parents[1]
    package = root / "wavespeed_async"
    named = set(re.findall(r"`((?:[\w.]+/)*[\w.]+\.py|(?:[\w.]+/)+)`", guide()))
    assert len(named) > 20
    missing = {
        path
        for path in named - {MODEL}
        if not any((base / path).exists() for base in (root, package, package / "limits"))
    }
    missing -= {path.name for path in (package / "emulator").iterdir()}
    assert missing == set()


def guide() -> str:
    return GUIDE.read_text(encoding="utf-8")
