"""Submissions whose answer never came: looked for in the API's list of predictions.

A submission is known again by its model and its inputs. With a seed, which is drawn from two
thousand million, these are one of a kind; without one only what was created about when it was sent
counts. What the journal knows as another request's prediction is never taken.

An image of this machine was uploaded to an address that nobody knows any more. It is known again by
its digest: what the list names instead is fetched and digested.

It may still be on its way, or not yet be in the list. So it is looked for three times, the last one
when it has had a sixth of `per` (10 s of a minute) to arrive, or has had them long ago; only then
it is called absent. Where more of its kind are found than are missing, none of them is taken: whose
they are is not known here.

Assumed: that this machine's clock and the API's differ by less than `CLOCKS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
from attrs import Factory, define, field, frozen

from wavespeed_async._codec import decode_id, encode_request
from wavespeed_async._contents import Content
from wavespeed_async.batch._entries import is_kept
from wavespeed_async.errors import WaveSpeedError
from wavespeed_async.models._images import Inline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from wavespeed_async.batch._journal import EntryMark
    from wavespeed_async.models._images import LocalImage
    from wavespeed_async.models._request import Request

__all__ = [
    "LAST_LOOK",
    "Absent",
    "Finding",
    "Found",
    "Missing",
    "Search",
    "Several",
    "Unseen",
    "matched",
]

LOOKS = (1 / 60, 1 / 20, 1 / 6)
"""When to look, after a submission left, as shares of `per`: 1, 3 and 10 s of a minute."""
LAST_LOOK = LOOKS[-1]
CLOCKS = 2 * 3600.0
"""Seconds by which clocks may differ."""
ABOUT_THEN = (-60.0, 120.0)
"""When a submission without a seed may have been created, in seconds from its sending."""
KEPT = 7 * 24 * 3600.0
"""Seconds that the API keeps predictions."""
PAGE_SIZE = 100
MOST_PAGES = 200
_INLINE = object()
"""What stands for an image that was sent as base64."""


@define(eq=False)
class Missing:
    """Hold a submission that is looked for.

    Attributes:
        request: What was sent.
        sent: When, in Unix seconds.
        contents: What its images of this machine are.
        fields: The same as the API had them, with a `Content` for each of those.
    """

    request: Request
    sent: float
    contents: Mapping[LocalImage, Content] = field(factory=dict)
    fields: Mapping[str, Any] = field(
        init=False, default=Factory(lambda self: self._fields(), takes_self=True)
    )

    def _fields(self) -> Mapping[str, Any]:
        def stand_in(image: LocalImage) -> object:
            return _INLINE if isinstance(image, Inline) else self.contents[image]

        return encode_request(self.request, stand_in)

    @property
    def is_unique(self) -> bool:
        """Whether no other request has these inputs."""
        seed = self.fields.get("seed")
        return isinstance(seed, int) and seed >= 0


@frozen
class Found:
    """Say which prediction it is."""

    prediction: str


@frozen
class Absent:
    """Say that it is not in the list."""


@frozen
class Several:
    """Say that more of its kind are in the list than are missing."""

    predictions: tuple[str, ...]


@frozen
class Unseen:
    """Say why the list tells nothing."""

    reason: str


Finding = Found | Absent | Several | Unseen


class Search:
    """Look for submissions, for all that are missing at once.

    Args:
        page: Answers one page of the list.
        known: Tells which ids belong to other requests.
        digest: Tells the digest of what is at an address.
        per: Length of the limiter's window, by which the looks are timed.
        now: Tells the time, in Unix seconds.
    """

    def __init__(
        self,
        *,
        page: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]],
        known: Callable[[Sequence[str]], Awaitable[set[str]]],
        digest: Callable[[str], Awaitable[str]],
        per: float,
        now: Callable[[], float],
    ) -> None:
        self._page = page
        self._known = known
        self._digest = digest
        self._digests: dict[str, str] = {}
        self._per = per
        self._now = now
        self._missing: set[Missing] = set()
        self._leaving: dict[EntryMark, tuple[Request, Mapping[LocalImage, Content]]] = {}
        self._taken: set[str] = set()
        self._findings: dict[Missing, Finding] = {}
        self._looked = -1.0
        self._looking = anyio.Lock()

    def leaves(
        self, mark: EntryMark, request: Request, contents: Mapping[LocalImage, Content]
    ) -> None:
        """Note that a request is being submitted: its id is not known yet."""
        self._leaving[mark] = (request, contents)

    def left(self, mark: EntryMark) -> None:
        """Note that its id is known, or that it is given up."""
        self._leaving.pop(mark, None)

    async def find(
        self,
        request: Request,
        sent: float,
        contents: Mapping[LocalImage, Content] | None = None,
    ) -> Finding:
        """Look for a submission until it is found, or has had its time."""
        missing = Missing(request, sent, contents or {})
        if self._now() - sent > KEPT:
            return Unseen("it was sent more than 7 days ago, and the API's list ends there")
        self._missing.add(missing)
        try:
            return await self._find(missing)
        finally:
            self._missing.discard(missing)
            self._findings.pop(missing, None)

    async def _find(self, missing: Missing) -> Finding:
        finding: Finding = Absent()
        for share in LOOKS:
            is_last = share == LAST_LOOK
            wait = missing.sent + share * self._per - self._now()
            if wait < 0 and not is_last:
                continue
            # Never longer than that: the clock may have been set back since.
            await anyio.sleep(min(max(0.0, wait), share * self._per))
            finding = await self._look(missing)
            if isinstance(finding, Found) and (is_last or missing.is_unique):
                self._taken.add(finding.prediction)
                return finding
        return finding

    async def _look(self, missing: Missing) -> Finding:
        """Look at the list as it is now; one look serves all that wait for it."""
        asked = anyio.current_time()
        async with self._looking:
            if self._looked < asked or missing not in self._findings:
                began = anyio.current_time()
                self._findings.update(await self._read([*self._missing]))
                self._looked = began
            return self._findings[missing]

    async def _read(self, missing: Sequence[Missing]) -> Mapping[Missing, Finding]:
        leaving = [
            Missing(request, mark.sent, contents)
            for mark, (request, contents) in self._leaving.items()
            if mark.sent
        ]
        try:
            items = await self._listed(missing)
            await self._digest_images([*missing, *leaving], items)
        except WaveSpeedError as error:
            return dict.fromkeys(missing, Unseen(f"the API's list could not be read: {error}"))
        ids = [item["id"] for item in items if any(is_of(one, item) for one in missing)]
        foreign = await self._known(ids) | self._taken
        left = [item for item in items if item["id"] not in foreign]
        return matched(missing, left, leaving, self._digests)

    async def _digest_images(
        self, missing: Sequence[Missing], items: Sequence[Mapping[str, Any]]
    ) -> None:
        """Digest the images of what may be a submission with images of this machine."""
        addresses = {
            address
            for one in missing
            for item in items
            if one.contents and is_of(one, item)
            for address in _addresses(one.fields, _inputs(item))
        }
        for address in addresses - self._digests.keys():
            self._digests[address] = await self._digest(address)

    async def _listed(self, missing: Sequence[Missing]) -> list[Mapping[str, Any]]:
        """Read the list back to before the first of them was sent."""
        since = min(one.sent for one in missing) - CLOCKS
        query: dict[str, Any] = {
            "page_size": PAGE_SIZE,
            "include_inputs": True,
            "created_after": datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds"),
        }
        models = {one.request.model for one in missing}
        if len(models) == 1:
            query["model"] = models.pop()
        found: dict[str, Mapping[str, Any]] = {}
        for number in range(1, MOST_PAGES + 1):
            page = await self._page({"page": number, **query})
            listed = _items(page)
            for item in listed:
                if isinstance(item, dict) and decode_id(item) is not None:
                    found[item["id"]] = item
            total = page.get("total")
            is_known = isinstance(total, int) and total > len(found)  # that there is more
            if not listed or (len(listed) < PAGE_SIZE and not is_known):
                return [*found.values()]
        message = f"it has more than {MOST_PAGES * PAGE_SIZE} predictions since then"
        raise WaveSpeedError(message)


def _items(page: Mapping[str, Any]) -> list[Any]:
    """Answer what a page lists; None stands for nothing, as an empty list does.

    Raises:
        WaveSpeedError: It is no page of a list: nothing can be told from it.
    """
    items = page.get("items", "")
    if items is None and not page.get("total"):
        return []
    if not isinstance(items, list):
        message = "it is not in the API's own format"
        raise WaveSpeedError(message)
    return items


# --- which is which (pure) -----------------------------------------------------------------------


def matched(
    missing: Iterable[Missing],
    items: Sequence[Mapping[str, Any]],
    leaving: Iterable[Missing] = (),
    digests: Mapping[str, str] | None = None,
) -> dict[Missing, Finding]:
    """Say of each missing submission which of the listed predictions it is.

    What may as well be one of another kind, or one that is just being submitted, is not told apart.
    """
    kinds: dict[str, list[Missing]] = defaultdict(list)
    for one in missing:
        kinds[f"{one.request.model} {sorted(one.fields.items(), key=str)}"].append(one)
    findings: dict[Missing, Finding] = {}
    everything = [one for alike in kinds.values() for one in alike] + [*leaving]
    for alike in kinds.values():
        alike.sort(key=lambda one: one.sent)
        of_kind = [item for item in items if any(is_of(one, item, digests) for one in alike)]
        others = [one for one in everything if one not in alike]
        ids = [str(item["id"]) for item in reversed(of_kind)]  # the list has the newest first
        is_shared = any(is_of(other, item, digests) for item in of_kind for other in others)
        if is_shared or len(ids) > len(alike):
            findings.update(dict.fromkeys(alike, Several(tuple(ids))))
            continue
        for number, one in enumerate(alike):
            findings[one] = Found(ids[number]) if number < len(ids) else Absent()
    return findings


def is_of(
    missing: Missing, item: Mapping[str, Any], digests: Mapping[str, str] | None = None
) -> bool:
    """Tell whether a listed prediction may be that of a submission.

    Its inputs must be those that were sent; what the server may have added to them is passed over,
    and so is a picture that was sent as base64, which it may show in its own way. An image that was
    uploaded may be at any address, as long as no digests are given.
    """
    if item.get("model") != missing.request.model:
        return False
    inputs = _inputs(item)
    if inputs is None:
        return False
    fields = missing.fields.items()
    if not all(_same(value, inputs.get(name), digests) for name, value in fields):
        return False
    return missing.is_unique or _created_about_then(missing, item.get("created_at"))


def _inputs(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    inputs = item.get("inputs", item.get("input"))
    return inputs if isinstance(inputs, dict) else None


def _addresses(sent: Any, listed: Any) -> Iterator[str]:
    """List where the images are that were uploaded, by inputs that are otherwise the same."""
    if isinstance(sent, Content):
        yield listed
    elif isinstance(sent, Mapping):
        for name, value in sent.items():
            yield from _addresses(value, listed.get(name))
    elif isinstance(sent, list):
        for value, other in zip(sent, listed, strict=True):
            yield from _addresses(value, other)


def _same(sent: Any, listed: Any, digests: Mapping[str, str] | None) -> bool:
    if sent is _INLINE or (isinstance(sent, str) and not is_kept(sent)):
        return True
    if isinstance(sent, Content):
        is_web = isinstance(listed, str) and listed.startswith(("http://", "https://"))
        return is_web and (digests is None or digests.get(listed) == sent.sha256)
    if isinstance(sent, dict):
        return (
            isinstance(listed, dict)
            and sent.keys() == listed.keys()
            and all(_same(value, listed[name], digests) for name, value in sent.items())
        )
    if isinstance(sent, list | tuple):
        return (
            isinstance(listed, list)
            and len(sent) == len(listed)
            and all(_same(one, other, digests) for one, other in zip(sent, listed, strict=True))
        )
    return bool(sent == listed)


def _created_about_then(missing: Missing, created: object) -> bool:
    if not isinstance(created, str):
        return False
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return False
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    earliest, latest = ABOUT_THEN
    return earliest <= at - missing.sent <= latest
