"""Four real processes stand in one queue: whoever came first is served first, whichever it is."""

from __future__ import annotations

import math
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.limits.redis.crowd import PREFIX, Crowd, await_that, crowd, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from tests.limits.redis.server import RedisServer

ONE_AT_A_TIME = {"requests": 1, "per": 0.02, "grace": 0.02}
"""Each turn is answered before the next can come."""


def test_turns_come_in_the_order_of_arrivals(redis: RedisServer, tmp_path: Path) -> None:
    """Of forty who come one after the other to four processes, with clocks a second apart."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    with (
        redis.client() as client,
        crowd(4, redis.url, tmp_path / "turns", **ONE_AT_A_TIME) as them,
    ):
        _hold_up(them)
        came = []
        for number in range(1, 41):
            priority = dice.choice([0, 0, 1])
            dice.choice(them.askers).ask(number, priority)
            came.append((priority, number))
            await_that(lambda count=number: waiting(client) == count)  # it has come, and all know
        them.askers[0].tell("answer")
        turns = them.await_turns(41)
    assert turns == [0, *(number for _, number in sorted(came))], f"seed {seed}"


def test_a_killed_process_leaves_the_order_as_it_was(redis: RedisServer, tmp_path: Path) -> None:
    """Who waited in it is passed over, what it had in hand comes back, and the others go on."""
    with (
        redis.client() as client,
        crowd(4, redis.url, tmp_path / "turns", **ONE_AT_A_TIME) as them,
    ):
        _hold_up(them)
        for number in range(1, 25):
            then = "never" if number == 6 else "now"
            them.askers[number % 4].ask(number, then=then)
            await_that(lambda count=number: waiting(client) == count)
        them.askers[0].tell("answer")
        assert them.await_turns(7) == [*range(7)]
        them.askers[2].kill()  # it has the turn of the sixth
        rest = [number for number in range(7, 25) if number % 4 != 2]
        assert them.await_turns(7 + len(rest)) == [*range(7), *rest]


def _hold_up(them: Crowd) -> None:
    """Have the first process hold the only turn until it is told to answer."""
    them.askers[0].ask(0, then="told")
    assert them.await_turns(1) == [0]


# --- in the midst of a run -----------------------------------------------------------------------

END = "it-has-ended"


@define
class Watch:
    """Follow the account's queue as Redis tells of its own commands, and judge each turn.

    A turn is out of order where somebody waits in its lane who arrived earlier by Redis's clock, or
    who asked earlier in the same process, whose callers are numbered.
    """

    lanes: dict[str, dict[str, float]] = field(factory=dict)
    granted: list[str] = field(factory=list)
    out_of_order: list[str] = field(factory=list)
    _last: tuple[str, bool] = "", True

    def hear(self, command: str) -> None:
        """Take one command that the script gave."""
        name, _, rest = command.partition(" ")
        words = rest.split(" ")
        if name == "RPUSH" and '"grant"' in rest.replace("\\", ""):
            self._judge(*self._last)
        elif words[0].startswith(f"{PREFIX}queue:") and name in {"ZADD", "ZREM"}:
            lane, member = self.lanes.setdefault(words[0], {}), words[-1]
            if name == "ZADD":
                lane[member] = float(words[1])
            else:
                at = lane.pop(member, -math.inf)
                same = [other for other in lane if _whose(other) == _whose(member)]
                is_first = all(at <= other for other in lane.values())
                self._last = member, is_first and all(_number(member) < _number(s) for s in same)

    def _judge(self, member: str, is_first: bool) -> None:
        self.granted.append(member)
        if not is_first:
            self.out_of_order.append(member)

    def watch(self, client: Redis) -> None:
        """Listen until somebody says that it has ended."""
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis has no types for it
            while (command := monitor.next_command()["command"]) != f"ECHO {END}":
                self.hear(command)


def _whose(member: str) -> str:
    return member.partition(":")[0]


def _number(member: str) -> int:
    return int(member.partition(":")[2])


def test_a_crowd_is_served_in_its_order(redis: RedisServer, tmp_path: Path) -> None:
    """No turn goes past one who came earlier: letters bring many at once, one process is killed."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    watch = Watch()
    limits: dict[str, Any] = {"requests": 20, "per": 0.25, "grace": 0.05}
    with (
        redis.client() as client,
        crowd(4, redis.url, tmp_path / "turns", **limits) as them,
    ):
        watching = threading.Thread(target=watch.watch, args=(client,))
        watching.start()
        try:
            mine = _ask_in_bursts(them, dice)
            them.askers[3].kill()
            await_that(lambda: {*them.turns()} >= mine and not waiting(client))
        finally:
            client.echo(END)
            watching.join()
    assert watch.out_of_order == [], f"seed {seed}"
    assert len(watch.granted) >= len(mine), f"seed {seed}"
    assert not [lane for lane in watch.lanes.values() if lane], f"seed {seed}"


def _ask_in_bursts(them: Crowd, dice: random.Random) -> set[int]:
    """Have all ask, many at once and some alone; answer the numbers of those who live on."""
    mine, number = set(), 0
    for _ in range(60):
        who = dice.randrange(4)
        for _ in range(dice.choice([1, 1, 2, 12])):
            number += 1
            them.askers[who].ask(number, dice.choice([0, 0, 1]), dice.uniform(0, 0.02))
            if who != 3:
                mine.add(number)
        time.sleep(dice.uniform(0, 0.01))
    return mine
