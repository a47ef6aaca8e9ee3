"""Guards: the rules of the house that no linter knows, checked over every file there is."""

from __future__ import annotations

import ast
import importlib
import io
import re
import sys
import tokenize
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "wavespeed_async"
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / NAME

LAYERS = [
    "_version",
    "errors",
    "_extras",
    "models",
    "_prediction",
    "_events",
    "_stream",
    "observe",
    "_codec",
    "_retry",
    "_loops",
    "limits",
    "_transport",
    "_calls",
    "_catalogue",
    "_account",
    "_codegen",
    "_latency",
    "_poll_rule",
    "_statistics",
    "_arrivals",
    "_polling",
    "_contents",
    "_uploads",
    "_metadata",
    "_files",
    "_folder",
    "_media",
    "webhooks",
    "_deliveries",
    "deliveries",
    "batch",
    "_settings",
    "_sharing",
    "_stack",
    "_batch_runner",
    "_client",
    "backends",
    "testing",
    "emulator",
    "_pytest_plugin",
    "cli",
    "__main__",
    "__init__",
]
"""Each file imports only from lines above its own; a package is one line."""

BESIDE = {"emulator": {"_version", "errors", "_extras", "models", "_prediction"}}
"""What stands beside the stack, and all that it may share with it."""

USERS_OF_BESIDE = {"emulator", "testing", "_pytest_plugin", "cli", "__main__"}
LAZY = {"testing", "_pytest_plugin", "cli", "__main__"}
"""Where an import inside a function may point anywhere: it keeps the start fast."""

HTTP = {"httpx", "httpcore", "httpx_aiohttp", "aiohttp", "requests", "urllib3", "http", "socket"}
HTTP_ALLOWED = {
    "_transport",
    "emulator",
    "testing",
    "_pytest_plugin",
    "cli",
    "backends",
}
DEPENDENCIES = {"httpx", "attrs", "attr", "cattrs", "anyio"}
WITH_EXTRAS = (
    "emulator",
    "cli",
    "testing",
    "_pytest_plugin",
    "backends",
    "limits.redis",
    "deliveries.redis",
    "observe.otel",
    "batch.postgres",
    "_transport._aiohttp",
)


@frozen
class Import:
    """Hold one import: what it names, where it stands, and when it happens."""

    target: str
    line: int
    in_function: bool
    for_types: bool


@frozen
class Module:
    """Hold one file of the package; its name is dotted, without the package's own."""

    name: str
    is_package: bool
    tree: ast.Module

    @property
    def layer(self) -> str:
        """Name the line that the file belongs to."""
        return self.name.partition(".")[0] or "__init__"

    def __str__(self) -> str:
        """Name a test's case."""
        return self.name or "__init__"


def _module(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, is_package, ast.parse(path.read_text(encoding="utf-8")))


MODULES = [_module(path) for path in sorted(PACKAGE.rglob("*.py"))]
NAMES = {module.name for module in MODULES}
FILES = [
    path
    for folder in (NAME, "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _of_types(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(
    module: Module,
    node: ast.AST | None = None,
    *,
    in_function: bool = False,
    for_types: bool = False,
) -> Iterator[Import]:
    """Find every import of a file: relative ones made absolute, names of submodules followed."""
    for child in ast.iter_child_nodes(module.tree if node is None else node):
        for target in _targets(module, child):
            yield Import(target, child.lineno, in_function, for_types)  # type: ignore[attr-defined]  # imports have lines
        inside = in_function or isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        if isinstance(child, ast.If) and _of_types(child):
            for part, types in ((child.body, True), (child.orelse, for_types)):
                body = ast.Module(part, [])
                yield from _imports(module, body, in_function=inside, for_types=types)
        else:
            yield from _imports(module, child, in_function=inside, for_types=for_types)


def _targets(module: Module, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        own = [NAME, *module.name.split(".")] if module.name else [NAME]
        kept = own[: len(own) - node.level + module.is_package]
        base = ".".join([*kept, *([base] if base else [])])
    if base.partition(".")[0] != NAME:
        return [base]
    full = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name.removeprefix(f"{NAME}.") in NAMES else base for name in full]


def _inner(module: Module) -> Iterator[tuple[Import, str]]:
    """Find the imports from this package that happen at run time, and the modules they name."""
    for found in _imports(module):
        lazy = found.in_function and module.layer in LAZY
        if found.target.partition(".")[0] == NAME and not found.for_types and not lazy:
            yield found, found.target.removeprefix(NAME).removeprefix(".")


def _misdirected(module: Module) -> list[str]:
    """List the imports of a file that do not point upward."""
    wrong = []
    for found, name in _inner(module):
        layer = name.partition(".")[0] or "__init__"
        if layer == module.layer:
            continue
        allowed = BESIDE.get(module.layer, LAYERS[: LAYERS.index(module.layer)])
        if layer not in allowed or (layer in BESIDE and module.layer not in USERS_OF_BESIDE):
            wrong.append(f"{module}, line {found.line}: {layer} is not above {module.layer}")
    return wrong


def _made(name: str, source: str, *, is_package: bool = False) -> Module:
    return Module(name, is_package, ast.parse(source))


# --- the direction of imports ---------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_each_file_has_its_line(module: Module) -> None:
    """Every file belongs to a line of the order of imports."""
    assert module.layer in LAYERS, f"{module}: write down in LAYERS what it may import from"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_upward(module: Module) -> None:
    """A file imports, at run time, only from lines above its own or from its own package."""
    assert _misdirected(module) == []


def test_no_imports_go_in_circles() -> None:
    """Following the imports of run time never leads back to the same file."""
    graph = {m.name: {name for _, name in _inner(m) if name != m.name} for m in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_guard_of_imports_sees_all_kinds() -> None:
    """An import that points downward is seen in any form and place, one for types is let pass."""
    seen = [
        "from wavespeed_async._codec import encode_json",
        "from wavespeed_async import _codec",
        "import wavespeed_async._codec",
        "from ._codec import encode_json",
        "from . import _codec",
        "def f():\n    from wavespeed_async._codec import encode_json",
        "try:\n    import wavespeed_async._codec\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import wavespeed_async._codec",
        "class A:\n    import wavespeed_async._codec",
        "import wavespeed_async",
        "from wavespeed_async.emulator import Emulator",
    ]
    for source in seen:
        assert len(_misdirected(_made("_prediction", source))) == 1, source
    unseen = [
        "if TYPE_CHECKING:\n    from wavespeed_async._codec import encode_json",
        "if typing.TYPE_CHECKING:\n    from wavespeed_async._codec import encode_json",
        "from wavespeed_async.models import Lora",
        "from wavespeed_async.models._request import Request",
        "import json",
    ]
    for source in unseen:
        assert _misdirected(_made("_prediction", source)) == [], source
    assert _misdirected(_made("models", "from ._fields import Text", is_package=True)) == []
    assert _misdirected(_made("models.new", "from ._fields import Text")) == []
    assert len(_misdirected(_made("models.new", "from .._codec import encode_json"))) == 1
    assert len(_misdirected(_made("emulator.new", "import wavespeed_async._codec"))) == 1
    assert len(_misdirected(_made("_client", "import wavespeed_async.emulator"))) == 1
    assert _misdirected(_made("cli.new", "import wavespeed_async.emulator")) == []
    assert _misdirected(_made("cli.new", "def f():\n    import wavespeed_async")) == []


# --- what the core needs --------------------------------------------------------------------------


def _foreign(module: Module, *, at_import: bool) -> set[str]:
    """Name the top packages that a file imports at run time, or when it is imported."""
    return {
        found.target.partition(".")[0]
        for found in _imports(module)
        if not found.for_types and not (at_import and found.in_function)
    }


def _needs_extras(module: Module) -> bool:
    return any(f"{module.name}.".startswith(f"{extra}.") for extra in WITH_EXTRAS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_transport_speaks_http(module: Module) -> None:
    """Of the core, only the transport and its variant import what speaks HTTP, in functions too."""
    if module.layer not in HTTP_ALLOWED:
        assert _foreign(module, at_import=False) & HTTP == set()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_core_needs_four_packages(module: Module) -> None:
    """Importing the core takes the standard library, httpx, attrs, cattrs and anyio only."""
    if not _needs_extras(module):
        foreign = _foreign(module, at_import=True) - sys.stdlib_module_names
        assert foreign - DEPENDENCIES - {NAME} == set()


def test_the_guard_of_dependencies_sees_when_an_import_happens() -> None:
    """An import in a function is not one at import time; one for types is none at all."""
    source = "import a.b\nif TYPE_CHECKING:\n    import c\ndef f():\n    from d import e\n"
    module = _made("_codec", source)
    assert _foreign(module, at_import=True) == {"a"}
    assert _foreign(module, at_import=False) == {"a", "d"}
    assert _needs_extras(_made("limits.redis", ""))
    assert not _needs_extras(_made("limits._limiter", ""))


# --- public names ---------------------------------------------------------------------------------


def _listed(module: Module) -> list[str]:
    """Read `__all__`; an empty list where there is none."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
                assert node.value is not None
                names: list[str] = list(ast.literal_eval(node.value))
                return names
    return []


def _order(name: str) -> tuple[int, list[Any]]:
    """Sort as ruff does: CONSTANTS, Classes, the rest; numbers by their worth."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    parts = re.split(r"(\d+)", name)
    return kind, [int(part) if part.isdigit() else part for part in parts]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_public_names_are_sorted(module: Module) -> None:
    """`__all__` is sorted and names nothing twice."""
    names = _listed(module)
    assert names == sorted(names, key=_order)
    assert len(names) == len(set(names))


def test_the_packages_public_names_are_those_it_has() -> None:
    """Every name in the package's `__all__` can be imported, and no public name is missing.

    The list has two parts, one of them the models', and is sorted as a whole.
    """
    package = importlib.import_module(NAME)
    names = list(package.__all__)
    assert names == sorted(set(names), key=_order)
    listed = set(names)
    assert {name for name in listed if not hasattr(package, name)} == set()
    modules = {type(importlib)}
    bound = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and type(value) not in modules and name != "annotations"
    }
    assert bound - listed - {"TYPE_CHECKING"} == set()


def _bare(body: list[ast.stmt], within: str) -> Iterator[str]:
    """Name the public classes, functions and methods without a docstring."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
            if node.name.startswith("_") or marks & {"overload", "override", "setter"}:
                continue
            if ast.get_docstring(node) is None:
                yield f"{within}.{node.name}, line {node.lineno}"
            if isinstance(node, ast.ClassDef):
                yield from _bare(node.body, f"{within}.{node.name}")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_public_things_have_docstrings(module: Module) -> None:
    """Every public class, function and method, and every file that is not empty, says what for."""
    assert [*_bare(module.tree.body, str(module))] == []
    assert ast.get_docstring(module.tree) or not module.tree.body


def test_the_guard_of_docstrings_sees_classes_methods_and_functions() -> None:
    """A public thing without a docstring is seen at any depth, a private one is let pass."""
    source = (
        'class A:\n    def f(self): ...\n    def _g(self): ...\nasync def h():\n    """Say."""\n'
    )
    assert len([*_bare(ast.parse(source).body, "m")]) == 2


# --- what is not done here ------------------------------------------------------------------------


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prints(tree: ast.AST) -> list[int]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if ast.unparse(call.func) in {"print", "builtins.print"}]


def _finalizers(tree: ast.AST) -> list[int]:
    nodes = ast.walk(tree)
    found = (n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.lineno for node in found if node.name == "__del__"]


@pytest.mark.parametrize("path", FILES, ids=_relative)
def test_only_the_command_line_prints(path: Path) -> None:
    """Nothing prints but the command line and programs: a library has no voice."""
    if not _relative(path).startswith((f"{NAME}/cli", "benchmarks/", "examples/")):
        assert _prints(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", FILES, ids=_relative)
def test_nothing_is_closed_by_the_garbage_collector(path: Path) -> None:
    """No class has a `__del__`: it would run on whatever thread and event loop there is."""
    assert _finalizers(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", FILES, ids=_relative)
def test_files_are_named_for_what_they_do(path: Path) -> None:
    """No file or folder is named for being useful in general."""
    drawers = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    names = {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names & drawers == set()


def test_the_guards_of_prints_and_finalizers_see_them() -> None:
    """A call of print and a method named `__del__` are found, mentions of them are not."""
    assert _prints(ast.parse("def f():\n    print(1)\n'print(2)'\nx.print(3)")) == [2]
    assert _finalizers(ast.parse("class A:\n    def __del__(self): ...\n    '__del__'")) == [2]


EXCEPTIONS = {
    "noqa": re.compile(r"noqa: ?[A-Z]+\d+(, ?[A-Z]+\d+)*\s+[(#]\s*\w.*"),
    "type:": re.compile(r"type: ?ignore\[[a-z-]+(, ?[a-z-]+)*\]\s+[(#]\s*\w.*"),
    "pyright:": re.compile(r"pyright: ?ignore\[\w+(, ?\w+)*\]\s+[(#]\s*\w.*"),
    "pragma:": re.compile(r"pragma: ?no (cover|branch)\s+[(#]\s*\w.*"),
}
"""Each way to silence a check: with its rule (coverage has but two), and with a reason behind."""

_SILENCER = re.compile(
    r"#\s*((noqa|type:(?= ?ignore)|pyright:(?! ?strict)|pragma:).*)", re.IGNORECASE
)


def _unexplained(source: str) -> list[str]:
    """List the comments that silence a check without rule or reason."""
    wrong = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        found = _SILENCER.search(token.string) if token.type == tokenize.COMMENT else None
        if found and not EXCEPTIONS[found[2].lower()].match(found[1]):
            wrong.append(f"line {token.start[0]}: {token.string}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=_relative)
def test_every_silenced_check_has_a_rule_and_a_reason(path: Path) -> None:
    """What silences a linter, a type checker or coverage names the rule and says why."""
    assert _unexplained(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("comment", "fine"),
    [
        ("noqa", False),
        ("noqa: E501", False),
        ("noqa (because)", False),
        ("noqa: E501 (a table)", True),
        ("noqa: E501, S101  # a table", True),
        ("type: ignore", False),
        ("type: ignore[misc]", False),
        ("type: ignore  # because", False),
        ("type: ignore[misc]  # attrs", True),
        ("type: ignore[misc, arg-type]  # attrs", True),
        ("pyright: ignore", False),
        ("pyright: basic", False),
        ("pyright: strict, reportUnnecessaryTypeIgnoreComment=true", True),
        ("pyright: ignore[reportPrivateUsage]  # ours", True),
        ("pragma: no cover", False),
        ("pragma: no cover  # Windows only", True),
        ("a plain comment of any type: ignored", True),
    ],
)
def test_the_guard_of_silenced_checks_sees_them(comment: str, fine: bool) -> None:
    """Only a comment with both rule and reason passes."""
    assert (_unexplained(f"x = 1  # {comment}\n") == []) is fine
