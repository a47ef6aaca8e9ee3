"""The fixtures are what the guide to testing says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.emulator.account import FLUX, KEY

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator


def test_one_emulator_can_serve_all_tests(wavespeed_emulator_session: Emulator) -> None:
    """The session's emulator takes more than an account's limits allow."""
    before = len(wavespeed_emulator_session.requests)
    url = wavespeed_emulator_session.url + FLUX
    with httpx.Client(headers=KEY) as client:
        statuses = {client.post(url, json={}).status_code for _ in range(130)}
    assert statuses == {200}
    assert len(wavespeed_emulator_session.requests) == before + 130
