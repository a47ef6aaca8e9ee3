"""The emulator's page: its figures by a clock made of numbers, the whole of it in Chromium."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._faults import Faults
from wavespeed_async.emulator._page import figures
from wavespeed_async.emulator._state import Call, Failure, Scripted, Settings, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

FLUX = "/api/v2/wavespeed-ai/flux-dev"
KEY = {"authorization": "Bearer k"}
HTML = "<b id=bold>bold</b><img src=x onerror=document.title='run'></script>"


# --- the figures ----------------------------------------------------------------------------------


def account(**settings: Any) -> State:
    return State(Settings(**{"per": 10.0, "latency": 3.0, "latency_cv": 0.0, **settings}))


def post(state: State, now: float, **fields: Any) -> str:
    call = Call(method="POST", path=FLUX, headers=KEY, body=json.dumps(fields).encode())
    prediction = state.receive(now, call).prediction
    return prediction.id if prediction else ""


def poll(state: State, now: float, prediction_id: str) -> None:
    path = f"/api/v3/predictions/{prediction_id}/result"
    state.receive(now, Call(method="GET", path=path, headers=KEY))


def told(state: State, now: float) -> dict[str, Any]:
    return figures(now, state.settings, state.requests, state.predictions(now))


def at(state: State, now: float, name: str, moment: float) -> int:
    """Read a plot, which reaches two windows of 10 s back in 120 steps."""
    value: int = told(state, now)[name][round((moment - now + 20.0) * 6)]
    return value


def test_the_sliding_window_is_plotted_over_two_windows() -> None:
    """The plot tells for each moment how many requests were younger than the window is long."""
    state = account()
    for moment in (1.0, 2.0, 2.0, 15.0):
        post(state, moment)
    expected = {0.0: 0, 1.5: 1, 2.5: 3, 10.5: 3, 11.5: 2, 12.5: 0, 15.5: 1, 20.0: 1}
    assert {moment: at(state, 20.0, "in_window", moment) for moment in expected} == expected


def test_running_predictions_are_plotted() -> None:
    """The plot tells for each moment how many predictions ran, whether asked for or not."""
    state = account()
    for moment in (10.0, 11.0, 19.0):
        post(state, moment)
    expected = {9.5: 0, 10.5: 1, 12.0: 2, 13.5: 1, 14.5: 0, 20.0: 1}
    assert {moment: at(state, 20.0, "running", moment) for moment in expected} == expected


def test_predictions_run_neither_queued_nor_deleted() -> None:
    """A prediction runs from when it leaves the queue, and one that was deleted is not there."""
    state = account(concurrency=1, over="queue")
    post(state, 11.0)
    last = post(state, 11.0)
    expected = {10.5: 0, 11.5: 1, 13.5: 1, 14.5: 1, 17.5: 0}
    assert {moment: at(state, 20.0, "running", moment) for moment in expected} == expected
    body = json.dumps({"ids": [last]}).encode()
    path = "/api/v3/predictions/delete"
    state.receive(15.0, Call(method="POST", path=path, headers=KEY, body=body))
    assert told(state, 15.5)["running"][-1] == 0
    assert (told(state, 20.0)["completed"], told(state, 20.0)["failed"]) == (1, 0)


def test_what_does_not_count_is_not_plotted() -> None:
    """Refused requests, wrong keys and polls that are exempted are in no window."""
    state = account(requests=2, polls_count=False)
    state.receive(1.0, Call(method="POST", path=FLUX))
    identity = post(state, 1.0)
    poll(state, 1.0, identity)
    post(state, 1.0)
    post(state, 2.0)
    seen = told(state, 2.0)
    assert seen["in_window"][-1] == 2
    assert seen["refusals"] == [0.0]
    assert [row["status"] for row in seen["latest"]] == [429, 200, 200, 200, 401]
    assert told(account(), 0.0)["in_window"] == [0] * 121


def test_the_latest_requests_tell_what_they_were_about() -> None:
    """The newest request comes first, with its age, its status or its loss, and its prompt."""
    state = account()
    state.script(Scripted(kind="result", lose=True))
    identity = post(state, 1.0, prompt="a lake")
    poll(state, 2.0, identity)
    post(state, 3.0)
    state.receive(3.5, Call(method="GET", path="/api/" + "x" * 1000, headers=KEY))
    rows = [
        (row["age"], row["method"], row["kind"], row["status"], row["about"])
        for row in told(state, 4.0)["latest"]
    ]
    assert rows == [
        (0.5, "GET", "other", 404, ""),
        (1.0, "POST", "submit", 200, "without a prompt"),
        (2.0, "GET", "result", None, "a lake"),
        (3.0, "POST", "submit", 200, "a lake"),
    ]
    assert len(told(state, 4.0)["latest"][0]["path"]) == 300


def test_the_newest_pictures_come_first() -> None:
    """Twelve outputs of what has completed are told, by when it was ready; failures are counted."""
    state = account(concurrency=100)
    for number in range(5):
        post(state, float(number), prompt=f"{number}", num_images=4, seed=number)
    state.spoil(post(state, 5.0), Failure(1402, "no"))
    post(state, 9.0)
    seen = told(state, 10.0)
    assert (seen["completed"], seen["failed"]) == (5, 1)
    assert [picture["about"] for picture in seen["pictures"]] == list("444433332222")
    identity = state.predictions(10.0)[4].id
    assert seen["pictures"][3] == {
        "src": f"/outputs/{identity}/3.png",
        "about": "4",
        "model": "flux-dev",
        "seed": 4,
    }


async def test_the_page_counts_nowhere_and_needs_no_key() -> None:
    """Neither the page nor its figures are requests of the API; both are there without a key."""
    emulator = Emulator(latency=0.0, pictures=False, api_key="a secret")
    transport = httpx.ASGITransport(emulator.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for _ in range(20):
            await client.post(FLUX, json={}, headers={"authorization": "Bearer a secret"})
        page, state = await client.get("/"), await client.get("/_state")
        again = await client.get("/")
    assert len(emulator.requests) == emulator.most_requests_in_window == 20
    told = state.json()
    assert (told["requests"], told["in_window"][-1], len(told["latest"])) == (20, 20, 14)
    assert state.headers["cache-control"] == "no-store"
    assert "a secret" not in page.text + state.text
    policies = {answer.headers["content-security-policy"] for answer in (page, again)}
    assert len(policies) == 2
    assert all("unsafe" not in policy for policy in policies)


# --- the page -------------------------------------------------------------------------------------


async def test_the_settings_are_shown_without_secrets() -> None:
    """Settings are told for people: secrets as set or not, and faults by those that happen."""
    faults = Faults(lost=0.25, slowness=1.0)
    for emulator, told in (
        (Emulator(webhook_secret="whsec_secret"), {"not set", "set", "none", "120"}),
        (Emulator(api_key="my key", faults=faults), {"set", "lost 0.25, slowness 1.0"}),
    ):
        transport = httpx.ASGITransport(emulator.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            page = (await client.get("/")).text
        assert {*re.findall("<dd>(.*?)</dd>", page)} >= told
        assert "whsec_" not in page
        assert "my key" not in page


@contextmanager
def shown(browser: Browser, emulator: Emulator, **tab: Any) -> Iterator[Page]:
    """Run an emulator and open a tab, and find that no console message or error came up."""
    complaints: list[str] = []
    page = browser.new_page(**tab)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with emulator:
        yield page
        page.close()  # before the emulator stops, which it would complain about
    assert complaints == []


def ask(emulator: Emulator, *prompts: str) -> None:
    with httpx.Client(base_url=emulator.url, headers=KEY) as client:
        for prompt in prompts:
            assert client.post(FLUX, json={"prompt": prompt, "size": "512*512"}).is_success


def wait_for(page: Page, selector: str, text: str | re.Pattern[str]) -> None:
    page.locator(selector).filter(has_text=text).first.wait_for(timeout=10_000)


def test_counters_move_and_pictures_appear(browser: Browser) -> None:
    """The open page follows what happens: requests, running predictions, then their pictures."""
    emulator = Emulator(latency=1.5, latency_cv=0.0, requests=77)
    with shown(browser, emulator) as page:
        page.goto(emulator.url)
        assert page.locator("#window-now").text_content() == "0"
        assert page.locator("#latest li").count() == page.locator("#pictures li").count() == 0
        assert "of 77" in (page.locator("main").text_content() or "")
        ask(emulator, "a lake", "a fox")
        wait_for(page, "#running-now", re.compile("^2$"))
        wait_for(page, "#window-now", re.compile("^2$"))
        assert "of 77" not in (page.locator("#latest").text_content() or "")
        assert page.locator("#latest li").count() == 2
        wait_for(page, "#running-now", re.compile("^0$"))
        page.locator("#pictures li").nth(1).wait_for(timeout=10_000)
        widths = page.locator("#pictures img").evaluate_all("all => all.map(i => i.naturalWidth)")
        assert widths == [512, 512]
        wait_for(page, "#pictures-note", "2 completed")
        assert page.locator("#window-plot").get_attribute("aria-label") == (
            "2 now, 2 at most, 77 allowed"
        )
        assert len(emulator.requests) == 2


def test_failures_and_refusals_are_seen(browser: Browser) -> None:
    """A refused request and a failed prediction are counted where they happen."""
    emulator = Emulator(latency=0.0, pictures=False, requests=1)
    with shown(browser, emulator) as page:
        ask(emulator, "a lake")
        assert httpx.post(emulator.url + FLUX, json={}, headers=KEY).status_code == 429
        page.goto(emulator.url)
        wait_for(page, "#window-note", "1 refused")
        assert page.locator("#latest .status").all_text_contents() == ["429", "200"]
        assert page.locator("#window-plot .refused").count() == 1


def test_prompts_are_shown_as_text(browser: Browser) -> None:
    """HTML in a prompt is shown as it was written, and never becomes a part of the page."""
    emulator = Emulator(latency=0.0, pictures=False)
    with shown(browser, emulator) as page:
        ask(emulator, HTML)
        page.goto(emulator.url)
        page.locator("#pictures li").wait_for()
        assert page.locator("#pictures .about").text_content() == HTML
        assert page.locator("#latest .about").text_content() == HTML
        assert page.locator("#pictures img").get_attribute("alt") == HTML
        assert page.locator("#bold").count() == 0
        assert page.title() == "WaveSpeedAI emulator"


def test_a_stopped_emulator_is_told(browser: Browser) -> None:
    """When the emulator has stopped the page says so, and finds it again when it is back."""
    page = browser.new_page()
    emulator = Emulator(latency=0.0, pictures=False)
    with emulator:
        page.goto(emulator.url)
        wait_for(page, "#health", re.compile("^listening$"))
        port = int(emulator.url.rpartition(":")[2])
    wait_for(page, "#health", "not answering")
    with Emulator(port=port, pictures=False):
        wait_for(page, "#health", re.compile("^listening$"))
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_and_follows_the_scheme(browser: Browser, width: int, scheme: Any) -> None:
    """Nothing reaches beyond a phone's or a desk's width, and dark is dark."""
    emulator = Emulator(latency=0.0, pictures=False)
    viewport = {"width": width, "height": 800}
    with shown(browser, emulator, viewport=viewport, color_scheme=scheme) as page:
        ask(emulator, "x" * 500, HTML)
        page.goto(emulator.url)
        page.locator("#pictures li").nth(1).wait_for()
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(re.findall(r"\d+", ground)[0])
        assert red > 200 if scheme == "light" else red < 50


def test_the_page_speaks_to_the_emulator_only(browser: Browser) -> None:
    """All that the page loads comes from where it came from."""
    asked: list[str] = []
    emulator = Emulator(latency=0.0, pictures=False)
    with shown(browser, emulator) as page:
        page.on("request", lambda request: asked.append(request.url))
        ask(emulator, "a lake")
        page.goto(emulator.url)
        page.locator("#pictures li").wait_for()
        assert len(asked) >= 3
        assert all(url.startswith(emulator.url) for url in asked)
