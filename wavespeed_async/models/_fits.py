"""The rule for fields that no other rule describes: what a JSON Schema allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models._fields import _Validator
from wavespeed_async.models._request import check_json, frozen_json
from wavespeed_async.models._schema import flaw_of, words_for

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fits"]


@frozen(eq=False, repr=False)
class Fits(_Validator):
    """Allow what JSON has and a schema, such as `{"type": "integer", "enum": [5, 10]}`, allows."""

    schema: Mapping[str, Any] = field(converter=frozen_json)

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return words_for(self.schema)

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        try:
            check_json(value, "it")
        except InvalidRequestError:
            return False
        return flaw_of(value, self.schema, "") is None
