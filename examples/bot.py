"""A chat bot that draws: fair to all, quicker for patrons, and nothing that is paid gets lost.

    python examples/bot.py

It reads messages from stdin, one a line, the user first: `ada /draw a fox in the snow`, then
`ada /cancel`. In a bot of your own `messages` comes from the chat, and `say` goes there.

- Nobody has more than two pictures under way; who asks for more waits for those first.
- Patrons go before others whenever the account's limits make somebody wait.
- What `/cancel` finds waiting is never sent; what runs already is paid, and let go.
- On Ctrl-C the ids of what runs go to `bot.json`, and the next start tells of those pictures.

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from wavespeed_async import (
    AsyncWaveSpeed,
    Event,
    FluxDev,
    Prediction,
    PredictionSubmitted,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEPT = Path("bot.json")
PATRONS = {"ada"}
AT_ONCE = 2


async def messages() -> AsyncIterator[str]:
    """Read what users write, from a terminal or a pipe."""
    rest = b""
    while True:
        await anyio.wait_readable(sys.stdin)
        if not (read := os.read(sys.stdin.fileno(), 65536)):
            return
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


def say(user: str, text: str) -> None:
    """Answer a user."""
    print(f"@{user} {text}", flush=True)


@define(eq=False)
class Order:
    """Hold what a user waits for: with an id from the moment on that it may be billed."""

    user: str
    prompt: str = ""
    id: str = ""
    request: FluxDev | None = None
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)


class Bot:
    """Draw for many users through one account."""

    def __init__(self) -> None:
        self.client = AsyncWaveSpeed(observe=self.note)
        self.patrons_client = self.client.with_options(priority=-1)  # lower numbers go first
        self.turns = defaultdict[str, anyio.CapacityLimiter](lambda: anyio.CapacityLimiter(AT_ONCE))
        self.orders = list[Order]()

    def note(self, event: Event) -> None:
        """Note the id of what was submitted, even if the order is cancelled that very moment."""
        if isinstance(event, PredictionSubmitted):
            for order in self.orders:
                if order.request == event.prediction.request:
                    order.id = event.prediction.id

    async def serve(self) -> None:
        """Answer messages to the last, and go on with what an earlier run has left."""
        async with self.client, anyio.create_task_group() as group:
            for id_, user in kept().items():
                group.start_soon(self.work_off, Order(user, id=id_))
            async for message in messages():
                match message.split(maxsplit=2):
                    case [user, "/draw", prompt]:
                        group.start_soon(self.work_off, Order(user, prompt))
                    case [user, "/cancel"]:
                        self.cancel(user)
                    case [user, *_]:
                        say(user, "I know /draw PROMPT and /cancel")

    async def work_off(self, order: Order) -> None:
        """Draw what is asked for, and say how it went; or nothing of what was cancelled."""
        self.orders.append(order)
        with order.scope:
            try:
                async with self.turns[order.user]:
                    picture = await self.draw(order)
                say(order.user, " ".join(picture.outputs))
            except WaveSpeedError as error:
                say(order.user, f"sorry: {error}")
        self.orders.remove(order)

    async def draw(self, order: Order) -> Prediction:
        """Make a picture, or wait for one that runs already."""
        client = self.patrons_client if order.user in PATRONS else self.client
        if order.id:
            return await client.wait(order.id)
        # With a seed of its own no two requests are equal, so that `note` knows whose each is.
        order.request = FluxDev(prompt=order.prompt, seed=random.randrange(2**31))
        return await client.run(order.request)

    def cancel(self, user: str) -> None:
        """Drop all that a user waits for."""
        for order in self.orders:
            if order.user == user:
                order.scope.cancel()
        say(user, "forgotten")


def kept() -> dict[str, str]:
    """Answer the ids that an earlier run has left, and whose they are."""
    return dict(json.loads(KEPT.read_text("utf-8"))) if KEPT.exists() else {}


def keep(orders: list[Order]) -> None:
    """Leave the ids of what runs to the next run."""
    KEPT.write_text(json.dumps({order.id: order.user for order in orders if order.id}), "utf-8")


async def main() -> None:
    """Serve until there are no more messages, or until Ctrl-C."""
    bot = Bot()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_at_a_signal, group.cancel_scope)
            await bot.serve()
            group.cancel_scope.cancel()
    finally:
        keep(bot.orders)


async def cancel_at_a_signal(scope: anyio.CancelScope) -> None:
    """Cancel a scope on Ctrl-C, and when the process is asked to end."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
