"""Files of requests: what is read, and how what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wavespeed_async.cli._files import Item, read_requests
from wavespeed_async.cli._output import WrongUseError
from wavespeed_async.models import (
    FluxDev,
    FluxDevLora,
    FluxKontextDevMulti,
    FluxReduxDev,
    Lora,
    RawRequest,
)


def _file(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _refused(name: str, content: str | bytes, model: str | None = None) -> tuple[str, ...]:
    with pytest.raises(WrongUseError) as caught:
        read_requests(_file(name, content), model)
    return caught.value.lines


# --- JSONL ---------------------------------------------------------------------------------------


def test_jsonl_becomes_requests() -> None:
    """Each line of JSONL is a request with its line's number; blank lines and a BOM are skipped."""
    lines = [
        '\ufeff{"model": "flux-dev", "prompt": "ä", "size": "512*512"}',
        "",
        '{"model": "flux-dev-lora", "prompt": "b", "loras": [{"path": "p", "scale": 1}]}\r',
        '{"model": "acme/other", "prompt": "c", "steps": 3}',
    ]
    assert read_requests(_file("a.JSONL", "\n".join(lines))) == [
        Item(FluxDev(prompt="ä", size="512*512"), 1),
        Item(FluxDevLora(prompt="b", loras=[Lora("p", 1)]), 3),
        Item(RawRequest("acme/other", {"prompt": "c", "steps": 3}), 4),
    ]


def test_a_default_model_counts_where_none_is_named() -> None:
    """Lines that name no model get the default one, others keep theirs."""
    found = read_requests(
        _file("a.jsonl", '{"prompt": "a"}\n{"model": "acme/x", "prompt": "b"}\n'), "flux-dev"
    )
    assert [item.request.model for item in found] == ["wavespeed-ai/flux-dev", "acme/x"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"model": "flux-dev"', "not JSON at column 21"),
        ('{"model": "flux-dev", "seed": NaN}', "JSON has no NaN"),
        ('{"model": "flux-dev", "prompt": "a", "prompt": "b"}', "'prompt' is given twice"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "an object with a model"),
        ('{"prompt": "a"}', "model must be the name of a model"),
        ('{"model": "flux-dev", "promt": "a"}', "did you mean prompt?"),
        ('{"model": "flux-dev", "guidance_scale": 11}', "guidance_scale must be a number from 0.0"),
        ('{"model": "flux-redux-dev"}', "image must be given"),
        ('{"model": "flux-devv"}', "model must be an id such as"),
    ],
)
def test_a_bad_line_of_jsonl_is_refused(line: str, reason: str) -> None:
    """A bad line is refused with the file's name, its number and the reason, in one line."""
    (told,) = _refused("a.jsonl", f'{{"model": "flux-dev"}}\n\n{line}\n')
    assert told.startswith("a.jsonl:3: ")
    assert reason in told
    assert "\n" not in told


def test_of_many_bad_lines_twenty_are_told() -> None:
    """The first twenty bad lines are told, and how many more there are."""
    told = _refused("a.jsonl", "[]\n" * 33)
    assert len(told) == 21
    assert told[19].startswith("a.jsonl:20: ")
    assert told[20] == "and 13 more"


# --- CSV -----------------------------------------------------------------------------------------


def test_csv_becomes_requests() -> None:
    """Cells become values of their fields' kinds, and empty ones leave the field out."""
    content = (
        "\ufeffmodel,prompt,image,images,loras,size,seed,guidance_scale,enable_safety_checker,steps\n"
        "flux-dev, a b ,,,,512*512,7,3.5,False,\n"
        '"flux-dev-lora","two\nlines",,,a/b:0.5; https://x/y:1 ,,,,,\n'
        ",,,,,,,,,\n"
        "\n"
        "flux-redux-dev,,https://x/a.png,,,,,,TRUE,\n"
        "flux-kontext-dev/multi,c,,https://x/a https://x/b|https://x/c,,,,,,\n"
        "acme/other,42,,,,,,,,[3]\n"
    )
    assert read_requests(_file("a.csv", content)) == [
        Item(
            FluxDev(
                prompt=" a b ",
                size="512*512",
                seed=7,
                guidance_scale=3.5,
                enable_safety_checker=False,
            ),
            2,
        ),
        Item(FluxDevLora(prompt="two\nlines", loras=[Lora("a/b", 0.5), Lora("https://x/y", 1)]), 3),
        Item(FluxReduxDev(image="https://x/a.png", enable_safety_checker=True), 7),
        Item(
            FluxKontextDevMulti(prompt="c", images=["https://x/a", "https://x/b", "https://x/c"]),
            8,
        ),
        Item(RawRequest("acme/other", {"prompt": 42, "steps": [3]}), 9),
    ]


def test_csv_without_a_column_of_models_takes_the_default() -> None:
    """A table without models is read as being of the default model."""
    found = read_requests(_file("a.csv", "prompt\na\nb\n"), "flux-dev")
    assert [item.request for item in found] == [FluxDev(prompt="a"), FluxDev(prompt="b")]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("model,prompt\nflux-dev,a\nflux-dev\n", 3, "1 cells, but the header has 2"),
        ("model,seed\nflux-dev,x\n", 2, "seed must be a whole number from -1"),
        ("model,seed\nflux-dev,1.5\n", 2, "not '1.5'"),
        ("model,strength\nflux-dev,strong\n", 2, "strength must be a number"),
        ("model,enable_safety_checker\nflux-dev,maybe\n", 2, "must be true or false"),
        ("model,loras\nflux-dev,a/b\n", 2, "must be path:scale"),
        ("model,loras\nflux-dev,a/b:strong\n", 2, "must be path:scale"),
        ("model,promt\nflux-dev,a\n", 2, "did you mean prompt?"),
        ("prompt\na\n", 2, "model must be the name of a model"),
        ("model,prompt,prompt\nflux-dev,a,b\n", 1, "there are two columns named prompt"),
        ("model,\nflux-dev,a\n", 1, "column 2 has no name"),
        ('model,prompt\nflux-dev,"a\n\n', 2, "not CSV"),
    ],
)
def test_a_bad_row_of_csv_is_refused(content: str, line: int, reason: str) -> None:
    """A bad row is refused with the number of the line on which it begins, and the reason."""
    (told,) = _refused("a.csv", content)
    assert told.startswith(f"a.csv:{line}: ")
    assert reason in told


def test_a_picture_fits_into_a_cell() -> None:
    """A cell may be as long as a picture written as base64."""
    picture = "data:image/png;base64," + "QUJD" * 100_000
    (item,) = read_requests(_file("a.csv", f'model,image\nflux-dev,"{picture}"\n'))
    assert item == Item(FluxDev(image=picture), 2)


# --- either --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "x", "a.txt: a file of requests ends in .csv or .jsonl"),
        ("a.jsonl", "\n\n", "a.jsonl: there is no request in it"),
        ("a.csv", "", "a.csv: there is no request in it"),
        ("a.csv", "model,prompt\n", "a.csv: there is no request in it"),
        ("a.csv", b"model,prompt\nflux-dev,\xff\n", "a.csv:2: this is not UTF-8"),
    ],
)
def test_a_file_without_requests_is_refused(name: str, content: str | bytes, told: str) -> None:
    """A file of another kind, one without requests, or one of bytes is refused in one line."""
    assert _refused(name, content) == (told,)


def test_a_file_that_is_not_there_is_refused() -> None:
    """A missing file and a folder are refused in one line that names them."""
    Path("folder.csv").mkdir()
    for name, reason in (("none.csv", "No such file"), ("folder.csv", "this is no file")):
        with pytest.raises(WrongUseError) as caught:
            read_requests(Path(name))
        (told,) = caught.value.lines
        assert name in told
        assert reason in told


def test_reading_can_be_ended_at_each_line() -> None:
    """The check is made with each line, and what it raises ends the reading."""
    calls: list[Any] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    path = _file("a.jsonl", json.dumps({"model": "flux-dev"}) + "\n" + "[]\n" * 10)
    with pytest.raises(KeyboardInterrupt):
        read_requests(path, check=check)
    assert len(calls) == 3
