"""What the models without a request class take, in the words of the API's catalogue. Pure.

One has fields that no Python name can be: what reads schemas can be tried with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OTHER_MODELS", "OtherModel"]

Schema = dict[str, Any]


@frozen
class OtherModel:
    """Hold what the catalogue tells of a model."""

    type: str
    description: str
    schema: Schema


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
        "x-order-properties": [*properties],
    }


PROMPT: Schema = {"type": "string", "description": "The prompt to generate from."}
SEED: Schema = {
    "type": "integer",
    "description": "The random seed to use. -1 means a random seed will be used.",
    "default": -1,
    "minimum": -1,
    "maximum": 2147483647,
}
LORAS: Schema = {
    "type": "array",
    "description": "List of LoRAs to apply (max 3).",
    "items": _object(
        ("path", "scale"),
        path={"type": "string", "description": "Path to the LoRA model."},
        scale={"type": "number", "default": 1, "minimum": 0, "maximum": 4},
    ),
    "maxItems": 3,
    "default": [],
}


def _picture_fields(steps: int, *, lora: bool = False) -> Schema:
    return _object(
        ("prompt",),
        prompt=PROMPT,
        size={
            "type": "string",
            "description": "The size of the generated media in pixels (width*height).",
            "default": "1024*1024",
            "minimum": 256,
            "maximum": 1536,
        },
        num_inference_steps={
            "type": "integer",
            "description": "The number of inference steps to perform.",
            "default": steps,
            "minimum": 1,
            "maximum": 50,
        },
        seed=SEED,
        num_images={"type": "integer", "default": 1, "minimum": 1, "maximum": 4},
        output_format={"type": "string", "enum": ["jpeg", "png", "webp"], "default": "jpeg"},
        **({"loras": LORAS} if lora else {}),
    )


_VIDEO = _object(
    ("prompt",),
    prompt=PROMPT,
    negative_prompt={
        "type": "string",
        "description": "What the video must not show.",
        "default": "",
        "maxLength": 2000,
    },
    size={"type": "string", "enum": ["832*480", "480*832"], "default": "832*480"},
    duration={
        "type": "integer",
        "description": "The duration of the video in seconds.",
        "enum": [5, 10],
        "default": 5,
    },
    flow_shift={"type": "number", "default": 3, "minimum": 1, "maximum": 10},
    high_noise_loras={**LORAS, "description": "List of LoRAs for the first steps."},
    image={"type": "string", "description": "The picture to start from."},
    seed=SEED,
)
_ODD = _object(
    ("prompt", "class"),
    **{
        "prompt": PROMPT,
        "class": {"type": "string", "description": 'A "word" of Python: \\ and """ and all.'},
        "num-frames": {"type": "integer", "minimum": 1, "description": "How many\nframes."},
        "3d_mode": {"type": "boolean", "default": False},
        "_seed": {"type": ["integer", "null"], "default": None},
        "größe": {"type": "number", "exclusiveMinimum": 0},
        "camera": _object(
            ("zoom",),
            zoom={"type": "number", "minimum": 0, "maximum": 1},
            path={"type": "array", "items": {"type": "number"}, "minItems": 2},
        ),
        "guide": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4},
    },
)

OTHER_MODELS: Mapping[str, OtherModel] = {
    "wavespeed-ai/flux-dev-lora-ultra-fast": OtherModel(
        "text-to-image", "Pictures with LoRAs, ultra fast.", _picture_fields(28, lora=True)
    ),
    "wavespeed-ai/flux-dev-ultra-fast": OtherModel(
        "text-to-image", "Pictures, ultra fast.", _picture_fields(28)
    ),
    "wavespeed-ai/flux-schnell": OtherModel(
        "text-to-image", "Pictures in few steps.", _picture_fields(4)
    ),
    "wavespeed-ai/odd-fields": OtherModel(
        "text-to-image", "A model of no other use than its fields.", _ODD
    ),
    "wavespeed-ai/wan-2.1/t2v-480p": OtherModel(
        "text-to-video", "Short videos; here their first frame.", _VIDEO
    ),
}
