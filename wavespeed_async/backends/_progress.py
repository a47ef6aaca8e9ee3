"""The progress of predictions for somebody who watches: queued, submitted, running, and their end.

Each prediction is one task that runs or waits as any caller does, so it has the same limits,
deadlines and errors; it listens to what its own calls tell. Who stops watching cancels these tasks:
what has not been submitted never is, what runs goes on and is found again by its id.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import anyio
from attrs import field, frozen

from wavespeed_async._events import PredictionPolled, PredictionSubmitted, listening
from wavespeed_async._prediction import Prediction
from wavespeed_async.backends._problems import Problem, problem_of, tell
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.models import Request

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from wavespeed_async._client import AsyncWaveSpeed
    from wavespeed_async._events import Event

__all__ = ["PING", "SEND_TIMEOUT", "Item", "Progress", "Step", "check_method"]

PING = 15.0
"""Seconds between the comments that keep an idle stream open through proxies."""
SEND_TIMEOUT = 60.0
"""Seconds after which somebody who takes nothing any more is given up."""

Item: TypeAlias = Request | Prediction | str
"""What can be watched: a request that is to be run, or a prediction or id that runs already."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@frozen(kw_only=True)
class Step:
    """Hold one step of one prediction.

    Attributes:
        name: `queued` is left out of what was submitted before; `running` comes with the first
            poll of this watcher that finds it unfinished, so that a quick prediction may do
            without; `finished` and `failed` are the last ones.
        index: The item's number, from 0.
        prediction: As it is known now; None while it is queued.
        problem: What a visitor is told of a failure.
    """

    name: Literal["queued", "submitted", "running", "finished", "failed"]
    index: int = 0
    prediction: Prediction | None = None
    problem: Problem | None = None

    def content(self) -> dict[str, Any]:
        """Answer what a visitor is told: of a failure, the members of its problem."""
        told: dict[str, Any] = {"index": self.index}
        if self.prediction is not None:
            told |= {"id": self.prediction.id, "status": str(self.prediction.status)}
        if self.prediction is not None and self.name == "finished":
            told |= _made(self.prediction)
        return told if self.problem is None else {**told, **self.problem.content()}

    def text(self) -> str:
        """Write that as JSON, in one line."""
        return json.dumps(self.content(), allow_nan=False)


def _made(prediction: Prediction) -> dict[str, Any]:
    return {
        "model": prediction.model,
        "outputs": list(prediction.outputs),
        "has_nsfw_contents": list(prediction.has_nsfw_contents),
        "inference_ms": prediction.inference_ms,
        "seed": getattr(prediction.request, "seed", None),
    }


@frozen
class _Watched:
    """Turn what one item's calls tell into its steps."""

    index: int
    send: MemoryObjectSendStream[Step]
    known: dict[str, Prediction] = field(factory=dict)
    told: set[str] = field(factory=set)

    def hear(self, event: Event) -> None:
        """Hear an event; other predictions' are of no interest."""
        if isinstance(event, PredictionSubmitted):
            self.known[event.prediction.id] = event.prediction
            self.step("submitted", event.prediction)
        elif isinstance(event, PredictionPolled):
            seen = event.prediction
            if seen.id in self.known and not seen.status.ended and "running" not in self.told:
                self.step("running", seen)

    def step(
        self,
        name: Literal["queued", "submitted", "running", "finished", "failed"],
        prediction: Prediction | None = None,
        problem: Problem | None = None,
    ) -> None:
        """Tell a step."""
        self.told.add(name)
        step = Step(name=name, index=self.index, prediction=prediction, problem=problem)
        self.send.send_nowait(step)  # the buffer has no bound: each item has five steps at most


class Progress(AsyncIterator[Step]):
    """Run and watch predictions for as long as its block lasts; iterate over their steps.

    It ends after the last item's last step. A failure is a step; nothing but the block's own body
    raises. Leaving the block early ends the waits, as cancelling a call does.

    Args:
        client: Makes them, with its own timeout and priority.
        items: Requests, and predictions or ids that run already.
    """

    def __init__(self, client: AsyncWaveSpeed, *items: Item) -> None:
        self._client = client
        self._items = items
        self._group: TaskGroup
        self._steps: MemoryObjectReceiveStream[Step]

    async def __aenter__(self) -> Self:
        send, self._steps = anyio.create_memory_object_stream[Step](math.inf)
        self._group = await anyio.create_task_group().__aenter__()
        with send:
            for index, item in enumerate(self._items):
                self._group.start_soon(self._follow, item, _Watched(index, send.clone()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The tasks raise nothing; what the body raised stays out of the group and goes on as it is.
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            self._steps.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Step:
        try:
            return await self._steps.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def _follow(self, item: Item, watched: _Watched) -> None:
        with watched.send, listening(watched.hear):
            try:
                prediction = await self._finish(item, watched)
            except Exception as error:  # noqa: BLE001 (a failure is a step here)
                problem = problem_of(error, self._client.limiter)
                tell(error, problem)
                watched.step("failed", getattr(error, "prediction", None), problem)
            else:
                watched.step("finished", prediction)

    async def _finish(self, item: Item, watched: _Watched) -> Prediction:
        if isinstance(item, Request):
            watched.step("queued")
            return await self._client.run(item)
        known = item if isinstance(item, Prediction) else Prediction(id=item)
        watched.known[known.id] = known
        watched.step("submitted", known)
        return await self._client.wait(item)


def check_method(method: str, items: tuple[Item, ...]) -> None:
    """Refuse to submit on a GET: a browser's EventSource sends it again whenever it is cut off.

    Raises:
        ConfigurationError: There is a request among the items, and the method may be repeated.
    """
    if method.upper() in SAFE_METHODS and any(isinstance(item, Request) for item in items):
        message = (
            f"a stream that submits a request cannot be asked for by {method}: what is cut off is "
            f"sent again, and would be paid for again; take orders by POST, and give EventSource "
            f"the streams of predictions by their ids"
        )
        raise ConfigurationError(message)
