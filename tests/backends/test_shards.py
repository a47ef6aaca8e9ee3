"""Shards: known again by their names, whoever is handed them, and however often."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from wavespeed_async import AsyncWaveSpeed, ConfigurationError, FluxDev, Limiter, Limits
from wavespeed_async.backends import shards as module
from wavespeed_async.backends.shards import Shards
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMITS = Limits(requests=120, per=0.6, min_poll_interval=0.01, grace=0.1)


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


@asynccontextmanager
async def opened(emulator: Emulator, folder: Path, **settings: Any) -> AsyncIterator[Shards]:
    """Open shards as a new process would."""
    async with client_of(emulator, **settings) as client, Shards(folder, client) as shards:
        yield shards


def prompts(count: int) -> list[FluxDev]:
    return [FluxDev(prompt=f"number {number}") for number in range(count)]


# --- known by name -------------------------------------------------------------------------------


async def test_a_shard_has_its_pictures_and_journal_in_its_folder(tmp_path: Path) -> None:
    """Outcomes come in the order of the requests; files and journal lie in the shard's folder."""
    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        assert not await shards.has("one")
        outcomes = await shards.run_shard("one", prompts(5))
        assert await shards.has("one")
        assert repr(shards).startswith(f"<Shards in {tmp_path}, <AsyncWaveSpeed ")
    assert [outcome.index for outcome in outcomes] == [*range(5)]
    assert [outcome.unwrap().request for outcome in outcomes] == [o.request for o in outcomes]
    assert all(path.parent == tmp_path / "one" for outcome in outcomes for path in outcome.paths)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"journal.sqlite", *(outcome.paths[0].name for outcome in outcomes)}


async def test_the_same_name_is_the_same_shard(tmp_path: Path) -> None:
    """Handed over again, to another process too, a shard is answered from its journal."""
    async with serving() as emulator:
        async with opened(emulator, tmp_path) as shards:
            first = await shards.run_shard("one", prompts(5))
            seen = len(emulator.requests)
            again = await shards.run_shard("one", prompts(5))
        async with opened(emulator, tmp_path) as shards:
            last = await shards.run_shard("one", prompts(5))
        assert len(emulator.requests) == seen
    for ended in (again, last):
        assert [outcome.paths for outcome in ended] == [outcome.paths for outcome in first]
        assert [outcome.request for outcome in ended] == [outcome.request for outcome in first]


async def test_a_shard_that_is_delivered_twice_is_made_once(tmp_path: Path) -> None:
    """A call that comes while another one has the shard waits for it, and pays for nothing."""
    answers: list[Any] = []

    async def call(shards: Shards) -> None:
        answers.append(await shards.run_shard("one", prompts(4)))

    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call, shards)
        assert len(emulator.predictions) == 4
    assert [[outcome.paths for outcome in ended] for ended in answers] == [
        [outcome.paths for outcome in answers[0]]
    ] * 3


async def test_other_names_are_other_pictures(tmp_path: Path) -> None:
    """Equal requests are pictures of their own: within a shard, and in another one."""
    request = FluxDev(prompt="again and again")
    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        await shards.run_shard("one", [request] * 3)
        await shards.run_shard("two", [request] * 2)
        one = await shards.run("three", request)
        same = await shards.run("three", request)
        assert len(emulator.predictions) == 6
    assert one.paths == same.paths


async def test_more_shards_than_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the places there are shards wait for their turn; each is made."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(shards.run_shard, f"shard-{number}", prompts(2))
        assert len(emulator.predictions) == 10


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/passwd", "s3://bucket/part 1.parquet", "..", "Part-1", "ü" * 99]
)
async def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """Whatever a shard is called, its folder lies in the shards' own, and is its alone."""
    folder = tmp_path / "shards"
    async with serving() as emulator, opened(emulator, folder) as shards:
        outcome = await shards.run(name, FluxDev(prompt="a"))
        await shards.run(name.lower() + "-", FluxDev(prompt="a"))
        assert len(emulator.predictions) == 2
    assert outcome.paths[0].resolve().parent.parent == folder.resolve()
    assert [*tmp_path.iterdir()] == [folder]


# --- after a process's end -----------------------------------------------------------------------


async def test_what_runs_holds_its_slot_at_once(tmp_path: Path) -> None:
    """Before anything is sent the limiter knows what runs in shards that nobody has asked for yet.

    So a new process starts nothing above what the account may have running.
    """
    limits = Limits(requests=120, per=0.6, concurrency=3, min_poll_interval=0.01, grace=0.1)
    async with serving(latency=0.6, latency_cv=0.0, concurrency=3) as emulator:
        async with opened(emulator, tmp_path, limiter=Limiter(limits)) as shards:
            with anyio.move_on_after(0.3):
                await shards.run_shard("one", prompts(6))
        assert len(emulator.predictions) == 3
        assert (tmp_path / "one" / "open").exists()
        async with opened(emulator, tmp_path, limiter=Limiter(limits)) as shards:
            assert shards._client.limiter.running == 3
            await shards.run("two", FluxDev(prompt="another"))
            ended = await shards.run_shard("one", prompts(6))
        assert [outcome.error for outcome in ended] == [None] * 6
        assert len(emulator.predictions) == 7
        assert emulator.refused == 0
    assert not (tmp_path / "one" / "open").exists()


async def test_a_window_is_known_in_the_next_process(tmp_path: Path) -> None:
    """What a shard sent lately counts in the next process, though the shard had ended."""
    limits = Limits(requests=120, per=30.0, min_poll_interval=0.01, grace=0.1)
    async with serving() as emulator:
        async with opened(emulator, tmp_path, limiter=Limiter(limits)) as shards:
            await shards.run("one", FluxDev(prompt="a"))
        sent = len(emulator.requests)
        async with opened(emulator, tmp_path, limiter=Limiter(limits)) as shards:
            assert shards._client.limiter.requests_used >= sent - 1  # the picture does not count


async def test_what_ended_long_ago_is_not_read(tmp_path: Path) -> None:
    """The journal of a shard that ended before the window is left alone: there may be many."""
    async with serving() as emulator:
        async with opened(emulator, tmp_path) as shards:
            await shards.run("one", FluxDev(prompt="a"))
        journal = tmp_path / "one" / "journal.sqlite"
        long_ago = time.time() - 3600
        os.utime(journal, (long_ago, long_ago))
        async with opened(emulator, tmp_path) as shards:
            assert shards._client.limiter.requests_used == 0
        assert journal.stat().st_mtime == pytest.approx(long_ago)


async def test_what_still_runs_keeps_the_mark(tmp_path: Path) -> None:
    """A shard that ended with a prediction that runs on is taken up by the next process."""
    async with serving(latency=30.0) as emulator:
        async with opened(emulator, tmp_path, timeout=0.2) as shards:
            outcome = await shards.run("one", FluxDev(prompt="a"))
            assert outcome.prediction is not None
        async with opened(emulator, tmp_path) as shards:
            assert shards._client.limiter.running_ids == (outcome.prediction.id,)


# --- what is refused -----------------------------------------------------------------------------


async def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process is turned away while the first has the folder, and let in after it."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    async with serving() as emulator:
        async with opened(emulator, tmp_path):
            with pytest.raises(ConfigurationError, match="in use by another process"):
                async with opened(emulator, tmp_path):
                    pass
        async with opened(emulator, tmp_path) as shards:
            with pytest.raises(ConfigurationError, match="enter them once"):
                await shards.__aenter__()
            await shards.run("one", FluxDev(prompt="a"))
        with pytest.raises(ConfigurationError, match="enter the shards first"):
            await shards.run("one", FluxDev(prompt="a"))


@pytest.mark.parametrize("name", ["", None, 5, b"one"])
async def test_what_is_no_name(tmp_path: Path, name: Any) -> None:
    """A shard without a name is refused, and nothing is sent."""
    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        with pytest.raises(ConfigurationError, match="shard's name"):
            await shards.run(name, FluxDev(prompt="a"))
        assert not emulator.requests


async def test_folders_that_cannot_be(tmp_path: Path) -> None:
    """A file where a folder should be, of all shards, the lock or of one, is told by its name."""
    (tmp_path / "file").touch()
    (tmp_path / "locked" / ".lock").mkdir(parents=True)
    async with serving() as emulator:
        for folder, told in (("file", "cannot be made"), ("locked", "cannot be written")):
            with pytest.raises(ConfigurationError, match=told):
                async with opened(emulator, tmp_path / folder):
                    pass
        async with opened(emulator, tmp_path) as shards:
            with pytest.raises(ConfigurationError, match=r"file cannot be written"):
                await shards.run("file", FluxDev(prompt="a"))
        assert not emulator.requests


async def test_other_requests_under_a_name(tmp_path: Path) -> None:
    """A name that was given to other requests is refused, and nothing is sent."""
    async with serving() as emulator, opened(emulator, tmp_path) as shards:
        await shards.run("one", FluxDev(prompt="a"))
        seen = len(emulator.requests)
        with pytest.raises(ConfigurationError, match="of other requests"):
            await shards.run("one", FluxDev(prompt="b"))
        assert len(emulator.requests) == seen


async def test_a_damaged_journal(tmp_path: Path) -> None:
    """Where a journal cannot be taken up it is named, nothing is opened, and the lock is free."""
    journal = tmp_path / "one" / "journal.sqlite"
    journal.parent.mkdir()
    journal.write_bytes(b"no journal" * 500)
    async with serving() as emulator:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=str(journal)):
                async with opened(emulator, tmp_path):
                    pass
        journal.unlink()
        async with opened(emulator, tmp_path) as shards:
            await shards.run("one", FluxDev(prompt="a"))
