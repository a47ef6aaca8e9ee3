"""What can be asked: one frozen request class for each model, one file for each class.

An import here is all that a new model needs to be known everywhere: the command line, the
emulator and the reading of files find the classes by their model.
"""

from wavespeed_async.models._request import (
    FieldMap,
    Lora,
    RawRequest,
    Request,
    request_class,
    request_classes,
)
from wavespeed_async.models.flux_dev import FluxDev
from wavespeed_async.models.flux_dev_lora import FluxDevLora
from wavespeed_async.models.flux_fill_dev import FluxFillDev
from wavespeed_async.models.flux_kontext_dev_multi import FluxKontextDevMulti
from wavespeed_async.models.flux_redux_dev import FluxReduxDev

__all__ = [
    "FieldMap",
    "FluxDev",
    "FluxDevLora",
    "FluxFillDev",
    "FluxKontextDevMulti",
    "FluxReduxDev",
    "Lora",
    "RawRequest",
    "Request",
    "request_class",
    "request_classes",
]
