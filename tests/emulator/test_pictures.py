"""What is in the pictures, by their pixels."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageFont, ImageStat

from wavespeed_async._prediction import Status
from wavespeed_async.emulator import _painting, _pictures
from wavespeed_async.emulator._pictures import TINY_PNG, Studio
from wavespeed_async.emulator._requests import LooseRequest, Submission
from wavespeed_async.emulator._state import PredictionRecord
from wavespeed_async.models import (
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "http://127.0.0.1:1234"
ROOM, MASK, PORTRAIT = (f"{ORIGIN}/samples/{name}.png" for name in ("room", "mask", "portrait"))
ELSEWHERE = "https://example.com/cat.png"


class World:
    """A studio, and the predictions that it knows."""

    def __init__(self) -> None:
        self.known: dict[str, PredictionRecord] = {}
        self.files: dict[str, bytes] = {}
        self.studio = Studio(self.known.get, self.files.get)

    def prediction(self, request: Submission, seed: int = 5, **more: Any) -> PredictionRecord:
        made = PredictionRecord(
            id=f"{len(self.known):032x}",
            model=request.model,
            fields={},
            created=0.0,
            ready=0.0,
            status=Status.COMPLETED,
            request=request,
            seed=seed,
            origin=ORIGIN,
            **more,
        )
        self.known[made.id] = made
        return made

    def bytes(self, request: Submission, number: int = 0, seed: int = 5) -> bytes:
        return self.studio.output(self.prediction(request, seed), number)

    def picture(self, request: Submission, number: int = 0, seed: int = 5) -> Image.Image:
        return opened(self.bytes(request, number, seed))

    def sample(self, name: str) -> Image.Image:
        return opened(self.studio.sample(f"/samples/{name}.png"))

    def problem(self, address: str) -> str | None:
        failure = self.studio.check(self.prediction(FluxReduxDev(image=address)))
        if failure is None:
            return None
        assert failure.code == 1402
        return failure.message


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def _no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_painting, "_FONTS", ("no such font.ttf",))
    _painting._font.cache_clear()
    yield
    _painting._font.cache_clear()


def opened(body: bytes) -> Image.Image:
    with Image.open(BytesIO(body)) as picture:
        return picture.convert("RGB")


def data_uri(picture: Image.Image, kind: str = "png") -> str:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"


def difference(one: Image.Image, other: Image.Image) -> float:
    """Answer the mean difference of the pixels, from 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def correlation(one: Image.Image, other: Image.Image) -> float:
    """Answer how much the brightness of two pictures goes together, from -1 to 1."""
    a, b = ([*picture.convert("L").resize((64, 64)).tobytes()] for picture in (one, other))
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    norm = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return float(product / norm**0.5)


def test_size_and_count_and_format_are_as_asked(world: World) -> None:
    """A picture has the asked size and format, and each of several is another one."""
    picture = world.picture(FluxDev(prompt="a", size="640*512"))
    assert picture.size == (640, 512)
    request = FluxKontextDevMulti(prompt="a", images=(ELSEWHERE,), size="256*300")
    for kind in ("jpeg", "png", "webp"):
        asked = FluxKontextDevMulti(
            prompt="a", images=(ELSEWHERE,), size="256*300", output_format=kind
        )
        with Image.open(BytesIO(world.bytes(asked))) as found:
            assert (found.format, found.size) == (kind.upper(), (256, 300))
    assert world.prediction(request).output_format == "jpeg"
    four = world.prediction(FluxDev(size="512*512", num_images=4))
    assert len({world.studio.output(four, number) for number in range(four.count)}) == 4


def test_a_model_without_a_default_size_makes_1024(world: World) -> None:
    """kontext/multi has no default size, and makes 1024*1024."""
    request = FluxKontextDevMulti(prompt="a", images=(ELSEWHERE,))
    assert world.picture(request).size == (1024, 1024)


def test_the_same_seed_gives_the_same_bytes(world: World) -> None:
    """Equal requests with equal seeds give equal bytes in any studio; others do not."""
    request = FluxDev(prompt="a hill", size="512*512")
    assert world.bytes(request) == World().bytes(request)
    assert world.bytes(request) != world.bytes(request, seed=6)
    assert world.bytes(request) != world.bytes(FluxDev(prompt="a lake", size="512*512"))


def test_all_styles_are_painted() -> None:
    """Over some seeds every style occurs, and scenes differ from each other."""
    world = World()
    pictures = {
        world.bytes(LooseRequest(model="wavespeed-ai/flux-dev-ultra-fast", size="64*64"), seed=seed)
        for seed in range(24)
    }
    assert len(pictures) == 24


def test_prompt_and_parameters_are_written_at_the_bottom(world: World) -> None:
    """Another prompt changes the writing; other parameters alone change the bottom alone."""
    one = world.picture(FluxDev(prompt="a", size="512*512"))
    other = world.picture(FluxDev(prompt="a", size="512*512", num_inference_steps=9))
    box = ImageChops.difference(one, other).getbbox()
    assert box is not None
    assert box[1] > 450
    bottom = one.crop((0, 470, 512, 512)).convert("L")
    low, high = bottom.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    assert high - low > 150


@pytest.mark.usefixtures("_no_system_fonts")
def test_captions_need_no_font_of_the_machine(world: World) -> None:
    """Without any font on the machine Pillow's own is used."""
    assert world.picture(FluxDev(prompt="a", size="512*512")).size == (512, 512)
    assert isinstance(_painting._font(20), ImageFont.FreeTypeFont)


@pytest.mark.parametrize(
    "prompt", ["word " * 300, "w" * 500, "w" * 5000, " ", "two\n\tlines"], ids=range(5)
)
def test_any_prompt_fits(world: World, prompt: str) -> None:
    """Long prompts are cut, and none covers more than the lower part."""
    long = world.picture(FluxDev(prompt=prompt, size="512*512"))
    none = world.picture(LooseRequest(model=FluxDev.model, size="512*512"))
    assert long.size == none.size


# --- inputs ------------------------------------------------------------------------------------


def test_strength_mixes_the_input(world: World) -> None:
    """Strength 0 gives the input back, resized; the more strength, the less is left of it."""
    source = world.sample("room").resize((512, 512), Image.Resampling.LANCZOS)
    made = [
        world.picture(FluxDev(prompt="a", image=ROOM, size="512*512", strength=strength))
        for strength in (0.0, 0.3, 1.0)
    ]
    differences = [difference(source, picture) for picture in made]
    assert differences[0] == 0
    assert 0 < differences[1] < differences[2]
    scene = world.picture(FluxDev(prompt="a", size="512*512", seed=5))
    assert difference(scene.crop((0, 0, 512, 400)), made[2].crop((0, 0, 512, 400))) == 0


def test_fill_changes_only_where_the_mask_is_white(world: World) -> None:
    """Every pixel outside of the mask's white stays as it is, and those within are new."""
    source, mask = world.sample("room"), world.sample("mask").convert("L")
    made = world.picture(FluxFillDev(image=ROOM, mask_image=MASK, prompt="a lake"))
    changed = (
        ImageChops.difference(source, made).convert("L").point(lambda value: 255 * (value > 0))
    )
    outside = ImageChops.multiply(changed, ImageChops.invert(mask))
    assert outside.getbbox() is None
    assert ImageStat.Stat(changed, mask).mean[0] > 200


def test_fill_takes_grey_for_white_from_the_middle_on(world: World) -> None:
    """A pixel of the mask counts as white from grey 128 on, at any size of the mask."""
    mask = Image.new("L", (4, 1))
    mask.putdata([0, 127, 128, 255])
    request = FluxFillDev(image=ROOM, mask_image=data_uri(mask), size="1024*1024")
    changed = ImageChops.difference(world.sample("room"), world.picture(request))
    box = changed.getbbox()
    assert box is not None
    assert box[0] >= 512


def test_a_black_mask_changes_nothing(world: World) -> None:
    """Without white in the mask the input comes back."""
    black = data_uri(Image.new("L", (8, 8)))
    made = world.picture(FluxFillDev(image=ROOM, mask_image=black))
    assert difference(made, world.sample("room")) == 0


def test_a_small_white_spot_has_no_room_for_writing(world: World) -> None:
    """A mask too small for a caption is filled without one."""
    mask = Image.new("L", (1024, 1024))
    mask.paste(255, (100, 100, 112, 110))
    made = world.picture(FluxFillDev(image=ROOM, mask_image=data_uri(mask), prompt="a"))
    box = ImageChops.difference(made, world.sample("room")).getbbox()
    assert box is not None
    assert box[2] - box[0] <= 12


def test_lora_fills_by_strength(world: World) -> None:
    """flux-dev-lora with a mask transforms the white part only, and without an input ignores it."""
    asked = {"prompt": "a", "mask_image": MASK, "size": "1024*1024", "enable_base64_output": False}
    made = world.picture(FluxDevLora(image=ROOM, strength=0.0, **asked))  # type: ignore[arg-type]  # one dict for several types
    assert difference(made, world.sample("room")) == 0
    made = world.picture(FluxDevLora(**asked))  # type: ignore[arg-type]  # as above
    assert difference(made, world.sample("room")) > 10


def test_redux_varies_its_input(world: World) -> None:
    """A variation differs from its input and from another one, yet goes together with it."""
    source = world.sample("portrait").resize((512, 512))
    one, other = (
        world.picture(FluxReduxDev(image=PORTRAIT, size="512*512"), seed=seed) for seed in (1, 2)
    )
    assert difference(one, source) > 3
    assert difference(one, other) > 3
    assert correlation(one, source) > 0.6


def test_kontext_composes_its_inputs(world: World) -> None:
    """Each input is to be seen in the composition, whatever their number."""
    red, green = (data_uri(Image.new("RGB", (64, 64), colour)) for colour in ("red", "lime"))
    made = world.picture(
        FluxKontextDevMulti(prompt="a", images=(red, green), size="512*512", output_format="png")
    )
    counts = made.getcolors(512 * 512)
    assert counts is not None
    colours = {colour: count for count, colour in counts}
    assert colours[255, 0, 0] > 2000
    assert colours[0, 255, 0] > 2000
    for number in (1, 5, 7):
        request = FluxKontextDevMulti(prompt="a", images=(red,) * number, size="512*256")
        assert world.picture(request).size == (512, 256)


def test_outputs_can_be_inputs_again(world: World) -> None:
    """An output's own address is resolved in process, also by another name of the loopback."""
    first = world.prediction(FluxDev(prompt="a", size="512*512"))
    for origin in (ORIGIN, "http://localhost:1234"):
        address = f"{origin}/outputs/{first.id}/0.png"
        made = world.picture(FluxDev(image=address, strength=0.0, size="512*512"))
        assert difference(made, opened(world.studio.output(first, 0))) == 0


def test_tiny_outputs_can_be_inputs_again(world: World) -> None:
    """Where outputs are not drawn, an input made of one is that tiny picture."""
    first = world.prediction(FluxDev(), pictures=False)
    assert world.studio.output(first, 0) == TINY_PNG
    assert world.problem(f"{ORIGIN}/outputs/{first.id}/0.png") is None


def test_long_chains_of_pictures_end_in_a_stand_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain of pictures made one from another is followed only so far."""
    monkeypatch.setattr(_pictures, "MOST_GENERATIONS", 2)
    last = world.prediction(FluxDev(prompt="a", size="512*512"))
    for _ in range(4):
        address = f"{ORIGIN}/outputs/{last.id}/0.png"
        last = world.prediction(FluxDev(image=address, strength=0.0, size="512*512"))
    made = opened(world.studio.output(last, 0))
    assert difference(made, world.picture(FluxDev(prompt="a", size="512*512"))) > 3


def test_other_addresses_stand_in_for_themselves(world: World) -> None:
    """Another server's address is not called: it gives the same picture each time, its own."""
    one, again, other = (
        world.picture(FluxDev(image=address, strength=0.0, size="512*512"))
        for address in (ELSEWHERE, ELSEWHERE, ELSEWHERE + "?2")
    )
    assert difference(one, again) == 0
    assert difference(one, other) > 3
    prediction = world.prediction(FluxReduxDev(image=ELSEWHERE))
    assert not world.studio.has_own_inputs(prediction)
    assert world.studio.check(prediction) is None


def test_pictures_come_as_data_uri_and_as_base64(world: World) -> None:
    """An input may be a data: URI, with base64 or percent signs, or bare base64."""
    source = Image.new("RGB", (8, 8), (1, 200, 3))
    uri = data_uri(source)
    percent = "data:image/png," + "".join(f"%{byte:02x}" for byte in TINY_PNG)
    for address in (uri, uri.partition(",")[2]):
        made = world.picture(FluxDev(image=address, strength=0.0, size="512*512"))
        assert made.getpixel((9, 9)) == (1, 200, 3)
    assert world.problem(percent) is None
    assert world.studio.has_own_inputs(world.prediction(FluxDev(image=uri)))


def test_any_kind_of_picture_can_be_read(world: World) -> None:
    """Grey, transparent and palette pictures are inputs like any other, in each format."""
    see_through = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    see_through.putpixel((0, 0), (0, 200, 0, 100))
    palette = see_through.quantize(4)
    pictures = [see_through, palette, Image.new("L", (8, 8)), Image.new("1", (8, 8))]
    addresses = [data_uri(picture) for picture in pictures]
    addresses += [
        data_uri(Image.new("RGB", (8, 8)), kind) for kind in ("gif", "webp", "bmp", "tiff")
    ]
    assert [world.problem(address) for address in addresses] == [None] * 8


def test_what_cannot_be_read_fails_with_a_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that is no picture, or none of ours, is named as media that cannot be accessed."""
    first = world.prediction(FluxDev())
    assert world.problem(MASK) is None
    reasons = {
        "data:image/png;base64,!": "not base64",
        "data:image/png;base64,aaaa": "no picture",
        data_uri(Image.new("RGB", (64, 64)))[:-40]: "no picture",
        f"{ORIGIN}/samples/none.png": "nothing at /samples/none.png",
        f"{ORIGIN}/outputs/{'f' * 32}/0.png": "nothing at",
        f"{ORIGIN}/outputs/{first.id}/0.jpeg": "nothing at",
        f"{ORIGIN}/outputs/{first.id}/1.png": "has 1 outputs",
    }
    for address, reason in reasons.items():
        found = world.problem(address)
        assert found is not None
        assert found.startswith("media access failed: ")
        assert reason in found
    monkeypatch.setattr(_pictures, "MOST_PIXELS", 63)
    assert "8x8 pixels" in str(world.problem(data_uri(Image.new("RGB", (8, 8)))))
    monkeypatch.setattr(_pictures, "MOST_BYTES", 3)
    assert "bytes" in str(world.problem(data_uri(Image.new("RGB", (8, 8)))))


def test_pictures_are_kept_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is drawn once as long as it is kept, and only so many are."""
    monkeypatch.setattr(_pictures, "KEPT", 1)
    first, second = (world.prediction(FluxDev(size="512*512"), seed) for seed in (1, 2))
    drawn = world.studio.output(first, 0)
    assert world.studio.output(first, 0) is drawn
    world.studio.output(second, 0)
    again = world.studio.output(first, 0)
    assert again is not drawn
    assert again == drawn
