"""How a request class becomes a method of the client: its fields are the method's arguments."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = ["Runs", "takes_fields_of"]

P = ParamSpec("P")


class Runs(Protocol):
    """Run a request to its end, as the client does."""

    async def run(self, request: Request, /) -> Prediction:
        """Answer the finished prediction."""
        ...


def takes_fields_of(
    request_class: Callable[P, Request],
) -> Callable[
    [Callable[[Runs, Request], Coroutine[Any, Any, Prediction]]],
    Callable[Concatenate[Runs, P], Coroutine[Any, Any, Prediction]],
]:
    """Let a method that runs a request take the request class's fields instead.

    The method has the class's own signature: no field is written twice.
    """

    def decorate(
        run: Callable[[Runs, Request], Coroutine[Any, Any, Prediction]],
    ) -> Callable[Concatenate[Runs, P], Coroutine[Any, Any, Prediction]]:
        @wraps(run)
        async def method(self: Runs, /, *args: P.args, **kwargs: P.kwargs) -> Prediction:
            return await run(self, request_class(*args, **kwargs))

        fields = inspect.signature(request_class)
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        method.__signature__ = fields.replace(  # type: ignore[attr-defined]  # inspect reads it
            parameters=[itself, *fields.parameters.values()], return_annotation="Prediction"
        )
        return method

    return decorate
