"""Which models have a class and a method of their own: the one list of them.

All else follows from it: the names that `wavespeed_async` exports, the client's methods, the
commands of `wavespeed-async run`, what files of requests may name, what the emulator takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wavespeed_async.models._methods import Runs, takes_fields_of
from wavespeed_async.models.flux_dev import FluxDev
from wavespeed_async.models.flux_dev_lora import FluxDevLora
from wavespeed_async.models.flux_fill_dev import FluxFillDev
from wavespeed_async.models.flux_kontext_dev_multi import FluxKontextDevMulti
from wavespeed_async.models.flux_redux_dev import FluxReduxDev

if TYPE_CHECKING:
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = [
    "FluxDev",
    "FluxDevLora",
    "FluxFillDev",
    "FluxKontextDevMulti",
    "FluxReduxDev",
]


class ModelMethods:
    """Have a method for each model, as part of the client."""

    @takes_fields_of(FluxDev)
    async def flux_dev(self: Runs, request: Request) -> Prediction:
        """Make pictures from a prompt, or from a picture and a prompt.

        Takes the fields of `FluxDev`, and answers or raises as `run` does.
        """
        return await self.run(request)

    @takes_fields_of(FluxDevLora)
    async def flux_dev_lora(self: Runs, request: Request) -> Prediction:
        """Make pictures from a prompt with LoRAs, or transform a picture or its masked part.

        Takes the fields of `FluxDevLora`, and answers or raises as `run` does.
        """
        return await self.run(request)

    @takes_fields_of(FluxReduxDev)
    async def flux_redux(self: Runs, request: Request) -> Prediction:
        """Make variations of a picture.

        Takes the fields of `FluxReduxDev`, and answers or raises as `run` does.
        """
        return await self.run(request)

    @takes_fields_of(FluxFillDev)
    async def flux_fill(self: Runs, request: Request) -> Prediction:
        """Fill the white part of a mask in a picture, as a prompt says.

        Takes the fields of `FluxFillDev`, and answers or raises as `run` does.
        """
        return await self.run(request)

    @takes_fields_of(FluxKontextDevMulti)
    async def flux_kontext_multi(self: Runs, request: Request) -> Prediction:
        """Edit and combine pictures as a prompt says.

        Takes the fields of `FluxKontextDevMulti`, and answers or raises as `run` does.
        """
        return await self.run(request)
