"""What can be asked: one frozen request class for each model, one file for each class.

With what request classes are made of, for those that `wavespeed-async codegen` writes.

An import here is all that a new model needs to be known everywhere: the command line, the
emulator and the reading of files find the classes by their model.
"""

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
from wavespeed_async.models.flux_dev import FluxDev
from wavespeed_async.models.flux_dev_lora import FluxDevLora
from wavespeed_async.models.flux_fill_dev import FluxFillDev
from wavespeed_async.models.flux_kontext_dev_multi import FluxKontextDevMulti
from wavespeed_async.models.flux_redux_dev import FluxReduxDev

__all__ = [
    "Between",
    "Choice",
    "FieldMap",
    "Fits",
    "Flag",
    "FluxDev",
    "FluxDevLora",
    "FluxFillDev",
    "FluxKontextDevMulti",
    "FluxReduxDev",
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
