"""The commands about models and the account, against the emulator."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import Cli, to, write_jsonl

if TYPE_CHECKING:
    from pathlib import Path

    from wavespeed_async.emulator import Emulator

ULTRA_FAST = "wavespeed-ai/flux-dev-ultra-fast"


@pytest.fixture(autouse=True)
def _there(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.url)


def test_the_balance_and_prices(cli: Cli) -> None:
    """`balance` says what is left, and `price` what a request of any model would cost."""
    assert (cli("balance").code, cli("balance").out) == (0, "10000.0000 USD\n")
    assert cli("price", "flux-dev", "--num-images", "3").out == "0.0360 USD\n"
    lora = cli("price", "flux-dev-lora", "--prompt", "a", "--loras", "x/y:1;x/z:0.5")
    assert lora.out == "0.0150 USD\n"
    assert cli("price", ULTRA_FAST, "--prompt", "a", "--num-images", "2").out == "0.0100 USD\n"


def test_a_discount_is_told(cli: Cli, emulator: Emulator) -> None:
    """Where the account pays less than others, both are said."""
    told = {"price": 2.0, "discounted_price": 1.5, "currency": "USD"}
    emulator.next(body={"code": 200, "message": "success", "data": told})
    assert cli("price", "flux-dev").out == "1.5000 USD (without discount 2.0000)\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["price", ULTRA_FAST, "--promt", "a"], "did you mean prompt?"),
        (["price", "flux-dev", "--num-images", "5"], "from 1 to 4"),
        (["price", "flux-devv"], "there is no model 'flux-devv'"),
        (["codegen"], "either the ids of models, or --all"),
        (["codegen", "flux-dev", "--all"], "either the ids of models, or --all"),
        (["codegen", "flux-dev-ultra-fas"], "did you mean wavespeed-ai/flux-dev-ultra-fast"),
        (["codegen", "zzz"], "the catalogue has no model 'zzz'"),
        (["predictions", "--limit", "0"], "Must be >= 1"),
        (["predictions", "--status", ""], "status must be"),
        (["run", ULTRA_FAST, "--promt", "a"], "did you mean prompt?"),
    ],
    ids=str,
)
def test_wrong_use_is_told_and_nothing_submitted(
    arguments: list[str], words: str, cli: Cli, emulator: Emulator
) -> None:
    """What cannot be is exit code 2 and a line that says why."""
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert emulator.predictions == ()


def test_a_raw_request_of_a_file_is_checked_first(
    cli: Cli, emulator: Emulator, tmp_path: Path
) -> None:
    """One misspelt field of a model without a class, and nothing of the batch is sent."""
    requests = [{"model": ULTRA_FAST, "prompt": "a"}, {"model": ULTRA_FAST, "promt": "b"}]
    file = write_jsonl(tmp_path / "requests.jsonl", requests)
    ran = cli("batch", file, *to(emulator))
    assert ran.code == 2
    assert "line 2: wavespeed-ai/flux-dev-ultra-fast: 'promt'" in ran.err
    assert emulator.predictions == ()
    file = write_jsonl(tmp_path / "requests.jsonl", requests[:1])
    for _ in range(2):  # the second time it goes on, and checks nothing
        assert cli("batch", file, "--out", "pictures", *to(emulator)).code == 0
    assert len(emulator.predictions) == 1


def test_predictions_are_listed(cli: Cli, emulator: Emulator) -> None:
    """`predictions` writes one a line, filtered, as text or as JSON."""
    for prompt in ("a", "b"):
        assert cli("run", "flux-dev", "--prompt", prompt, *to(emulator)).code == 0
    newest, oldest = (prediction.id for prediction in reversed(emulator.predictions))
    lines = [line.split("\t") for line in cli("predictions").out.splitlines()]
    assert [(line[0], line[1], line[3]) for line in lines] == [
        (newest, "completed", "wavespeed-ai/flux-dev"),
        (oldest, "completed", "wavespeed-ai/flux-dev"),
    ]
    assert lines[0][4].startswith("http")
    told = cli("predictions", "--limit", "1", "--json").out.splitlines()
    assert [json.loads(line)["inputs"]["prompt"] for line in told] == ["b"]
    assert cli("predictions", "--model", "a/b").out == ""
    assert cli("predictions", "--created-after", "2100-01-01T00:00:00").out == ""


def test_a_prediction_without_a_time_is_listed(cli: Cli, emulator: Emulator) -> None:
    """What the API does not tell is a dash."""
    items = [{"id": "a", "model": "m/m", "status": "failed"}]
    emulator.next(body={"code": 200, "message": "success", "data": {"items": items}})
    assert cli("predictions").out == "a\tfailed\t-\tm/m\n"


def test_models_of_the_api_are_searched(
    cli: Cli, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models --search` lists what has all the words, `--all` everything, `--json` with schemas."""
    found = cli("models", "--search", "VIDEO short")
    assert found.code == 0
    assert "wavespeed-ai/wan-2.1/t2v-480p" in found.out
    assert ULTRA_FAST not in found.out
    assert ULTRA_FAST in cli("models", "--all").out
    (told,) = json.loads(cli("models", "--search", "flux-dev-ultra-fast", "--json").out)
    assert (told["model"], told["base_price"]) == (ULTRA_FAST, 0.005)
    assert told["takes"]["properties"]["prompt"]["type"] == "string"
    emulator.next(body={"code": 200, "data": [{"model_id": "a/b"}]})
    assert "a/b" in cli("models", "--all").out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b[" in cli("models", "--all").out


def test_models_need_no_network(cli: Cli, emulator: Emulator) -> None:
    """`models` alone lists the package's own, says so, and asks nobody."""
    ran = cli("models")
    assert "these are the models of this package" in ran.err
    assert emulator.requests == ()


def test_code_is_generated(cli: Cli, emulator: Emulator, tmp_path: Path) -> None:
    """`codegen` writes source to stdout or a file, for some or for all."""
    one = cli("codegen", "flux-dev-ultra-fast", "wavespeed-ai/odd-fields")
    names = [node.name for node in ast.parse(one.out).body if isinstance(node, ast.ClassDef)]
    assert names == ["FluxDevUltraFast", "OddFields"]
    out = tmp_path / "generated.py"
    ran = cli("codegen", "--all", "--out", out)
    assert (ran.code, ran.out) == (0, f"{out}\n")
    source = out.read_text(encoding="utf-8")
    assert cli("codegen", "--all").out == source
    schema: dict[str, Any] = {"properties": {"a": {}}}
    api = {"api_schemas": [{"type": "model_run", "request_schema": schema}]}
    entries = [{"model_id": "a/b"}, {"model_id": "c/d", "api_schema": api}]
    emulator.next(body={"code": 200, "data": entries})
    some = cli("codegen", "--all")
    assert "class CD(Request)" in some.out
    assert "left out 1: " in some.err


def test_what_the_api_refuses_is_told(cli: Cli, emulator: Emulator) -> None:
    """An error of the API is one line and exit code 1; without a key it is wrong use."""
    emulator.next(status_code=401, body={"code": 401, "message": "Invalid API key"})
    ran = cli("balance")
    assert (ran.code, ran.out) == (1, "")
    assert "AuthenticationError: Invalid API key" in ran.err


@pytest.mark.parametrize("command", [["balance"], ["models", "--all"], ["codegen", "--all"]])
def test_a_key_is_needed(command: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the commands that ask the API say which variable holds it."""
    monkeypatch.delenv("WAVESPEED_API_KEY")
    ran = cli(*command)
    assert ran.code == 2
    assert "WAVESPEED_API_KEY" in ran.err
