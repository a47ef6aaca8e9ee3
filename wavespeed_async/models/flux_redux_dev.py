"""flux-redux-dev: variations of a picture."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from wavespeed_async.models._fields import Between, Flag, Media, Opt, Size, joined_size
from wavespeed_async.models._images import ImageValue, frozen_image
from wavespeed_async.models._request import Request

__all__ = ["FluxReduxDev"]


@frozen(kw_only=True, repr=False)
class FluxReduxDev(Request):
    """Make variations of a picture; there is no prompt."""

    model: ClassVar[str] = "wavespeed-ai/flux-redux-dev"
    version: ClassVar[str] = "v3"

    image: ImageValue = field(converter=frozen_image, validator=Media(required=True))
    """Picture to vary: its URL; required (flux-redux-dev page)."""
    size: str = field(default="1024*1024", converter=joined_size, validator=Size(256, 1536))
    """Width and height in pixels, `"1024*768"` or `(1024, 768)`, each side 256 to 1536,
    default 1024*1024 (flux-redux-dev page: 256 ~ 1536 per dimension)."""
    num_inference_steps: int = field(default=28, validator=Between(1, 50, whole=True))
    """Number of inference steps, 1 to 50, default 28 (flux-redux-dev page: 1 ~ 50)."""
    seed: int | None = field(default=None, validator=Opt(Between(-1, 2147483647, whole=True)))
    """Seed, -1 (random) to 2147483647, no default (flux-redux-dev page: -1 ~ 2147483647)."""
    guidance_scale: float = field(default=3.5, validator=Between(1, 20))
    """How strongly the prompt guides, 1 to 20, default 3.5 (flux-redux-dev page: 1 ~ 20)."""
    num_images: int = field(default=1, validator=Between(1, 4, whole=True))
    """Number of pictures, 1 to 4, default 1 (flux-redux-dev page: 1 ~ 4)."""
    enable_safety_checker: bool = field(default=True, validator=Flag())
    """Whether the safety checker looks at the pictures, default true (flux-redux-dev page)."""
