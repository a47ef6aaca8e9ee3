"""The request classes say what the five pages say: names, defaults, ranges, what is required."""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.models.samples import FIELDS, NO_DEFAULT, PAGES, Page, Parameter, name_of
from wavespeed_async._codec import encode_json, encode_request
from wavespeed_async.models import Lora, request_class, request_classes
from wavespeed_async.models._fields import Between, Items, Opt, Size

SAMPLES = {"flux-dev-lora:prompt", "flux-kontext-dev/multi:images"}
"""Where a page shows a sample as the default: a sample is never a default."""

REQUIRED_HERE = {"flux-kontext-dev/multi:images"}
"""What a page calls optional and the classes require: else its own samples would be billed."""

RANGED_HERE = {"flux-dev:seed": (-1, 9999999999)}
"""Where a page has no range and the class takes that of the model's family."""


def _attribute(parameter: Parameter) -> attrs.Attribute[Any]:
    found: attrs.Attribute[Any] = attrs.fields_dict(parameter.page.request)[parameter.name]  # type: ignore[arg-type]  # all request classes are attrs classes
    return found


def _rule(attribute: attrs.Attribute[Any]) -> Any:
    rule: Any = attribute.validator
    return rule.rule if isinstance(rule, Opt) else rule


def _default(parameter: Parameter) -> Any:
    """Read the documented default; NOTHING where there is none."""
    if parameter.default == NO_DEFAULT or str(parameter) in SAMPLES:
        return attrs.NOTHING
    if parameter.kind == "string":
        return parameter.default.strip('"”')
    return json.loads(parameter.default)


def _sent(page: Page) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_json(encode_request(page.build())))
    return body


def test_each_page_has_its_class() -> None:
    """Each of the five pages has its request class, in the documented version."""
    documented = {page.model: page.version for page in PAGES}
    assert documented.items() <= {kind.model: kind.version for kind in request_classes()}.items()
    assert len(documented) == 5


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_class_is_found_by_its_id_and_by_its_short_name(page: Page) -> None:
    """A model is found with and without the leading `wavespeed-ai/`."""
    assert request_class(page.name) is request_class(page.model) is page.request


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_call_is_sent_as_the_page_shows_it(page: Page) -> None:
    """The page's own values encode to the page's own body, number for number."""
    sent = _sent(page)
    assert {name: sent[name] for name in page.curl} == page.curl
    assert json.dumps([sent[name] for name in page.curl]) == json.dumps([*page.curl.values()])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_sent_beside_the_pages_call_is_the_documented_default(page: Page) -> None:
    """A body holds no more than was asked but the defaults that the page documents."""
    defaults = {parameter.name: _default(parameter) for parameter in page.parameters}
    for name, value in _sent(page).items():
        assert name in page.curl or value == defaults[name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_field_is_undocumented_and_none_is_missing(page: Page) -> None:
    """A class has the fields of its page, and no others."""
    fields = attrs.fields(page.request)  # type: ignore[arg-type]  # as above
    assert {field.name for field in fields} == {row.name for row in page.parameters}


@pytest.mark.parametrize("parameter", FIELDS, ids=str)
def test_required_fields_are_the_documented_ones(parameter: Parameter) -> None:
    """A field is required where the page says so, and where leaving it out would bill a sample."""
    required = parameter.required == "Yes" or str(parameter) in REQUIRED_HERE
    assert (_attribute(parameter).default is attrs.NOTHING) is required


@pytest.mark.parametrize("parameter", FIELDS, ids=str)
def test_defaults_are_the_documented_ones(parameter: Parameter) -> None:
    """A default is the page's; without one the field is left out, or an empty list."""
    default, documented = _attribute(parameter).default, _default(parameter)
    if documented is attrs.NOTHING:
        assert default in {attrs.NOTHING, None, ()}
    elif parameter.kind == "array":
        assert list(default or ()) == documented
    else:
        assert default == documented
        assert isinstance(default, bool) is isinstance(documented, bool)


@pytest.mark.parametrize("parameter", FIELDS, ids=str)
def test_ranges_are_the_documented_ones(parameter: Parameter) -> None:
    """A validator's bounds, which help texts read too, are the page's."""
    rule = _rule(_attribute(parameter))
    bounds = parameter.bounds or RANGED_HERE.get(str(parameter))
    if isinstance(rule, Between):
        assert (rule.low, rule.high) == bounds
        assert rule.whole is (parameter.kind == "integer")
    elif isinstance(rule, Size):
        assert (rule.low, rule.high) == bounds
    else:
        assert bounds is None
    assert (rule.most if isinstance(rule, Items) else None) == parameter.most


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_loras_have_the_documented_parts(page: Page) -> None:
    """Where a page describes a LoRA, `Lora` has those parts, both required, in that range."""
    parts = [row for row in page.rows if row["name"].startswith("loras[].")]
    described = {row["name"].removeprefix("loras[].") for row in parts}
    assert described in (set(), {field.name for field in attrs.fields(Lora)})
    for row in parts:
        field = attrs.fields_dict(Lora)[row["name"].removeprefix("loras[].")]
        bounds = Parameter(page, **row).bounds
        assert row["required"] == "Yes"
        assert field.default is attrs.NOTHING
        if bounds:
            rule = _rule(field)
            assert (rule.low, rule.high) == bounds


def _docstrings(kind: type) -> dict[str, str]:
    """Read the text under each field of a class, which Python itself forgets."""
    source = Path(inspect.getfile(kind)).read_text(encoding="utf-8")
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    body = next(node.body for node in classes if node.name == kind.__name__)
    found = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[node.target.id] = " ".join(text.value.split())
    return found


@pytest.mark.parametrize("parameter", FIELDS, ids=str)
def test_each_field_names_its_page_and_its_numbers(parameter: Parameter) -> None:
    """The text under a field names the page it comes from, and each number of its range."""
    text = _docstrings(parameter.page.request)[parameter.name]
    assert f"{parameter.page.name} page" in text
    numbers = re.findall(r"-?\d+(?:\.\d+)?", parameter.range)
    assert set(numbers) <= set(re.findall(r"-?\d+(?:\.\d+)?", text))


def test_the_parts_of_a_lora_name_their_pages() -> None:
    """The texts under the parts of a LoRA name their pages and the range of its scale."""
    texts = _docstrings(Lora)
    assert "pages" in texts["path"]
    assert "flux-dev-lora and flux-fill-dev pages: 0.0 ~ 4.0" in texts["scale"]
