"""Images of this machine in batches: known by their content, in the journal and in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.batch.test_resume import client_of, read, run, serving, submissions
from tests.batch.test_search import SENT, List, item
from tests.wire import PNG
from wavespeed_async import (
    FluxDev,
    FluxReduxDev,
    Folder,
    Inline,
    InvalidRequestError,
    RawRequest,
    SubmissionFound,
)
from wavespeed_async._contents import looked_at
from wavespeed_async.batch import State, wanted
from wavespeed_async.batch._search import Absent, Found, Unseen
from wavespeed_async.errors import APIStatusError
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from pathlib import Path

    from wavespeed_async import Event, Request

URL = "https://media.test/a.png"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "pictures" / "journal.sqlite"


def image(folder: Path, name: str, content: bytes = PNG) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# --- the journal ---------------------------------------------------------------------------------


async def test_a_request_is_known_again_by_the_content(journal: Path, tmp_path: Path) -> None:
    """The same image elsewhere, as bytes or inline is the same request; a changed one is another.

    Nothing is uploaded for what was made before.
    """
    journal.parent.mkdir()
    first, second = image(tmp_path, "a.png"), image(tmp_path, "b.png")
    async with serving() as emulator:
        for source in (first, second, PNG, Inline(first)):
            (outcome,) = await run(emulator, [FluxDev(image=source)], journal)
            assert outcome.error is None
            assert outcome.request is not None
            assert outcome.request.image == source  # type: ignore[attr-defined]  # it is of flux-dev
        assert (submissions(emulator), len(emulator.uploads)) == (1, 1)
        image(tmp_path, "a.png", PNG + b"changed")
        requests = [FluxDev(image=PNG), FluxDev(image=first)]
        assert [one.error for one in await run(emulator, requests, journal)] == [None, None]
        assert (submissions(emulator), len(emulator.uploads)) == (2, 2)


def test_pixels_make_a_digest_of_their_own() -> None:
    """A Pillow image is known by its pixels, whatever a library writes as PNG."""

    def digest(*size: int) -> bytes:
        request = FluxReduxDev(image=Image.new("RGB", size, "red"))  # type: ignore[arg-type]  # two sides
        return wanted(request, contents=looked_at(request)).digest

    assert digest(4, 4) == digest(4, 4)
    assert digest(4, 4) != digest(8, 2)


async def test_an_image_that_cannot_be_read_fails_alone(journal: Path, tmp_path: Path) -> None:
    """The others are made; once it is there, the same call makes the one that is left."""
    journal.parent.mkdir()
    good, missing = image(tmp_path, "a.png"), tmp_path / "missing.png"
    requests = [FluxReduxDev(image=missing), FluxReduxDev(image=good)]
    async with serving() as emulator:
        for _ in range(2):
            first, second = await run(emulator, requests, journal)
            assert isinstance(first.error, InvalidRequestError)
            assert first.error.value == missing
            assert first.prediction is None
            assert second.error is None
        assert submissions(emulator) == 1
        assert [entry.state for entry in read(journal)] == [State.SAVED]
        image(tmp_path, "missing.png", PNG + b"2")
        assert [one.error for one in await run(emulator, requests, journal)] == [None, None]
        assert submissions(emulator) == 2


async def test_a_lost_submission_is_found_by_the_content(journal: Path, tmp_path: Path) -> None:
    """Its image is in the list under an address that nobody knows: fetched, it is the same."""
    journal.parent.mkdir()
    events: list[Event] = []
    requests = [
        FluxReduxDev(image=image(tmp_path, f"{number}.png", PNG + b"%d" % number), seed=7)
        for number in range(3)
    ]
    async with serving(pictures=False) as emulator:
        emulator.next(lose=True, kind="submit")
        outcomes = await run(emulator, requests, journal, observe=events.append)
        assert [outcome.error for outcome in outcomes] == [None] * 3
        assert submissions(emulator) == 3
        assert len(emulator.predictions) == 3
        for number, outcome in enumerate(outcomes):
            made = next(p for p in emulator.predictions if p.id == outcome.unwrap().id)
            name = made.fields["image"].rpartition("/")[2].partition(".")[0]
            (upload,) = [one for one in emulator.uploads if one.id == name]
            assert upload.content == PNG + b"%d" % number
    assert [type(event) for event in events].count(SubmissionFound) == 1


# --- the list ------------------------------------------------------------------------------------

virtual = pytest.mark.parametrize(
    "anyio_backend",
    [virtual_backend("asyncio"), virtual_backend("trio")],
    ids=["asyncio", "trio"],
)


def listed(name: str, seed: int, **inputs: Any) -> dict[str, Any]:
    return item(RawRequest("m/m", {"prompt": "a", "seed": seed, **inputs}), name)


def asked(**fields: Any) -> Request:
    return RawRequest("m/m", {"prompt": "a", "seed": 7, **fields})


@virtual
@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"image": URL, "deep": [{"mask": URL}]}, True),
        ({"image": "https://media.test/other.png", "deep": [{"mask": URL}]}, False),
        ({"image": URL, "deep": [{"mask": URL, "more": 1}]}, False),
        ({"image": URL, "deep": ["mask"]}, False),
        ({"image": 7, "deep": [{"mask": URL}]}, False),
        ({"image": "data:image/png;base64,AAAA", "deep": [{"mask": URL}]}, False),
    ],
)
async def test_uploads_are_compared_by_their_content(inputs: Any, *, found: bool) -> None:
    """Whatever address an upload had, what is there now must be the same."""
    request = asked(image=PNG, deep=[{"mask": PNG}])
    contents = looked_at(request)
    digests = {URL: contents[PNG].sha256}
    listing = List(listed("a", 7, **inputs), listed("b", 8, image=URL, deep=[{"mask": URL}]))
    search, _ = listing.search(digests)
    finding = await search.find(request, SENT, contents)
    assert finding == (Found("a") if found else Absent())
    assert set(listing.digested) <= {URL, inputs["image"]}


@virtual
async def test_what_was_sent_inline_may_be_shown_in_any_way() -> None:
    """An image within the request is passed over, as base64 is."""
    request = asked(image=Inline(PNG))
    search, _ = List(listed("a", 7, image="…")).search()
    assert await search.find(request, SENT, looked_at(request)) == Found("a")


@virtual
async def test_what_cannot_be_fetched_tells_nothing() -> None:
    """Where an upload is gone, it is not said that the submission is."""
    request = asked(image=PNG)
    listing = List(listed("a", 7, image=URL))
    listing.error = APIStatusError("gone", status_code=404)
    search, _ = listing.search()
    finding = await search.find(request, SENT, looked_at(request))
    assert isinstance(finding, Unseen)
    assert "gone" in finding.reason


# --- the folder ----------------------------------------------------------------------------------


async def test_a_batch_names_its_files(journal: Path, tmp_path: Path) -> None:
    """By a template, in folders within, and the same again with a journal."""
    journal.parent.mkdir()
    folder = Folder(tmp_path / "out", name="{model}/{index:02}-{id}", existing="keep")
    requests = [FluxDev(prompt=f"{number}") for number in range(3)]
    async with serving() as emulator:
        for _ in range(2):
            async with client_of(emulator) as client:
                outcomes = await client.run_all(requests, journal=journal, save_to=folder)
            for number, outcome in enumerate(outcomes):
                name = f"flux-dev/{number:02}-{outcome.unwrap().id}.png"
                assert outcome.paths == (tmp_path / "out" / name,)
        async with client_of(emulator) as client:
            outcomes = await client.run_all(requests, save_to=Folder(tmp_path, name="{index}"))
            assert [outcome.paths for outcome in outcomes] == [
                (tmp_path / f"{number}.png",) for number in range(3)
            ]
            with pytest.raises(InvalidRequestError, match="replace one another"):
                client.batch(requests, save_to=Folder(tmp_path, name="{model}"))
