"""The run of a batch: requests in, outcomes out as they end, failures among them.

One task feeds: it takes the next item as soon as fewer than the bound are under way, and starts a
task for it. Each of these submits, waits, saves if asked to, and ends as an outcome: nothing that
it raises touches another. What is under way or not yet taken by the reader is bounded, so that an
input of any length needs the same memory, and a slow reader slows the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

import anyio
from anyio.lowlevel import checkpoint

from wavespeed_async._prediction import Outcome, Prediction
from wavespeed_async.errors import ConfigurationError, PredictionError, WaveSpeedError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from anyio.abc import TaskGroup

    from wavespeed_async._folder import Folder
    from wavespeed_async.batch._cost import Budget
    from wavespeed_async.batch._course import Course, Items, Taken
    from wavespeed_async.batch._order import Price

__all__ = ["Outcomes"]

AT_ONCE = 8
"""Predictions whose outputs are fetched at once."""


class Outcomes(AsyncIterator[Outcome]):
    """Run a batch for as long as its block lasts; iterate over its outcomes as they end.

    Leaving the block early cancels what has not been submitted; the outcomes that had come by then
    can still be read after it. An exception of the block's body passes through as it is. Input that
    raises ends the run, as a journal does that cannot be written: what is under way still ends
    first, then the iteration raises it.
    """

    def __init__(
        self,
        course: Course,
        items: Items,
        *,
        width: int,
        save_to: Folder | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._course = course
        self._items = items
        self._save_to = save_to
        self._budget = budget
        self._bound = 2 * width + 1
        self._under_way = 0
        self._running: dict[int, Prediction] = {}
        self._ended: deque[Outcome] = deque()
        self._input_over = False
        self._input_error: Exception | None = None
        self._told = False
        self._group: TaskGroup
        self._around: AbstractAsyncContextManager[None]
        self._entered = self._left = False
        self._changed = anyio.Event()

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the predictions of this batch that were submitted and still run."""
        return tuple(prediction.id for prediction in self._running.values())

    @property
    def prices(self) -> tuple[Price, ...]:
        """What the kinds of its requests cost: known where it may only cost so much."""
        return self._budget.prices.known if self._budget else ()

    async def __aenter__(self) -> Self:
        if self._entered:
            message = "a batch runs once: call client.batch(…) again"
            raise ConfigurationError(message)
        self._entered = True
        self._around = self._course.running()
        await self._around.__aenter__()
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._feed, self._group)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The tasks raise nothing, so that closing the group brings no group of exceptions; what
        # the body raised stays out of it and goes on by itself.
        self._left = True
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            await self._around.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        if not self._entered:
            message = "enter the batch first: async with client.batch(…) as outcomes"
            raise ConfigurationError(message)
        while not self._ended:
            if self._left or (self._input_over and self._under_way == 0):
                raise self._last_word() or StopAsyncIteration
            await self._change()
        self._under_way -= 1
        self._tell()
        return self._ended.popleft()

    def _last_word(self) -> Exception | None:
        """Answer, once, what ended the run before its input was done."""
        error = None if self._told else self._input_error or self._course.failure
        self._told = True
        return error

    # --- the tasks -------------------------------------------------------------------------------

    async def _feed(self, group: TaskGroup) -> None:
        index = 0
        saving = anyio.CapacityLimiter(AT_ONCE)
        try:
            admitted = self._course.admitted(self._items)
            within = self._budget.within(admitted) if self._budget else admitted
            async with aclosing(within) as items:
                async for item in items:
                    if self._course.failure is not None:
                        break
                    self._under_way += 1
                    taken = await self._course.take(index, item)
                    group.start_soon(self._run, index, taken, saving)
                    index += 1
                    await checkpoint()  # one at a time: thousands at once would stall the loop
                    while self._under_way >= self._bound:
                        await self._change()
        except Exception as error:  # noqa: BLE001 (the reader gets it, after what is under way)
            self._input_error = error
        self._input_over = True
        self._tell()

    async def _run(self, index: int, taken: Taken, saving: anyio.CapacityLimiter) -> None:
        prediction: Prediction | None = None
        paths: tuple[Path, ...] = ()
        failure: Exception | None = None
        try:
            prediction = await self._finish(index, taken)
            if self._save_to is not None:
                async with saving:
                    paths = await self._course.save(taken, prediction, self._save_to)
        except Exception as error:  # noqa: BLE001 (a failure is a value here)
            failure = error
            if prediction is None:
                prediction = self._seen(index, error)
            self._course.failed(taken, error)
        except BaseException:
            if prediction is not None:  # it was paid for: whoever reads on learns of it
                self._ended.append(_unsaved(index, prediction))
            raise
        outcome = Outcome(
            index=index,
            request=prediction.request if prediction and prediction.request else taken.request,
            prediction=prediction,
            error=failure,
            paths=paths,
        )
        self._ended.append(outcome)
        self._tell()

    async def _finish(self, index: int, taken: Taken) -> Prediction:
        def note(prediction: Prediction) -> None:
            self._running[index] = prediction

        prediction = await self._course.finish(taken, note)
        self._running.pop(index, None)
        return prediction

    def _seen(self, index: int, error: Exception) -> Prediction | None:
        """Find the prediction of a failure, and forget it as running where it has ended."""
        seen = self._running.get(index)
        if isinstance(error, PredictionError) and error.prediction is not None:
            seen = error.prediction
        if seen is not None and seen.status.ended:
            self._running.pop(index, None)
        return seen

    # --- who waits for whom ----------------------------------------------------------------------

    def _tell(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()


def _unsaved(index: int, prediction: Prediction) -> Outcome:
    message = f"the batch was left before the pictures of {prediction.id} were saved"
    error = WaveSpeedError(message, prediction_id=prediction.id)
    return Outcome(index=index, request=prediction.request, prediction=prediction, error=error)
