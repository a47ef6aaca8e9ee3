"""flux-fill-dev: new content for a part of a picture."""

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
from wavespeed_async.models._images import ImageValue, frozen_image
from wavespeed_async.models._request import Lora, Request, loras_of

__all__ = ["FluxFillDev"]


@frozen(kw_only=True, repr=False)
class FluxFillDev(Request):
    """Fill the white part of a mask in a picture, as a prompt says."""

    model: ClassVar[str] = "wavespeed-ai/flux-fill-dev"
    version: ClassVar[str] = "v3"

    image: ImageValue = field(converter=frozen_image, validator=Media(required=True))
    """Picture to fill: its URL; required (flux-fill-dev page)."""
    mask_image: ImageValue = field(converter=frozen_image, validator=Media(required=True))
    """Mask, white where to fill: its URL; required (flux-fill-dev page)."""
    prompt: str | None = field(default=None, validator=Opt(Text()))
    """What to fill in, no default (flux-fill-dev page: not required)."""
    size: str = field(default="1024*1024", converter=joined_size, validator=Size(256, 1536))
    """Width and height in pixels, `"1024*768"` or `(1024, 768)`, each side 256 to 1536,
    default 1024*1024 (flux-fill-dev page: 256 ~ 1536 per dimension)."""
    num_inference_steps: int = field(default=28, validator=Between(1, 50, whole=True))
    """Number of inference steps, 1 to 50, default 28 (flux-fill-dev page: 1 ~ 50)."""
    seed: int | None = field(default=None, validator=Opt(Between(-1, 2147483647, whole=True)))
    """Seed, -1 (random) to 2147483647, no default (flux-fill-dev page: -1 ~ 2147483647)."""
    guidance_scale: float = field(default=30, validator=Between(28, 35))
    """How strongly the prompt guides, 28 to 35, default 30 (flux-fill-dev page: 28 ~ 35)."""
    num_images: int = field(default=1, validator=Between(1, 4, whole=True))
    """Number of pictures, 1 to 4, default 1 (flux-fill-dev page: 1 ~ 4)."""
    loras: tuple[Lora, ...] = field(
        default=(), converter=loras_of, validator=Items(most=3, kind=Lora)
    )
    """LoRAs to apply, at most 3, default none (flux-fill-dev page: max 3 items)."""
    enable_safety_checker: bool = field(default=True, validator=Flag())
    """Whether the safety checker looks at the pictures, default true (flux-fill-dev page)."""
