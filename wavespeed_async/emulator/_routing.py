"""What a request is for, by its method and path. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async.emulator._records import Call, Kind

__all__ = ["Action", "Aim", "aim_of", "methods_of"]

Action: TypeAlias = Literal[
    "submit",
    "result",
    "list",
    "delete",
    "upload",
    "ticket",
    "balance",
    "price",
    "models",
    "secret",
    "unknown",
]


@frozen
class Aim:
    """Hold what a request is for, its version, and the model or id that it names."""

    action: Action
    version: str = ""
    name: str = ""

    @property
    def kind(self) -> Kind:
        """Which kind it is recorded as."""
        if self.action == "submit" or self.action == "result":  # noqa: PLR1714 (mypy reads this)
            return self.action
        return "other"


_FIXED: Mapping[tuple[str, str], Action] = {
    ("POST", "/api/v3/predictions"): "list",
    ("POST", "/api/v3/predictions/delete"): "delete",
    ("POST", "/api/v3/media/upload/binary"): "upload",
    ("POST", "/api/v3/media/uploads"): "ticket",
    ("POST", "/api/v3/model/price"): "price",
    ("GET", "/api/v3/balance"): "balance",
    ("GET", "/api/v3/models"): "models",
    ("GET", "/api/v3/webhook/secret"): "secret",
}
_RESULT = re.compile(r"/api/(v[23])/predictions/([^/]+)/result")
_SHORT_RESULT = re.compile(r"/api/(v3)/predictions/(?!delete$)([^/]+)")
_SUBMIT = re.compile(r"/api/(v[23])/(?!predictions/|media/|model/|webhook/)([^/]+/.+)")


def aim_of(call: Call) -> Aim:
    """Tell what a request is for."""
    if action := _FIXED.get((call.method, call.path)):
        return Aim(action, "v3")
    if call.method == "POST" and (found := _SUBMIT.fullmatch(call.path)):
        return Aim("submit", found[1], found[2])
    if call.method == "GET":
        found = _RESULT.fullmatch(call.path) or _SHORT_RESULT.fullmatch(call.path)
        if found:
            return Aim("result", found[1], found[2])
    return Aim("unknown")


def methods_of(call: Call) -> tuple[str, ...]:
    """Name the methods that the path of a request has; none where there is no such path."""
    return tuple(
        method
        for method in ("GET", "POST")
        if aim_of(evolve(call, method=method)).action != "unknown"
    )
