"""One account's client as a Ray actor, which all drivers of a cluster share; and `ray.data` on it.

::

    main = connect(Account("main", folder="/data/pictures"))
    outcomes = await main.run_shard.remote("part-0001", requests)

Handed over again. Ray starts an actor anew when its process died (`max_restarts`), and calls it
again with what it had not answered (`max_task_retries`). What was paid for by then it finds in the
journal of the shard, by the shard's name: see `Shards`. The journals are files. So in a cluster
the actor belongs to a node, or its folder on a disk that every node has and one uses at a time.

The key is read where it is used: from the environment of the actor's process, which has that of
`ray start`. It is no argument, and in no `runtime_env`: Ray keeps both, and its dashboard shows
them.

It needs the extra `ray`: `pip install 'wavespeed-async[ray]'`.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from attrs import evolve, field, frozen

from wavespeed_async._client import AsyncWaveSpeed
from wavespeed_async._extras import need
from wavespeed_async._settings import KEY_VARIABLE
from wavespeed_async.backends.shards import Shards
from wavespeed_async.errors import ConfigurationError, InvalidRequestError, shown
from wavespeed_async.limits import Limits
from wavespeed_async.models import RawRequest

with need("ray", of=__name__):
    import pyarrow as pa
    import ray
    from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wavespeed_async._prediction import Outcome, Prediction
    from wavespeed_async.models import Request

__all__ = ["NAMESPACE", "Account", "Pictures", "connect"]

NAMESPACE = "wavespeed-async"
"""Ray's namespace of the actors: one for all drivers, whichever theirs is."""
CALLS = 1000
"""Calls that an actor has under way at once; shards wait there for their turn."""


def _name(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", value):
        message = f"Account: name must be 1 to 60 letters, digits, - and _, not {shown(value)}"
        raise ConfigurationError(message)


@frozen
class Account:
    """Say which account an actor uses, and how. It holds no key, and pickles.

    Attributes:
        name: Names the account in this cluster; one name for one key.
        folder: Where its shards are, as the actor's node has it: journals and pictures.
        key_variable: The environment variable that holds the key, there.
        base_url: Where the API is; by default what `AsyncWaveSpeed` finds there.
        limits: What the account is allowed.
        timeout: Seconds for each request, from its submission on.
        transport: None for httpx, or `"aiohttp"`.
        resubmit_unconfirmed: See `Shards`.
    """

    name: str = field(validator=_name)
    folder: str = field(kw_only=True, converter=str)
    key_variable: str = field(kw_only=True, default=KEY_VARIABLE)
    base_url: str | None = field(kw_only=True, default=None)
    limits: Limits = field(kw_only=True, factory=Limits)
    timeout: float = field(kw_only=True, default=600.0)
    transport: str | None = field(kw_only=True, default=None)
    resubmit_unconfirmed: bool = field(kw_only=True, default=False)

    def client(self) -> AsyncWaveSpeed:
        """Make the client, with the key of this process's environment.

        Raises:
            ConfigurationError: There is no key, or a setting cannot work.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            message = (
                f"there is no API key for the account {self.name}: set {self.key_variable} in the "
                f"environment of `ray start`, on the node of its actor"
            )
            raise ConfigurationError(message)
        return AsyncWaveSpeed(
            key,
            base_url=self.base_url,
            limits=self.limits,
            timeout=self.timeout,
            transport=self.transport,
        )


class AccountActor:
    """Be what runs in the actor: one account's shards, opened with the first call."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._opening = anyio.Lock()
        self._opened: Shards | None = None
        self._stack = AsyncExitStack()

    async def account(self) -> Account:
        """Answer the account that it was started with."""
        return self._account

    async def run_shard(
        self, name: str, requests: Iterable[Request | Prediction | str]
    ) -> list[Outcome]:
        """Run a shard as `Shards.run_shard` does.

        What would be long on its way is left out: `raw`, and outputs that are pictures themselves,
        in whose place their files' addresses stand.
        """
        shards = await self._shards()
        return [_light(outcome) for outcome in await shards.run_shard(name, requests)]

    async def run(self, name: str, request: Request | Prediction | str) -> Outcome:
        """Run one request as a shard of its own."""
        (outcome,) = await self.run_shard(name, [request])
        return outcome

    async def has(self, name: str) -> bool:
        """Tell whether a shard was begun here."""
        return await (await self._shards()).has(name)

    async def close(self) -> None:
        """Close what was opened, when nothing is under way; the next call opens it again."""
        async with self._opening:
            self._opened = None
            await self._stack.aclose()

    async def _shards(self) -> Shards:
        """Open the account with the first call: an error here is that call's, not the actor's."""
        async with self._opening:
            if self._opened is None:
                account = self._account
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(account.client())
                    shards = Shards(
                        account.folder, client, resubmit_unconfirmed=account.resubmit_unconfirmed
                    )
                    await stack.enter_async_context(shards)
                    self._stack = stack.pop_all()
                self._opened = shards
            return self._opened


def _light(outcome: Outcome) -> Outcome:
    prediction = outcome.prediction
    if prediction is None:
        return outcome
    outputs = prediction.outputs
    if outcome.paths and any(not _is_address(output) for output in outputs):
        outputs = tuple(path.absolute().as_uri() for path in outcome.paths)
    return evolve(outcome, prediction=evolve(prediction, raw={}, outputs=outputs))


def _is_address(output: str) -> bool:
    return output.startswith(("http://", "https://"))


def connect(account: Account, **options: Any) -> Any:
    """Find the actor of an account in the cluster, or start it, and answer its handle.

    It is detached: it lives on when its driver ends, until `ray.kill`. This blocks until it
    answers, so in an event loop it belongs into a thread.

    Args:
        account: The account.
        options: Ray's options for the actor where it is started, such as `scheduling_strategy` for
            the node that has its folder.

    Raises:
        ConfigurationError: It runs already, with other settings.
    """
    usual: dict[str, Any] = {
        "name": f"wavespeed-{account.name}",
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": CALLS,
        "num_cpus": 0,
    }
    actor: Any = ray.remote(AccountActor).options(**{**usual, **options}).remote(account)
    theirs = ray.get(actor.account.remote())
    if theirs != account:
        message = (
            f"the actor of this account runs with {theirs}, not with {account}: use those, or stop "
            f"it with ray.kill(ray.get_actor({usual['name']!r}, {NAMESPACE!r})); it loses nothing"
        )
        raise ConfigurationError(message)
    return actor


class Pictures:
    """Make the pictures of Parquet files in `ray.data`: their names in, their rows and results out.

    ::

        files = ray.data.from_items([{"shard": "part-1", "path": "/data/prompts/part-1.parquet"}])
        files.map_batches(
            Pictures,
            fn_constructor_args=(accounts, request_of),
            batch_size=1,
            batch_format="pyarrow",
            concurrency=len(accounts),
        ).write_parquet("/data/done")

    A file is a shard, known again by its name: when the pipeline runs again, `shard` has to say the
    same of the same file. (The blocks that `ray.data` cuts a table into are no shards: they are cut
    anew each time.) Each process of the pool has several files under way.

    Rows get the columns `shard`, `prediction` (its id), `outputs` and `files` (lists), `seed` and
    `error` (None where all is well). Columns of these names are replaced.

    Args:
        accounts: Who shares the work. A shard stays with the account that has begun it; so an
            account has to be named until its shards are done.
        request: Makes a request of a row, given as a dict. Where it raises `InvalidRequestError`
            that is the row's error.
        options: Ray's options for actors that are not there yet, as `connect` takes them.
    """

    def __init__(
        self,
        accounts: Sequence[Account],
        request: Callable[[dict[str, Any]], Request],
        *,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not accounts:
            message = "Pictures: accounts must name one account at least"
            raise ConfigurationError(message)
        self._actors = {account.name: connect(account, **(options or {})) for account in accounts}
        self._request = request

    async def __call__(self, files: pa.Table) -> pa.Table:
        """Make the pictures of some files, one after the other."""
        made = [await self._pictures(row["shard"], row["path"]) for row in files.to_pylist()]
        return pa.concat_tables(made)

    async def _pictures(self, shard: str, path: str) -> pa.Table:
        table = await to_thread.run_sync(parquet.read_table, path)
        results = [_Result(shard)] * table.num_rows
        rows: list[int] = []
        requests: list[Request] = []
        for number, row in enumerate(table.to_pylist()):
            try:
                requests.append(self._request(row))
            except InvalidRequestError as error:
                results[number] = _Result(shard, error=_words(error))
            else:
                rows.append(number)
        if requests:
            actor = await self._actor_of(shard)
            outcomes = await actor.run_shard.remote(shard, requests)
            for number, outcome in zip(rows, outcomes, strict=True):
                results[number] = _result_of(shard, outcome)
        return _with_results(table, results)

    async def _actor_of(self, shard: str) -> Any:
        """Choose an account: who has begun the shard, else by lot, which falls alike each time."""
        actors = self._actors
        for actor in actors.values():
            if await actor.has.remote(shard):
                return actor
        return actors[max(actors, key=lambda name: _lot(name, shard))]


def _lot(account: str, shard: str) -> bytes:
    """Draw for an account and a shard: with one account more, a shard moves to that or stays."""
    text = f"{account}/{shard}".encode(errors="backslashreplace")
    return hashlib.blake2b(text, digest_size=8).digest()


@frozen
class _Result:
    """Hold what a row gets."""

    shard: str
    prediction: str | None = None
    outputs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    seed: int | None = None
    error: str | None = None


def _result_of(shard: str, outcome: Outcome) -> _Result:
    prediction = outcome.prediction
    return _Result(
        shard,
        prediction=prediction.id if prediction else None,
        outputs=prediction.outputs if prediction else (),
        files=tuple(str(path.absolute()) for path in outcome.paths),
        seed=_seed_of(outcome.request),
        error=None if outcome.error is None else _words(outcome.error),
    )


def _seed_of(request: Request | None) -> int | None:
    fields = request.fields if isinstance(request, RawRequest) else {}
    seed: int | None = fields.get("seed", getattr(request, "seed", None))
    return seed


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _with_results(table: pa.Table, results: list[_Result]) -> pa.Table:
    texts = pa.list_(pa.string())
    for name, kind in (
        ("shard", pa.string()),
        ("prediction", pa.string()),
        ("outputs", texts),
        ("files", texts),
        ("seed", pa.int64()),
        ("error", pa.string()),
    ):
        column = pa.array([getattr(result, name) for result in results], kind)
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return table
