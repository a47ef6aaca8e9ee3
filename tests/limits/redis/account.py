"""The script of an account by a clock made of numbers, and processes that speak to it by hand."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from attrs import define, field

from wavespeed_async.limits._window import rules_of
from wavespeed_async.limits.redis._scripts import exchange_script

if TYPE_CHECKING:
    from redis import Redis

    from wavespeed_async.limits import Limits

PREFIX = "{wavespeed-async:hand}:"
CLOCK = "redis.call('HMGET', prefix .. 'clock', 'seconds', 'microseconds')"
SCRIPT = exchange_script().replace("redis.call('TIME')", CLOCK)
SERVER = "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')"
assert CLOCK in SCRIPT
assert SERVER in SCRIPT


@define
class Account:
    """Hold an account's store and its clock."""

    client: Redis
    limits: Limits
    lease: float = 10.0
    now: float = 1000.0
    server: str = "a" * 40
    script: str = SCRIPT

    def __attrs_post_init__(self) -> None:
        self.client.flushall()

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Have the script read a message."""
        seconds, microseconds = divmod(round(self.now * 1e6), 1_000_000)
        clock: Any = {"seconds": seconds, "microseconds": microseconds}
        self.client.hset(f"{PREFIX}clock", mapping=clock)
        script = self.script.replace(SERVER, f"'{self.server}'")
        answer: dict[str, Any] = json.loads(
            str(self.client.eval(script, 1, PREFIX, json.dumps(message)))
        )
        answer["letters"] = answer.get("letters") or []
        return answer

    def opened(self) -> Account:
        """Begin, and wait until an empty store grants something."""
        Process(self, "f" * 16).send(closes=True)
        self.now += self.lease + self.limits.grace + rules_of(self.limits)[0][1]
        return self

    def wait(self, seconds: float, *alive: Process) -> None:
        """Let time pass, in which processes keep their leases."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + self.lease / 2)
            for process in alive:
                process.send()

    def process(self, name: str) -> Process:
        return Process(self, name * 16)


@define(eq=False)
class Process:
    """Speak as one process."""

    account: Account
    holder: str
    number: int = 0
    seen: int = 0
    generation: str = ""
    sequence: int = 0
    enrolled: bool = False
    entries: Any = field(factory=lambda: itertools.count(1))
    last: dict[str, Any] = field(factory=dict)
    granted: list[dict[str, Any]] = field(factory=list)
    errands: list[dict[str, Any]] = field(factory=list)

    def send(self, *, seen: bool = True, **told: Any) -> dict[str, Any]:
        """Send the next letter; on first contact, or when asked, with what this process knows."""
        limits = self.account.limits
        self.number += 1
        nothing: dict[str, Any] = {"flights": [], "times": [], "slots": []}
        enrols = told.pop("enrols", None if self.enrolled else nothing)
        self.last = {
            "holder": self.holder,
            "generation": self.generation,
            "sequence": self.sequence,
            "number": self.number,
            "limits": {
                "rules": rules_of(limits),
                "per": limits.per,
                "most_kept": int(limits.requests / 20),
                "first_pause": 1 / 60,
                "longest_pause": 60,
                "recall": 1 / 60,
                "concurrency": limits.concurrency,
                "grace": limits.grace,
                "uplink": limits.uplink,
                "abandon_after": limits.abandon_after,
                "lease": self.account.lease,
            },
            "fingerprint": str(limits),
            "closes": False,
            "reports": [],
            "changes": [],
            "joins": [],
            "leaves": [],
            "news": [],
            **told,
        }
        if enrols is not None:
            self.last["enrols"] = enrols
        return self.again(seen=seen)

    def again(self, *, seen: bool = True) -> dict[str, Any]:
        """Send the last letter (once more)."""
        answer = self.account.exchange({**self.last, "seen": self.seen})
        if answer["generation"] != self.generation:
            self.seen = 0
        if seen:
            self.generation, self.sequence = answer["generation"], answer["sequence"]
            self.enrolled = answer["status"] == "ok"
            for letter in answer["letters"]:
                self.seen = letter["number"]
                (self.granted if "grant" in letter else self.errands).append(letter)
        return answer

    def want(
        self, kind: str = "s", priority: int = 0, ago: float = 0.0, overdue: float = 5.0
    ) -> list[Any]:
        """Make a place in the queue, to be joined."""
        return [next(self.entries), kind, priority, ago, 1, overdue]

    def join(self, *args: Any, **more: Any) -> int:
        """Stand in the queue, and answer the entry."""
        want = self.want(*args, **more)
        self.send(joins=[want])
        entry: int = want[0]
        return entry

    def tokens(self) -> list[str]:
        """Hear what was granted meanwhile, and answer all that was granted so far."""
        self.send()
        return [letter["token"] for letter in self.granted]

    def report(
        self, verb: str, grant: dict[str, Any], ago: float = 0.0, retry_after: float = 0.0
    ) -> list[Any]:
        return [verb, grant["token"], grant["passed"], ago, retry_after]
