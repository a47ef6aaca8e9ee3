"""A batch with a journal: the same call again goes on, and never pays twice."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from tests.wire import cancel_after
from wavespeed_async import (
    AsyncWaveSpeed,
    ConfigurationError,
    Event,
    FluxDev,
    FluxDevLora,
    InvalidRequestError,
    JournalError,
    Limiter,
    Limits,
    NotFoundError,
    Outcome,
    Prediction,
    PredictionFailedError,
    PredictionTimeoutError,
    RawRequest,
    SubmissionFound,
    SubmissionUnconfirmed,
    SubmissionUnconfirmedError,
)
from wavespeed_async.batch import JournalReader, State
from wavespeed_async.batch import _admission as admission_module
from wavespeed_async.batch import _journaled as journaled_module
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from wavespeed_async.batch import EntryRecord
    from wavespeed_async.models import Request

LIMITS = Limits(requests=120, per=0.6, min_poll_interval=0.01, grace=0.1)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Name the journal, in the folder of the pictures."""
    return tmp_path / "journal.sqlite"


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Emulator]:
    """Run an emulator whose times are short."""
    usual: dict[str, Any] = {"latency": 0.05, "per": LIMITS.per, "pictures": False}
    async with Emulator(**{**usual, **settings}) as emulator:
        yield emulator


def client_of(emulator: Emulator, **settings: Any) -> AsyncWaveSpeed:
    """Make a client as a new process would: with a limiter that knows nothing."""
    settings.setdefault("limiter", Limiter(LIMITS))
    return AsyncWaveSpeed("k", base_url=emulator.url, **settings)


async def run(
    emulator: Emulator, requests: Any, journal: Path, *, resubmit: bool = False, **settings: Any
) -> list[Outcome]:
    """Run a batch in a client of its own."""
    async with client_of(emulator, **settings) as client:
        return await client.run_all(
            requests,
            journal=journal,
            save_to=journal.parent,
            resubmit_unconfirmed=resubmit,
        )


def prompts(count: int) -> list[FluxDev]:
    return [FluxDev(prompt=f"number {number}") for number in range(count)]


def read(journal: Path) -> list[EntryRecord]:
    with JournalReader(journal) as reader:
        return [*reader.entries()]


def change(journal: Path, statement: str, *values: Any) -> None:
    """Make the journal as an earlier run might have left it."""
    with sqlite3.connect(journal) as connection:
        connection.execute(statement, values)
    connection.close()


def submissions(emulator: Emulator) -> int:
    return sum(request.kind == "submit" for request in emulator.requests)


def lists(emulator: Emulator) -> int:
    return sum(request.path == "/api/v3/predictions" for request in emulator.requests)


# --- the same again ------------------------------------------------------------------------------


async def test_what_ended_is_not_asked_again(journal: Path) -> None:
    """The same call again makes no request, and hands out the same pictures with their seeds."""
    async with serving() as emulator:
        first = await run(emulator, prompts(6), journal)
        seen = len(emulator.requests)
        second = await run(emulator, prompts(6), journal)
        assert len(emulator.requests) == seen
    assert [outcome.paths for outcome in first] == [outcome.paths for outcome in second]
    assert [outcome.request for outcome in first] == [outcome.request for outcome in second]
    assert [o.unwrap().outputs for o in first] == [o.unwrap().outputs for o in second]
    assert all(outcome.paths[0].stat().st_size for outcome in second)


async def test_a_batch_that_was_left_goes_on(journal: Path) -> None:
    """Left in the middle, a batch goes on: each request is submitted once in both runs together."""
    async with serving(latency=0.2) as emulator:
        async with (
            client_of(emulator) as client,
            client.batch(prompts(40), journal=journal, save_to=journal.parent) as outcomes,
        ):
            await anext(outcomes)
        assert outcomes.running
        ended = await run(emulator, prompts(40), journal)
        assert [outcome.error for outcome in ended] == [None] * 40
        asked = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
        assert asked == Counter(f"number {n}" for n in range(40))
        assert emulator.refused == 0
    assert {entry.state for entry in read(journal)} == {State.SAVED}


async def test_changed_inputs_go_on(journal: Path) -> None:
    """Of an input that has grown and was reordered only what is new is submitted."""
    async with serving() as emulator:
        await run(emulator, [*prompts(3), *prompts(1)], journal)
        mixed = [FluxDev(prompt="new"), *reversed(prompts(3)), *prompts(1), *prompts(1)]
        outcomes = await run(emulator, iter(mixed), journal)
        assert [outcome.error for outcome in outcomes] == [None] * 6
        asked = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
    assert asked == Counter(["new", "number 1", "number 2"] + ["number 0"] * 3)
    assert len({outcome.unwrap().id for outcome in outcomes}) == 6


async def test_what_nobody_asks_for_any_more_is_seen_to_end(journal: Path) -> None:
    """A prediction of an input that was changed gives its slot back, and is known to have ended."""
    limits = Limits(per=LIMITS.per, concurrency=2, min_poll_interval=0.01, grace=0.1)
    async with serving(latency=0.2, concurrency=2) as emulator:
        async with (
            client_of(emulator, limiter=Limiter(limits)) as client,
            client.batch(prompts(2), journal=journal) as outcomes,
        ):
            while len(outcomes.running) < 2:  # noqa: ASYNC110 (nothing tells of it)
                await anyio.sleep(0.01)
        others = [prompts(2)[0], *prompts(6)[2:]]
        await run(emulator, others, journal, limiter=Limiter(limits))
        left = read(journal)[-1]
        assert (left.asked, left.state, len(left.outputs)) == (False, State.MADE, 1)
        before = submissions(emulator)
        await run(emulator, prompts(2), journal, limiter=Limiter(limits))
        assert submissions(emulator) == before
    assert read(journal)[1].state is State.SAVED


async def test_a_file_that_is_missing_is_fetched_again(journal: Path) -> None:
    """A picture whose file was removed is fetched again; nothing is asked of the API."""
    async with serving() as emulator:
        (outcome,) = await run(emulator, prompts(1), journal)
        outcome.paths[0].unlink()
        seen = len(emulator.requests)
        (again,) = await run(emulator, prompts(1), journal)
        assert len(emulator.requests) == seen
    assert again.paths == outcome.paths
    assert again.paths[0].stat().st_size


async def test_another_folder_gets_the_files_too(journal: Path, tmp_path: Path) -> None:
    """Asked to save elsewhere, a batch copies the pictures there, those from base64 too."""
    request = FluxDevLora(prompt="a", num_images=1)
    async with serving(pictures=True) as emulator:
        (first,) = await run(emulator, [request], journal)
        seen = len(emulator.requests)
        async with client_of(emulator) as client:
            elsewhere = tmp_path.parent / f"{tmp_path.name}-other"
            (outcome,) = await client.run_all([request], journal=journal, save_to=elsewhere)
        assert len(emulator.requests) == seen
    assert outcome.paths[0].read_bytes() == first.paths[0].read_bytes()
    assert [*elsewhere.iterdir()] == [*outcome.paths]
    assert outcome.paths[0].parent == elsewhere
    assert read(journal)[0].paths == (str(outcome.paths[0]),)


async def test_pictures_as_base64_are_kept_by_their_files(journal: Path) -> None:
    """Base64 is not in the journal: the files stand for it, and without them the API is asked."""
    request = FluxDevLora(prompt="a", num_images=2)
    async with serving() as emulator:
        (first,) = await run(emulator, [request], journal)
        assert "sha256" in read(journal)[0].outputs[0] or len(read(journal)[0].outputs[0]) < 200
        shorten = "UPDATE requests SET answer = replace(answer, ?, ?)"
        change(journal, shorten, '"outputs":[', '"outputs":["<9 characters, sha256 a>",')
        seen = len(emulator.requests)
        (second,) = await run(emulator, [request], journal)
        assert len(emulator.requests) == seen
        assert second.unwrap().outputs == tuple(path.as_uri() for path in first.paths)
        first.paths[0].unlink()
        (third,) = await run(emulator, [request], journal)
        assert len(emulator.requests) == seen + 1
    assert third.paths == first.paths
    assert third.unwrap().outputs == first.unwrap().outputs


async def test_without_a_folder_outcomes_are_handed_out_again(journal: Path) -> None:
    """A batch that saves nothing goes on as well."""
    async with serving() as emulator:
        for _ in range(2):
            async with client_of(emulator, choose_seeds=False) as client:
                (outcome,) = await client.run_all(prompts(1), journal=journal)
                assert outcome.unwrap().outputs
        assert len(emulator.predictions) == 1
    assert read(journal)[0].state is State.MADE


async def test_a_failure_is_not_asked_again(journal: Path) -> None:
    """A prediction that failed has failed in the next run too; its reason is in the journal."""
    async with serving() as emulator:
        emulator.next(outcome="failed-1200", kind="submit")
        (first,) = await run(emulator, prompts(1), journal)
        seen = len(emulator.requests)
        (second,) = await run(emulator, prompts(1), journal)
        assert len(emulator.requests) == seen
    for outcome in (first, second):
        assert isinstance(outcome.error, PredictionFailedError)
        assert outcome.prediction is not None
        assert outcome.prediction.error_code == 1200
    (entry,) = read(journal)
    assert entry.state is State.FAILED
    assert entry.error is not None
    assert entry.error.startswith("ModerationError: ")


async def test_what_was_refused_is_sent_again(journal: Path) -> None:
    """A submission that the API refused, or that timed out at its end, is taken up again."""
    async with serving(latency=0.4) as emulator:
        emulator.next(status_code=400, kind="submit")
        first = await run(emulator, prompts(2), journal, timeout=0.2)
        assert all(outcome.error for outcome in first)
        assert any(isinstance(outcome.error, PredictionTimeoutError) for outcome in first)
        assert {entry.state for entry in read(journal)} == {State.QUEUED, State.RUNNING}
        assert all(entry.error for entry in read(journal))
        again = await run(emulator, prompts(2), journal)
        assert [outcome.error for outcome in again] == [None, None]
        assert len(emulator.predictions) == 2


async def test_a_prediction_that_is_gone_is_named(journal: Path) -> None:
    """A prediction that the API no longer has is named as gone, with its id, whatever was left."""
    async with serving() as emulator:
        outcomes = await run(emulator, prompts(3), journal)
        change(journal, "UPDATE requests SET ended = NULL, answer = NULL WHERE position = 0")
        change(journal, "UPDATE requests SET prediction = 'no-such-1' WHERE position = 0")
        change(
            journal,
            "UPDATE requests SET answer = replace(answer, ?, 'no-such-2') WHERE position = 1",
            outcomes[1].unwrap().id,
        )
        outcomes[1].paths[0].unlink()
        change(journal, "UPDATE requests SET prediction = 'no-such-2' WHERE position = 1")
        change(journal, "UPDATE requests SET prediction = 'no-such-3' WHERE position = 2")
        change(journal, "UPDATE requests SET submitted = NULL WHERE position = 2")
        third = "UPDATE requests SET answer = replace(answer, ?, ?) WHERE position = 2"
        change(journal, third, outcomes[2].unwrap().outputs[0], "<9 characters, sha256 a>")
        change(journal, third, outcomes[2].unwrap().id, "no-such-3")
        outcomes[2].paths[0].unlink()
        gone, again, lost = await run(emulator, prompts(3), journal)
    assert isinstance(gone.error, NotFoundError)
    assert "no-such-1, submitted 20" in str(gone.error)
    assert "is gone: the API keeps them for 7 days" in str(gone.error)
    assert gone.error.prediction_id == "no-such-1"
    assert isinstance(again.error, NotFoundError)
    assert "prediction no-such-2, submitted 20" in str(again.error)
    assert isinstance(lost.error, NotFoundError)
    assert "prediction no-such-3 is gone" in str(lost.error)


async def test_an_address_that_is_no_longer_good_is_asked_for(journal: Path) -> None:
    """Where an output cannot be fetched the prediction is asked for, unless it is quite new."""
    async with serving() as emulator:
        (outcome,) = await run(emulator, prompts(1), journal)
        outcome.paths[0].unlink()
        change(journal, "UPDATE requests SET answer = replace(answer, '/outputs/', '/nothing/')")
        (again,) = await run(emulator, prompts(1), journal)
        assert again.error is None
        data = {"id": "a" * 32, "status": "completed", "outputs": [f"{emulator.url}/nothing"]}
        emulator.next(body={"code": 200, "message": "", "data": data}, kind="submit")
        lost = (await run(emulator, prompts(2), journal))[1]
        assert lost.error is not None


async def test_predictions_and_ids_are_items_as_well(journal: Path) -> None:
    """Predictions and ids have entries too; what is none of these is refused, and has none."""
    async with serving() as emulator:
        async with client_of(emulator) as client:
            made = [await client.submit(request) for request in prompts(2)]
        items: list[Any] = [made[0], made[1].id, 7, "../x", Prediction(id="../y")]
        for _ in range(2):
            outcomes = await run(emulator, items, journal)
            assert [outcome.error for outcome in outcomes[:2]] == [None, None]
            assert all(isinstance(o.error, InvalidRequestError) for o in outcomes[2:])
            assert outcomes[1].unwrap().id == made[1].id
        assert len(emulator.predictions) == 2
    assert [entry.prediction for entry in read(journal)] == [one.id for one in made]


# --- other requests ------------------------------------------------------------------------------


async def test_a_journal_of_other_requests_is_refused(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input of which the journal knows nothing is refused before anything is sent."""
    others = [FluxDev(prompt=f"other {number}") for number in range(250)]

    async def slowly() -> AsyncIterator[Request]:
        for request in others:
            yield request

    def endless() -> Iterator[Request]:
        while True:
            yield others[0]

    monkeypatch.setattr(admission_module, "LOOK_AHEAD", 500)
    async with serving() as emulator:
        await run(emulator, prompts(1), journal)
        seen = len(emulator.requests)
        for requests in (others, iter(others), endless()):
            with pytest.raises(ConfigurationError, match="none of these is in it"):
                await run(emulator, requests, journal)
        async with client_of(emulator) as client, client.batch(slowly(), journal=journal) as batch:
            with pytest.raises(ConfigurationError, match="none of these is in it"):
                await anext(batch)
        assert await run(emulator, [], journal) == []
        assert len(emulator.requests) == seen
        assert (await run(emulator, [7, *others[:120], *prompts(1)], journal))[-1].error is None


async def test_input_that_comes_slowly_is_not_waited_for(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come one by one are sent as they come, known or not."""
    monkeypatch.setattr(admission_module, "LOOK_AHEAD_SECONDS", 0.05)

    async def slowly() -> AsyncIterator[Request]:
        await anyio.sleep(0.1)
        yield FluxDev(prompt="other")

    async with serving() as emulator:
        await run(emulator, prompts(1), journal)
        async with client_of(emulator) as client, client.batch(slowly(), journal=journal) as batch:
            assert (await anext(batch)).error is None


# --- submissions without an answer ---------------------------------------------------------------


async def test_a_lost_answer_is_found_in_the_list(journal: Path) -> None:
    """A submission whose answer was lost is found in the list during the run: all is made once."""
    events: list[Event] = []
    async with serving() as emulator:
        for _ in range(3):
            emulator.next(lose=True, kind="submit")
        outcomes = await run(emulator, prompts(8), journal, observe=events.append)
        assert [outcome.error for outcome in outcomes] == [None] * 8
        assert len(emulator.predictions) == 8
        assert lists(emulator) >= 1
    assert sum(isinstance(event, SubmissionFound) for event in events) == 3


async def test_what_is_not_in_the_list_is_told(journal: Path) -> None:
    """A submission that never arrived is looked for, and then an error; the next run says so too.

    Nothing is sent again until that is asked for; then it is, with the seed that was drawn.
    """
    async with serving() as emulator:
        emulator.next(body=b"<html>", kind="submit")
        for _ in range(2):
            first, second = await run(emulator, prompts(2), journal)
            lost = first if first.error else second
            assert isinstance(lost.error, SubmissionUnconfirmedError)
            assert lost.error.absent
            assert "may exist and be billed" in str(lost.error)
            assert "the API's list does not have it" in str(lost.error)
            assert submissions(emulator) == 2
        outcomes = await run(emulator, prompts(2), journal, resubmit=True)
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert submissions(emulator) == 3
        seed = getattr(lost.request, "seed", None)
        assert emulator.predictions[1].fields["seed"] == seed


async def test_an_intent_of_an_earlier_run_is_found(journal: Path) -> None:
    """A submission that a run had no time to hear of is adopted by the next."""
    events: list[Event] = []
    async with serving() as emulator:
        (first,) = await run(emulator, prompts(1), journal)
        change(journal, "UPDATE requests SET prediction = NULL, ended = NULL, answer = NULL")
        (second,) = await run(emulator, prompts(1), journal, observe=events.append)
        assert second.unwrap().id == first.unwrap().id
        assert submissions(emulator) == 1
    kinds = {type(event) for event in events}
    assert {SubmissionFound, SubmissionUnconfirmed} <= kinds


async def test_what_is_lost_again_and_again_is_told(journal: Path) -> None:
    """Submitted again on demand and lost each time, it is an error in the end."""
    async with serving() as emulator:
        for _ in range(4):
            emulator.next(body=b"<html>", kind="submit")
        (outcome,) = await run(emulator, prompts(1), journal, resubmit=True)
        assert isinstance(outcome.error, SubmissionUnconfirmedError)
        assert submissions(emulator) == 4


async def test_several_of_a_kind_are_left_to_the_user(journal: Path) -> None:
    """Where the list has more of a kind than are missing, none is taken, and their ids are told."""
    request = RawRequest("wavespeed-ai/flux-dev-ultra-fast", {"prompt": "a"})
    async with serving() as emulator:
        async with client_of(emulator) as client:
            await client.submit(request)
        emulator.next(lose=True, kind="submit")
        (outcome,) = await run(emulator, [request], journal)
        assert isinstance(outcome.error, SubmissionUnconfirmedError)
        assert not outcome.error.absent
        assert all(prediction.id in str(outcome.error) for prediction in emulator.predictions)
        (outcome,) = await run(emulator, [request], journal, resubmit=True)
        assert outcome.error is not None
        assert submissions(emulator) == 2


async def test_a_list_that_cannot_be_read_settles_nothing(journal: Path) -> None:
    """Where the list is refused the submission stays unconfirmed, and the reason is told."""
    async with serving() as emulator:
        emulator.next(lose=True, kind="submit")
        for status in (429, 429, 429, 429, 429, 500, *[403] * 9):
            emulator.next(status_code=status, kind="other")
        (outcome,) = await run(emulator, prompts(1), journal)
        assert isinstance(outcome.error, SubmissionUnconfirmedError)
        assert "could not be read" in str(outcome.error)
        assert not outcome.error.absent


async def test_another_account_proves_nothing_absent(journal: Path) -> None:
    """With another key what is not listed is not submitted again, and what is gone says why."""
    async with serving() as emulator:
        emulator.next(body=b"<html>", kind="submit")
        first = await run(emulator, prompts(2), journal)
        change(journal, "UPDATE runs SET identity = 'of another key'")
        change(
            journal,
            "UPDATE requests SET prediction = 'no-such', ended = NULL, answer = NULL"
            " WHERE prediction IS NOT NULL",
        )
        second = await run(emulator, prompts(2), journal, resubmit=True)
        assert submissions(emulator) == 2
    for before, after in zip(first, second, strict=True):
        kind = NotFoundError if before.error is None else SubmissionUnconfirmedError
        assert isinstance(after.error, kind)
        assert "submitted with another key, or to another address" in str(after.error)
        assert not getattr(after.error, "absent", False)


# --- what any storage has to take ----------------------------------------------------------------


class Odd(httpx.AsyncBaseTransport):
    """Answer with half a surrogate pair, and a time that nothing takes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        data: dict[str, Any] = {"id": "1" * 32, "model": "m\ud800", "status": "created"}
        if request.method == "GET":
            data |= {"status": "failed", "error": "\ud83d\0 no", "timings": {"inference": 10**30}}
        body = {"code": 200, "message": "success", "data": data}
        return httpx.Response(200, content=json.dumps(body).encode())


async def test_odd_answers_are_kept(journal: Path) -> None:
    """An answer with what no storage takes is kept and handed out again."""
    asked: list[Any] = [
        RawRequest("m/m", {"prompt": "a", "seed": 10**30}),
        Prediction(id="2" * 32, model="m\ud800"),
    ]
    for _ in range(2):
        client = AsyncWaveSpeed("key", transport=Odd(), limiter=Limiter(LIMITS), timeout=1)
        async with client:
            outcome, _ = await client.run_all(asked, journal=journal)
        assert isinstance(outcome.error, PredictionFailedError)
        assert "no" in str(outcome.error)
    assert read(journal)[0].seed is None
    assert read(journal)[0].inference_ms is None


async def test_a_damaged_answer_is_asked_for_again(journal: Path) -> None:
    """Where the journal's word on an end cannot be read, the API is asked."""
    async with serving() as emulator:
        (first,) = await run(emulator, prompts(1), journal)
        change(journal, "UPDATE requests SET answer = substr(answer, 9)")
        (second,) = await run(emulator, prompts(1), journal)
        assert submissions(emulator) == 1
    assert second.unwrap().outputs == first.unwrap().outputs


async def test_a_batch_that_is_cut_off_anywhere_pays_once(tmp_path: Path) -> None:
    """Cancelled at any of its steps, twice, it ends with each picture, and nothing to look for."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    async with serving(latency=0.03) as emulator:
        for number in range(8):
            journal = tmp_path / str(number) / "journal.sqlite"
            journal.parent.mkdir()
            requests = [FluxDev(prompt=f"number {each} of {number}") for each in range(5)]
            for _ in range(2):
                steps = int(10 ** dice.uniform(0, 4))
                await cancel_after(steps, run, emulator, requests, journal)
            outcomes = await run(emulator, requests, journal)
            assert [outcome.error for outcome in outcomes] == 5 * [None], f"seed {seed}"
            assert all(outcome.paths[0].is_file() for outcome in outcomes), f"seed {seed}"
        made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
    assert (len(made), set(made.values())) == (40, {1}), f"seed {seed}"


# --- restarts and limits -------------------------------------------------------------------------


async def test_a_restart_does_not_double_the_window(journal: Path) -> None:
    """Runs that are left and begun again at once, with new limiters, never pass the limits."""
    async with serving(latency=0.1, requests=30, concurrency=5) as emulator:
        limits = Limits(requests=30, per=LIMITS.per, concurrency=5, min_poll_interval=0.01)
        for _ in range(8):
            async with (
                client_of(emulator, limiter=Limiter(limits)) as client,
                client.batch(prompts(60), journal=journal) as outcomes,
            ):
                with anyio.move_on_after(0.15):
                    async for outcome in outcomes:
                        assert outcome.error is None
        assert emulator.refused == 0
        assert emulator.most_running <= 5


async def test_a_limiter_that_lives_on_is_told_nothing_twice(journal: Path) -> None:
    """In one process, with one limiter, a second run counts no request of the first again."""
    limiter = Limiter(Limits(per=60.0, min_poll_interval=0.01))
    async with serving(per=60.0) as emulator, client_of(emulator, limiter=limiter) as client:
        await client.run_all(prompts(3), journal=journal)
        used = limiter.requests_used
        await client.run_all(prompts(3), journal=journal)
        assert limiter.requests_used == used


async def test_what_was_learned_outlives_a_restart(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process knows how long models take; one of another version learns it again."""
    monkeypatch.setattr(journaled_module, "LEARNED_EVERY", 0.0)
    async with serving() as emulator:
        async with client_of(emulator) as client:
            await client.run_all(prompts(3), journal=journal)
            learned = client.poll_rule.snapshot()["latencies"]
            assert learned
        async with client_of(emulator) as client, client.batch(prompts(3), journal=journal):
            assert client.poll_rule.snapshot()["latencies"] == learned
        change(journal, "UPDATE runs SET learned = '{}'")
        async with client_of(emulator) as client, client.batch(prompts(3), journal=journal):
            assert client.poll_rule.snapshot()["latencies"] == {}


async def test_two_journals_of_one_client_end_in_any_order(tmp_path: Path) -> None:
    """Batches with journals beside one another end, whichever is first."""
    async with serving() as emulator, client_of(emulator) as client:

        async def one(name: str, count: int) -> None:
            outcomes = await client.run_all(prompts(count), journal=tmp_path / name)
            assert all(outcome.error is None for outcome in outcomes)

        with anyio.fail_after(30):
            for turn in range(3):
                async with anyio.create_task_group() as group:
                    for count in (3, 11, 30):
                        group.start_soon(one, f"{turn}-{count}", count)


# --- a journal that breaks -----------------------------------------------------------------------


async def test_a_journal_that_breaks_ends_the_run(journal: Path) -> None:
    """Once the journal is gone nothing more is submitted, what runs ends, and the error comes."""
    ended: list[Outcome] = []

    async def read_all(client: AsyncWaveSpeed) -> None:
        async with client.batch(prompts(300), journal=journal, save_to=journal.parent) as outcomes:
            async for outcome in outcomes:
                if not ended:
                    journal.unlink()
                ended.append(outcome)

    async with serving(latency=0.1) as emulator, client_of(emulator) as client:
        with pytest.raises(JournalError, match="was removed"):
            await read_all(client)
        made = {prediction.id for prediction in emulator.predictions}
        assert len(made) < 100
    assert {o.unwrap().id for o in ended if o.error is None} == made
    assert {entry.prediction for entry in read(journal)} - {None} == made


async def test_being_cancelled_at_the_start_leaves_the_journal_free(journal: Path) -> None:
    """Cancelled as it begins, a batch lets its journal go."""
    async with serving() as emulator:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await run(emulator, prompts(1), journal)
        assert scope.cancelled_caught
        (outcome,) = await run(emulator, prompts(1), journal)
    assert outcome.error is None
