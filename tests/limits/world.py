"""A simulated account: jobs that use a limiter, and a server that writes down what reaches it.

The server knows nothing of the limiter. Its clock goes on through restarts of the process and of
the event loop, each of which begins with a new virtual clock.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from attrs import define, evolve, field, frozen

from tests.limits.servers import fullest_window, most_at_once
from wavespeed_async import _loops
from wavespeed_async.errors import LimiterTimeoutError, RateLimitError
from wavespeed_async.limits import Limiter, Limits, _limiter
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.limits import Permit, Slot

Fate = Literal["answered", "limited", "given up", "withdrawn"]
ALL_SERVED_BY = 50_000.0
"""Virtual seconds after which a world that has not come to its end is called stuck."""


@frozen
class Job:
    """Describe a poll, or a submission and the wait for its end; times are in seconds."""

    at: float = 0.0
    submits: bool = False
    out: float = 0.1
    back: float = 0.1
    fate: Fate = "answered"
    retry_after: float | None = None
    priority: int = 0
    timeout: float = math.inf
    cancel_after: float = math.inf
    work: float = 1.0


@frozen
class Restart:
    """End the event loop after some seconds, and begin another one after a gap.

    Attributes:
        after: Seconds that the loop lives.
        gap: Seconds until the next.
        process: Whether a new process restores a snapshot, or the limiter itself goes on.
        settles: Whether what was on its way is reported as given up before the end.
    """

    after: float
    gap: float
    process: bool
    settles: bool


@define
class _Turn:
    """Note when a caller began to wait, and when its turn came."""

    lane: tuple[bool, int]
    joined: float
    granted: float = math.nan


@define
class World:
    """Play jobs against a server; `check` tells whether all that the limiter promises was kept."""

    limits: Limits
    jobs: list[Job]
    restarts: list[Restart] = field(factory=list)
    limiter_class: type[Limiter] = Limiter
    arrivals: list[float] = field(factory=list)
    runs: dict[str, tuple[float, float]] = field(factory=dict)
    turns: list[_Turn] = field(factory=list)
    known: dict[int, str] = field(factory=dict)
    over: set[int] = field(factory=set)
    base: float = 1000.0
    dead: bool = False
    limiter: Limiter = field(init=False)

    def time(self) -> float:
        """Tell the server's time: also what the wall clock shows."""
        try:
            return self.base + anyio.current_time()
        except anyio.NoEventLoopError:
            return self.base

    monotonic = time

    # --- what the server sees --------------------------------------------------------------------

    def check(self) -> None:
        """Fail where the limits were passed, or where somebody was not served in turn."""
        assert fullest_window(self.arrivals, self.limits.per) <= self.limits.requests
        assert most_at_once(self.runs.values()) <= self.limits.concurrency
        assert self.over == set(range(len(self.jobs)))
        for lane in {turn.lane for turn in self.turns}:
            granted = [t.granted for t in self.turns if t.lane == lane and t.granted == t.granted]
            assert granted == sorted(granted)

    # --- the course of things --------------------------------------------------------------------

    def play(self, backend: Literal["asyncio", "trio"]) -> None:
        """Go through all restarts, to the end."""
        with self._clocks():
            self.limiter = self.limiter_class(self.limits)
            for restart in self.restarts:
                self._run(backend, restart)
                self.base += restart.gap
            self._run(backend, None)

    @contextmanager
    def _clocks(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_limiter, "time", self)
            patch.setattr(_loops, "time", self)
            yield

    def _run(self, backend: Literal["asyncio", "trio"], restart: Restart | None) -> None:
        name, options = virtual_backend(backend)
        self.dead = False
        self.base += anyio.run(self._live, restart, backend=name, backend_options=options)

    async def _live(self, restart: Restart | None) -> float:
        started = anyio.current_time()
        self.base -= started
        async with anyio.create_task_group() as group:
            for index, job in enumerate(self.jobs):
                if index not in self.over:
                    group.start_soon(self._do, index, job)
            if restart is not None:
                await anyio.sleep(restart.after)
                self._die(restart)
                group.cancel_scope.cancel()
        if restart is None:
            with anyio.fail_after(ALL_SERVED_BY):
                await self._use_all_slots()
        self.base += started
        return anyio.current_time() - started

    def _die(self, restart: Restart) -> None:
        self.dead = not restart.settles
        if restart.process:
            snapshot = self.limiter.snapshot()
            self.limiter = self.limiter_class(self.limits)
            self.limiter.restore(snapshot)

    async def _use_all_slots(self) -> None:
        """Show that no slot was lost, no waiter forgotten and no request counted for ever."""
        slots = []
        for _ in range(self.limits.concurrency):
            permit = await self.limiter.acquire(slot=True, ask=self._ask)
            permit.withdrawn()
            assert permit.slot is not None
            slots.append(permit.slot)
        for slot in slots:
            self.limiter.release(slot)
        await anyio.sleep(2 * (self.limits.per + self.limits.grace) + 1)
        assert (self.limiter.waiting, self.limiter.running) == (0, 0)
        assert self.limiter.requests_used == 0

    # --- what a job does -------------------------------------------------------------------------

    async def _do(self, index: int, job: Job) -> None:
        """Do a job until it is over; one that a restart ends before that is done again."""
        await anyio.sleep(max(0.0, job.at - self.time()))
        with anyio.fail_after(ALL_SERVED_BY), anyio.move_on_after(job.cancel_after):
            try:
                if job.submits:
                    await self._submit(index, job)
                else:
                    await self._send(await self._turn(job), job)
            except (LimiterTimeoutError, RateLimitError):
                assert job.timeout < math.inf
        self.over.add(index)

    async def _submit(self, index: int, job: Job) -> None:
        name = self.known.get(index)
        if name is None:
            name = await self._create(index, job)
        elif not self.limiter.attend(name):
            self.limiter.adopt(name)
        if name is not None:
            await self._wait(job, name)

    async def _create(self, index: int, job: Job) -> str | None:
        """Submit; answer the prediction's id, if it is known to be there."""
        permit = await self._turn(job)
        if job.fate == "limited":
            self._release(permit)
            await self._send(permit, job)
            permit = await self._turn(job, front=True)
        fate = "answered" if job.fate == "limited" else job.fate
        name = f"prediction {index}"
        answered = False
        try:
            await self._send(permit, evolve(job, fate=fate), creates=name)
            answered = fate == "answered"
        finally:
            if permit.never_left:
                self._release(permit)
            elif not answered:
                self.over.add(index)  # it may be running: not to be submitted again
                if not self.dead:
                    self.limiter.abandon(_slot(permit))
        if not answered:
            return None
        self.limiter.name(_slot(permit), name)
        self.known[index] = name
        return name

    def _release(self, permit: Permit) -> None:
        if not self.dead:
            self.limiter.release(_slot(permit))

    async def _wait(self, job: Job, name: str) -> None:
        """Poll a prediction until its end, too soon at first."""
        pause = job.work / 2
        try:
            while True:
                await anyio.sleep(pause)
                permit = await self.limiter.acquire(poll=True, priority=job.priority)
                arrived = await self._send(permit, Job(out=job.out, back=job.back))
                if arrived >= self.runs[name][1]:
                    self.limiter.ended(name)
                    return
                pause = 1.0
        except BaseException:
            if not self.dead:
                self.limiter.leave(name)
            raise

    async def _ask(self, prediction_id: str) -> float | None:
        permit = await self.limiter.acquire(poll=True)
        arrived = await self._send(permit, Job())
        return None if arrived >= self.runs[prediction_id][1] else 0.5

    async def _send(self, permit: Permit, job: Job, creates: str | None = None) -> float:
        """Send a request, and answer when it arrived; the server notes it whatever happens."""
        arrives = self.time() + job.out
        settled = False
        try:
            await anyio.sleep(
                job.back if job.fate in {"given up", "withdrawn"} else job.back + job.out
            )
            if job.fate == "withdrawn":
                permit.withdrawn()
            elif job.fate != "given up":
                permit.answered(limited=job.fate == "limited", retry_after=job.retry_after)
            settled = job.fate != "given up"
        finally:
            if not permit.never_left:
                arrives = min(arrives, self.time() + self.limits.grace)
                self.arrivals.append(arrives)
                if creates is not None:
                    self.runs[creates] = (arrives, arrives + job.work)
            if not settled and not self.dead:
                permit.given_up()
        return arrives

    async def _turn(self, job: Job, *, front: bool = False) -> Permit:
        turn = _Turn((job.submits, job.priority), self.time())
        if not front:
            self.turns.append(turn)
        began = self.time()
        try:
            permit = await self.limiter.acquire(
                slot=job.submits,
                poll=not job.submits,
                priority=job.priority,
                timeout=job.timeout,
                front=front,
                ask=self._ask,
            )
        except LimiterTimeoutError:
            assert self.time() == pytest.approx(began + max(0.0, job.timeout), abs=1e-3)
            raise
        turn.granted = self.time()
        return permit


def _slot(permit: Permit) -> Slot:
    assert permit.slot is not None
    return permit.slot
