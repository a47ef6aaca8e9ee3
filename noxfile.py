"""Every check of the project; `nox` alone runs those that a change has to pass.

Sessions install the versions that `.ci/locked.txt` names (`lowest` those of `.ci/lowest.txt`, and
`newest` the newest), so that a release of somebody else's changes nothing here before `nox -s lock`
takes it in.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "build", "docs", "tests", "lowest", "extras"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

PYPROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ",".join(PYPROJECT["project"]["optional-dependencies"])
LOCKED = Path(".ci/locked.txt").resolve()
LOWEST = Path(".ci/lowest.txt").resolve()
INSTALLED = {"PYTHONSAFEPATH": "1"}
"""Import the package from where it is installed, never from this folder."""

SITE = Path("build/site")
"""Where the documentation is built; its `index.html` opens from the disk."""

PARALLEL = ("-q", "-n", "auto", "--dist", "loadgroup")


def constrain(session: nox.Session, constraints: Path | None = LOCKED) -> None:
    """Hold pip to some versions, builds of its own included; None takes the newest."""
    for variable in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
        session.env[variable] = str(constraints or "")


def install_group(session: nox.Session, *names: str) -> None:
    """Install dependency groups, which older pips do not know."""
    if "PIP_CONSTRAINT" not in session.env:
        constrain(session)
    session.install(*nox.project.dependency_groups(PYPROJECT, *names))


def build_wheel(session: nox.Session) -> Path:
    """Build the wheel, and answer where it is."""
    folder = Path(session.create_tmp())
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    return wheel.resolve()


def install_wheel(session: nox.Session) -> None:
    """Build the wheel and install it with every extra."""
    wheel = build_wheel(session)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"wavespeed-async[{EXTRAS}] @ {wheel.as_uri()}")


def bounds(path: Path) -> Path:
    """Write down the lowest versions that the package declares."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(line for extra in extras for line in extra)]
    lines = [re.sub(r"^([\w.-]+)(?:\[.*\])?>=([\w.]+).*", r"\1==\2", line) for line in declared]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


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
    session.run("pyright", "tests/typed/public.py", env=INSTALLED)


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
    constrain(session, LOWEST)
    install_group(session, "sdk")  # of the version of its API
    install_wheel(session)
    session.run("pytest", *PARALLEL, *session.posargs, env=INSTALLED)


@nox.session(python=["3.12", "3.13"])
def others(session: nox.Session) -> None:
    """Test with the other versions of Python that the package names; they have to be there."""
    install_group(session, "test")
    install_wheel(session)
    session.run("pytest", *PARALLEL, *session.posargs, env=INSTALLED)


@nox.session(reuse_venv=False)
def newest(session: nox.Session) -> None:
    """Test with the newest versions there are, which users get: before they are locked."""
    constrain(session, None)
    install_group(session, "test")
    install_wheel(session)
    session.run("pytest", *PARALLEL, *session.posargs, env=INSTALLED)


@nox.session
def extras(session: nox.Session) -> None:
    """Install the wheel bare, with each extra alone and with all, and use what each is for."""
    install_group(session, "extras")
    wheel = build_wheel(session)
    session.run(
        *("pytest", "--noconftest", "-q", "-o", "tmp_path_retention_count=1"),
        *("tests/extras/environments.py", *session.posargs),
        env={**INSTALLED, "WHEEL": str(wheel), "LOCKED": str(LOCKED)},
    )


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution, and the wheel from it, into `dist`; check what they say."""
    install_group(session, "build")
    folder = Path("dist")
    for old in folder.glob("wavespeed_async-*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(folder))
    session.run("twine", "check", "--strict", *map(str, sorted(folder.glob("wavespeed_async-*"))))


@nox.session
def lock(session: nox.Session) -> None:
    """Write down the newest versions that go together, and those that go with the lowest."""
    constrain(session, None)
    install_group(session, "lock")
    groups = [word for name in PYPROJECT["dependency-groups"] for word in ("--group", name)]
    lowest = bounds(Path(session.create_tmp()) / "lowest.txt")
    _compile(session, LOCKED, "--universal", *groups)
    _compile(session, LOWEST, "--group", "sdk", "--constraint", str(lowest))


def _compile(session: nox.Session, path: Path, *options: str) -> None:
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--quiet", "--upgrade"),
        *("--python-version", "3.11", "--all-extras", "--no-annotate", *options),
        *("--custom-compile-command", "nox -s lock", "--output-file", str(path)),
    )


@nox.session
def audit(session: nox.Session) -> None:
    """Look the locked versions up among the known vulnerabilities; it needs the package index."""
    install_group(session, "audit")
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", str(LOCKED))


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


@nox.session
def house(session: nox.Session) -> None:
    """Measure the package beside the code it learnt from, and write the table into the guide."""
    install_group(session, "house")
    session.install(str(build_wheel(session)))
    guide = "docs/contributing.md"
    session.run("python", "benchmarks/house.py", "--write", guide, env=INSTALLED)
