"""What the emulator's models take."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wavespeed_async.emulator._requests import (
    LOOSE_MODELS,
    LooseRequest,
    Refusal,
    read_submission,
)
from wavespeed_async.models import (
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    Lora,
    Request,
)

URL = "https://example.com/a.png"
SMALLEST: dict[type[Request], dict[str, Any]] = {
    FluxDev: {},
    FluxDevLora: {"prompt": "p"},
    FluxFillDev: {"image": URL, "mask_image": URL},
    FluxKontextDevMulti: {"prompt": "p", "images": [URL]},
    FluxReduxDev: {"image": URL},
}


def refused(model: str, body: bytes | dict[str, Any]) -> str:
    """Answer the message of the refusal."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as caught:
        read_submission(model, raw)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize("cls", SMALLEST, ids=lambda cls: cls.__name__)
def test_the_required_fields_are_enough(cls: type[Request]) -> None:
    """Each model runs with its required fields alone."""
    request, fields = read_submission(cls.model, json.dumps(SMALLEST[cls]).encode())
    assert request == cls(**SMALLEST[cls])
    assert fields == SMALLEST[cls]


@pytest.mark.parametrize("empty", [None, "", "  ", [], "absent"])
@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls, fields in SMALLEST.items() for name in fields],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_required_field_must_not_be_empty(cls: type[Request], name: str, empty: object) -> None:
    """A required field that is missing or empty is refused in the API's words."""
    fields = {**SMALLEST[cls], name: empty}
    if empty == "absent":
        del fields[name]
    assert refused(cls.model, fields) == f'field "{name}" is required and must not be empty'


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (FluxDev, "size", "511*1024"),
        (FluxDev, "size", [1024, 1024]),
        (FluxDev, "num_images", 5),
        (FluxDev, "num_images", True),
        (FluxDev, "loras", [{"path": "a", "scale": 1}] * 6),
        (FluxDev, "loras", ["a"]),
        (FluxDev, "loras", "a"),
        (FluxDev, "loras", [{"path": "a", "scale": 4.1}]),
        (FluxDevLora, "seed", 10**10),
        (FluxDevLora, "enable_base64_output", "yes"),
        (FluxFillDev, "guidance_scale", 27.9),
        (FluxFillDev, "loras", [{"path": "a", "scale": 1}] * 4),
        (FluxKontextDevMulti, "images", URL),
        (FluxKontextDevMulti, "output_format", "gif"),
        (FluxReduxDev, "guidance_scale", 0.5),
        (FluxReduxDev, "image", "no address"),
    ],
)
def test_what_is_out_of_range_is_refused(cls: type[Request], name: str, value: object) -> None:
    """Each model has ranges of its own, and the refusal names what is wrong."""
    message = refused(cls.model, {**SMALLEST[cls], name: value})
    assert "must be" in message


def test_a_lora_needs_both_fields() -> None:
    """A LoRA without its scale is refused by the name of the missing field."""
    loras = [{"path": "a", "scale": 1, "unknown": 2}, {"path": "b"}]
    message = refused(FluxDev.model, {"loras": loras})
    assert message == 'field "loras[1].scale" is required and must not be empty'


def test_loras_are_read() -> None:
    """LoRAs reach the model, without what is unknown in them."""
    body = b'{"loras": [{"path": "a", "scale": 1, "unknown": 2}]}'
    assert read_submission(FluxDev.model, body)[0] == FluxDev(loras=(Lora("a", 1),))


def test_unknown_fields_and_nulls_are_dropped() -> None:
    """Unknown fields and nulls change nothing, and are still among the fields as received."""
    request, fields = read_submission(FluxDev.model, b'{"promt": "typo", "seed": null}')
    assert request == FluxDev()
    assert fields == {"promt": "typo", "seed": None}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"strength": NaN}', b"[" * 100_000], ids=range(6)
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Anything but a JSON object is refused."""
    assert refused(FluxDev.model, body) == "the request body must be a JSON object"


@pytest.mark.parametrize("model", ["flux-dev", "wavespeed-ai/flux-devv", "google/nano-banana"])
def test_unknown_models_are_refused(model: str) -> None:
    """A model that is not known is refused, also one known by its short name only."""
    assert refused(model, {"prompt": "p"}) == "model not found"


def test_other_models_take_fields_loosely() -> None:
    """A model without a class takes the usual fields, and defaults for what it cannot use."""
    model = LOOSE_MODELS[0]
    asked = {"prompt": "p", "size": "2000*20", "seed": 3, "num_images": 9, "more": 1}
    request, fields = read_submission(model, json.dumps(asked).encode())
    assert request == LooseRequest(model=model, prompt="p", size="1536*64", seed=3, num_images=4)
    assert fields == asked
    odd = {"prompt": 1, "size": "big", "seed": "x", "num_images": "x"}
    assert read_submission(model, json.dumps(odd).encode())[0] == LooseRequest(model=model)
