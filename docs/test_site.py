"""The built site reads from a disk, in a real browser, and leads nowhere that is not there.

`nox -s docs` builds it into the folder that SITE names, and runs this.
"""

from __future__ import annotations

import importlib
import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from wavespeed_async import AsyncWaveSpeed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

SITE = Path(os.environ.get("SITE", "build/site")).absolute()
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html"))
LOOKS = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 800}}
PUBLIC = (
    "wavespeed_async",
    "wavespeed_async.backends.aiohttp",
    "wavespeed_async.backends.fastapi",
    "wavespeed_async.backends.ray",
    "wavespeed_async.backends.shards",
    "wavespeed_async.deliveries",
    "wavespeed_async.deliveries.redis",
    "wavespeed_async.emulator",
    "wavespeed_async.errors",
    "wavespeed_async.limits.redis",
    "wavespeed_async.models",
    "wavespeed_async.observe",
    "wavespeed_async.observe.otel",
    "wavespeed_async.testing",
    "wavespeed_async.webhooks",
)
UNSAID = {
    "__version__": "a text",
    "Items": "an alias of fields, said where it is used",
    **dict.fromkeys(
        ("FAULTS", "OUTCOMES", "SHAPES", "Profile"), "words, listed in docs/testing.md"
    ),
    **dict.fromkeys(("Headers", "Problem", "Progress", "Step"), "aliases and parts, as above"),
}
"""Public names that the reference leaves out, each with its reason."""


class Links(HTMLParser):
    """Gather where a page leads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in {"href", "src"} and value and tag != "base":
                self.targets.append(value)
            elif name == "id" and value:
                self.places.add(value)


def read(path: Path) -> Links:
    return Links(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sys.path.append(str(Path(__file__).parents[1]))
    from tests.chromium import running  # noqa: PLC0415 (tests are no package that is installed)

    with running() as chromium:
        yield chromium


def test_there_is_a_site() -> None:
    """It has its pages."""
    assert {"index.html", "faults.html", "tutorial/picture.html"} <= {*PAGES}


def test_every_link_leads_somewhere() -> None:
    """Each link inside the site names a file of it, and a place that is in that file."""
    known = {SITE / page: read(SITE / page) for page in PAGES}
    for page, links in known.items():
        for target in links.targets:
            address, place = urldefrag(target)
            if urlsplit(address).scheme:
                continue
            inside = unquote(urlsplit(address).path)
            found = (page.parent / inside).resolve() if inside else page
            assert found.is_file(), f"{page}: {target}"
            if place and found in known:
                assert unquote(place) in known[found].places, f"{page}: {target}"


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No page asks another host for a script, a style, a font or an image."""
    for page in PAGES:
        text = (SITE / page).read_text(encoding="utf-8")
        for tag in ("<script", "<img", "<link", "<iframe"):
            for piece in text.split(tag)[1:]:
                inside = piece.partition(">")[0]
                assert "://" not in inside, f"{page}: {tag}{inside}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("look", LOOKS)
def test_pages_open_from_the_disk(browser: Browser, look: str, scheme: str) -> None:
    """Each page opens without a word on the console, asks nobody, and fits the screen."""
    context = browser.new_context(viewport=LOOKS[look], color_scheme=scheme)  # type: ignore[arg-type]  # words that it knows
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == [], name
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    context.close()


def test_a_search_finds(browser: Browser) -> None:
    """The search works from the disk, too."""
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=concurrency")
    page.wait_for_selector("#search-results li a")
    page.close()


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    """What a public module names, the reference describes."""
    known = {
        place.rpartition(".")[2]
        for page in (SITE / "reference").glob("*.html")
        for place in read(page).places
        if place.startswith("wavespeed_async.")
    }
    public = {*importlib.import_module(module).__all__} - {*UNSAID}
    assert public - known == set()


def test_every_method_of_the_client_is_in_the_reference() -> None:
    """What a client can do is described, the methods of models among it."""
    client = "wavespeed_async.AsyncWaveSpeed"
    known = read(SITE / "reference" / "client.html").places
    public = {f"{client}.{name}" for name in dir(AsyncWaveSpeed) if not name.startswith("_")}
    assert f"{client}.flux_fill" in public
    assert public - {*known} == set()
