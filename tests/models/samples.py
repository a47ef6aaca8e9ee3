"""What these tests share: the five pages as data, a request of each kind, and any JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st

from wavespeed_async.errors import InvalidRequestError, shown
from wavespeed_async.models import Lora, RawRequest, Request, request_class

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "wavespeed-ai/flux-schnell",
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
