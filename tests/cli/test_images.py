"""Images on the command line: a path is a path, an address an address; names of what is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops

from tests.cli.conftest import Cli, results, to, write_jsonl
from tests.wire import PNG
from wavespeed_async.cli._fields import fields_of
from wavespeed_async.cli._images import image_from, names_images
from wavespeed_async.emulator import Emulator
from wavespeed_async.models import FluxFillDev, FluxKontextDevMulti

if TYPE_CHECKING:
    from wavespeed_async.emulator._records import PredictionRecord

RAW = "wavespeed-ai/wan-2.1/t2v-480p"
BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Have a picture and a mask in a folder, and another in its parent."""
    folder = tmp_path / "in"
    folder.mkdir()
    room = Image.effect_noise((512, 512), 70).convert("RGB")
    room.save(folder / "room.png")
    mask = Image.new("L", room.size)
    mask.paste(255, (64, 100, 300, 260))
    mask.save(folder / "mask.png")
    (folder / "a b.png").write_bytes(PNG)
    return folder


def uploaded(emulator: Emulator, made: PredictionRecord, name: str) -> bytes | None:
    """Answer what was uploaded for a field."""
    address = made.fields[name]
    address = address[-1] if isinstance(address, list) else address
    (found,) = [one for one in emulator.uploads if one.id in address]
    return found.content


def test_only_the_white_of_a_mask_changes(cli: Cli, files: Path) -> None:
    """`run flux-fill-dev` with two files: every pixel outside of the mask is that of the input."""
    with Emulator(latency=0.05, per=1) as emulator:
        ran = cli(
            *("run", "flux-fill-dev", "--prompt", "a scarf", "--size", "512*512", "--out", "o"),
            *("--image", "in/room.png", "--mask-image", "in/mask.png", *to(emulator)),
        )
    assert ran.code == 0
    (path,) = ran.paths
    with Image.open(path) as made, Image.open(files / "room.png") as room:
        changed = ImageChops.difference(made.convert("RGB"), room)
    assert changed.getbbox() == (64, 100, 300, 260)
    (record,) = results(Path("o"))
    assert record["fields"]["image"] == str(Path("in/room.png"))


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("room.png", Path("in/room.png")),
        (" a b.png ", Path("in/a b.png")),
        ("/tmp/a.png", Path("/tmp/a.png")),  # noqa: S108 (nobody opens it)
        ("https://a.test/a.png", "https://a.test/a.png"),
        ("HTTP://a.test/a.png", "HTTP://a.test/a.png"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
        (BASE64, BASE64),
        ("A" * 256, "A" * 256),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAA", Path("in/AAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("", ""),
        (" ", " "),
        (7, 7),
        (["a.png", "https://a.test"], [Path("in/a.png"), "https://a.test"]),
    ],
)
def test_what_is_no_address_is_a_path(text: Any, image: Any) -> None:
    """Addresses, data URIs and base64 of an image stay; the rest is relative to the folder."""
    assert image_from(text, Path("in")) == image


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("image", True),
        ("images", True),
        ("mask_image", True),
        ("last_image_url", True),
        ("image_size", False),
        ("x", False),
    ],
)
def test_fields_for_images_are_told_by_their_name(name: str, takes: bool) -> None:
    """In a model without a class."""
    assert names_images(name) is takes


def test_a_path_in_a_file_is_relative_to_that_file(cli: Cli, files: Path) -> None:
    """Of JSONL and CSV, of models with a class and without, one image or several."""
    redux = {"model": "flux-redux-dev", "image": "room.png"}
    raw = {"model": RAW, "image": "mask.png", "prompt": "room.png"}
    write_jsonl(files / "a.jsonl", [redux, raw])
    (files / "b.csv").write_text(
        "model,prompt,images\nflux-kontext-dev/multi,a,room.png|a b.png\n"
        "flux-kontext-dev/multi,b,room.png mask.png\n",
        encoding="utf-8",
    )
    with Emulator(latency=0.0, per=1, pictures=False) as emulator:
        assert cli("batch", "in/a.jsonl", "--out", "o", *to(emulator)).code == 0
        assert cli("batch", files / "b.csv", "--out", "p", *to(emulator)).code == 0
        made = {p.fields.get("prompt", ""): p for p in emulator.predictions}
        room, mask = (files / "room.png").read_bytes(), (files / "mask.png").read_bytes()
        assert uploaded(emulator, made[""], "image") == room
        assert uploaded(emulator, made["room.png"], "image") == mask
        assert uploaded(emulator, made["a"], "images") == PNG
        assert uploaded(emulator, made["b"], "images") == mask


def test_a_raw_model_takes_files_too(cli: Cli, files: Path) -> None:
    """By the names of its fields."""
    with Emulator(latency=0.0, per=1, pictures=False) as emulator:
        ran = cli(
            "run",
            RAW,
            "--image",
            "in/a b.png",
            "--prompt",
            "in/a b.png",
            *to(emulator),
        )
        assert ran.code == 0
        (made,) = emulator.predictions
        assert uploaded(emulator, made, "image") == PNG
        assert made.fields["prompt"] == "in/a b.png"
        ran = cli("run", RAW, "--prompt", "a", "--mask_image", "in/a b.png", *to(emulator))
        assert ran.code == 2
        assert "'mask_image', given as 'in/a b.png', is no field" in ran.err


def test_one_bad_file_and_nothing_is_sent(cli: Cli, files: Path) -> None:
    """A file that is missing or no image is told with its line, before anything is sent."""
    (files / "text.png").write_text("no image", encoding="utf-8")
    names = ("room.png", "missing.png", "text.png", "room.png")
    lines = [{"model": "flux-redux-dev", "image": name} for name in names]
    write_jsonl(files / "a.jsonl", lines)
    with Emulator(latency=0.0, pictures=False) as emulator:
        ran = cli("batch", "in/a.jsonl", *to(emulator))
        assert ran.code == 2
        assert [line.partition(": ")[0] for line in ran.lines][1:] == ["in/a.jsonl:3"]
        assert "in/a.jsonl:2: wavespeed-ai/flux-redux-dev: image must be a file" in ran.lines[0]
        ran = cli("run", "flux-redux-dev", "--image", "missing.png", *to(emulator))
        assert ran.code == 2
        assert "image must be a file that can be read (No such file" in ran.err
        assert emulator.requests == ()


def test_files_get_the_names_that_are_asked_for(cli: Cli, emulator: Emulator) -> None:
    """`--name` is a template, files that are there are kept, and metadata is written on request."""
    arguments = ("run", "flux-dev", "--prompt", "a", "--seed", "7", "--out", "o")
    chosen = ("--name", "{model}/{seed}", "--metadata")
    for name in ("7.png", "7-2.png"):
        ran = cli(*arguments, *chosen, *to(emulator))
        assert ran.paths == [Path("o/flux-dev") / name]
        with Image.open(ran.paths[0]) as made:
            assert json.loads(made.info["parameters"])["prompt"] == "a"
    for wrong in (("--name", "../{id}"), ("--name", "{seed}", "--existing", "replace")):
        ran = cli(*arguments, *wrong, *to(emulator))
        assert ran.code == 2
        assert "name must be" in ran.err


def test_help_says_that_files_are_taken(cli: Cli) -> None:
    """In the help of a model, and in the list of models."""
    assert "a file's path, an http(s) URL" in " ".join(cli("models").out.split())
    assert fields_of(FluxFillDev)["image"].is_image
    assert fields_of(FluxKontextDevMulti)["images"].is_image
