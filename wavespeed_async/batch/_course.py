"""What one item of a batch goes through, with a journal and without.

With one, each step begins with what is known: a picture that is there is handed out, one whose
file is missing is fetched again, a prediction that was submitted is asked for, a submission that
is unconfirmed is looked for, and only what was never sent is submitted.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio
from anyio import to_thread
from attrs import define, evolve

from wavespeed_async._codec import decode_id, failure
from wavespeed_async._events import SubmissionFound, SubmissionUnconfirmed
from wavespeed_async._prediction import Prediction
from wavespeed_async.batch._entries import as_answer, from_answer, wanted, with_seed
from wavespeed_async.batch._journal import (
    Claim,
    Ended,
    EntryMark,
    Failed,
    Journal,
    Missed,
    Saved,
    Submitted,
)
from wavespeed_async.batch._restart import snapshot_of
from wavespeed_async.batch._search import LAST_LOOK, Absent, Found, Search, Several, Unseen
from wavespeed_async.errors import (
    APIStatusError,
    ConfigurationError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    SubmissionUnconfirmedError,
)
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from wavespeed_async._calls import Mark, Recorder
    from wavespeed_async._events import Event
    from wavespeed_async.batch._entries import Known
    from wavespeed_async.batch._journal import Past, Store, _Group
    from wavespeed_async.limits import Limits, Slot

__all__ = ["Course", "Items", "Journaled", "Plain", "Runner", "each"]

Items: TypeAlias = Iterable[Request | Prediction | str] | AsyncIterable[Request | Prediction | str]

LOOK_AHEAD = 10_000
LOOK_AHEAD_SECONDS = 2.0
"""How far an input is read for a request that the journal knows, before anything is sent: so many
items, or of an async iterable, which may come slowly, for so long."""
CHUNK = 100
"""How many of them are looked up at once."""
TRIES = 3
"""How often a submission is sent that each time proves absent, where that is asked for."""


class Runner(Protocol):
    """What a batch needs of a client."""

    @property
    def width(self) -> int:
        """How many predictions may run at once."""
        ...

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        ...

    @property
    def owner(self) -> str:
        """A name for its limiter, as long as that lives."""
        ...

    def seeded(self, request: Request) -> Request:
        """Draw a seed that is left open, where the client draws them."""
        ...

    async def submit_and_wait(
        self,
        request: Request,
        submitted: Callable[[Prediction], object],
        mark: Mark | None = None,
    ) -> Prediction:
        """Submit a request and wait for its end; tell its id as soon as it is known."""
        ...

    async def resume(self, prediction: Prediction) -> Prediction:
        """Wait for the end of a prediction that runs already."""
        ...

    async def save(self, prediction: Prediction, directory: str | os.PathLike[str]) -> list[Path]:
        """Write its outputs into a folder."""
        ...

    async def page(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask for one page of the API's list of predictions."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Have the limiter count what an earlier process did."""
        ...

    def occupy(self, slot: Slot | None, prediction_id: str) -> None:
        """Have a prediction that was found hold a slot: the one of its submission, if known."""
        ...

    def vacate(self, slot: Slot | None) -> None:
        """Give back the slot of a submission that made nothing."""
        ...

    def tell(self, event: Event) -> None:
        """Tell the observer what happened."""
        ...

    @property
    def recorders(self) -> list[Recorder]:
        """Who writes down what the client sends."""
        ...


@define(eq=False)
class Taken:
    """Hold an item that was taken from the input, and how far it has come.

    Attributes:
        item: The request, prediction or id; or what is none.
        request: The request with its seed.
        claim: The question for its entry.
        group: When that will be answered.
        known: The answer.
    """

    item: Any
    request: Request | None = None
    claim: Claim | None = None
    group: _Group | None = None
    known: Known | None = None


class Course(Protocol):
    """Take items through a batch."""

    @property
    def failure(self) -> JournalError | None:
        """Why nothing more is to be sent, if so."""
        ...

    def running(self) -> Any:
        """Answer the context in which items are taken."""
        ...

    def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer the items that may be taken."""
        ...

    def take(self, index: int, item: Any) -> Taken:
        """Take an item, in the order of the input."""
        ...

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Bring it to its end; tell a prediction as soon as it is known."""
        ...

    async def save(
        self, taken: Taken, prediction: Prediction, directory: str | os.PathLike[str]
    ) -> tuple[Path, ...]:
        """Bring its outputs into a folder."""
        ...

    def failed(self, taken: Taken, error: Exception) -> None:
        """Hear why it has no picture."""
        ...


class Plain:
    """Take items through a batch without a journal."""

    failure: JournalError | None = None

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do nothing about it."""
        yield

    def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer all items."""
        return each(items)

    def take(self, index: int, item: Any) -> Taken:  # noqa: ARG002 (the journal's needs it)
        """Take an item."""
        return Taken(item, request=item if isinstance(item, Request) else None)

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Submit a request, or resume a prediction, and wait for its end."""
        if taken.request is not None:
            return await self._runner.submit_and_wait(taken.request, note)
        known = _existing(taken.item)
        note(known)
        return await self._runner.resume(known)

    async def save(
        self,
        taken: Taken,  # noqa: ARG002 (the journal's needs it)
        prediction: Prediction,
        directory: str | os.PathLike[str],
    ) -> tuple[Path, ...]:
        """Write its outputs."""
        return tuple(await self._runner.save(prediction, directory))

    def failed(self, taken: Taken, error: Exception) -> None:
        """Do nothing about it."""


class Journaled:
    """Take items through a batch with a journal.

    Args:
        runner: The client.
        store: Where the journal is kept.
        folder: Where the journal is: paths inside of it are kept relative to it.
        resubmit: Whether to submit again what the API's list does not have.
    """

    def __init__(
        self,
        runner: Runner,
        store: Store,
        folder: Path,
        *,
        resubmit: bool = False,
    ) -> None:
        self._runner = runner
        self._folder = folder
        self._resubmit = resubmit
        self._store = store
        self._journal: Journal
        self._search: Search
        self._past: Past

    @property
    def failure(self) -> JournalError | None:
        """Why nothing more is to be sent, if the journal cannot be written."""
        return self._journal.error() if self._journal.failure is not None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the journal open, and written."""
        runner = self._runner
        journal = self._journal = Journal(self._store, owner=runner.owner, limits=runner.limits)
        with anyio.CancelScope(shield=True):
            self._past = await journal.open()
        try:
            self._restore()
            async with anyio.create_task_group() as group:
                group.start_soon(journal.keep_writing)
                runner.recorders.append(journal)
                try:
                    yield
                finally:
                    runner.recorders.remove(journal)
                    journal.finish()
        finally:
            await journal.close()

    def _restore(self) -> None:
        """Have the limiter know what earlier runs have left behind."""
        runner, journal = self._runner, self._journal
        per = runner.limits.per
        self._search = Search(page=runner.page, known=journal.known, per=per, now=journal.now)
        snapshot = snapshot_of(
            self._past,
            runner.limits,
            runner.owner,
            wall=time.time(),
            steady=time.monotonic(),
            settled=time.time() + 2 * per * LAST_LOOK,
        )
        runner.restore(snapshot)

    async def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer the items, once one of them is known; a new journal takes any.

        Raises:
            ConfigurationError: The journal knows none of them.
        """
        until = anyio.current_time() + LOOK_AHEAD_SECONDS
        is_slow = isinstance(items, AsyncIterable)
        is_open = self._past.is_new
        ahead: list[Any] = []
        async with aclosing(each(items)) as given:
            while not is_open:
                chunk = [item async for item in _first(given, 1 if is_slow else CHUNK)]
                if not chunk or len(ahead) >= LOOK_AHEAD:
                    break
                ahead += chunk
                is_open = await self._know_any(chunk)
                is_open |= is_slow and anyio.current_time() > until
            if ahead and not is_open:
                raise _strange()
            for item in ahead:
                yield item
            del ahead
            async for item in given:
                yield item

    async def _know_any(self, items: list[Any]) -> bool:
        return await self._journal.knows([wanted(item).digest for item in items if _can_be(item)])

    def take(self, index: int, item: Any) -> Taken:
        """Take an item, and ask for its entry."""
        taken = Taken(item)
        if _can_be(item):
            if isinstance(item, Request):
                taken.request = self._runner.seeded(item)
            taken.claim = Claim(wanted(item, taken.request), index, self._journal.now())
            taken.group = self._journal.put(taken.claim)
        return taken

    # --- to its end ------------------------------------------------------------------------------

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Bring an item to its end from wherever it stands.

        Raises:
            SubmissionUnconfirmedError: It may exist, and the API's list does not settle it.
            JournalError: The journal cannot be written: it was not submitted.
        """
        if taken.claim is None or taken.group is None:
            return await self._runner.resume(_existing(taken.item))  # it says what is wrong
        await self._journal.until(taken.group)
        known = taken.known = taken.claim.known
        assert known is not None  # noqa: S101 (it was written)
        if isinstance(taken.item, Request) and known.seed != taken.claim.wanted.seed:
            taken.request = with_seed(taken.item, known.seed)
        if known.answer is not None:
            return await self._ended(taken, known.answer)

        def submitted(prediction: Prediction) -> None:
            now = self._journal.now()
            self._journal.put(Submitted(known.entry, now, prediction.id), durable=True)
            note(prediction)

        if known.prediction is not None:
            prediction = await self._resume(taken, known.prediction, known.submitted, note)
        else:
            prediction = await self._submit(taken, known, submitted)
        await self._put_end(taken, prediction, None).done.wait()
        return prediction

    async def _submit(
        self, taken: Taken, known: Known, submitted: Callable[[Prediction], object]
    ) -> Prediction:
        """Submit a request, or find what became of its submission, and wait for its end."""
        request = taken.request
        assert request is not None  # noqa: S101 (what is none has an id)
        mark = EntryMark(self._journal, known.entry)
        lost: SubmissionUnconfirmedError | None = None
        if known.intended is not None:
            mark.sent = known.intended
            lost = _interrupted(request)
            self._runner.tell(SubmissionUnconfirmed(request=request))
        for _ in range(TRIES):
            if lost is None:
                try:
                    return await self._runner.submit_and_wait(request, submitted, mark)
                except SubmissionUnconfirmedError as error:
                    lost = error
            found = await self._look(request, mark, lost)
            if found is not None:
                self._runner.tell(SubmissionFound(prediction=found))
                return await self._resume(taken, found.id, mark.sent, submitted)
            lost = None
        return await self._runner.submit_and_wait(request, submitted, mark)

    async def _look(
        self, request: Request, mark: EntryMark, lost: SubmissionUnconfirmedError
    ) -> Prediction | None:
        """Look for a submission: its prediction, or None where it is to be submitted again.

        Raises:
            SubmissionUnconfirmedError: Neither.
        """
        finding = await self._search.find(request, mark.sent)
        slot, mark.slot = mark.slot, None
        if isinstance(finding, Found):
            self._runner.occupy(slot, finding.prediction)
            return Prediction(id=finding.prediction, model=request.model, request=request)
        if isinstance(finding, Absent):
            self._runner.vacate(slot)
            self._journal.put(Missed(mark.entry, self._journal.now()))
            if self._resubmit:
                mark.withdrawn()
                return None
        raise _unconfirmed(lost, finding)

    async def _resume(
        self,
        taken: Taken,
        prediction_id: str,
        submitted: float | None,
        note: Callable[[Prediction], object],
    ) -> Prediction:
        """Wait for a prediction that an earlier run, or somebody else, has submitted."""
        known = taken.item if isinstance(taken.item, Prediction) else None
        if known is None:
            model = taken.request.model if taken.request else ""
            known = Prediction(id=prediction_id, model=model, request=taken.request)
        note(known)
        try:
            return await self._runner.resume(known)
        except NotFoundError as error:
            raise _gone(error, prediction_id, submitted) from error

    def _put_end(self, taken: Taken, prediction: Prediction, error: Exception | None) -> _Group:
        assert taken.known is not None  # noqa: S101 (it is known by now)
        ended = Ended(
            taken.known.entry,
            self._journal.now(),
            str(prediction.status),
            prediction.inference_ms,
            as_answer(prediction),
            None if error is None else _words(error),
        )
        return self._journal.put(ended)

    async def _ended(self, taken: Taken, answer: str) -> Prediction:
        """Hand out a prediction that had ended before; one whose outputs are not kept, anew."""
        prediction, is_whole = from_answer(answer, taken.request)
        failed = failure(prediction)
        if failed is not None:
            raise failed
        if is_whole:
            return prediction
        files = await self._files(taken)
        if files is not None:
            return evolve(prediction, outputs=tuple(file.absolute().as_uri() for file in files))
        return await self._fetch(taken, prediction)

    async def _fetch(self, taken: Taken, prediction: Prediction) -> Prediction:
        """Ask once more for a prediction that has ended, for its outputs."""
        assert taken.known is not None  # noqa: S101 (it has ended)
        running = Prediction(id=prediction.id, model=prediction.model, request=taken.request)
        try:
            return await self._runner.resume(running)
        except NotFoundError as error:
            raise _gone(error, prediction.id, taken.known.submitted) from error

    # --- to its files ----------------------------------------------------------------------------

    async def save(
        self, taken: Taken, prediction: Prediction, directory: str | os.PathLike[str]
    ) -> tuple[Path, ...]:
        """Bring the outputs into a folder, unless they are there."""
        known = taken.known
        assert known is not None  # noqa: S101 (it has ended)
        folder = Path(directory)
        files = await self._files(taken)
        if files is not None and all(_is_in(file, folder) for file in files):
            return tuple(folder / file.name for file in files)
        try:
            saved = await self._runner.save(prediction, folder)
        except APIStatusError:
            if known.answer is None:
                raise
            # It ended in an earlier run: the addresses may have changed, or it is gone.
            saved = await self._runner.save(await self._fetch(taken, prediction), folder)
        paths = tuple(self._relative(path) for path in saved)
        await self._journal.put(Saved(known.entry, self._journal.now(), paths)).done.wait()
        return tuple(saved)

    async def _files(self, taken: Taken) -> list[Path] | None:
        """Answer the files of an earlier run, if all of them are there."""
        if taken.known is None or taken.known.paths is None:
            return None
        files = [self._folder / path for path in taken.known.paths]
        return files if await to_thread.run_sync(partial(_are_there, files)) else None

    def _relative(self, path: Path) -> str:
        found = path.absolute()
        folder = self._folder.absolute()
        return str(found.relative_to(folder) if found.is_relative_to(folder) else found)

    def failed(self, taken: Taken, error: Exception) -> None:
        """Note why an item has no picture; how a prediction ended is kept."""
        if taken.known is None:
            return
        prediction = getattr(error, "prediction", None)
        if isinstance(prediction, Prediction) and prediction.status.ended:
            if taken.known.answer is None:
                self._put_end(taken, prediction, error)
            return
        self._journal.put(Failed(taken.known.entry, self._journal.now(), _words(error)))


def _strange() -> ConfigurationError:
    message = (
        "the journal is of other requests: none of these is in it. Name another file (in the "
        "command line: another folder) for them, or ask for the earlier ones as well"
    )
    return ConfigurationError(message)


def _can_be(item: object) -> bool:
    """Tell whether an item can be asked for: a request, or what has an id that can be one."""
    if isinstance(item, Prediction):
        item = item.id
    return isinstance(item, Request) or decode_id({"id": item}) is not None


async def _first(items: AsyncGenerator[Any, None], count: int) -> AsyncIterator[Any]:
    """Take some of what is left, without closing it."""
    for _ in range(count):
        item = await anext(items, _END)
        if item is _END:
            return
        yield item


_END = object()


async def each(items: Items) -> AsyncGenerator[Any, None]:
    """Iterate over either kind of iterable; an async generator is closed in any case."""
    if not isinstance(items, AsyncIterable):
        for item in items:
            yield item
        return
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _existing(item: Any) -> Prediction:
    """Take a prediction, or an id.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(item, Prediction):
        return item
    if isinstance(item, str):
        return Prediction(id=item)
    allowed = "a request, a prediction or an id"
    raise InvalidRequestError.of(owner="batch", field="an item", value=item, allowed=allowed)


def _is_in(file: Path, folder: Path) -> bool:
    """Tell by the names alone; nothing is asked of the disk."""
    return os.path.abspath(file.parent) == os.path.abspath(folder)  # noqa: PTH100 (pure, unlike resolve)


def _are_there(files: list[Path]) -> bool:
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _interrupted(request: Request) -> SubmissionUnconfirmedError:
    text = (
        f"the submission of {request.model} may exist and be billed: an earlier run ended before "
        f"its answer came"
    )
    return SubmissionUnconfirmedError(text, request=request)


def _unconfirmed(
    lost: SubmissionUnconfirmedError, finding: Absent | Several | Unseen
) -> SubmissionUnconfirmedError:
    if isinstance(finding, Absent):
        found = "the API's list does not have it"
    elif isinstance(finding, Several):
        found = f"the API's list has several of its kind: {', '.join(finding.predictions)}"
    else:
        found = finding.reason
    absent = isinstance(finding, Absent)
    text = f"{lost}; {found}"
    error = SubmissionUnconfirmedError(text, request=lost.request, absent=absent)
    error.__cause__ = lost.__cause__
    return error


def _gone(error: NotFoundError, prediction_id: str, submitted: float | None) -> NotFoundError:
    when = (
        "" if submitted is None else time.strftime(", submitted %Y-%m-%d,", time.gmtime(submitted))
    )
    text = f"prediction {prediction_id}{when} is gone: the API keeps them for 7 days ({error})"
    return NotFoundError(
        text, status_code=error.status_code, code=error.code, prediction_id=prediction_id
    )
