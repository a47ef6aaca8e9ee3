"""flux-kontext-dev/multi: one picture out of several."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from wavespeed_async.models._fields import (
    Between,
    Choice,
    Flag,
    Items,
    Media,
    Opt,
    Size,
    Text,
    joined_size,
)
from wavespeed_async.models._images import ImageValue, frozen_images
from wavespeed_async.models._request import Request

__all__ = ["FluxKontextDevMulti"]


@frozen(kw_only=True, repr=False)
class FluxKontextDevMulti(Request):
    """Edit and combine pictures as a prompt says."""

    model: ClassVar[str] = "wavespeed-ai/flux-kontext-dev/multi"
    version: ClassVar[str] = "v3"

    prompt: str = field(validator=Text(required=True))
    """What to make of the pictures; required (flux-kontext-dev/multi page)."""
    images: tuple[ImageValue, ...] = field(
        converter=frozen_images, validator=Items(least=1, rule=Media(required=True))
    )
    """URLs of the pictures to use, one or more; required here, although the
    flux-kontext-dev/multi page calls it optional: left out, the API would edit and bill its
    own sample pictures."""
    size: str | None = field(default=None, converter=joined_size, validator=Opt(Size(256, 1536)))
    """Width and height in pixels, `"1024*768"` or `(1024, 768)`, each side 256 to 1536, no
    default (flux-kontext-dev/multi page: 256 ~ 1536 per dimension)."""
    num_inference_steps: int = field(default=28, validator=Between(1, 50, whole=True))
    """Number of inference steps, 1 to 50, default 28 (flux-kontext-dev/multi page: 1 ~ 50)."""
    guidance_scale: float = field(default=2.5, validator=Between(1.0, 20.0))
    """How strongly the prompt guides, 1.0 to 20.0, default 2.5 (flux-kontext-dev/multi page:
    1.0 ~ 20.0)."""
    num_images: int = field(default=1, validator=Between(1, 4, whole=True))
    """Number of pictures, 1 to 4, default 1 (flux-kontext-dev/multi page: 1 ~ 4)."""
    seed: int = field(default=-1, validator=Between(-1, 2147483647, whole=True))
    """Seed, -1 (random) to 2147483647, default -1 (flux-kontext-dev/multi page: -1 ~
    2147483647)."""
    output_format: str = field(default="jpeg", validator=Choice(("jpeg", "png", "webp")))
    """Format of the pictures, default jpeg (flux-kontext-dev/multi page, which lists no others)."""
    enable_base64_output: bool = field(default=False, validator=Flag())
    """Whether outputs come as base64 rather than as URLs, default false
    (flux-kontext-dev/multi page)."""
    enable_safety_checker: bool = field(default=True, validator=Flag())
    """Whether the safety checker looks at the pictures, default true (flux-kontext-dev/multi
    page)."""
    enable_sync_mode: bool = field(default=False, validator=Flag())
    """Whether the submission is held until the pictures are there, default false
    (flux-kontext-dev/multi page)."""
