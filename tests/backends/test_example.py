"""The FastAPI example as people use it: started by its one command, its page in Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.backends.serving import EXAMPLES
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

HTML = "<b id=bold>bold</b><img src=x onerror=document.title='run'>"


@contextmanager
def started(*arguments: str, key: str | None = None, url: str = "") -> Iterator[str]:
    """Start the example as its first lines say, and answer its address."""
    environment = {**os.environ, "WAVESPEED_BASE_URL": url}
    environment.pop("WAVESPEED_API_KEY", None)
    if key:
        environment["WAVESPEED_API_KEY"] = key
    server = subprocess.Popen(  # noqa: S603 (our own example)
        [sys.executable, str(EXAMPLES / "fastapi_app.py"), "--port", "0", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            found = re.search(r"running on (http://\S+)", line)
            if found:
                yield found[1]
                break
        else:
            pytest.fail("".join(lines))
    finally:
        server.terminate()
        server.communicate(timeout=30)


@contextmanager
def shown(browser: Browser, url: str, expected: int = 0, **tab: Any) -> Iterator[Page]:
    """Open the page, and find that no console message or error came up but those expected."""
    complaints: list[str] = []
    page = browser.new_page(**tab)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    page.close()
    assert len(complaints) == expected, complaints


def ask(page: Page, *prompts: str) -> None:
    """Type prompts and send them, by keyboard alone."""
    page.locator("#prompts").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("\n".join(prompts))
    page.keyboard.press("Control+Enter")


def wait_for(page: Page, selector: str, text: str | re.Pattern[str]) -> None:
    page.locator(selector).filter(has_text=text).first.wait_for(timeout=20_000)


def test_typed_prompts_become_pictures(browser: Browser) -> None:
    """By its one command, without a key: prompts are typed, pictures come, the limiter moves."""
    with started("--latency", "1.5") as url, shown(browser, url) as page:
        wait_for(page, "#requests-most", "120")
        assert page.locator("#pictures li").count() == 0
        ask(page, "a lake", "", "a fox")
        wait_for(page, "#running-now", re.compile("^2$"))
        assert page.locator("#running").get_attribute("aria-valuenow") == "2"
        page.locator("#stop").wait_for()
        wait_for(page, "#tally", "2 of 2 there")
        assert page.locator("#stop").is_hidden()
        assert page.locator("#pictures .prompt").all_text_contents() == ["a lake", "a fox"]
        images = page.locator("#pictures img")
        images.nth(1).wait_for()
        page.wait_for_load_state("networkidle")
        assert images.evaluate_all("all => all.map(i => i.naturalWidth)") == [1024, 1024]
        assert images.first.get_attribute("alt") == "a lake"
        assert "seed" in page.locator("#pictures .about").first.inner_text()
        assert int(page.locator("#requests-now").inner_text()) >= 4


def test_failures_are_told_where_they_happen(browser: Browser) -> None:
    """A refused picture says why, one beside it comes, and HTML in a prompt stays text."""
    with started("--latency", "0.2") as url, shown(browser, url) as page:
        ask(page, "[outcome: failed-1200]", HTML)
        wait_for(page, "#tally", "1 of 2 there, 1 failed")
        wait_for(page, ".failed .state", "Content moderation refused")
        assert page.locator(".finished .prompt").inner_text() == HTML
        assert page.locator("#bold").count() == 0
        assert page.title() == "Pictures"


def test_who_stops_waiting_can_look_again(browser: Browser) -> None:
    """Stopping leaves the prediction running; looking again finds it by its id, paid once."""
    with (
        Emulator(latency=3.0, latency_cv=0.0, pictures=False) as emulator,
        started(key="a-key", url=emulator.url) as url,
        shown(browser, url) as page,
    ):
        ask(page, "a castle")
        page.locator(".submitted, .running").wait_for()
        page.locator("#stop").click()
        wait_for(page, ".left .state", "you stopped waiting")
        page.get_by_role("button", name="Look again").click()
        wait_for(page, "#tally", "1 of 1 there")
        assert len(emulator.predictions) == 1


def test_a_bad_order_is_told(browser: Browser) -> None:
    """What the server refuses is said in words, and becomes no picture."""
    with started() as url, shown(browser, url, expected=1) as page:
        page.locator("#size option").first.evaluate("option => option.value = '9*9'")
        ask(page, "a lake")
        wait_for(page, "#trouble", "size must be")
        ask(page, *["x"] * 25)
        wait_for(page, "#trouble", "24 prompts")
        assert page.locator("#pictures li").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_and_follows_the_scheme(browser: Browser, width: int, scheme: Any) -> None:
    """On a phone and on a screen nothing reaches out of the page, light or dark."""
    size = {"width": width, "height": 800}
    with (
        started("--latency", "0.1") as url,
        shown(browser, url, viewport=size, color_scheme=scheme) as page,
    ):
        ask(page, "a lake " + "very " * 40 + "blue", "x" * 300)
        wait_for(page, "#tally", "2 of 2 there")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        darkness = sum(int(part) for part in re.findall(r"\d+", colour)[:3])
        assert (darkness < 200) is (scheme == "dark")


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """The page's file names no other server, and its policy allows no code but its own."""
    page = (EXAMPLES / "fastapi_page.html").read_text("utf-8")
    assert [url for url in re.findall(r"https?://[\w.]+", page) if "w3.org" not in url] == []
    with started() as url:
        answers = [httpx.get(url) for _ in range(2)]
    policies = {answer.headers["content-security-policy"] for answer in answers}
    assert len(policies) == 2
    assert not any("unsafe" in policy for policy in policies)
