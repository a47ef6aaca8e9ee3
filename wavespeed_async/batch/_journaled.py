"""The course of an item with a journal: each step begins with what is known.

A picture that is there is handed out, one whose file is missing is fetched again, a prediction that
was submitted is asked for, a submission that is unconfirmed is looked for, and only what was never
sent is submitted.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from attrs import evolve

from wavespeed_async._codec import failure
from wavespeed_async._files import moved
from wavespeed_async._prediction import Prediction
from wavespeed_async.batch._admission import admitted
from wavespeed_async.batch._course import Taken, can_be, existing
from wavespeed_async.batch._entries import (
    as_answer,
    as_integer,
    as_text,
    from_answer,
    wanted,
    with_seed,
)
from wavespeed_async.batch._journal import Journal
from wavespeed_async.batch._restart import snapshot_of
from wavespeed_async.batch._search import LAST_LOOK, Search
from wavespeed_async.batch._store import Claim, Ended, Failed, Learned, Saved, Submitted
from wavespeed_async.batch._submissions import Submissions
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
)
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from wavespeed_async._folder import Folder
    from wavespeed_async.batch._course import Items
    from wavespeed_async.batch._journal import Group
    from wavespeed_async.batch._runner import Runner
    from wavespeed_async.batch._store import Past, Store
    from wavespeed_async.errors import JournalError

__all__ = ["Journaled"]


LEARNED_EVERY = 10.0
"""Seconds after which what was learned is written down again."""


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
        self._submissions: Submissions
        self._past: Past
        self._learned_at = time.monotonic()

    @property
    def failure(self) -> JournalError | None:
        """Why nothing more is to be sent, if the journal cannot be written."""
        return self._journal.error() if self._journal.failure is not None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the journal open, and written."""
        runner = self._runner
        journal = self._journal = Journal(
            self._store, owner=runner.owner, limits=runner.limits, identity=runner.identity
        )
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
                    self._keep_learned()
                    journal.finish()
        finally:
            await journal.close()

    def _restore(self) -> None:
        """Have the limiter know what earlier runs have left behind."""
        runner, journal = self._runner, self._journal
        per = runner.limits.per
        search = Search(
            page=runner.page,
            known=journal.known,
            digest=runner.digest,
            per=per,
            now=journal.now,
        )
        self._submissions = Submissions(runner, journal, search, resubmit=self._resubmit)
        snapshot = snapshot_of(
            self._past,
            runner.limits,
            runner.owner,
            wall=time.time(),
            steady=time.monotonic(),
            settled=time.time() + 2 * per * LAST_LOOK,
        )
        runner.restore(snapshot)
        if self._past.learned is not None:
            with suppress(
                ConfigurationError, ValueError, KeyError, TypeError
            ):  # of another version
                runner.learn(json.loads(self._past.learned))

    def _keep_learned(self) -> None:
        """Write down what was learned, so that a restart need not learn it again."""
        self._learned_at = time.monotonic()
        self._journal.put(Learned(json.dumps(self._runner.learned())))

    def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer the items, once one of them is known; a new journal takes any."""
        return admitted(items, self._journal, self._runner, is_new=self._past.is_new)

    async def take(self, index: int, item: Any) -> Taken:
        """Take an item, and ask for its entry."""
        taken = Taken(item, index)
        if can_be(item):
            if isinstance(item, Request):
                try:
                    taken.contents = await self._runner.contents(item)
                except InvalidRequestError as error:
                    taken.refusal = error
                    return taken
                taken.request = self._runner.seeded(item)
            asked = wanted(item, taken.request, taken.contents)
            taken.claim = Claim(asked, index, self._journal.now())
            taken.group = self._journal.put(taken.claim)
        return taken

    # --- to its end ------------------------------------------------------------------------------

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Bring an item to its end from wherever it stands.

        Raises:
            SubmissionUnconfirmedError: It may exist, and the API's list does not settle it.
            JournalError: The journal cannot be written: it was not submitted.
            InvalidRequestError: An image of this machine cannot be read.
        """
        if taken.refusal is not None:
            raise taken.refusal
        if taken.claim is None or taken.group is None:
            return await self._runner.resume(existing(taken.item))  # it says what is wrong
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
            assert taken.request is not None  # noqa: S101 (what is none has an id)
            resume = partial(self._resume, taken, note=submitted)
            prediction = await self._submissions.finish(
                taken.request, taken.contents, known, submitted, resume
            )
        await self._put_end(taken, prediction, None).done.wait()
        if time.monotonic() - self._learned_at > LEARNED_EVERY:
            self._keep_learned()
        return prediction

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
            payer = taken.known.payer if taken.known else None
            is_foreign = payer not in {None, self._runner.identity}
            raise _gone(error, prediction_id, submitted, is_foreign=is_foreign) from error

    def _put_end(self, taken: Taken, prediction: Prediction, error: Exception | None) -> Group:
        assert taken.known is not None  # noqa: S101 (it is known by now)
        ended = Ended(
            taken.known.entry,
            self._journal.now(),
            str(prediction.status),
            as_integer(prediction.inference_ms),
            as_answer(prediction),
            None if error is None else _words(error),
        )
        return self._journal.put(ended)

    async def _ended(self, taken: Taken, answer: str) -> Prediction:
        """Hand out a prediction that had ended before; one whose outputs are not kept, anew."""
        try:
            prediction, is_whole = from_answer(answer, taken.request)
        except (ValueError, APIResponseError):  # damaged
            return await self._fetch(taken)
        failed = failure(prediction)
        if failed is not None:
            raise failed
        if is_whole:
            return prediction
        files = await self._files(taken)
        if files is not None:
            return evolve(prediction, outputs=tuple(file.absolute().as_uri() for file in files))
        return await self._fetch(taken)

    async def _fetch(self, taken: Taken) -> Prediction:
        """Ask once more for a prediction that has ended, for its outputs."""
        known = taken.known
        assert known is not None and known.prediction is not None  # noqa: S101, PT018 (it has ended)
        return await self._resume(taken, known.prediction, known.submitted, lambda _: None)

    # --- to its files ----------------------------------------------------------------------------

    async def save(self, taken: Taken, prediction: Prediction, folder: Folder) -> tuple[Path, ...]:
        """Bring the outputs into a folder, unless they are there."""
        known = taken.known
        assert known is not None  # noqa: S101 (it has ended)
        files = await self._files(taken)
        if files is not None and all(_is_in(file, folder.path) for file in files):
            return tuple(_named_in(file, folder.path) for file in files)
        if files is not None:
            saved = await to_thread.run_sync(_copied, files, folder)
        else:
            saved = await self._fetched(taken, prediction, folder)
        paths = tuple(self._relative(path) for path in saved)
        await self._journal.put(Saved(known.entry, self._journal.now(), paths)).done.wait()
        return tuple(saved)

    async def _fetched(self, taken: Taken, prediction: Prediction, folder: Folder) -> list[Path]:
        assert taken.known is not None  # noqa: S101 (it has ended)
        try:
            return await self._runner.save(prediction, folder, taken.index)
        except APIStatusError:
            if taken.known.answer is None:
                raise
        # It ended in an earlier run: the addresses may have changed, or it is gone.
        return await self._runner.save(await self._fetch(taken), folder, taken.index)

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


def _is_in(file: Path, folder: Path) -> bool:
    """Tell by the names alone; nothing is asked of the disk."""
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 (pure, unlike resolve)


def _named_in(file: Path, folder: Path) -> Path:
    return folder / os.path.relpath(file, folder)


def _are_there(files: list[Path]) -> bool:
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def _copied(files: list[Path], folder: Folder) -> list[Path]:
    """Copy what an earlier run has saved elsewhere; each file whole or not at all."""
    folder.path.mkdir(parents=True, exist_ok=True)
    copies = []
    for file in files:
        part = folder.path / f".{file.name}.{secrets.token_hex(4)}.part"
        try:
            shutil.copyfile(file, part)
            copies.append(moved(part, folder.path / file.name, folder.existing == "replace"))
        finally:
            part.unlink(missing_ok=True)
    return copies


def _words(error: Exception) -> str:
    text = as_text(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _gone(
    error: NotFoundError, prediction_id: str, submitted: float | None, *, is_foreign: bool
) -> NotFoundError:
    when = (
        "" if submitted is None else time.strftime(", submitted %Y-%m-%d,", time.gmtime(submitted))
    )
    why = "is gone: the API keeps them for 7 days"
    if is_foreign:
        why = "is not there: it was submitted with another key, or to another address; look there"
    text = f"prediction {prediction_id}{when} {why} ({error})"
    return NotFoundError(
        text, status_code=error.status_code, code=error.code, prediction_id=prediction_id
    )
