"""The demonstration: every model and a batch against the emulator, and a page that shows it."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import httpx
from anyio import to_thread
from jinja2 import Environment

from wavespeed_async.cli._fields import short_name
from wavespeed_async.cli._files import Item
from wavespeed_async.cli._output import emit, tell
from wavespeed_async.cli._session import Plan, Session
from wavespeed_async.emulator import Emulator
from wavespeed_async.limits import Limits
from wavespeed_async.models import (
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    Lora,
    Request,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wavespeed_async._prediction import Outcome

__all__ = ["show_all"]

LATENCY = 2.0
"""Seconds that a picture takes: what the real models take, and an end within the minute."""
PAGE = "index.html"
TIMES = "\N{MULTIPLICATION SIGN}"

WIDE, TALL, SQUARE = "1024*768", "768*1024", "768*768"
PROMPTS = (
    ("A lighthouse on a basalt cliff at dusk, storm clouds, long exposure", TALL),
    ("A paper boat on a puddle that mirrors the city lights", WIDE),
    ("An old greenhouse overgrown with ferns, morning light through dusty panes", TALL),
    ("A red fox asleep in fresh snow, soft focus", SQUARE),
    ("Terraced rice fields from above, geometric, early mist", WIDE),
    ("A tram climbing a steep street, watercolour", TALL),
    ("Still life with pears, a pewter jug and a folded map, chiaroscuro", SQUARE),
    ("A library inside a hollow sequoia, warm lamps, spiral stairs", TALL),
    ("Desert road under the Milky Way, a single pair of headlights", WIDE),
    ("A glass teapot with blooming tea, studio light on white", SQUARE),
    ("Fishing boats drawn up on a pebble beach, gouache poster", WIDE),
    ("An astronaut tending tomatoes on Mars, retro science fiction cover", TALL),
    ("Koi in a dark pond, maple leaves, ink on silk", SQUARE),
    ("A mountain hut in a blizzard, one yellow window", WIDE),
    ("Bicycles along a canal in autumn, low sun", WIDE),
    ("Portrait of a clockmaker at her bench, brass and shadow", TALL),
    ("A whale above the roofs of a sleeping town, picture book", WIDE),
    ("Macro of a dandelion seed with a drop of dew", SQUARE),
    ("Brutalist stairwell, hard noon shadows, black and white", TALL),
    ("A market in Marrakesh, pyramids of spices, bird's eye view", SQUARE),
    ("Frozen waterfall with climbers for scale, turquoise ice", TALL),
    ("A cat on a windowsill watching rain, flat illustration", SQUARE),
    ("Wind turbines over lavender, long rows to the horizon", WIDE),
    ("A night train crossing a viaduct, sparks, comet overhead", WIDE),
)
"""The batch, with sizes."""


async def show_all(out: Path) -> int:
    """Make all pictures, write the page, and answer the exit code."""
    outcomes: list[Outcome] = []
    async with Emulator(latency=LATENCY, seed=datetime.now().astimezone().microsecond) as emulator:
        tell(f"the emulator of the API listens at {emulator.url}: no key, no cost")
        # A transport of its own: a proxy from the environment cannot reach this machine's loopback.
        plan = Plan(
            out=out,
            limits=Limits(),
            base_url=emulator.url,
            api_key="demo",
            transport=httpx.AsyncHTTPTransport(),
        )
        items = [Item(request) for request in _requests(emulator.url)]
        session = Session(items, plan, each=outcomes.append)
        code = await session.run()
    page = out / PAGE
    outcomes.sort(key=lambda outcome: outcome.index)
    text = _page(outcomes, session)
    await to_thread.run_sync(page.write_text, text, "utf-8")
    emit(str(page))
    return code


def _requests(url: str) -> list[Request]:
    """Ask for what each model is good at, then for the batch."""
    room, mask, portrait = (f"{url}/samples/{name}.png" for name in ("room", "mask", "portrait"))
    yarn = Lora("linoyts/yarn_art_Flux_LoRA", 1.0)
    return [
        FluxDev(prompt="A harbour town at blue hour, lanterns on the water", num_images=4),
        FluxDev(prompt="The same room as a pencil sketch", image=room, strength=0.5, size=WIDE),
        FluxDevLora(prompt="A hedgehog made of yarn", loras=[yarn], num_images=2, size=SQUARE),
        FluxReduxDev(image=portrait, num_images=3, size=TALL),
        FluxFillDev(
            image=room, mask_image=mask, prompt="A large window onto a garden", num_images=2
        ),
        FluxKontextDevMulti(
            prompt="Hang the portrait on the wall of the room",
            images=[room, portrait],
            size=WIDE,
            num_images=2,
            output_format="webp",
        ),
        *(FluxDev(prompt=prompt, size=size) for prompt, size in PROMPTS),
    ]


def _page(outcomes: list[Outcome], session: Session) -> str:
    template = files("wavespeed_async.cli").joinpath("demo.html.j2").read_text("utf-8")
    cards = [card for outcome in outcomes if outcome.error is None for card in _cards(outcome)]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        cards=cards,
        failures=session.tally.failures,
        models=len({card["model"] for card in cards}),
        requests=session.tally.total,
        seconds=session.seconds,
        pace=session.tally.pictures_per_minute(session.tally.started + session.seconds),
        limits=Limits(),
        made=datetime.now().astimezone(),
    )


def _cards(outcome: Outcome) -> list[dict[str, Any]]:
    """Say of each picture what it shows."""
    request, prediction = outcome.request, outcome.unwrap()
    return [
        {
            "file": path.name,
            "prompt": getattr(request, "prompt", None) or "Variation of a picture",
            "model": short_name(prediction.model),
            "seed": getattr(request, "seed", None),
            "size": str(getattr(request, "size", "")).replace("*", TIMES),
            "ratio": str(getattr(request, "size", "")).replace("*", " / "),
            "seconds": (prediction.inference_ms or 0) / 1000,
            "number": number,
            "of": len(outcome.paths),
        }
        for number, path in enumerate(outcome.paths, 1)
    ]
