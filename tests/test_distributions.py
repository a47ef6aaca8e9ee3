"""What is published: the wheel and the source distribution, byte for byte, and what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from wavespeed_async import __version__

if TYPE_CHECKING:
    from email.message import Message

pytestmark = pytest.mark.xdist_group("distributions")  # which builds once

ROOT = Path(__file__).parents[1]
PACKAGE = "wavespeed_async"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKED, LOWEST = ROOT / ".ci" / "locked.txt", ROOT / ".ci" / "lowest.txt"

CODE = {".py", ".lua", ".j2"}
BESIDE_CODE = {
    "py.typed",
    "batch/uplot/LICENSE",
    "batch/uplot/uPlot.iife.min.js",
    "batch/uplot/uPlot.min.css",
}
"""All that is in it beside code and templates: the mark of types, and uPlot with its licence."""
ABOUT = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


@frozen
class Built:
    """Hold the two files of a release."""

    wheel: Path
    source: Path

    def files(self) -> set[str]:
        """Name what is in the wheel."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return set(wheel.namelist())

    def about(self, name: str) -> str:
        """Read what the wheel says of itself."""
        with zipfile.ZipFile(self.wheel) as wheel:
            [path] = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
            return wheel.read(path).decode()

    def metadata(self) -> Message:
        """Read what a package index shows."""
        return HeaderParser().parsestr(self.about("METADATA"))


def build(tree: Path, folder: Path) -> Built:
    """Build both from a tree, without the network."""
    kept = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=tree,
        env=kept,
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, source)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build from this tree."""
    return build(ROOT, tmp_path_factory.mktemp("tree"))


def test_another_folder_at_another_time_builds_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """What is built from the unpacked source distribution is what is built from the tree."""
    with tarfile.open(built.source) as source:
        source.extractall(tmp_path, filter="data")
    [tree] = tmp_path.iterdir()
    for path in tree.rglob("*"):
        os.utime(path, (1_900_000_000, 1_900_000_000))
    again = build(tree, tmp_path / "again")
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.source.read_bytes() == built.source.read_bytes()


def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    """Code, templates, the mark of types, what draws the plots with its licence, and metadata."""
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts)
    }
    about = {f"{PACKAGE}-{__version__}.dist-info/{name}" for name in ABOUT}
    assert built.files() == here | about
    others = {path for path in here if Path(path).suffix not in CODE}
    assert others == {f"{PACKAGE}/{path}" for path in BESIDE_CODE}


def test_the_source_has_all_that_is_kept(built: Built) -> None:
    """Whatever git keeps is in it, and so are tests and checks; what git ignores is not."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 (the one on the path)
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    with tarfile.open(built.source) as source:
        packed = {name.partition("/")[2] for name in source.getnames()}
    assert packed - {"PKG-INFO"} == {name for name in listed if (ROOT / name).exists()}


def test_an_index_shows_no_link_that_leads_nowhere(built: Built) -> None:
    """The description has no picture and no link that is relative, and names the files instead."""
    text = built.metadata().get_payload()
    assert isinstance(text, str)
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []
    assert "`docs/journals.md`" in text
    assert "'wavespeed-async[cli,emulator]'" in text
    assert "'.[" not in text


def test_the_metadata_says_what_the_project_declares(built: Built) -> None:
    """Its extras, its licence, its kind of text, its command and its pytest plugin."""
    metadata = built.metadata()
    assert metadata.get_all("Provides-Extra") == sorted(
        PYPROJECT["project"]["optional-dependencies"]
    )
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "wavespeed-async = wavespeed_async.cli:main" in built.about("entry_points.txt")
    assert "wavespeed_async = wavespeed_async._pytest_plugin" in built.about("entry_points.txt")


# --- the locked environment -----------------------------------------------------------------------


def locked(path: Path = LOCKED) -> dict[str, set[str]]:
    """Read the locked versions; a package may have one for each Python."""
    versions: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.lstrip().startswith("#"):
            requirement = Requirement(line)
            [version] = requirement.specifier
            versions.setdefault(canonicalize_name(requirement.name), set()).add(version.version)
    return versions


def installed() -> set[str]:
    """List what the package and its extras require."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    return {*project["dependencies"], *(line for extra in extras for line in extra)}


def declared() -> set[str]:
    """List every requirement of the project: its own, its groups', its builder's."""
    lists = [*PYPROJECT["dependency-groups"].values(), PYPROJECT["build-system"]["requires"]]
    return installed() | {line for lines in lists for line in lines if isinstance(line, str)}


@pytest.mark.parametrize("line", sorted(declared()))
def test_each_requirement_is_locked_at_a_version_that_it_allows(line: str) -> None:
    """Whoever changes a requirement renews the lock: `nox -s lock`."""
    requirement = Requirement(line)
    versions = locked().get(canonicalize_name(requirement.name), set())
    assert versions
    assert {version for version in versions if version not in requirement.specifier} == set()


@pytest.mark.parametrize("line", sorted(installed()))
def test_the_lowest_versions_are_tested(line: str) -> None:
    """What the package allows at the lowest is what its tests are run with."""
    requirement = Requirement(line)
    [lowest] = [Version(spec.version) for spec in requirement.specifier if spec.operator == ">="]
    assert {*map(Version, locked(LOWEST)[canonicalize_name(requirement.name)])} == {lowest}


@pytest.mark.parametrize("path", [LOCKED, LOWEST], ids=lambda path: path.stem)
def test_a_lock_names_no_place(path: Path) -> None:
    """Where packages come from is the business of whoever installs them."""
    assert re.findall(r"://|@|--", path.read_text(encoding="utf-8").partition("==")[2]) == []
