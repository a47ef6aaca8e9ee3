"""What can be asked: one frozen request class for each model, one file for each class.

With what request classes are made of, for those that `wavespeed-async codegen` writes.

Which models there are is said once, in `_known.py`.
"""

from wavespeed_async.models import _known
from wavespeed_async.models._fields import (
    Between,
    Choice,
    Flag,
    Items,
    Media,
    Number,
    Opt,
    Size,
    Text,
    joined_size,
    texts_of,
)
from wavespeed_async.models._fits import Fits
from wavespeed_async.models._images import (
    ImageSource,
    ImageValue,
    Inline,
    frozen_image,
    frozen_images,
    optional_image,
)
from wavespeed_async.models._known import *  # noqa: F403 (the list itself says what is in it)
from wavespeed_async.models._request import (
    FieldMap,
    Lora,
    RawRequest,
    Request,
    frozen_json,
    loras_of,
    request_class,
    request_classes,
    sent_as,
)

__all__ = [
    "Between",
    "Choice",
    "FieldMap",
    "Fits",
    "Flag",
    "ImageSource",
    "ImageValue",
    "Inline",
    "Items",
    "Lora",
    "Media",
    "Number",
    "Opt",
    "RawRequest",
    "Request",
    "Size",
    "Text",
    "frozen_image",
    "frozen_images",
    "frozen_json",
    "joined_size",
    "loras_of",
    "optional_image",
    "request_class",
    "request_classes",
    "sent_as",
    "texts_of",
]
__all__ += _known.__all__
list.sort(__all__)  # type checkers would give up on `__all__.sort()`
