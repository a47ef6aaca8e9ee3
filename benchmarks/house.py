"""The house in figures: this package and the code it learnt from, measured by one method.

Run it with the packages installed, as `nox -s house` does:

    python benchmarks/house.py [PACKAGE ...] [--json FILE] [--write docs/contributing.md]

What is counted, over the files ending in .py of a package as it is installed, its tests left out:

- lines: all of them, blank ones and docstrings included;
- functions: from the first statement behind the docstring to the last line, methods and inner ones
  included, `@overload`s left out;
- levels: the longest way down by imports that happen when a file is imported, files counted;
- cycles: groups of files that import one another when they are imported;
- comment lines: lines that hold a comment and nothing else, of all lines;
- own exceptions: classes that descend from a built-in exception, warnings left out;
- documented: of the names that `import PACKAGE` gives, and the public methods and properties of
  the classes among them, those with a docstring, their own or an inherited one.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import inspect
import io
import json
import statistics
import tokenize
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "wavespeed_async",
    "stamina",
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "aiolimiter",
)
START, END = "<!-- the house: begin -->", "<!-- the house: end -->"
TESTS = {"tests", "_tests", "test"}


class File(NamedTuple):
    """Hold a file of a package; its name is dotted."""

    name: str
    is_package: bool
    text: str
    tree: ast.Module


class House(NamedTuple):
    """Hold what was measured of a package; shares are between 0 and 1."""

    package: str
    files: int
    lines: int
    function_median: float
    function_p90: float
    function_longest: int
    levels: int
    cycles: int
    comment_share: float
    exceptions: int
    documented_share: float


# --- reading --------------------------------------------------------------------------------------


def files_of(folder: Path) -> list[File]:
    """Read a package from its folder."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
        if TESTS.isdisjoint(parts):
            name = ".".join(parts).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            found.append(File(name, path.name == "__init__.py", text, ast.parse(text)))
    return found


def _body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[ast.get_docstring(function) is not None :]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def function_lengths(files: list[File]) -> list[int]:
    """Measure the body of every function, in lines."""
    functions = [
        node
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [
        _body_length(node)
        for node in functions
        if not any(ast.unparse(mark).endswith("overload") for mark in node.decorator_list)
    ]


def comment_lines(text: str) -> int:
    """Count the lines that hold a comment and nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (token for token in tokens if token.type == tokenize.COMMENT)
    return sum(token.line.lstrip().startswith("#") for token in comments)


def exceptions_of(files: list[File]) -> set[str]:
    """Name the classes that descend from a built-in exception."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and not issubclass(value, Warning)
    }
    own: set[str] = set()
    while more := {name for name, above in bases.items() if above & (known | own)} - own:
        own |= more
    return own


# --- imports --------------------------------------------------------------------------------------


def _at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Find the imports that happen when a file is imported: not in functions, not for types."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _at_import(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _at_import(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _at_import(handler.body)


def _targets(file: File, node: ast.Import | ast.ImportFrom, names: set[str]) -> set[str]:
    """Name the files of the package that an import names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & names
    own = file.name.split(".")
    kept = own[: len(own) - node.level + file.is_package] if node.level else []
    base = ".".join([*kept, *([node.module] if node.module else [])])
    full = {f"{base}.{alias.name}" for alias in node.names}
    return {name if name in names else base for name in full} & names


def imports_of(files: list[File]) -> dict[str, set[str]]:
    """Answer which files each file imports when it is imported itself."""
    names = {file.name for file in files}
    return {
        file.name: {
            target
            for node in _at_import(file.tree.body)
            for target in _targets(file, node, names) - {file.name}
        }
        for file in files
    }


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for name in graph[ahead.pop()] - reached:
            reached.add(name)
            ahead.append(name)
    return reached


def cycles_of(graph: dict[str, set[str]]) -> list[set[str]]:
    """Group the files that import one another."""
    reach = {name: _reach(graph, name) for name in graph}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in graph
        if name in reach[name]
    }
    return [set(group) for group in groups]


def levels_of(graph: dict[str, set[str]]) -> int:
    """Count the files on the longest way down; a cycle is one level."""
    try:
        order = [*TopologicalSorter(graph).static_order()]
    except CycleError:
        members = {name: min(group) for group in cycles_of(graph) for name in group}
        whole = {members.get(name, name): set[str]() for name in graph}
        for name, targets in graph.items():
            whole[members.get(name, name)] |= {members.get(target, target) for target in targets}
        return levels_of({name: targets - {name} for name, targets in whole.items()})
    level: dict[str, int] = {}
    for name in order:
        level[name] = 1 + max((level[target] for target in graph[name]), default=0)
    return max(level.values())


# --- documentation --------------------------------------------------------------------------------


def public_things(package: str) -> dict[str, Any]:
    """Answer what a package gives: names, and the public members of classes among them."""
    module = import_module(package)
    usual = [name for name in vars(module) if not name.startswith("_")]
    found: dict[str, Any] = {}
    for name in getattr(module, "__all__", usual):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            found[name] = thing
            found |= {f"{name}.{key}": value for key, value in _members(thing)}
        elif inspect.isroutine(thing):
            found[name] = thing
    return found


def _members(owner: type) -> Iterator[tuple[str, Any]]:
    for name in vars(owner):
        value = inspect.getattr_static(owner, name)
        kinds = (property, classmethod, staticmethod)
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, kinds)):
            yield name, getattr(owner, name)


# --- the table ------------------------------------------------------------------------------------


def measured(package: str, folder: Path) -> House:
    """Measure a package in its folder; its public names are those of the one that is imported."""
    files = files_of(folder)
    lengths = sorted(function_lengths(files))
    lines = sum(len(file.text.splitlines()) for file in files)
    graph = imports_of(files)
    things = public_things(package)
    return House(
        package=package,
        files=len(files),
        lines=lines,
        function_median=statistics.median(lengths),
        function_p90=lengths[len(lengths) * 9 // 10],
        function_longest=lengths[-1],
        levels=levels_of(graph),
        cycles=len(cycles_of(graph)),
        comment_share=sum(comment_lines(file.text) for file in files) / lines,
        exceptions=len(exceptions_of(files)),
        documented_share=sum(bool(inspect.getdoc(thing)) for thing in things.values())
        / len(things),
    )


def table(houses: list[House]) -> str:
    """Write a table in Markdown, one column a package."""
    rows = {
        "files / lines": [f"{h.files} / {h.lines:,}" for h in houses],
        "function: median / p90 / longest": [
            f"{h.function_median:g} / {h.function_p90} / {h.function_longest}" for h in houses
        ],
        "levels of imports": [f"{h.levels}" for h in houses],
        "import cycles": [f"{h.cycles}" for h in houses],
        "comment lines": [f"{h.comment_share:.1%}" for h in houses],
        "own exceptions": [f"{h.exceptions}" for h in houses],
        "public names documented": [f"{h.documented_share:.0%}" for h in houses],
    }
    head = ["", *(h.package for h in houses)]
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def written(text: str, new: str) -> str:
    """Put a table between the two marks of a text, in place of the one there."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        message = f"there is no {START} … {END} to write into"
        raise SystemExit(message)
    return f"{before}{START}\n{new}\n{END}{after}"


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def main(packages: list[str], figures: Path | None, guide: Path | None) -> None:
    """Measure what is installed, and say what is not."""
    houses = []
    for package in packages:
        folder = _folder(package)
        if folder is None:
            print(f"{package} is not installed")
        else:
            houses.append(measured(package, folder))
    print(table(houses))
    if figures is not None:
        figures.write_text(json.dumps([house._asdict() for house in houses]), encoding="utf-8")
    if guide is not None:
        text = written(guide.read_text(encoding="utf-8"), table(houses))
        guide.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where the table's marks are")
    options = parser.parse_args()
    main([*options.packages], options.json, options.write)
