"""Every check of the project; `nox` alone runs those that a change has to pass."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "docs", "tests", "lowest"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

PYPROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ",".join(PYPROJECT["project"]["optional-dependencies"])
INSTALLED = {"PYTHONSAFEPATH": "1"}
"""Import the package from where it is installed, never from this folder."""

SITE = Path("build/site")
"""Where the documentation is built; its `index.html` opens from the disk."""

PARALLEL = ("-q", "-n", "auto", "--dist", "loadgroup")


def install_group(session: nox.Session, *names: str) -> None:
    """Install dependency groups, which older pips do not know."""
    session.install(*nox.project.dependency_groups(PYPROJECT, *names))


def install_wheel(session: nox.Session, *constraints: str) -> None:
    """Build the wheel and install it with every extra."""
    folder = Path(session.create_tmp())
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"wavespeed-async[{EXTRAS}] @ {wheel.resolve().as_uri()}", *constraints)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style: all rules of ruff, and its format."""
    install_group(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy strictly over everything, pyright over what users see."""
    install_group(session, "types")
    install_wheel(session)
    session.run("mypy")
    session.run("pyright", "--verifytypes", "wavespeed_async", "--ignoreexternal", env=INSTALLED)


@nox.session
def tests(session: nox.Session) -> None:
    """Test the built wheel, README and all, and measure the coverage of every branch."""
    install_group(session, "test")
    install_wheel(session)
    session.run("coverage", "erase")
    session.run(*("coverage", "run", "-m", "pytest", *PARALLEL, *session.posargs), env=INSTALLED)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lowest(session: nox.Session) -> None:
    """Test with the lowest versions that the package declares."""
    install_group(session, "test")
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(line for extra in extras for line in extra)]
    bounds = Path(session.create_tmp()) / "lowest.txt"
    lines = [re.sub(r"^([\w.-]+)(?:\[.*\])?>=([\w.]+).*", r"\1==\2", line) for line in declared]
    bounds.write_text("\n".join(lines), encoding="utf-8")
    install_wheel(session, "--constraint", str(bounds))
    session.run("pytest", *PARALLEL, *session.posargs, env=INSTALLED)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, with every warning an error, and look at it in Chromium."""
    install_group(session, "docs")
    install_wheel(session)
    shutil.rmtree(SITE, ignore_errors=True)
    session.run("sphinx-build", "-q", "-W", "-n", "docs", str(SITE), env=INSTALLED)
    session.run("pytest", "-q", "docs/test_site.py", env={**INSTALLED, "SITE": str(SITE)})


@nox.session
def readme(session: nox.Session) -> None:
    """Run every block of the README."""
    install_group(session, "test")
    install_wheel(session)
    session.run("pytest", "tests/test_readme.py", env=INSTALLED)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; they print tables, and are no tests."""
    install_group(session, "bench")
    install_wheel(session)
    for script in sorted(Path("benchmarks").glob("[a-z]*.py")):
        session.run("python", str(script))  # imports what lies beside it, and nothing else here
