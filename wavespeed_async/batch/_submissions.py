"""Submissions with a journal: each is sent once, and one whose answer was lost is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wavespeed_async._events import SubmissionFound, SubmissionUnconfirmed
from wavespeed_async._prediction import Prediction
from wavespeed_async.batch._journal import EntryMark
from wavespeed_async.batch._search import Absent, Found, Several, Unseen
from wavespeed_async.batch._store import Missed
from wavespeed_async.errors import SubmissionUnconfirmedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from wavespeed_async._contents import Content
    from wavespeed_async.batch._entries import Known
    from wavespeed_async.batch._journal import Journal
    from wavespeed_async.batch._runner import Runner
    from wavespeed_async.batch._search import Search
    from wavespeed_async.models._images import LocalImage
    from wavespeed_async.models._request import Request

__all__ = ["Submissions"]

TRIES = 3
"""How often a submission is sent that each time proves absent, where that is asked for."""


class Submissions:
    """Submit the requests of a journal's entries.

    Args:
        runner: The client.
        journal: Where each submission is written down before it leaves.
        search: Looks for those whose answer was lost.
        resubmit: Whether to submit again what the API's list does not have.
    """

    def __init__(self, runner: Runner, journal: Journal, search: Search, *, resubmit: bool) -> None:
        self._runner = runner
        self._journal = journal
        self._search = search
        self._resubmit = resubmit

    async def finish(
        self,
        request: Request,
        contents: Mapping[LocalImage, Content],
        known: Known,
        submitted: Callable[[Prediction], object],
        resume: Callable[[str, float], Awaitable[Prediction]],
    ) -> Prediction:
        """Submit a request, or find what became of its submission, and wait for its end.

        Args:
            request: With its seed.
            contents: What its images of this machine are.
            known: What the journal knows of its entry.
            submitted: Is told its prediction as soon as the id is known.
            resume: Waits for a prediction that was found; it takes the id, and when it was sent.

        Raises:
            SubmissionUnconfirmedError: It may exist, and the API's list does not settle it.
        """
        mark = EntryMark(self._journal, known.entry)
        lost: SubmissionUnconfirmedError | None = None
        if known.intended is not None:
            mark.sent = known.intended
            lost = _interrupted(request)
            self._runner.tell(SubmissionUnconfirmed(request=request))
        is_foreign = lost is not None and known.payer != self._runner.identity
        for _ in range(TRIES):
            if lost is None:
                is_foreign = False
                try:
                    return await self._submit(request, contents, submitted, mark)
                except SubmissionUnconfirmedError as error:
                    lost = error
            found = await self._look(request, contents, mark, lost, is_foreign=is_foreign)
            if found is not None:
                self._runner.tell(SubmissionFound(prediction=found))
                return await resume(found.id, mark.sent)
            lost = None
        return await self._submit(request, contents, submitted, mark)

    async def _submit(
        self,
        request: Request,
        contents: Mapping[LocalImage, Content],
        submitted: Callable[[Prediction], object],
        mark: EntryMark,
    ) -> Prediction:
        def note(prediction: Prediction) -> None:
            submitted(prediction)
            self._search.left(mark)

        self._search.leaves(mark, request, contents)
        try:
            return await self._runner.submit_and_wait(request, note, mark)
        finally:
            self._search.left(mark)

    async def _look(
        self,
        request: Request,
        contents: Mapping[LocalImage, Content],
        mark: EntryMark,
        lost: SubmissionUnconfirmedError,
        *,
        is_foreign: bool,
    ) -> Prediction | None:
        """Look for a submission: its prediction, or None where it is to be submitted again.

        Raises:
            SubmissionUnconfirmedError: Neither.
        """
        finding = await self._search.find(request, mark.sent, contents)
        if isinstance(finding, Absent) and is_foreign:
            finding = Unseen("it was submitted with another key, or to another address: look there")
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
