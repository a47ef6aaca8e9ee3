"""What every request owes the rest: open seeds, short reprs, equality, copies and pickles."""

from __future__ import annotations

import copy
import pickle
from base64 import b64encode
from random import Random
from typing import Any

import attrs
import pytest

from tests.models.samples import PAGES, RAW, REQUESTS, URL, Page, name_of
from wavespeed_async._codec import encode_request
from wavespeed_async.models import FluxDev, Lora, RawRequest, Request
from wavespeed_async.models._request import DRAWN_SEEDS

PICTURE = b64encode(bytes(range(256)) * 99).decode()


class Seedless(Request):
    """Stand for a model without a seed."""


def _seed(request: Request) -> Any:
    return request.seed  # type: ignore[attr-defined]  # each of the five has one


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_an_open_seed_is_drawn(page: Page) -> None:
    """A seed of -1, and one that is unset where it may be, is drawn; nothing else changes."""
    without = {name: value for name, value in page.curl.items() if name not in {"seed", "loras"}}
    for request in (page.build(seed=-1), page.request(**without)):
        drawn = request.with_seed(Random(1))
        assert _seed(drawn) == Random(1).randint(*DRAWN_SEEDS)
        assert attrs.evolve(drawn, seed=_seed(request)) == request  # type: ignore[misc]  # attrs classes, all
        assert type(drawn) is type(request)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_given_seed_is_left_alone(page: Page) -> None:
    """A seed that was chosen is sent, 0 too, and no dice are thrown."""
    for seed in (0, 1, 2147483647):
        request = page.build(seed=seed)
        assert request.with_seed(None) is request  # type: ignore[arg-type]  # dice that cannot fall


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_drawn_seed_is_allowed(page: Page) -> None:
    """Both ends of the range that seeds are drawn from are in every model's range."""
    for seed in DRAWN_SEEDS:
        assert _seed(page.build(seed=seed)) == seed


def test_a_raw_seed_is_drawn_only_where_it_is_open_by_name() -> None:
    """A raw request gets a seed only for its -1: else its model is not known to have one."""
    drawn = RawRequest("a/b", {"seed": -1, "prompt": "a"}).with_seed(Random(1))
    assert encode_request(drawn) == {"seed": Random(1).randint(*DRAWN_SEEDS), "prompt": "a"}
    for fields in ({"prompt": "a"}, {"seed": None}, {"seed": 0}, {"seed": "-1"}):
        request = RawRequest("a/b", fields)
        assert request.with_seed(Random(1)) is request


def test_a_raw_seed_is_drawn_for_a_model_that_is_known_to_have_one() -> None:
    """A raw request of one of the five models gets a seed where it leaves it out, as they do."""
    drawn = RawRequest("wavespeed-ai/flux-dev", {"prompt": "a"}, version="v2").with_seed(Random(1))
    assert drawn.fields["seed"] == Random(1).randint(*DRAWN_SEEDS)


def test_a_model_without_a_seed_is_left_alone() -> None:
    """A request whose class has no seed is answered as it is."""
    request = Seedless()
    assert request.with_seed(Random(1)) is request


@pytest.mark.parametrize("request_", REQUESTS, ids=name_of)
def test_a_repr_names_the_class_and_each_field(request_: Request) -> None:
    """A repr reads like the call that made the request."""
    text = repr(request_)
    assert text.startswith(f"{type(request_).__name__}(")
    for field in attrs.fields(type(request_)):  # type: ignore[arg-type]  # attrs classes, all
        assert f"{field.name}=" in text


@pytest.mark.parametrize(
    "value",
    [
        FluxDev(image=PICTURE),
        FluxDev(prompt="a cat " * 1000),
        FluxDev(loras=[Lora(URL * 100, 1)] * 5),
        RawRequest("a/b", {"image": PICTURE}),
        RawRequest("a/b", {"images": [{"deep": [PICTURE]}] * 9}),
        Lora(URL * 100, 1),
    ],
    ids=name_of,
)
def test_a_repr_shortens_what_is_long(value: object) -> None:
    """No repr shows a picture or a long text whole; it says how much there is instead."""
    text = repr(value)
    assert PICTURE not in text
    assert len(text) < 600
    assert "characters)" in text


@pytest.mark.parametrize("value", [*REQUESTS, Lora("a/b", 0.5)], ids=name_of)
def test_copies_and_pickles_are_equal(value: object) -> None:
    """Copies, deep ones too, and pickles of every protocol equal the original and hash alike."""
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, 6)]  # noqa: S301 (our own pickle)
    for twin in copies:
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)


def test_equal_requests_are_one_key() -> None:
    """Requests that ask the same are one key of a dict; those that do not are not."""
    assert len({*REQUESTS, *(page.build() for page in PAGES)}) == len(REQUESTS)
    assert PAGES[0].build() != PAGES[0].build(num_images=2)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_requests_cannot_be_changed(page: Page) -> None:
    """A request is frozen: no field takes a new value."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        page.build().num_images = 2  # type: ignore[attr-defined]  # that is the point


def test_a_raw_request_shows_its_fields() -> None:
    """The repr of a raw request shows its fields like a dict."""
    assert "fields={'prompt': 'a cat'" in repr(RAW)
