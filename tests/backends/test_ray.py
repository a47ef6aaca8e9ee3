"""Ray: an account's actor that is killed and goes on, and pipelines of `ray.data`.

Ray is the real one, a cluster of this machine alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.account import until
from wavespeed_async import ConfigurationError, FluxDev, FluxDevLora, Limits, RawRequest
from wavespeed_async.emulator import Emulator

if not os.environ.get("CI"):  # there nothing is skipped: what is missing fails
    pytest.importorskip("ray")

import pyarrow as pa
import ray
from pyarrow import parquet

from wavespeed_async.backends import ray as module
from wavespeed_async.backends.ray import Account, AccountActor, Pictures, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async import Outcome

pytestmark = pytest.mark.xdist_group("ray")  # one process of tests starts it, not each
ROOT = Path(__file__).parents[2]
KEYS = {"FIRST_KEY": "a-secret-of-the-first", "SECOND_KEY": "a-secret-of-the-second"}
LIMITS: dict[str, Any] = {"requests": 120, "per": 1.0, "concurrency": 20}
SOON = Limits(**LIMITS, min_poll_interval=0.02, grace=0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Start Ray on this machine, without network; answer the folder of all its files."""
    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        for name, key in KEYS.items():
            patch.setenv(name, key)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # It waits the longer, the more often it has called again: ten deaths in a row are a test's.
        patch.setenv("RAY_task_actor_unavailable_retry_max_delay_ms", "200")
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=2,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
        yield Path(folder)
        ray.shutdown()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an emulator whose times are short, in a thread of its own."""
    with Emulator(latency=0.12, pictures=False, **LIMITS) as emulator:
        yield emulator


_names = iter(range(10**6))


def account_of(emulator: Emulator, folder: Path, **settings: Any) -> Account:
    """Name an account of its own for each test: actors live as long as the cluster."""
    usual: dict[str, Any] = {
        "folder": folder,
        "key_variable": "FIRST_KEY",
        "base_url": emulator.url,
        "limits": SOON,
    }
    return Account(f"test-{next(_names)}", **{**usual, **settings})


def stop(account: Account) -> None:
    ray.kill(ray.get_actor(f"wavespeed-{account.name}", module.NAMESPACE))


def prompts(shard: str, count: int) -> list[FluxDev]:
    return [FluxDev(prompt=f"{shard}, number {number}") for number in range(count)]


def made(emulator: Emulator) -> Counter[str]:
    return Counter(prediction.fields["prompt"] for prediction in emulator.predictions)


# --- killed ---------------------------------------------------------------------------------------


def test_ten_kills_of_the_actor_cost_nothing(
    cluster: Path, emulator: Emulator, tmp_path: Path
) -> None:
    """The actor is killed ten times in a run of 400: all pictures, none paid twice.

    Nobody calls again but Ray. What was interrupted between intent and answer is looked for, and
    where the API's list does not have it submitted. The limits hold across all deaths.
    """
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    told = f"seed {seed}"
    account = account_of(emulator, tmp_path / "pictures", resubmit_unconfirmed=True)
    actor = connect(account)
    shards = {f"shard-{number}": prompts(f"shard {number}", 50) for number in range(8)}
    pending = [actor.run_shard.remote(name, requests) for name, requests in shards.items()]
    killed = set()
    for after in sorted(dice.sample(range(5, 380), 10)):
        until(lambda least=after: len(emulator.predictions) >= least, 300)  # type: ignore[misc]  # mypy knows no defaults of lambdas
        pid = ray.get(actor.__ray_call__.remote(_own_pid))
        time.sleep(dice.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    ended: list[Outcome] = [outcome for shard in ray.get(pending) for outcome in shard]
    stop(account)
    assert len(killed) == 10, told
    assert [outcome.error for outcome in ended] == [None] * 400, told
    assert all(path.stat().st_size for outcome in ended for path in outcome.paths), told
    expected = Counter(request.prompt for requests in shards.values() for request in requests)
    assert made(emulator) == expected, told
    assert emulator.refused == 0, told


def _own_pid(_: object) -> int:
    return os.getpid()


# --- the actor ------------------------------------------------------------------------------------


def test_drivers_find_the_same_actor(cluster: Path, emulator: Emulator, tmp_path: Path) -> None:
    """Whoever connects gets the account's one actor; other settings for it are refused."""
    account = account_of(emulator, tmp_path)
    first, second = connect(account), connect(account)
    outcome = ray.get(first.run.remote("one", FluxDev(prompt="a")))
    assert ray.get(second.run.remote("one", FluxDev(prompt="a"))).paths == outcome.paths
    assert len(emulator.predictions) == 1
    assert ray.get(first.__ray_call__.remote(_own_pid)) == ray.get(
        second.__ray_call__.remote(_own_pid)
    )
    with pytest.raises(ConfigurationError, match=r"not with Account.*ray\.kill"):
        connect(Account(account.name, folder=str(tmp_path / "elsewhere")))
    stop(account)


def test_errors_of_the_actor_are_ours(cluster: Path, emulator: Emulator, tmp_path: Path) -> None:
    """What a call raises in the actor the driver catches as what it is; the actor lives on."""
    account = account_of(emulator, tmp_path, key_variable="NO_SUCH_KEY")
    actor = connect(account)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="set NO_SUCH_KEY in the environment"):
            ray.get(actor.run.remote("one", FluxDev(prompt="a")))
    stop(account)


def test_the_key_is_in_none_of_rays_files(cluster: Path, tmp_path: Path) -> None:
    """No log, no state that Ray keeps and no setting has the key, though it was used."""
    with Emulator(latency=0.05, pictures=False, api_key=KEYS["FIRST_KEY"]) as emulator:
        account = account_of(emulator, tmp_path)
        ray.get(connect(account).run.remote("one", FluxDev(prompt="a"))).unwrap()
        stop(account)
    files = [path for path in cluster.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert KEYS["FIRST_KEY"].encode() not in path.read_bytes(), path
    assert KEYS["FIRST_KEY"] not in repr(account)
    assert KEYS["FIRST_KEY"].encode() not in pickle.dumps(account)
    assert len(emulator.predictions) == 1


async def test_the_actor_opens_its_account_with_the_first_call(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without a key raises in each call until it has one; closed, it opens again."""
    account = account_of(emulator, tmp_path)
    monkeypatch.delenv("FIRST_KEY", raising=False)
    actor = AccountActor(account)
    assert await actor.account() == account
    with pytest.raises(ConfigurationError, match="there is no API key for the account test-"):
        await actor.has("one")
    monkeypatch.setenv("FIRST_KEY", "k")
    assert not await actor.has("one")
    first = await actor.run_shard("one", prompts("one", 3))
    await actor.close()
    second = await actor.run_shard("one", prompts("one", 3))
    await actor.close()
    assert [outcome.paths for outcome in first] == [outcome.paths for outcome in second]
    assert len(emulator.predictions) == 3


async def test_answers_are_light(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures do not travel: in place of base64 stand their files; a failure stays what it is."""
    monkeypatch.setenv("FIRST_KEY", "k")
    actor = AccountActor(account_of(emulator, tmp_path))
    lora = FluxDevLora(prompt="a", enable_base64_output=True)
    url = FluxDev(prompt="b")
    emulator.next(kind="submit", outcome="failed-1200")
    failed = await actor.run("failed", url)
    emulator.next(kind="submit", status_code=400, body={"code": 400, "message": "no"})
    refused = await actor.run("refused", url)
    one, two = [await actor.run(str(number), request) for number, request in enumerate((lora, url))]
    await actor.close()
    assert one.unwrap().outputs == tuple(path.as_uri() for path in one.paths)
    assert two.unwrap().outputs[0].startswith(emulator.url)
    assert one.unwrap().raw == {}
    assert failed.error is not None
    assert refused.error is not None
    assert refused.prediction is None


@pytest.mark.parametrize("name", ["", "a b", "../a", "x" * 61, None])
def test_what_no_account_is_called(name: Any) -> None:
    """An account's name is a plain word: it names an actor."""
    with pytest.raises(ConfigurationError, match="Account: name must be"):
        Account(name, folder="pictures")


# --- rows -----------------------------------------------------------------------------------------


def _by_prompt(row: dict[str, Any]) -> FluxDev:
    return FluxDev(prompt=row["prompt"], num_images=row["images"])


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Write a file of rows, and answer what names it."""
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return {"shard": path.stem, "path": str(path)}


def run_pictures(pictures: Pictures, files: list[dict[str, str]]) -> Any:
    """Do what `ray.data` does with them."""

    async def run() -> Any:
        return await pictures(pa.Table.from_pylist(files))

    return asyncio.run(run())


def test_rows_become_pictures(cluster: Path, emulator: Emulator, tmp_path: Path) -> None:
    """Rows come back in their order with what became of them; what cannot be asked says why."""
    account = account_of(emulator, tmp_path / "pictures")
    rows = [{"prompt": f"number {n}", "images": 1, "error": "old"} for n in range(6)]
    rows[2]["images"] = 99
    files = [
        write_parquet(tmp_path / "one.parquet", rows[:4]),
        write_parquet(tmp_path / "two.parquet", rows[4:]),
        write_parquet(tmp_path / "bad.parquet", rows[2:3]),
    ]
    table = run_pictures(Pictures([account], _by_prompt), files)
    stop(account)
    names = ("prompt", "images", "shard", "prediction", "outputs", "files", "seed", "error")
    assert table.column_names == [*names]
    result = table.to_pylist()
    assert [row["prompt"] for row in result] == [row["prompt"] for row in [*rows, rows[2]]]
    assert [row["shard"] for row in result] == [*["one"] * 4, *["two"] * 2, "bad"]
    for row in (result[2], result[6]):
        assert row["error"].startswith("InvalidRequestError: ")
        assert row["files"] == []
    asked = {prediction.id: prediction.fields for prediction in emulator.predictions}
    for row in [*result[:2], *result[3:6]]:
        assert row["error"] is None
        assert asked[row["prediction"]]["prompt"] == row["prompt"]
        assert asked[row["prediction"]]["seed"] == row["seed"]
        assert row["outputs"]
        assert [Path(file).is_file() for file in row["files"]] == [True]
    assert len(asked) == 5


def test_what_was_refused_says_why(cluster: Path, emulator: Emulator, tmp_path: Path) -> None:
    """A row whose request the API refuses has no prediction, and the error."""
    account = account_of(emulator, tmp_path / "pictures")
    emulator.next(kind="submit", status_code=400, body={"code": 400, "message": "not this one"})
    files = [write_parquet(tmp_path / "one.parquet", [{"prompt": "a", "images": 1}])]
    (row,) = run_pictures(Pictures([account], _by_prompt), files).to_pylist()
    stop(account)
    assert row["prediction"] is None
    assert row["outputs"] == row["files"] == []
    assert re.match("BadRequestError: .*not this one", row["error"])


def test_a_shard_stays_with_its_account(cluster: Path, emulator: Emulator, tmp_path: Path) -> None:
    """A shard that one of two accounts has begun goes on there, wherever the lot would fall."""
    accounts = [account_of(emulator, tmp_path / name, key_variable=name) for name in KEYS]
    files = [
        write_parquet(tmp_path / f"part-{n}.parquet", [{"prompt": f"number {n}"}]) for n in range(8)
    ]
    first = run_pictures(Pictures(accounts[:1], _raw), files[:6]).to_pylist()
    both = run_pictures(Pictures(accounts, _raw), files).to_pylist()
    again = run_pictures(Pictures(accounts[::-1], _raw), files).to_pylist()
    for account in accounts:
        stop(account)
    assert both[:6] == first
    assert again == both
    assert all(row["seed"] == 7 for row in both)
    assert len(emulator.predictions) == 8


def _raw(row: dict[str, Any]) -> RawRequest:
    return RawRequest("wavespeed-ai/flux-dev", {"prompt": row["prompt"], "seed": 7}, version="v2")


def test_pictures_without_an_account() -> None:
    """Nobody to make pictures is refused."""
    with pytest.raises(ConfigurationError, match="one account at least"):
        Pictures([], _by_prompt)


def test_the_lot_spreads_shards_and_moves_few() -> None:
    """Shards are spread over accounts alike; one account more takes its share, from all others."""
    names = [f"part-{number}.parquet" for number in range(3000)]

    def drawn(accounts: list[str]) -> list[str]:
        return [max(accounts, key=lambda account: module._lot(account, name)) for name in names]

    two, three = drawn(["a", "b"]), drawn(["a", "b", "c"])
    assert all(900 < three.count(account) < 1100 for account in "abc")
    assert all(after in {before, "c"} for before, after in zip(two, three, strict=True))


# --- ray.data -------------------------------------------------------------------------------------


@pytest.fixture
def files_of_ray() -> Iterator[str]:
    """Make a folder for what Ray writes; its name has to be short."""
    with TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def _pipeline(
    folder: Path, emulator: Emulator, files_of_ray: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the pipeline, and kill it in the end if it has not ended."""
    limits = '{"requests": 120, "per": 1.0, "min_poll_interval": 0.02, "grace": 0.1}'
    command = [sys.executable, str(ROOT / "examples" / "ray_parquet.py"), "prompts", "done"]
    with subprocess.Popen(  # noqa: S603 (our own program)
        [*command, "--limits", limits, "--resubmit-unconfirmed"],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name not in KEYS},
            "WAVESPEED_API_KEY": "one",
            "WAVESPEED_API_KEY_2": "another",
            "WAVESPEED_BASE_URL": emulator.url,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": files_of_ray,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def _begin(folder: Path, emulator: Emulator, files_of_ray: str) -> None:
    """Run the pipeline until pictures are made, and kill it then."""
    # Ray itself may hang as it starts, on a busy machine.
    with _pipeline(folder, emulator, files_of_ray) as program, suppress(AssertionError):
        until(lambda: len(emulator.predictions) > 40 or program.poll() is not None, 60)


def test_a_pipeline_that_was_killed_goes_on(
    emulator: Emulator, tmp_path: Path, files_of_ray: str
) -> None:
    """From Parquet to Parquet with two keys; killed and run again, it pays for nothing twice."""
    for part in range(8):
        rows = [{"prompt": f"part {part}, number {number}"} for number in range(20)]
        write_parquet(tmp_path / "prompts" / f"part-{part}.parquet", rows)
    for _ in range(3):
        if not emulator.predictions:
            _begin(tmp_path, emulator, files_of_ray)
    assert 40 < len(emulator.predictions) < 160
    for _ in range(3):
        with _pipeline(tmp_path, emulator, files_of_ray) as program:
            try:
                told, _err = program.communicate(timeout=90)
            except subprocess.TimeoutExpired:  # as above; a run that was killed may be run again
                continue
        break
    assert program.returncode == 0, told
    done = parquet.read_table(tmp_path / "done").to_pylist()
    assert len(done) == 160
    assert {row["error"] for row in done} == {None}
    assert all(Path(row["files"][0]).is_file() for row in done)
    assert made(emulator) == Counter(row["prompt"] for row in done)
    assert max(made(emulator).values()) == 1
    begun = {path.parents[1].name for path in (tmp_path / "pictures").glob("*/*/journal.sqlite")}
    assert begun == {"wavespeed_api_key", "wavespeed_api_key_2"}
