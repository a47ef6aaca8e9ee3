"""The API's catalogue of models: asked for once for all who want it, and what it says of requests.

A raw request is checked before it is sent: the API drops a field that a model does not declare, in
silence, and bills the defaults. Where the catalogue cannot be had, does not know the model, or
tells of another version, a request goes without the check; an event says so.

One asks at a time, and those who wait take what it brought. Where it failed for a check, no check
asks again for `RESPITE`: a batch of thousands does not knock at a closed door.
"""

from __future__ import annotations

import logging
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, field, frozen

from wavespeed_async._codec import decode_list
from wavespeed_async._events import RequestUnchecked
from wavespeed_async._loops import LoopClock
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    InvalidRequestError,
    WaveSpeedError,
)
from wavespeed_async.models._images import described, replaced
from wavespeed_async.models._request import (
    FieldMap,
    RawRequest,
    frozen_json,
    refuse_path,
    short,
)
from wavespeed_async.models._schema import check_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wavespeed_async._calls import Calls, Turn
    from wavespeed_async.models._request import Request

__all__ = ["Catalogue", "Model", "decode_models"]

PATH = "/api/v3/models"
LARGEST = 64 * 1024 * 1024
"""Bytes of the catalogue: about 950 models are some 10 million."""
HOUR = 3600.0
CHECK_RETRIES = 1
"""How many times a check asks again: a picture waits for it."""
RESPITE = 60.0
"""Seconds after a failure during which checks do not ask for the catalogue again."""


@frozen(kw_only=True)
class Model:
    """Say what the API tells of one model.

    Its schema is made when it is looked at: there are about 950, and few are.

    Attributes:
        id: Its id, as the API's path has it, such as `wavespeed-ai/flux-dev`.
        name: What people call it.
        description: What it does.
        type: What it turns into what, such as `text-to-image`.
        base_price: What one request costs at least, in USD; None where that is not told.
        api_path: Where it is submitted to, such as `/api/v3/wavespeed-ai/flux-dev`.
    """

    id: str
    name: str = ""
    description: str = field(default="", repr=short)
    type: str = ""
    base_price: float | None = None
    api_path: str = ""
    _request_schema: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)

    @cached_property
    def request_schema(self) -> Mapping[str, Any]:
        """What it takes, as JSON Schema; empty where that is not told, or cannot be walked."""
        found = frozen_json(self._request_schema)
        return found if isinstance(found, FieldMap) else FieldMap({})

    def check(self, fields: Mapping[str, Any]) -> None:
        """Check fields of a request against what the model takes.

        Raises:
            InvalidRequestError: For the first field that it does not declare or would refuse.
        """
        check_fields(self.id, fields, self.request_schema)

    def matches(self, words: str) -> bool:
        """Tell whether each of some words occurs in its id, name, type or description."""
        text = f"{self.id} {self.name} {self.type} {self.description}".casefold()
        return all(word in text for word in words.casefold().split())


class Catalogue:
    """Know the API's models, by asking for all of them at once.

    Args:
        calls: Ask.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._clock = LoopClock()
        self._flight = anyio.Semaphore(1)
        self._models: dict[str, Model] = {}
        self._answers = 0
        self._arrived = -math.inf
        self._failed = -math.inf
        self._failure = ""

    async def models(self, turn: Turn, *, max_age: float) -> tuple[Model, ...]:
        """List all models, from an earlier answer if that is no older than `max_age` seconds.

        Raises:
                be had.
        """
        found = await self._all(turn, max_age=max_age)
        return tuple(found.values())

    async def check(self, request: Request, turn: Turn) -> None:
        """Check a raw request against its model's schema, where that can be had.

        Raises:
            InvalidRequestError: For the first field that the model does not declare or refuses.
        """
        if not isinstance(request, RawRequest):
            return
        model: Model | None = None
        try:
            found = await self._all(evolve(turn, stubborn=False), max_age=HOUR, is_check=True)
            model = found.get(request.model)
            reason = _reason(request, model)
        except WaveSpeedError as error:
            reason = f"the catalogue cannot be had: {error}"
        if reason is None and model is not None:
            model.check(replaced(request.fields, described))
        else:
            self._calls.tell(RequestUnchecked(request=request, reason=reason or ""))

    async def _all(
        self, turn: Turn, *, max_age: float, is_check: bool = False
    ) -> Mapping[str, Model]:
        if self._clock.enter("the client"):
            self._flight = anyio.Semaphore(1)  # nobody from an event loop that has ended comes back
        before = self._answers
        with anyio.CancelScope(deadline=turn.deadline):
            async with self._flight:
                age = self._clock.now() - self._arrived
                if self._answers == before and not age < max_age:
                    if is_check and self._clock.now() - self._failed < RESPITE:
                        raise APIConnectionError(self._failure)
                    self._models = await self._asked(turn, is_check=is_check)
                    self._arrived, self._answers = self._clock.now(), self._answers + 1
                return self._models
        message = "the catalogue did not come in time"
        raise APIConnectionError(message)

    async def _asked(self, turn: Turn, *, is_check: bool) -> dict[str, Model]:
        try:
            return await self._calls.asked(
                "models",
                "GET",
                PATH,
                turn,
                decode=_decode,
                max_retries=CHECK_RETRIES if is_check else None,
                largest=LARGEST,
            )
        except (APIConnectionError, APIResponseError, APIStatusError) as error:
            self._failed, self._failure = self._clock.now(), str(error)
            if is_check:
                _log.warning("raw requests go without a check of their fields: %s", error)
            raise


_log = logging.getLogger("wavespeed_async")


def _reason(request: RawRequest, model: Model | None) -> str | None:
    """Say why a request cannot be checked; None where it can."""
    if model is None:
        return "the catalogue has no such model"
    if not model.request_schema:
        return "the catalogue does not tell what the model takes"
    if model.api_path not in {"", f"/api/{request.version}/{request.model}"}:
        return f"the catalogue tells of {model.api_path} only"
    return None


# --- what is answered ----------------------------------------------------------------------------


def _decode(status: int, body: bytes, *, retry_after: float | None) -> dict[str, Model]:
    entries = decode_list(status, body, retry_after=retry_after)
    return {model.id: model for model in decode_models(entries)}


def decode_models(entries: Sequence[Any]) -> tuple[Model, ...]:
    """Read the catalogue's entries; what only decorates a model is left empty where unreadable.

    Raises:
        APIResponseError: There are entries, and none of them is a model.
    """
    found = tuple(_model(entry) for entry in entries if _is_model(entry))
    if entries and not found:
        message = "the answer is not in the API's format: no entry of the catalogue is a model"
        raise APIResponseError(message, status_code=200, body=short(entries[0]))
    return found


def _is_model(entry: object) -> bool:
    try:
        refuse_path(entry.get("model_id") if isinstance(entry, dict) else None)
    except InvalidRequestError:
        return False
    return True


def _model(entry: Mapping[str, Any]) -> Model:
    api = _api_of(entry.get("api_schema"))
    price = entry.get("base_price")
    is_price = isinstance(price, int | float) and not isinstance(price, bool)
    schema = api.get("request_schema")
    return Model(
        id=entry["model_id"],
        name=_text(entry.get("name")),
        description=_text(entry.get("description")),
        type=_text(entry.get("type")),
        base_price=float(price) if is_price and 0 <= price < math.inf else None,  # type: ignore[arg-type, operator]  # it is a number
        api_path=_text(api.get("api_path")),
        request_schema=schema if isinstance(schema, dict) else {},
    )


def _api_of(found: object) -> Mapping[str, Any]:
    """Find how the model is run: the entry of that type, else the first one without a type."""
    listed = found.get("api_schemas") if isinstance(found, dict) else None
    apis = [api for api in listed if isinstance(api, dict)] if isinstance(listed, list) else []
    for kind in ("model_run", None):
        for api in apis:
            if api.get("type") == kind:
                return api
    return {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""
