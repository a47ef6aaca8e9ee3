"""The script beside the window of one process, as its model, over random courses of things."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from tests.limits.redis.account import PREFIX, SCRIPT, Account, Process
from wavespeed_async.limits import Limits
from wavespeed_async.limits._window import Token, Window

if TYPE_CHECKING:
    from redis import Redis

    from tests.limits.redis.server import RedisServer

LEASE = 2.0
LIMITS = Limits(requests=3, per=10.0, concurrency=2, grace=1.0, abandon_after=15.0)
KINDS_OF_ACTS = ["s", "s", "p", "p", "answer", "lose", "never-send", "end", "leave", "die", "beat"]
ACTS = st.tuples(
    st.sampled_from(
        ["s", "s", "p", "p", "answer", "lose", "never-send", "end", "leave", "die", ""]
    ),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.0, 0.25, 1.0, 1.5, 4.0]),
    st.integers(-1, 1),
)

COURSES = st.lists(ACTS, max_size=60)


@define
class Course:
    """Play acts on the script and on the model, and compare them at each step."""

    account: Account
    window: Window = field(factory=lambda: Window(LIMITS))
    tokens: dict[str, Token] = field(factory=dict)
    owners: dict[str, int] = field(factory=dict)
    slots: dict[str, tuple[int | None, float]] = field(factory=dict)
    heard: dict[int, float] = field(factory=dict)
    waiting: dict[tuple[int, int], tuple[str, int, float]] = field(factory=dict)
    processes: dict[int, Process] = field(factory=dict)
    dead: dict[int, Process] = field(factory=dict)
    born: int = 0

    def act(self, what: str, who: int, after: float, priority: int) -> None:
        self.account.now = round(self.account.now + after, 6)
        process = self.processes.get(who) or self._new(who)
        self._bury()
        if who not in self.heard and process.enrolled:
            process = self._new(who)
        told: dict[str, Any] = {}
        grant = process.granted[0] if process.granted else None
        if what in {"s", "p"}:
            want = process.want(what, priority, overdue=math.inf if what == "s" else 2.0)
            want[5] = min(want[5], 100.0)
            told["joins"] = [want]
            self.waiting[who, want[0]] = (what, priority, self.account.now)
        elif what in {"answer", "lose", "never-send"} and grant is not None:
            told = self._report(what, process, process.granted.pop(0))
        elif what == "end":
            mine = [slot for slot, (owner, _) in self.slots.items() if owner == who]
            told["changes"] = [["release", slot, ""] for slot in mine[:1]]
            for slot in mine[:1]:
                del self.slots[slot]
        elif what == "leave":
            mine_too = [key for key in self.waiting if key[0] == who][:1]
            told["leaves"] = [[key[1], *self.waiting.pop(key)[:2]] for key in mine_too]
        elif what == "die":
            self.dead[who] = self.processes.pop(who)
            return
        self.heard[who] = self.account.now
        self._compare(process.send(**told))

    def _new(self, who: int) -> Process:
        self.born += 1
        self.processes[who] = Process(self.account, f"{self.born:016x}")
        for key in [key for key in self.waiting if key[0] == who and who not in self.heard]:
            del self.waiting[key]
        if who in self.heard:
            # The dead one is another process from now on: it is buried by its lease.
            ghost = 100 + self.born
            self.heard[ghost] = self.heard.pop(who)
            if who in self.dead:
                self.dead[ghost] = self.dead.pop(who)
            self._rename(who, ghost)
        return self.processes[who]

    def _rename(self, who: int, ghost: int) -> None:
        self.owners = {name: ghost if of == who else of for name, of in self.owners.items()}
        self.slots = {
            slot: (ghost if of == who else of, until) for slot, (of, until) in self.slots.items()
        }
        for key in [key for key in self.waiting if key[0] == who]:
            self.waiting[ghost, key[1]] = self.waiting.pop(key)

    def _bury(self) -> None:
        now = self.account.now
        for who, last in [*self.heard.items()]:
            died = last + LEASE
            if died > now + 1e-9:
                continue
            del self.heard[who]
            for name in [name for name, of in self.owners.items() if of == who]:
                del self.owners[name]
                self.window.count(self.tokens[name], died + LIMITS.grace)
            self.slots = {
                slot: (None, died + LIMITS.abandon_after) if of == who else (of, until)
                for slot, (of, until) in self.slots.items()
            }
            self.waiting = {key: want for key, want in self.waiting.items() if key[0] != who}
            self.processes.pop(who, None)
        self.slots = {s: (of, until) for s, (of, until) in self.slots.items() if until > now + 1e-9}

    def _report(self, what: str, process: Process, grant: dict[str, Any]) -> dict[str, Any]:
        name, now = grant["token"], self.account.now
        self.owners.pop(name, None)
        if what == "never-send":
            self.window.withdraw(self.tokens[name])
            self.slots.pop(grant["slot"], None)
            changes = [["release", grant["slot"], ""]] if grant["slot"] else []
            return {"reports": [process.report("unsent", grant)], "changes": changes}
        lost = what == "lose"
        self.window.count(self.tokens[name], now + (LIMITS.grace if lost else 0.0))
        return {"reports": [process.report("lost" if lost else "answered", grant)]}

    def _compare(self, answer: dict[str, Any]) -> None:
        for who, process in [*self.processes.items(), *self.dead.items()]:
            if who in self.heard:
                self._note_grants(who, process)
        now = self.account.now
        assert answer["free"] == max(0, self.window.free(now))
        assert answer["running"] == len(self.slots) <= LIMITS.concurrency
        assert answer["used"] <= LIMITS.requests
        room, slots = self.window.free(now), LIMITS.concurrency - len(self.slots)
        kinds = {kind for kind, _, _ in self.waiting.values()}
        if not any(priority > -1 for _, priority, _ in self.waiting.values()):  # nothing is kept
            assert room == 0 or "p" not in kinds
            assert room == 0 or slots == 0 or "s" not in kinds

    def _note_grants(self, who: int, process: Process) -> None:
        """Read the inbox as the process will, and check each turn by the model."""
        inbox = self.account.client.lrange(f"{PREFIX}inbox:{process.holder}", 0, -1)
        assert isinstance(inbox, list)
        for letter in map(json.loads, inbox):
            if letter["token"] in self.tokens:
                continue
            kind, priority, arrived = self.waiting.pop((who, letter["grant"]))
            before = [at for k, p, at in self.waiting.values() if (k, p) == (kind, priority)]
            assert all(at >= arrived for at in before)
            assert self.window.free(self.account.now) > 0
            self.tokens[letter["token"]] = self.window.take()
            self.owners[letter["token"]] = who
            if kind == "s":
                self.slots[letter["slot"]] = (who, math.inf)


@settings(
    max_examples=300,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=COURSES)
def test_the_script_agrees_with_the_window_of_one_process(
    redis: RedisServer, acts: list[tuple[str, int, float, int]]
) -> None:
    """Room, running and turns are what one process would have given, whoever dies meanwhile."""
    with redis.client() as client:
        _play(client, SCRIPT, acts)


def _play(client: Redis, script: str, acts: list[tuple[str, int, float, int]]) -> None:
    course = Course(Account(client, LIMITS, LEASE, script=script).opened())
    for act in acts:
        course.act(*act)


BROKEN = {
    "takes the dead for answered": ("count(flat[i], died + limits.grace)", "count(flat[i], died)"),
    "takes giving up for an answer": ("now - ago + limits.grace", "now - ago"),
    "counts when sent": (
        "redis.call('HSET', key(flight), token,",
        "redis.call('ZADD', key('times'), exact(now), token) redis.call('HSET', 'x', token,",
    ),
    "one slot too many": ("return limits.concurrency -", "return limits.concurrency + 1 -"),
    "one request too many": (
        "free = math.min(free, rule[1] -",
        "free = math.min(free, rule[1] + 1 -",
    ),
    "the last first": ("exact(arrived), member)", "exact(-arrived), member)"),
    "forgets who died": ("\nsweep_holders()", "\n"),
    "keeps the slots of the dead": ("then leave_slot(flat[i], whose, died) end", "then end"),
    "frees the slots of the dead": ("leave_slot(flat[i], whose, died)", "free_slot(flat[i])"),
    "serves who left": ("remove(place(entry[1]), entry[2], entry[3])", ""),
    "never serves": ("\nserve()\n", "\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_script_is_caught(redis: RedisServer, name: str) -> None:
    """The comparison can fail: each script that breaks one rule fails it in some course."""
    right, wrong = BROKEN[name]
    assert right in SCRIPT
    broken = SCRIPT.replace(right, wrong)

    with redis.client() as client:

        def is_caught(acts: list[tuple[str, int, float, int]]) -> bool:
            try:
                _play(client, broken, acts)
            except (AssertionError, KeyError, ResponseError):
                return True
            return False

        find(
            COURSES,
            is_caught,
            settings=settings(
                max_examples=2000,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
