"""What these tests share: the five pages as data, a request of each kind, and any JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st

from wavespeed_async.errors import InvalidRequestError, shown
from wavespeed_async.models import (
    Between,
    Choice,
    Flag,
    Items,
    Lora,
    Media,
    Opt,
    RawRequest,
    Request,
    Size,
    Text,
    request_class,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

searched = settings(deadline=None, print_blob=True)
"""Two busy cores make deadlines a matter of luck; a failure prints how to repeat it."""

URL = "https://example.com/in.png"
NO_DEFAULT = "-"


@frozen
class Parameter:
    """Hold one row of a page's table, as text."""

    page: Page
    name: str
    type: str
    required: str
    default: str
    range: str

    def __str__(self) -> str:
        """Name a test's case."""
        return f"{self.page.name}:{self.name}"

    @property
    def kind(self) -> str:
        """Say the type by one name; the pages have two for whole numbers and two for others."""
        return {"int": "integer", "float": "number"}.get(self.type, self.type)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Read `0.0 ~ 1.0` or `512 ~ 1536 per dimension`."""
        if "~" not in self.range:
            return None
        low, high = self.range.removesuffix("per dimension").split("~")
        return (int(low), int(high)) if self.whole else (float(low), float(high))

    @property
    def whole(self) -> bool:
        """Tell whether the bounds are of whole numbers."""
        return self.kind in {"integer", "string"}

    @property
    def most(self) -> int | None:
        """Read `max 5 items`."""
        return int(self.range.split()[1]) if self.range.startswith("max ") else None


@frozen
class Page:
    """Hold what one page documents: the call that it shows, and its table."""

    model: str
    version: str
    curl: dict[str, Any]
    rows: list[dict[str, str]]

    @property
    def name(self) -> str:
        """Say the page's name, as docstrings write it."""
        return self.model.removeprefix("wavespeed-ai/")

    @property
    def request(self) -> type[Request]:
        """Find the class for this page."""
        found = request_class(self.model)
        assert found is not None
        return found

    @property
    def parameters(self) -> list[Parameter]:
        """List the table's rows that are fields of the request itself."""
        return [Parameter(self, **row) for row in self.rows if "[]" not in row["name"]]

    def build(self, **changes: Any) -> Request:
        """Build the request of the page's call, with changes."""
        values = {**self.curl, **changes}
        if "loras" not in changes and "loras" in values:
            values["loras"] = [Lora(**lora) for lora in values["loras"]]
        return self.request(**values)


def _page(path: Path) -> Page:
    page = json.loads(path.read_text(encoding="utf-8"))
    return Page(page["model"], page["version"], page["curl"], page["parameters"])


PAGES = [_page(path) for path in sorted((Path(__file__).parents[1] / "pages").glob("*.json"))]
FIELDS = [parameter for page in PAGES for parameter in page.parameters]
NAMES = sorted({parameter.name for parameter in FIELDS})

RAW = RawRequest(
    "wavespeed-ai/flux-dev-ultra-fast",
    {"prompt": "a cat", "loras": [{"path": "a/b", "scale": 0.5}], "extra": {"deep": [1, [True]]}},
)
REQUESTS: list[Request] = [*(page.build() for page in PAGES), RAW]


def name_of(value: object) -> str:
    """Name a test's case."""
    if isinstance(value, Page):
        return value.name
    return type(value).__name__ if attrs.has(type(value)) else str(value)[:40]


def refusal(caught: pytest.ExceptionInfo[InvalidRequestError]) -> InvalidRequestError:
    """Check that an error tells field, value and what is allowed, in attributes and in words."""
    error = caught.value
    assert error.field
    assert error.allowed
    for part in (error.field, error.allowed, shown(error.value)):
        assert part in str(error)
    assert len(str(error)) < 1000
    return error


def made(build: Callable[[], Request]) -> Request | InvalidRequestError:
    """Answer the request, or its refusal; any other error is the test's failure."""
    try:
        return build()
    except InvalidRequestError as error:
        return error


any_text = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates among them
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)


def minimal(known: type[Request]) -> dict[str, Any]:
    """Answer the least that a model has to be asked."""
    fields = attrs.fields(known)  # type: ignore[arg-type]  # request classes are attrs classes
    return {a.name: _least(a.validator) for a in fields if a.default is attrs.NOTHING}


def _least(rule: Any) -> Any:
    if isinstance(rule, Items):
        return [_least(rule.rule)] * rule.least
    return {Text: "a lighthouse", Media: URL}[type(rule)]


def allowed(known: type[Request]) -> st.SearchStrategy[Request]:
    """Make any request of a model: what is required, and some of what is not."""
    fields = attrs.fields(known)  # type: ignore[arg-type]  # as above
    required = {a.name: _allowed(a.validator) for a in fields if a.default is attrs.NOTHING}
    optional = {a.name: _allowed(a.validator) for a in fields if a.name not in required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: known(**given))


def _allowed(rule: Any) -> st.SearchStrategy[Any]:
    """Make what a rule allows."""
    if isinstance(rule, Opt):
        return st.none() | _allowed(rule.rule)
    if isinstance(rule, Between):
        whole = st.integers(math.ceil(rule.low), math.floor(rule.high))
        return whole if rule.whole else whole | st.floats(rule.low, rule.high)
    if isinstance(rule, Items):
        most = 4 if rule.most is None else rule.most
        item = _LORAS if rule.kind is Lora else _allowed(rule.rule)
        return st.lists(item, min_size=rule.least, max_size=most)
    if isinstance(rule, Size):
        side = st.integers(rule.low, rule.high)
        return st.tuples(side, side) | st.builds("{}*{}".format, side, side)
    if isinstance(rule, Flag):
        return st.booleans()
    return st.sampled_from(_words(rule))


def _words(rule: Any) -> Sequence[str]:
    if isinstance(rule, Choice):
        return rule.words
    words = [URL, "data:image/png;base64,aaaa"] if isinstance(rule, Media) else ["a", "ß 😀 \n"]
    return words if rule.required else [*words, ""]


_LORAS = st.builds(Lora, st.sampled_from(["a/b", "c/d"]), st.floats(0.0, 4.0))
