"""The commands themselves: help, wrong use, models, the emulator, the demonstration, extras."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import attrs
import httpx
import pytest

from tests.cli.conftest import Cli, interrupt, once, results
from tests.models.samples import PAGES
from wavespeed_async import Limits, __version__
from wavespeed_async.cli import _demo, _emulator, _fields, main
from wavespeed_async.models import Between, FluxDev, FluxDevLora, Request, request_classes

KNOWN = request_classes()


def _options(help_text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z0-9-]+", help_text))


# --- help and wrong use --------------------------------------------------------------------------


def test_the_version(cli: Cli) -> None:
    """`--version` answers the package's version."""
    ran = cli("--version")
    assert (ran.code, ran.out) == (0, f"{__version__}\n")


def test_help_lists_the_commands(cli: Cli) -> None:
    """`--help` names every command and the exit codes."""
    ran = cli("--help")
    assert ran.code == 0
    for word in ("run", "batch", "demo", "emulator", "models", "WAVESPEED_API_KEY", "130"):
        assert word in ran.out


@pytest.mark.parametrize("cls", KNOWN, ids=lambda cls: str(cls.model))
def test_each_model_has_its_fields_as_options(cls: type[Request], cli: Cli) -> None:
    """The options of a model are its request class's fields, with what they take."""
    ran = cli("run", cls.model.removeprefix("wavespeed-ai/"), "--help")
    assert ran.code == 0
    fields = attrs.fields(cls)  # type: ignore[arg-type]  # request classes are attrs classes
    wanted = {"--" + field.name.replace("_", "-") for field in fields}
    wanted |= {"--" + name for name in ("out", "requests", "per", "concurrency", "timeout")}
    wanted |= {"--min-poll-interval", "--base-url"}
    assert wanted <= _options(ran.out)
    text = " ".join(re.sub(r"[│\n]", " ", ran.out).split())
    ranged = [field for field in fields if isinstance(field.validator, Between)]
    assert ranged
    for field in ranged:
        assert field.validator.allowed in text
        assert f"[default: {field.default}]" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["frob"], 'Unknown command "frob"'),
        (["run"], "MODEL requires an argument"),
        (["run", "flux-devv", "--prompt", "a"], "there is no model 'flux-devv': take flux-dev, "),
        (["run", "flux-dev", "--promt", "a"], "Did you mean --prompt?"),
        (["run", "flux-dev", "--prompt"], "--prompt requires an argument"),
        (["run", "flux-dev", "a"], "Unused Tokens"),
        (["run", "flux-fill-dev", "--image", "https://x/a.png"], "--mask-image requires"),
        (["run", "flux-dev", "--seed", "x"], "seed must be a whole number from -1"),
        (["run", "flux-dev", "--size", "9*9"], "size must be"),
        (["run", "flux-dev", "--loras", "a/b"], "loras must be path:scale"),
        (["run", "flux-dev", "--per", "x"], 'unable to convert "x" into float'),
        (["run", "flux-dev", "--requests", "0"], "requests must be a whole number of at least 1"),
        (["run", "flux-dev", "--timeout", "0"], "timeout must be"),
        (["run", "flux-dev", "--base-url", "ftp://x"], "base_url must be an http(s) URL"),
        (["run", "../x", "--prompt", "a"], "model must be an id"),
        (["batch"], "FILE requires an argument"),
        (["batch", "none.csv"], "No such file or directory: none.csv"),
        (["emulator", "--requests", "0"], "'requests' must be >= 1: 0"),
        (["emulator", "--port", "99999"], "Must be <= 65535"),
        (["emulator", "--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
    ],
)
def test_wrong_use_is_one_line(cli: Cli, arguments: list[str], reason: str) -> None:
    """Wrong use ends with 2, and with one line on stderr that says what is wrong."""
    ran = cli(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("wavespeed-async: ")
    assert reason in line


def test_without_a_key_nothing_is_sent(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, the variable that it belongs into is named, and the exit code is 2."""
    monkeypatch.delenv("WAVESPEED_API_KEY")
    ran = cli("run", "flux-dev", "--prompt", "a")
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert "WAVESPEED_API_KEY" in line


# --- models --------------------------------------------------------------------------------------


def test_models_as_a_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`models` shows each model with its fields, what they take, and defaults, on any stdout."""
    plain = cli("models")
    assert plain.code == 0
    assert "\x1b" not in plain.out
    for word in ("flux-kontext-dev/multi", "guidance_scale", "required", "at most 5", "1024*1024"):
        assert word in plain.out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[" in cli("models").out


def test_models_as_json(cli: Cli) -> None:
    """`models --json` writes the same for programs: every model and every field."""
    ran = cli("models", "--json")
    assert ran.code == 0
    told = {model["name"]: model for model in json.loads(ran.out)}
    assert {model["model"] for model in told.values()} == {cls.model for cls in KNOWN}
    fields = {field["name"]: field for field in told["flux-dev"]["fields"]}
    assert [*fields] == [field.name for field in attrs.fields(FluxDev)]
    assert fields["num_inference_steps"] == {
        "name": "num_inference_steps",
        "required": False,
        "default": 28,
        "allowed": "a whole number from 1 to 50",
        "about": "Number of inference steps",
    }
    assert {f["name"] for f in told["flux-fill-dev"]["fields"] if f["required"]} == {
        "image",
        "mask_image",
    }


def test_fields_are_described_by_their_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has a description; without the source there are none, and that is no error."""
    for cls in KNOWN:
        assert all(field.about for field in _fields.fields_of(cls).values())
    monkeypatch.setattr(_fields, "_fields", {})

    def missing(_: object) -> str:
        raise OSError

    monkeypatch.setattr(inspect, "getsource", missing)
    assert {field.about for field in _fields.fields_of(FluxDevLora).values()} == {""}


# --- the emulator --------------------------------------------------------------------------------


def test_the_emulator_serves(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`emulator` serves the API with the settings it was given."""
    told: list[str] = []
    seen: list[int] = []
    monkeypatch.setattr(_emulator, "emit", told.append)

    def ask() -> None:
        url = told[0].removeprefix("listening on ")
        for key in ("wrong", "right"):
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx.post(
                f"{url}/api/v2/wavespeed-ai/flux-dev", json={"prompt": "a"}, headers=headers
            )
            seen.append(answer.status_code)
        interrupt()

    with once(lambda: bool(told), ask):
        ran = cli("emulator", "--api-key", "right", "--latency", "0.1", "--seed", "1")
    assert ran.code == 130
    assert seen == [401, 200]
    assert ran.err == "wavespeed-async: interrupted\n"


def test_a_port_in_use_is_told(cli: Cli) -> None:
    """A port that another program uses is told in one line."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = cli("emulator", "--port", other.getsockname()[1])
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert "cannot listen at 127.0.0.1 port" in line
    assert "in use" in line


# --- the demonstration ---------------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.elsewhere: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href"} and value:
                (self.pictures if tag == "img" else self.elsewhere).append(value)


def test_the_demonstration(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` needs no key, and leaves pictures of five models, results, and a page with prompts."""
    monkeypatch.delenv("WAVESPEED_API_KEY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(_demo, "LATENCY", 0.1)
    fast = partial(Limits, per=1, requests=200, min_poll_interval=0.05)
    monkeypatch.setattr(_demo, "Limits", fast)
    ran = cli("demo", "--out", "o")
    assert ran.code == 0, ran.err
    assert ran.paths == [Path("o/index.html")]
    text = ran.paths[0].read_text(encoding="utf-8")
    page = _Page(text)
    assert page.elsewhere == []
    assert "http" not in text
    assert len(page.pictures) == len(set(page.pictures)) >= 36
    assert all((Path("o") / name).stat().st_size > 1000 for name in page.pictures)
    entries = results(Path("o"))
    assert {entry["model"] for entry in entries} == {page.model for page in PAGES}
    assert sorted(name for entry in entries for name in entry["paths"]) == sorted(page.pictures)
    prompts = [prompt.replace("'", "&#39;") for prompt, _ in _demo.PROMPTS]
    assert all(text.count(prompt) >= 2 for prompt in prompts)
    assert f"{len(page.pictures)} pictures" in text


def test_the_page_of_the_demonstration_tells_of_failures(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed stands on the page too, with its reason written as text, not as HTML."""
    monkeypatch.setattr(_demo, "Limits", partial(Limits, per=1, min_poll_interval=0.05))
    monkeypatch.setattr(_demo, "LATENCY", 0.05)
    bad = FluxDev(prompt="a", image="data:image/png;base64,AAAA")
    monkeypatch.setattr(_demo, "_requests", lambda _: [bad, FluxDev(prompt="<b>bold</b>")])
    ran = cli("demo", "--out", "o")
    text = ran.paths[0].read_text(encoding="utf-8")
    assert ran.code == 1
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    assert "1 failed:" in text


# --- what belongs to none of them ----------------------------------------------------------------


def test_python_m_is_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m wavespeed_async` runs the command line; importing that module runs nothing."""
    module = importlib.import_module("wavespeed_async.__main__")
    monkeypatch.setattr(sys, "argv", ["wavespeed-async", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_streams_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stdout that is no file, as in notebooks, is written to all the same."""
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["models", "--json"]) == 0
    assert json.loads(stdout.getvalue())


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    """The script that is installed for bash completes the commands of this program."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "wavespeed_async", "--install-completion", "--shell", "bash"]
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603 (our own program)
    (script,) = tmp_path.rglob("wavespeed-async")
    asks = f"""
        source {script}
        COMP_WORDS=(wavespeed-async st) COMP_CWORD=1 COMP_LINE="wavespeed-async st" COMP_POINT=18
        answer=$(complete -p wavespeed-async | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $answer wavespeed-async st wavespeed-async
        echo "${{COMPREPLY[@]}}"
    """
    ended = subprocess.run(  # noqa: S603 (a shell, as users have it)
        ["/bin/bash", "-c", asks], env=environment, check=True, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["status"]
