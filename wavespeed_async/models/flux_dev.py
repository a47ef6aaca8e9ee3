"""flux-dev: pictures from a prompt, fast."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from wavespeed_async.models._fields import (
    Between,
    Flag,
    Items,
    Media,
    Size,
    Text,
    joined_size,
)
from wavespeed_async.models._images import ImageValue, frozen_image
from wavespeed_async.models._request import Lora, Request, loras_of

__all__ = ["FluxDev"]


@frozen(kw_only=True, repr=False)
class FluxDev(Request):
    """Make pictures from a prompt, or from a picture and a prompt."""

    model: ClassVar[str] = "wavespeed-ai/flux-dev"
    version: ClassVar[str] = "v2"

    prompt: str = field(default="", validator=Text())
    """What the picture shows, default empty (flux-dev page: not required)."""
    image: ImageValue = field(default="", converter=frozen_image, validator=Media(base64=True))
    """Picture to start from: its URL or base64, default none (flux-dev page: Base64 or image
    URL)."""
    strength: float = field(default=0.6, validator=Between(0.0, 1.0))
    """How far the input picture is transformed, 0.0 to 1.0, default 0.6 (flux-dev page: 0.0 ~
    1.0)."""
    loras: tuple[Lora, ...] = field(
        default=(), converter=loras_of, validator=Items(most=5, kind=Lora)
    )
    """LoRAs to apply, at most 5, default none (flux-dev page: max 5 items)."""
    size: str = field(default="1024*1024", converter=joined_size, validator=Size(512, 1536))
    """Width and height in pixels, `"1024*768"` or `(1024, 768)`, each side 512 to 1536,
    default 1024*1024 (flux-dev page: 512 ~ 1536 per dimension)."""
    num_inference_steps: int = field(default=28, validator=Between(1, 50, whole=True))
    """Number of inference steps, 1 to 50, default 28 (flux-dev page: 1 ~ 50)."""
    seed: int = field(default=-1, validator=Between(-1, 9999999999, whole=True))
    """Seed, default -1 (random); the flux-dev page gives no range, so the widest of its family
    counts (flux-dev-lora page: -1 ~ 9999999999)."""
    guidance_scale: float = field(default=5.0, validator=Between(0.0, 10.0))
    """How strongly the prompt guides, 0.0 to 10.0, default 5.0 (flux-dev page: 0.0 ~ 10.0)."""
    num_images: int = field(default=1, validator=Between(1, 4, whole=True))
    """Number of pictures, 1 to 4, default 1 (flux-dev page: 1 ~ 4)."""
    enable_safety_checker: bool = field(default=True, validator=Flag())
    """Whether the safety checker looks at the pictures, default true (flux-dev page)."""
