"""The wheel with each extra alone, with none and with all, each in an environment of its own.

`nox -s extras` runs this file, which is no part of the usual run: each environment is made anew.
Two of them hold Ray, so uv installs them, which unpacks a package once. In each a program of the
folder `alone` uses the real thing, and every way in whose extra is not there says what to install.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [*PROJECT["optional-dependencies"]]
KEY = "a-key-of-nobody"


def made(folder: Path, extra: str) -> Path:
    """Make an environment with the wheel and an extra; answer its Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    wheel = Path(os.environ["WHEEL"]).resolve()
    wanted = {"bare": "", "all": f"[{','.join(EXTRAS)}]"}.get(extra, f"[{extra}]")
    subprocess.run(  # noqa: S603 (our own command)
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--python", str(python), "--quiet"),
            *("--constraint", os.environ["LOCKED"]),
            f"wavespeed-async{wanted} @ {wheel.as_uri()}",
        ],
        check=True,
    )
    return python


def ran(python: Path, program: Path, folder: Path, **settings: str) -> str:
    """Run a program in an environment, which sees nothing but that; answer what it prints."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    ended = subprocess.run(  # noqa: S603 (our own program)
        [str(python), "-I", "-W", "error", str(program)],
        cwd=folder,
        env={**kept, "WAVESPEED_API_KEY": KEY, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make each environment once, when it is asked for."""
    known: dict[str, Path] = {}

    def find(extra: str) -> Path:
        if extra not in known:
            known[extra] = made(tmp_path_factory.mktemp(extra, numbered=False), extra)
        return known[extra]

    return find


@pytest.fixture(scope="session")
def emulator(environment: Callable[[str], Path]) -> Iterator[str]:
    """Run the emulator in an environment that has it; answer its address."""
    command = [str(environment("emulator")), "-I", str(HERE / "alone" / "serve.py")]
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """Run a Redis; answer its address."""
    with redis_server() as server:
        yield server.url


def test_each_extra_has_a_program() -> None:
    """Whoever adds an extra writes down what it does alone."""
    programs = {path.stem for path in (HERE / "alone").glob("[a-z]*.py")}
    assert programs == {*EXTRAS, "all", "bare", "serve"}


@pytest.mark.parametrize("extra", ["bare", *EXTRAS, "all"])
def test_it_works(
    extra: str,
    environment: Callable[[str], Path],
    emulator: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """What an extra is for works with it alone; what needs another extra says so."""
    python = environment(extra)
    settings = {"WAVESPEED_BASE_URL": emulator}
    if extra == "redis":
        settings["REDIS_URL"] = request.getfixturevalue("redis")
    ran(python, HERE / "alone" / f"{extra}.py", tmp_path, **settings)
    tried = ran(python, HERE / "entries.py", tmp_path)
    assert bool(tried) is (extra != "all")
