"""flux-dev-lora: pictures in the style of LoRAs."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from wavespeed_async.models._fields import (
    Between,
    Flag,
    Items,
    Media,
    Opt,
    Size,
    Text,
    joined_size,
)
from wavespeed_async.models._images import ImageValue, optional_image
from wavespeed_async.models._request import Lora, Request, loras_of

__all__ = ["FluxDevLora"]


@frozen(kw_only=True, repr=False)
class FluxDevLora(Request):
    """Make pictures from a prompt with LoRAs; with a picture, transform it, or its masked part."""

    model: ClassVar[str] = "wavespeed-ai/flux-dev-lora"
    version: ClassVar[str] = "v2"

    prompt: str = field(validator=Text(required=True))
    """What the picture shows; required (flux-dev-lora page: required; its sample text is no
    default)."""
    image: ImageValue | None = field(
        default=None, converter=optional_image, validator=Opt(Media(base64=True))
    )
    """Picture to start from, no default (flux-dev-lora page: not required)."""
    mask_image: ImageValue | None = field(
        default=None, converter=optional_image, validator=Opt(Media(base64=True))
    )
    """Where to make new pixels (white) and where to keep `image` (black), no default
    (flux-dev-lora page)."""
    strength: float = field(default=0.8, validator=Between(0.0, 1.0))
    """How far the input picture is transformed, 0.0 to 1.0, default 0.8 (flux-dev-lora page:
    0.00 ~ 1.00)."""
    loras: tuple[Lora, ...] = field(
        default=(), converter=loras_of, validator=Items(most=5, kind=Lora)
    )
    """LoRAs to apply, at most 5, default none (flux-dev-lora page: max 5 items)."""
    size: str = field(default="1024*1024", converter=joined_size, validator=Size(512, 1536))
    """Width and height in pixels, `"1024*768"` or `(1024, 768)`, each side 512 to 1536,
    default 1024*1024 (flux-dev-lora page: 512 ~ 1536 per dimension)."""
    num_inference_steps: int = field(default=28, validator=Between(1, 50, whole=True))
    """Number of inference steps, 1 to 50, default 28 (flux-dev-lora page: 1 ~ 50)."""
    guidance_scale: float = field(default=3.5, validator=Between(0.0, 10.0))
    """How strongly the prompt guides, 0.0 to 10.0, default 3.5 (flux-dev-lora page: 0.0 ~ 10.0)."""
    num_images: int = field(default=1, validator=Between(1, 4, whole=True))
    """Number of pictures, 1 to 4, default 1 (flux-dev-lora page: 1 ~ 4)."""
    seed: int = field(default=-1, validator=Between(-1, 9999999999, whole=True))
    """Seed, -1 (random) to 9999999999, default -1 (flux-dev-lora page: -1 ~ 9999999999)."""
    enable_base64_output: bool = field(default=True, validator=Flag())
    """Whether outputs come as base64 rather than as URLs, default true (flux-dev-lora page)."""
    enable_safety_checker: bool = field(default=True, validator=Flag())
    """Whether the safety checker looks at the pictures, default true (flux-dev-lora page)."""
