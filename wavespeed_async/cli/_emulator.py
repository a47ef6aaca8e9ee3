"""The emulator as a server of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio

from wavespeed_async.cli._output import WrongUseError, emit, tell, words
from wavespeed_async.emulator import Emulator, Faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async.emulator import Profile

__all__ = ["serve"]

HOUR = 3600.0
SEEDS = 10**9


async def serve(settings: Mapping[str, Any], profile: Profile, changed: Mapping[str, Any]) -> int:
    """Serve until cancelled.

    Args:
        settings: What `Emulator` takes.
        profile: What goes wrong.
        changed: What differs from that.

    Raises:
        WrongUseError: A setting cannot be, or there is no listening there.
    """
    # With a seed that is always the same, ids would come again after a restart, and the pictures
    # of two runs would take each other's names.
    seed = random.randrange(SEEDS) if settings["seed"] is None else settings["seed"]
    faults = {"seed": seed, **changed}
    try:
        emulator = Emulator(**{**settings, "seed": seed}, faults=Faults.profile(profile, **faults))
        await emulator.__aenter__()
    except OSError as error:
        message = f"cannot listen at {settings['host']} port {settings['port']}: {words(error)}"
        raise WrongUseError(message) from error
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    try:
        emit(f"listening on {emulator.url}")
        if settings["seed"] is None:
            tell(f"the same ids, latencies and faults once more: --seed {seed}")
        while True:  # noqa: ASYNC110 (there is no event: a signal ends it)
            await anyio.sleep(HOUR)
    finally:
        await emulator.__aexit__(None, None, None)
