"""What is wrong is refused before anything is sent: the field, its value and what is allowed."""

from __future__ import annotations

import math
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import (
    FIELDS,
    NAMES,
    PAGES,
    URL,
    Page,
    Parameter,
    any_json,
    any_text,
    made,
    name_of,
    refusal,
    searched,
)
from wavespeed_async._codec import encode_json, encode_request, request_from
from wavespeed_async.errors import InvalidRequestError, shown
from wavespeed_async.models import FluxDev, FluxFillDev, FluxKontextDevMulti, FluxReduxDev, Lora

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = [p for p in FIELDS if p.kind in {"number", "integer"} and p.bounds]
SIZES = [p for p in FIELDS if p.kind == "string" and p.bounds]
LORAS = [p for p in FIELDS if p.most]
PICTURE = b64encode(bytes(range(256)) * 9).decode()

WRONG: dict[str, list[object]] = {
    "string": [5, 1.5, True, b"text", ["text"], {}, object()],
    "integer": ["28", True, 28.0, 28.5, math.nan, [28], b"1", 10**5000],
    "number": ["0.6", True, math.nan, math.inf, -math.inf, [1], 1j, 10**400],
    "boolean": [1, 0, "true", "", 1.0, []],
    "array": ["text", b"text", 5, {"path": "a", "scale": 1}, [5], [None], [["a"]]],
}


def _refused(build: Callable[[], object], field: str, value: object) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        build()
    error = refusal(caught)
    assert error.field == field
    expected = tuple(value) if isinstance(value, list) else value
    assert error.value is value or error.value in (value, expected)
    return error


def _ends(parameter: Parameter) -> tuple[float, float]:
    assert parameter.bounds is not None
    return parameter.bounds


@pytest.mark.parametrize("parameter", NUMBERS, ids=str)
def test_both_ends_of_a_range_are_allowed(parameter: Parameter) -> None:
    """A range includes both of its ends."""
    for end in _ends(parameter):
        assert getattr(parameter.page.build(**{parameter.name: end}), parameter.name) == end


@pytest.mark.parametrize("parameter", NUMBERS, ids=str)
def test_just_outside_a_range_is_refused(parameter: Parameter) -> None:
    """The next number below a range and the next one above it are refused."""
    low, high = _ends(parameter)
    outside = (low - 1, high + 1)
    if not parameter.whole:
        outside = (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    for value in outside:
        build = partial(parameter.page.build, **{parameter.name: value})
        _refused(build, parameter.name, value)


@pytest.mark.parametrize("parameter", FIELDS, ids=str)
def test_wrong_types_are_refused(parameter: Parameter) -> None:
    """No field takes a value of another type: bools are no numbers, texts no lists."""
    for value in WRONG[parameter.kind]:
        build = partial(parameter.page.build, **{parameter.name: value})
        _refused(build, parameter.name, value)


@pytest.mark.parametrize("parameter", LORAS, ids=str)
def test_too_many_loras_are_refused(parameter: Parameter) -> None:
    """As many LoRAs as the page allows are taken, and not one more."""
    lora = Lora("a/b", 1.0)
    most = parameter.most or 0
    full: Any = parameter.page.build(loras=[lora] * most)
    assert len(full.loras) == most
    _refused(lambda: parameter.page.build(loras=[lora] * (most + 1)), "loras", [lora] * (most + 1))


@pytest.mark.parametrize("scale", [-1e-9, 4.0000001, math.nan, math.inf, True, "1", None])
def test_bad_scales_of_loras_are_refused(scale: Any) -> None:
    """A LoRA's scale is a number from 0 to 4."""
    _refused(lambda: Lora("a/b", scale), "scale", scale)


@pytest.mark.parametrize("path", ["", " ", "\ud800", 5, None, ["a"]])
def test_bad_paths_of_loras_are_refused(path: Any) -> None:
    """A LoRA's path is a text that is not blank."""
    _refused(lambda: Lora(path, 1), "path", path)


def test_both_ends_of_a_loras_scale_are_allowed() -> None:
    """A LoRA's scale may be 0 and may be 4."""
    assert [Lora("a", 0).scale, Lora("a", 4.0).scale] == [0, 4.0]


@pytest.mark.parametrize("parameter", SIZES, ids=str)
def test_sides_from_end_to_end_are_allowed(parameter: Parameter) -> None:
    """Each side of a size may have either end of the range, written or as a pair."""
    low, high = _ends(parameter)
    for size in (f"{low}*{high}", f"{high}*{low}", (low, high), [high, low]):
        sent: Any = parameter.page.build(size=size)
        assert sent.size == (size if isinstance(size, str) else f"{size[0]}*{size[1]}")


@pytest.mark.parametrize("parameter", SIZES, ids=str)
def test_sides_just_outside_are_refused(parameter: Parameter) -> None:
    """One pixel too few or too many is refused on either side, and named as it would be sent."""
    low, high = (int(end) for end in _ends(parameter))
    for sides in ((low - 1, high), (low, high + 1), (high + 1, low), (high, low - 1)):
        text = f"{sides[0]}*{sides[1]}"
        _refused(partial(parameter.page.build, size=text), "size", text)
        _refused(partial(parameter.page.build, size=sides), "size", text)


@pytest.mark.parametrize(
    "size",
    [
        "1024x1024",
        "100*100",
        "1024",
        "1024*",
        "*1024",
        "1024*1024*3",
        "1024 * 1024",
        " 1024*1024",
        "1024*1024\n",
        "01024*1024",
        "-1024*1024",
        "1024.0*1024",
        "\uff11\uff10\uff12\uff14*1024",
        "1024*\uff11\uff10\uff12\uff14",
        "1\uff10\uff12\uff14*1024",
        "99999999*1024",
        "",
        (1024.0, 1024),
        (1024, 1024, 3),
        (1024,),
        (0, 5),
        (-1024, 1024),
        (True, 1024),
        ("1024", "1024"),
        (10**5000, 1024),
        1024,
        {1024, 768},
    ],
    ids=shown,
)
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_bad_sizes_are_refused(page: Page, size: Any) -> None:
    """A size is two whole sides in range, in ASCII digits, and nothing around them."""
    with pytest.raises(InvalidRequestError) as caught:
        page.build(size=size)
    assert refusal(caught).field == "size"


@pytest.mark.parametrize("prompt", ["", " ", "\n\t ", "\u3000", "\ud800", "a\udfffb", None])
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name in {"flux-dev-lora", "flux-kontext-dev/multi"}], ids=name_of
)
def test_bad_required_prompts_are_refused(page: Page, prompt: Any) -> None:
    """A required prompt is not blank, and UTF-8 can carry it."""
    _refused(lambda: page.build(prompt=prompt), "prompt", prompt)


def test_an_optional_prompt_may_be_empty() -> None:
    """An optional prompt may be empty, but never what UTF-8 cannot carry."""
    assert FluxDev().prompt == ""
    assert FluxFillDev(image=URL, mask_image=URL, prompt="").prompt == ""
    _refused(lambda: FluxDev(prompt="\ud83d"), "prompt", "\ud83d")


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "picture.png",
        "/tmp/picture.png",  # noqa: S108 (a path that is refused)
        "example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///a.png",
        "https://:80/a.png",
        "https:example.com",
        "https://[::1",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://example.com/a b.png",
        " https://example.com/a.png",
        "https://example.com/a.png\n",
        "https://exam\nple.com/a.png",
        "https://example.com/\x00",
        "https://example.com/\ud800",
        "data:image/png;base64,",
        "data:image/png;base64",
        "data:image/png;base64,\ud800",
        "DATA:image/png;base64,AAAA",
        PICTURE,
    ],
    ids=ascii,
)
def test_bad_addresses_are_refused(address: str) -> None:
    """Where a page asks for a URL, only an http(s) URL or a data: URI passes."""
    _refused(lambda: FluxReduxDev(image=address), "image", address)
    with pytest.raises(InvalidRequestError):
        FluxKontextDevMulti(prompt="a cat", images=[URL, address])


@pytest.mark.parametrize(
    "address",
    [
        URL,
        "HTTP://example.com",
        "http://[::1]:8080/a?b=c#d",
        "https://exämple.com/ü",
        "data:image/png;base64,AAAA",
        "data:,a b",
    ],
)
def test_good_addresses_are_taken(address: str) -> None:
    """An http(s) URL and a data: URI are sent as they are."""
    assert FluxReduxDev(image=address).image == address


@pytest.mark.parametrize(
    "value", ["not base64!", "AAA", "AAAA\n", "\uff21\uff21\uff21\uff21", "picture.png"]
)
def test_bad_base64_is_refused(value: str) -> None:
    """Where a page takes base64, what does not decode is refused."""
    _refused(lambda: FluxDev(image=value), "image", value)


def test_base64_is_taken_where_a_page_takes_it() -> None:
    """The flux-dev page takes a picture as base64."""
    assert FluxDev(image=PICTURE).image == PICTURE


@pytest.mark.parametrize("images", [[], (), URL, b"https://a.b", {URL: 1}, None, 5, [None], [""]])
def test_bad_lists_of_images_are_refused(images: Any) -> None:
    """A text is no list of images, a list has one at least, and each is an address."""
    _refused(lambda: FluxKontextDevMulti(prompt="a", images=images), "images", images)


def test_any_iterable_of_images_is_taken() -> None:
    """Images may come from a generator; they are kept as a tuple."""
    request = FluxKontextDevMulti(prompt="a", images=(url for url in [URL]))
    assert request.images == (URL,)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_an_unknown_keyword_is_pythons_own_error(page: Page) -> None:
    """A keyword that the class does not have is a TypeError, as type checkers foretell."""
    with pytest.raises(TypeError, match="promt"):
        page.build(promt="a cat")


# --- requests from files --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_requests_are_read_from_the_pages_own_calls(page: Page) -> None:
    """An object of a file with the page's values is the request of the page's values."""
    assert request_from({"model": page.name, **page.curl}) == page.build()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_unknown_fields_are_refused_with_the_nearest_name(page: Page) -> None:
    """A typo would bill the defaults: it is refused, and the name that was meant is suggested."""
    with pytest.raises(InvalidRequestError, match=r"did you mean num_inference_steps\?") as caught:
        request_from({"model": page.model, **page.curl, "num_inference_step": 30})
    error = refusal(caught)
    assert (error.field, error.value) == ("num_inference_step", 30)
    assert "num_inference_steps" in (error.allowed or "")


def test_an_unknown_field_without_a_near_name_gets_no_suggestion() -> None:
    """A name that is like no other is refused without a guess, however long it is."""
    with pytest.raises(InvalidRequestError) as caught:
        request_from({"model": "flux-dev", "q" * 10_000: 1})
    assert "did you mean" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_missing_required_fields_are_refused(page: Page) -> None:
    """Each required field that a file leaves out is named."""
    required = [p.name for p in page.parameters if p.required == "Yes" or p.name == "images"]
    for name in required:
        values = {key: value for key, value in page.curl.items() if key != name}
        error = _refused(partial(request_from, {"model": page.model, **values}), name, None)
        assert "required" in str(error)


@pytest.mark.parametrize("model", [None, "", 5, [], {}, "flux-dex", "a b/c", "a/..", "a//b", "/a"])
def test_bad_models_are_refused(model: Any) -> None:
    """A request without a usable model is refused, and the field is named."""
    _refused(lambda: request_from({"model": model, "prompt": "a"}), "model", model)
    with pytest.raises(InvalidRequestError, match="model"):
        request_from({"prompt": "a"})


@pytest.mark.parametrize("fields", [None, 5, "flux-dev", [], [["model", "flux-dev"]]])
def test_what_is_no_object_is_refused(fields: Any) -> None:
    """A line of a file that holds no object is refused as a request."""
    with pytest.raises(InvalidRequestError, match="an object"):
        request_from(fields)


@pytest.mark.parametrize(
    "loras",
    [
        [{"path": "a"}],
        [{"scale": 1}],
        [{}],
        [{"path": "a", "scale": 1, "weight": 2}],
        [{"path": "a", "scale": "1"}],
        [{"path": "a", "scale": None}],
        [{"path": ["a"], "scale": 1}],
        [{"path": {}, "scale": {}}],
        [{"path": "", "scale": 1}],
        [["a", 1]],
        ["a"],
        [None],
        {"path": "a", "scale": 1},
        "a",
        5,
        None,
        True,
    ],
    ids=str,
)
def test_malformed_loras_of_files_are_refused(loras: Any) -> None:
    """A LoRA of a file is an object of path and scale, no more and no less."""
    with pytest.raises(InvalidRequestError) as caught:
        request_from({"model": "flux-dev", "loras": loras})
    assert refusal(caught).field in {"loras", "path", "scale"}


objects = st.dictionaries(st.sampled_from(NAMES) | any_text, any_json, max_size=5)
models = st.sampled_from([page.name for page in PAGES] + [page.model for page in PAGES] + ["a/b"])


@st.composite
def _plausible(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the object of a page's call with some of its values exchanged."""
    page = draw(st.sampled_from(PAGES))
    changes = draw(st.dictionaries(st.sampled_from([*page.curl]), any_json, max_size=2))
    return {"model": page.model, **page.curl, **changes}


@searched
@given(_plausible() | st.builds(lambda m, o: {**o, "model": m}, models | any_json, objects))
def test_any_object_is_a_request_or_is_refused(fields: dict[str, Any]) -> None:
    """Whatever JSON object a file holds: it becomes a request that can be sent, or is refused."""
    request = made(lambda: request_from(fields))
    if isinstance(request, InvalidRequestError):
        assert request.field is not None
        assert request.allowed is not None
    else:
        sent = encode_request(request)
        assert encode_json(sent)
        again = request_from({"model": request.model, **sent})
        assert type(again) is type(request)
        assert encode_request(again) == sent
