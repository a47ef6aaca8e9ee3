"""The flags of `wavespeed-async emulator`, and what they set."""

from __future__ import annotations

import inspect
import math
import re
from signal import SIGINT, raise_signal
from typing import Any, ClassVar

import attrs
import pytest

from wavespeed_async.cli import _emulator, main
from wavespeed_async.cli._emulator_flags import FaultFlags, SettingFlags
from wavespeed_async.emulator import FAULTS, Emulator, Faults, Profile


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[dict[str, Any], Faults]:
    """Answer what the emulator would be started with."""
    seen: list[tuple[dict[str, Any], Faults]] = []

    async def serve(settings: dict[str, Any], profile: Profile, changed: dict[str, Any]) -> int:
        seen.append((settings, Faults.profile(profile, **changed)))
        return 0

    monkeypatch.setattr(_emulator, "serve", serve)
    assert main(["emulator", *arguments]) == 0
    [only] = seen
    return only


def test_there_is_a_flag_for_each_setting() -> None:
    """The flags are the arguments of `Emulator`, with the same defaults but for the seed."""
    arguments = inspect.signature(Emulator).parameters
    wanted = {name: a.default for name, a in arguments.items()}
    del wanted["faults"], wanted["time_source"]
    assert SettingFlags().settings() == {**wanted, "seed": None}


def test_there_is_a_flag_for_each_fault() -> None:
    """The flags of faults are those that there are, and nothing goes wrong by default."""
    flags = {a.name for a in attrs.fields(FaultFlags)}
    names = {f"fault_{name.replace('-', '_')}" for name in FAULTS}
    times = {"fault_slowness", "fault_outage", "fault_lateness"}
    assert flags == names | times | {"faults", "fault_seed"}
    assert Faults.profile(FaultFlags().faults, **FaultFlags().changed()) == Faults()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_can_be_set(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """`--fault-NAME RATE` sets the rate of that fault alone."""
    _, faults = asked(monkeypatch, f"--fault-{fault}", "0.25", "--fault-seed", "3")
    assert faults == attrs.evolve(Faults(seed=3), **{fault.replace("-", "_"): 0.25})  # type: ignore[arg-type]  # a rate by its name


def test_a_profile_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--faults` sets many rates, of which single ones can be set otherwise."""
    _, faults = asked(monkeypatch, "--faults", "hostile", "--fault-stuck", "0")
    assert faults == Faults.profile("hostile", stuck=0.0)


def test_limits_are_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each switch of the limits has its flag."""
    words = "--window bucket --no-polls-count --concurrency-counts requests --over queue"
    settings, _ = asked(monkeypatch, *words.split(), "--retry-after", "date")
    assert settings["window"] == "bucket"
    assert settings["polls_count"] is False
    assert settings["concurrency_counts"] == "requests"
    assert settings["over"] == "queue"
    assert settings["retry_after"] == "date"


def test_a_stuck_prediction_may_end_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--stuck-for` takes seconds, and inf for ever."""
    for word, seconds in (("30", 30.0), ("inf", math.inf)):
        settings, _ = asked(monkeypatch, "--stuck-for", word)
        assert settings["stuck_for"] == seconds


class Serving:
    """Be an emulator that is interrupted as soon as it listens."""

    made: ClassVar[list[dict[str, Any]]] = []
    url = "http://here"

    def __init__(self, **settings: Any) -> None:
        self.made.append(settings)

    async def __aenter__(self) -> None:
        raise_signal(SIGINT)

    async def __aexit__(self, *_: object) -> None:
        return


def test_each_start_has_a_seed_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids and faults differ from start to start, unless the seed that was told is given."""
    monkeypatch.setattr(_emulator, "Emulator", Serving)
    monkeypatch.setattr(Serving, "made", [])
    for _ in range(2):
        assert main(["emulator"]) == 130
    told = re.findall(r"--seed (\d+)\n", capsys.readouterr().err)
    assert main(["emulator", "--seed", told[0]]) == 130
    assert "--seed" not in capsys.readouterr().err
    seeds = [settings["seed"] for settings in Serving.made]
    assert [str(seed) for seed in seeds] == [*told, told[0]]
    assert seeds[0] != seeds[1]
    assert [settings["faults"].seed for settings in Serving.made] == seeds


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fault-lost", "2"], "'lost' must be <= 1.0: 2"),
        (["--faults", "stormy"], "stormy"),
        (["--window", "open"], "open"),
        (["--webhook-secret", "whsec_a", "--per", "0"], "'per' must be > 0"),
    ],
)
def test_flags_that_make_no_sense_are_wrong_use(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """A rate above 1 and an unknown word are wrong use, said in one line."""
    assert main(["emulator", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_the_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of the command has a line for each flag."""
    assert main(["emulator", "--help"]) == 0
    told = capsys.readouterr().out
    for name in (*(f"--fault-{fault}" for fault in FAULTS), "--webhook-secret", "--window"):
        assert name in told
