"""Which listed prediction is which submission: a matter of inputs, and without a seed of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from wavespeed_async import FluxDev, RawRequest
from wavespeed_async._codec import encode_request
from wavespeed_async.batch._journal import EntryMark
from wavespeed_async.batch._search import (
    PAGE_SIZE,
    Absent,
    Found,
    Missing,
    Search,
    Several,
    Unseen,
    is_of,
    matched,
)
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wavespeed_async.models import Request

SENT = 1_700_000_000.0
SEEDED = FluxDev(prompt="a", seed=7)
OPEN = RawRequest("m/m", {"prompt": "a", "images": ["x", "data:" + "a" * 300], "n": 1})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def item(request: Request, name: str = "a", after: float = 1.0, **more: Any) -> dict[str, Any]:
    """Make a listed prediction of a request."""
    created = datetime.fromtimestamp(SENT + after, UTC).isoformat()
    inputs = {**encode_request(request), "added_by_the_server": True}
    return {"id": name, "model": request.model, "inputs": inputs, "created_at": created, **more}


# --- which is which ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "changes", "fits"),
    [
        (SEEDED, {}, True),
        (SEEDED, {"created_at": "long ago"}, True),
        (SEEDED, {"model": "m/other"}, False),
        (SEEDED, {"inputs": None}, False),
        (SEEDED, {"inputs": {**encode_request(SEEDED), "seed": 8}}, False),
        (OPEN, {}, True),
        (OPEN, {"inputs": {**encode_request(OPEN), "images": ["x", "https://cdn/1"]}}, True),
        (OPEN, {"inputs": {**encode_request(OPEN), "images": ["y", "z"]}}, False),
        (OPEN, {"inputs": {**encode_request(OPEN), "images": ["x"]}}, False),
        (OPEN, {"inputs": {**encode_request(OPEN), "images": "x"}}, False),
        (OPEN, {"created_at": None}, False),
        (OPEN, {"created_at": "soon"}, False),
        (OPEN, {"created_at": "2023-11-14T22:13:20"}, True),
        (OPEN, {"created_at": "2023-11-14T23:13:20"}, False),
    ],
)
def test_a_listed_prediction_is_known_by_its_inputs(
    request_: Request, changes: dict[str, Any], fits: bool
) -> None:
    """Model and inputs must be those sent, whatever was added; without a seed the time as well."""
    assert is_of(Missing(request_, SENT), item(request_, **changes)) is fits


def test_inputs_may_be_called_input() -> None:
    """Lists of either naming are understood."""
    listed = item(SEEDED)
    listed["input"] = listed.pop("inputs")
    assert is_of(Missing(SEEDED, SENT), listed)


def test_as_many_as_are_missing_are_taken_in_order() -> None:
    """Of a kind, as many as are missing or fewer are taken by time; more are left alone."""
    first, second, other = Missing(OPEN, SENT), Missing(OPEN, SENT + 1), Missing(SEEDED, SENT)
    newest_first = [item(OPEN, "b"), item(OPEN, "a")]
    assert matched([second, first, other], newest_first) == {
        first: Found("a"),
        second: Found("b"),
        other: Absent(),
    }
    assert matched([first, second], [item(OPEN)]) == {first: Found("a"), second: Absent()}
    assert matched([first], newest_first) == {first: Several(("a", "b"))}


# --- looking -------------------------------------------------------------------------------------


class List:
    """Be the API's list."""

    def __init__(self, *items: dict[str, Any], known: Sequence[str] = ()) -> None:
        self.items: list[Any] = [*items]
        self.ids = known
        self.asked: list[tuple[float, Mapping[str, Any]]] = []
        self.digests: Mapping[str, str] = {}
        self.digested: list[str] = []
        self.error: Exception | None = None

    async def page(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((anyio.current_time(), query))
        await anyio.sleep(0.1)
        start = (query["page"] - 1) * PAGE_SIZE
        return {"items": self.items[start : start + PAGE_SIZE]}

    async def known(self, predictions: Sequence[str]) -> set[str]:
        return {one for one in predictions if one in self.ids}

    async def digest(self, url: str) -> str:
        self.digested.append(url)
        if self.error is not None:
            raise self.error
        return self.digests.get(url, "another")

    def search(self, digests: Mapping[str, str] | None = None) -> tuple[Search, float]:
        """Begin to look, now."""
        self.digests = digests or {}
        began = anyio.current_time()
        now = lambda: SENT + anyio.current_time() - began  # noqa: E731 (a clock)
        return Search(
            page=self.page, known=self.known, digest=self.digest, per=60.0, now=now
        ), began


async def test_a_seed_is_found_at_the_first_look() -> None:
    """A submission with a seed is taken once it is listed; the list is read from before it."""
    listed = List(item(SEEDED))
    search, began = listed.search()
    assert await search.find(SEEDED, SENT) == Found("a")
    ((at, query),) = listed.asked
    assert at - began == pytest.approx(1.0)
    assert query["model"] == SEEDED.model
    assert query["created_after"] == "2023-11-14T20:13:20+00:00"


async def test_what_is_not_listed_is_looked_for_three_times() -> None:
    """Before it is called absent, a submission has had ten seconds, and three looks."""
    listed = List({"id": "../x"}, {"model": "m"}, item(OPEN))
    listed.items.append("odd")
    search, began = listed.search()
    assert await search.find(SEEDED, SENT) == Absent()
    assert [round(at - began) for at, _ in listed.asked] == [1, 3, 10]


async def test_without_a_seed_the_last_look_counts() -> None:
    """One that has no seed is taken at the last look: by then its likes have their answers."""
    listed = List(item(OPEN))
    search, _ = listed.search()
    assert await search.find(OPEN, SENT) == Found("a")
    assert len(listed.asked) == 3


async def test_what_is_anothers_is_not_taken() -> None:
    """What the journal knows, or another submission was found to be, is nobody else's."""
    listed = List(item(SEEDED, "mine"), known=["mine"])
    search, _ = listed.search()
    assert await search.find(SEEDED, SENT - 100) == Absent()
    listed.ids = ()
    assert await search.find(SEEDED, SENT - 100) == Found("mine")
    assert await search.find(SEEDED, SENT - 100) == Absent()


async def test_one_look_serves_all() -> None:
    """Submissions that are missing at once are looked for together, over all pages of a list."""
    others = [item(FluxDev(prompt="b", seed=n), f"o{n}") for n in range(PAGE_SIZE)]
    listed = List(*others, item(SEEDED), item(OPEN, "b"))
    search, _ = listed.search()
    findings: list[Any] = []

    async def find(request: Request) -> None:
        findings.append(await search.find(request, SENT - 100))

    async with anyio.create_task_group() as group:
        group.start_soon(find, SEEDED)
        group.start_soon(find, RawRequest("m/m", {"prompt": "z", "seed": 3}))
        group.start_soon(find, FluxDev(prompt="b", seed=5))
    assert {Found("a"), Found("o5"), Absent()} == {*findings}
    assert [query["page"] for _, query in listed.asked] == [1, 2]
    assert "model" not in listed.asked[0][1]


async def test_a_list_that_never_ends_is_not_read_for_ever() -> None:
    """A list of more pages than are read settles nothing, nor does one whose time has passed."""
    listed = List(*[item(OPEN)] * PAGE_SIZE * 201)
    search, _ = listed.search()
    finding = await search.find(SEEDED, SENT - 100)
    assert isinstance(finding, Unseen)
    assert "more than 20000 predictions" in finding.reason
    finding = await search.find(SEEDED, SENT - 8 * 86400)
    assert isinstance(finding, Unseen)
    assert "7 days" in finding.reason


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        ({"items": None}, Absent()),
        ({"items": None, "total": 0}, Absent()),
        ({"items": None, "total": 3}, Unseen),
        ({"items": {}}, Unseen),
        ({}, Unseen),
    ],
)
async def test_a_list_of_another_form_settles_nothing(answer: dict[str, Any], finding: Any) -> None:
    """An empty list may be null; an answer that is no list proves nothing absent."""
    search, _ = List().search()

    async def page(query: Mapping[str, Any]) -> Mapping[str, Any]:
        return answer

    search._page = page
    found = await search.find(SEEDED, SENT - 100)
    assert found == finding or (finding is Unseen and isinstance(found, Unseen))


async def test_pages_that_are_shorter_than_asked_for_are_all_read() -> None:
    """A server that lists fewer on a page than were asked for, and says how many, is read on."""
    search, _ = List().search()
    pages = [[item(OPEN, "x")], [item(OPEN, "y")], [item(SEEDED)]]

    async def page(query: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"items": pages[query["page"] - 1], "total": 3}

    search._page = page
    assert await search.find(SEEDED, SENT - 100) == Found("a")


async def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    """A submission of the future, by a clock that has been set back, is looked for in its time."""
    search, began = List(item(SEEDED)).search()
    assert await search.find(SEEDED, SENT + 3600) == Found("a")
    assert anyio.current_time() - began < 60


def test_what_may_be_two_things_is_neither() -> None:
    """A prediction that may be of two kinds, or one that is being submitted, is not taken."""
    pictures = [RawRequest("m/m", {"images": ["data:" + letter * 300]}) for letter in "ab"]
    one, other = (Missing(request, SENT) for request in pictures)
    listed = [item(pictures[0])]
    assert matched([one, other], listed) == dict.fromkeys((one, other), Several(("a",)))
    assert matched([one], listed, [other]) == {one: Several(("a",))}
    assert matched([one], listed) == {one: Found("a")}


async def test_what_is_being_submitted_is_not_taken_for_what_is_missing() -> None:
    """A request without a seed that leaves beside its like may be the one that is listed."""
    search, _ = List(item(OPEN)).search()
    journal: Any = None
    mark = EntryMark(journal, 1)
    search.leaves(mark, OPEN, {})
    mark.sent = SENT
    assert await search.find(OPEN, SENT - 30) == Several(("a",))
    search.left(mark)
    assert await search.find(OPEN, SENT - 30) == Found("a")
