"""The page of a batch: what it is made of, when it is written, and all of it in Chromium."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image

from tests.batch.journals import Row, made, write_journal
from wavespeed_async.batch import Order, Page, Price, _page, write_order, write_page
from wavespeed_async.batch._lock import Lock
from wavespeed_async.batch._order import priced
from wavespeed_async.batch._sqlite_file import SqliteSource
from wavespeed_async.batch._thumbnails import make_thumbnails
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

HTML = "</script><img src=x onerror=document.title='run'><b id=bold>bold</b> <!-- {{ 7*7 }}"


def paint(folder: Path, name: str, size: tuple[int, int] = (64, 48)) -> str:
    """Write a picture, and answer its name."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (30, 90, 120)).save(folder / name)
    return name


def data_of(page: Path) -> dict[str, Any]:
    """Read what a page was made of."""
    text = page.read_text("utf-8")
    found = re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


# --- the file -------------------------------------------------------------------------------------


def test_a_page_tells_of_each_picture(tmp_path: Path) -> None:
    """Each entry has its prompt, model, seed, size, times and files, or the reason it has none."""
    name = paint(tmp_path, "a b.png")
    rows = [
        made(1, name, error="OSError: odd"),
        made(2, "gone.png", seed=None),
        Row(error="BadRequestError: no"),
    ]
    page = write_page(write_journal(tmp_path / "journal.sqlite", rows))
    data = data_of(page)
    assert page == tmp_path / "index.html"
    first, second, third = data["entries"]
    assert first == {
        "n": 0, "s": "saved", "m": 0, "p": "prompt 1", "seed": 7, "size": "1024*768",
        "id": f"{1:032x}", "ms": 2000, "t": [0.0, 1.0, 1.0, 3.0, 4.0], "why": "OSError: odd",
        "f": [["a b.png", "./a%20b.png", "./thumbnails/a%20b.png.webp"]],
    }  # fmt: skip
    assert second["f"] == [["gone.png", "./gone.png"]]
    assert "seed" not in second
    assert (third["s"], third["why"]) == ("failed", "BadRequestError: no")
    assert data["models"] == ["wavespeed-ai/flux-dev", *data["models"][1:]]
    assert (data["pictures"], data["goesOn"], data["cost"]) == (2, False, None)


def test_pictures_of_earlier_inputs_stay(tmp_path: Path) -> None:
    """What was made for an input that has changed since is shown as such."""
    rows = [made(1, "a.png"), Row(), made(2, "b.png", run=2)]
    journal = write_journal(
        tmp_path / "journal.sqlite", rows, runs=[(0.0, 9.0), (10.0, 20.0)], sent=[(1.0, "submit")]
    )
    data = data_of(write_page(journal))
    assert [(entry["p"], entry.get("old")) for entry in data["entries"]] == [
        ("prompt 2", None),
        ("prompt 1", True),
    ]
    assert data["hidden"] == 1


def test_only_so_many_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has a bound; beyond it the rest is counted, and prompts are cut."""
    monkeypatch.setattr(_page, "MOST", 2)
    rows = [made(n, fields={"prompt": "x" * 9000}) for n in range(5)]
    data = data_of(write_page(write_journal(tmp_path / "journal.sqlite", rows)))
    assert [len(entry["p"]) for entry in data["entries"]] == [4000, 4000]
    assert (data["total"], data["hidden"]) == (5, 3)


def test_an_empty_journal_has_a_page(tmp_path: Path) -> None:
    """Before anything was asked for there is a page already."""
    data = data_of(write_page(write_journal(tmp_path / "journal.sqlite", []), total=7))
    assert (data["total"], data["entries"], data["turns"]) == (7, [], [])


def test_prompts_stay_text(tmp_path: Path) -> None:
    """Nothing that somebody wrote into a prompt ends a script or begins an element."""
    rows = [made(1, fields={"prompt": HTML}, model=HTML, error=HTML, status="failed")]
    page = write_page(write_journal(tmp_path / HTML[:9].replace("/", "") / "j.sqlite", rows))
    text = page.read_text("utf-8")
    assert "<img src=x" not in text
    assert "<script>" not in text.split("<title>")[1].split("</title>")[0]
    assert data_of(page)["entries"][0]["p"] == HTML
    scripts = Counter(re.findall(r"<(/?script)", text))
    assert scripts == {"script": 3, "/script": 3}


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    """An `index.html` that is no page of a batch is never written over; one that is, whole."""
    journal = write_journal(tmp_path / "journal.sqlite", [])
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ConfigurationError, match="move it away"):
        write_page(journal)
    assert (tmp_path / "index.html").read_text() == "mine"
    (tmp_path / "index.html").unlink()
    write_page(journal)
    write_page(journal)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "index.html",
        "journal.sqlite",
    ]


# --- small copies ---------------------------------------------------------------------------------


def no_check() -> None:
    """Go on."""


def test_small_copies_are_small(tmp_path: Path) -> None:
    """A picture gets one small copy, of any mode; what is no picture has none."""
    pictures = [tmp_path / paint(tmp_path, "a.png", (900, 600)), tmp_path / "b.gif"]
    Image.new("P", (500, 1000)).save(pictures[1])
    (tmp_path / "c.png").write_bytes(b"no picture")
    folder = tmp_path / "small"
    asked = [*pictures, tmp_path / "c.png", tmp_path / "none.png"]
    assert make_thumbnails(asked, folder, seconds=9, check=no_check) == {
        "a.png.webp",
        "b.gif.webp",
    }
    with Image.open(folder / "a.png.webp") as image:
        assert image.size == (420, 280)
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(stamps) == 2
    make_thumbnails(asked, folder, seconds=9, check=no_check)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps


def test_small_copies_take_no_longer_than_they_may(tmp_path: Path) -> None:
    """When the time is over the rest is left for another time; a check may end it."""
    pictures = [tmp_path / paint(tmp_path, f"{n}.png") for n in range(3)]
    assert make_thumbnails(pictures, tmp_path / "s", seconds=0, check=no_check) == set()

    def stop() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        make_thumbnails(pictures, tmp_path / "s", seconds=9, check=stop)


def test_without_pillow_the_pictures_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Pillow there are no small copies, and the page shows the pictures themselves."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    journal = write_journal(tmp_path / "journal.sqlite", [made(1, paint_free(tmp_path))])
    assert data_of(write_page(journal))["entries"][0]["f"] == [["a.png", "./a.png"]]
    assert not (tmp_path / "thumbnails").exists()


def paint_free(folder: Path) -> str:
    (folder / "a.png").write_bytes(b"x")
    return "a.png"


# --- while a batch runs ---------------------------------------------------------------------------


async def test_a_page_is_kept_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written now and then until it is cancelled, and once more at the end."""
    monkeypatch.setattr(_page, "EVERY", 0.01)
    journal = write_journal(tmp_path / "journal.sqlite", [made(1, paint(tmp_path, "a.png"))])
    page = Page(journal, total=4)
    found = tmp_path / "index.html"
    async with anyio.create_task_group() as group:
        group.start_soon(page.keep)
        for _ in range(3):
            with anyio.fail_after(20):
                while not found.exists():  # noqa: ASYNC110 (a thread writes it)
                    await anyio.sleep(0.01)
            assert data_of(found)["total"] == 4
            found.unlink()
        group.cancel_scope.cancel()
    await page.finish(hurry=False)
    assert found.exists()
    assert page.trouble is None


async def test_trouble_with_a_page_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps a page from being written stops nothing; it is told until it passes."""
    monkeypatch.setattr(_page, "EVERY", 0.01)
    (tmp_path / "index.html").write_text("mine")
    page = Page(write_journal(tmp_path / "journal.sqlite", []))
    async with anyio.create_task_group() as group:
        group.start_soon(page.keep)
        with anyio.fail_after(20):
            while page.trouble is None:  # noqa: ASYNC110 (a thread is at it)
                await anyio.sleep(0.01)
            assert isinstance(page.trouble, ConfigurationError)
            (tmp_path / "index.html").unlink()
            while page.trouble is not None:  # noqa: ASYNC110 (as above)
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    await page.finish(hurry=True)
    assert page.trouble is None


async def test_a_journal_that_cannot_be_read_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that is busy just then is read another time."""

    def busy(*_: object) -> None:
        message = "database is locked"
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr(SqliteSource, "ask", busy)
    page = Page(write_journal(tmp_path / "journal.sqlite", []))
    await page.finish(hurry=False)
    assert "database is locked" in str(page.trouble)


# --- in Chromium ----------------------------------------------------------------------------------


@contextmanager
def shown(browser: Browser, page: Path, **tab: Any) -> Iterator[Tab]:
    """Open a page from its file, and find that it asks nothing of a network and complains not."""
    complaints: list[str] = []
    found = browser.new_page(**tab)
    found.on("console", lambda message: complaints.append(message.text))
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("request", lambda request: asked.append(request.url))
    asked: list[str] = []
    found.goto(page.absolute().as_uri())
    yield found
    found.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def await_in(tab: Tab, question: str) -> None:
    """Ask until it is so; the page's own rules keep Playwright from waiting inside of it."""
    until = time.monotonic() + 20.0
    while not tab.evaluate(question):
        assert time.monotonic() < until, question
        tab.wait_for_timeout(20)


@pytest.fixture(scope="module")
def large_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the page of 500 pictures, two failures and one running prediction, in two turns."""
    folder = tmp_path_factory.mktemp("pictures")
    name = paint(folder, "0.png", (1024, 768))
    for number in range(1, 500):
        (folder / f"{number}.png").hardlink_to(folder / name)
    models = ("wavespeed-ai/flux-dev", "wavespeed-ai/flux-redux-dev")
    rows = [made(n, f"{n}.png", at=1 + n / 2, model=models[n % 5 == 0], run=2) for n in range(500)]
    rows[3] = made(3, "3.png", fields={"prompt": HTML, "size": "1024*768"}, at=2.5, run=2)
    failed: dict[str, Any] = {"status": "failed", "error": "PredictionFailedError: no", "run": 2}
    rows += [made(number, at=251.0, **failed) for number in (500, 501)]
    slow: dict[str, Any] = {"intended": 252.0, "submitted": 252.0, "prediction": "r", "run": 2}
    rows.append(Row(fields={"prompt": "slow"}, **slow))
    sent = [(1 + n / 4, "submit" if n % 2 else "poll") for n in range(1000)]
    journal = write_journal(
        folder / "journal.sqlite", rows, sent=sent, runs=[(0.0, 125.0), (130.0, 260.0)]
    )
    return write_page(journal)


def test_a_large_batch_shows_every_picture(browser: Browser, large_batch: Path) -> None:
    """All 500 pictures come as one scrolls, as small copies, none of which is broken."""
    with shown(browser, large_batch, viewport={"width": 1400, "height": 900}) as tab:
        assert tab.locator("article").count() < 500
        for _ in range(200):
            tab.mouse.wheel(0, 6000)
            tab.wait_for_timeout(30)
            if tab.locator("#more").is_hidden():
                break
        assert tab.locator("article").count() == 503
        assert tab.locator("article img").count() == 500
        sources = tab.locator("article img").evaluate_all("all => all.map((one) => one.src)")
        assert len({*sources}) == 500
        assert all(source.endswith(".webp") for source in sources)
        tab.locator("article img").evaluate_all(
            "all => all.forEach((one) => one.loading = 'eager')"
        )
        every = "[...document.querySelectorAll('article img')].every((one) => one.naturalWidth)"
        await_in(tab, every)
        assert tab.locator("#figures").inner_text().split("\n")[:2] == ["pictures", "500"]


def test_plots_are_drawn(browser: Browser, large_batch: Path) -> None:
    """All three plots have colour on them, say what they show, and follow the chosen turn."""
    with shown(browser, large_batch) as tab:
        drawn = """all => all.map((one) => {
          const bytes = one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
          return bytes.filter((byte, number) => number % 4 === 3 && byte > 0).length;
        })"""
        assert all(count > 1000 for count in tab.locator("canvas").evaluate_all(drawn))
        assert tab.locator("canvas").count() == 3
        labels = tab.locator(".plot").evaluate_all("all => all.map((one) => one.ariaLabel)")
        assert labels[0] == "240 at most, 120 allowed"
        assert "20 allowed" in labels[1]
        assert tab.locator("#turn option").count() == 2
        tab.locator("#turn").select_option(index=0)
        again = tab.locator(".plot").evaluate_all("all => all.map((one) => one.ariaLabel)")
        assert again[2] != labels[2]
        assert tab.locator("canvas").count() == 3
        box = tab.locator("#timeline .u-over").bounding_box()
        assert box is not None
        tab.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 12)
        assert "flux" in (tab.locator("#timeline .said").text_content() or "")
        tab.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + 12)
        assert tab.locator("dialog").is_visible()
        tab.keyboard.press("Escape")
        tab.locator("summary h2").click()
        assert tab.locator("#timeline").is_hidden()


def test_plots_zoom_together(browser: Browser, large_batch: Path) -> None:
    """A stretch that is chosen in one plot is shown in all of them."""
    with shown(browser, large_batch) as tab:
        box = tab.locator("#window .u-over").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        tab.mouse.move(box["x"] + 50, middle)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 150, middle, steps=5)
        tab.mouse.up()
        assert tab.evaluate("zoomed")
        spans = tab.evaluate("drawnPlots.map(({plot}) => plot.scales.x.max - plot.scales.x.min)")
        assert len({round(span, 3) for span in spans}) == 1
        tab.mouse.dblclick(box["x"] + 50, middle)
        assert not tab.evaluate("zoomed")


def test_pictures_are_filtered_and_searched(browser: Browser, large_batch: Path) -> None:
    """State, model and words narrow what is shown, and what was chosen outlives a reload."""
    with shown(browser, large_batch) as tab:
        cards = tab.locator("article")
        tab.locator("[data-state=failed]").click()
        assert cards.count() == 2
        assert "PredictionFailedError: no" in cards.first.inner_text()
        tab.locator("[data-state=running]").click()
        assert cards.count() == 1
        tab.locator("[data-state=made]").click()
        tab.locator("#model").select_option("wavespeed-ai/flux-redux-dev")
        assert tab.locator("#found").inner_text() == "100 of 503"
        tab.locator("#search").fill("455 PROMPT")
        assert cards.count() == 1
        tab.reload()
        assert cards.count() == 1
        assert tab.locator("#search").input_value() == "455 PROMPT"
        tab.locator("#search").fill("no such words")
        assert tab.locator("#empty").is_visible()
        tab.keyboard.press("Tab")
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.id") == "search"


def test_one_picture_is_shown_large(browser: Browser, large_batch: Path) -> None:
    """The large view has the whole picture and all that is known; arrows and Escape work."""
    with shown(browser, large_batch) as tab:
        tab.locator("article button").nth(1).focus()
        tab.keyboard.press("Enter")
        large = tab.locator("dialog")
        told = large.locator("aside").inner_text()
        for words in (
            "prompt 1",
            "2 of 503",
            "flux-dev",
            "1024 \N{MULTIPLICATION SIGN} 768",
            "2.0 s",
            "1.png",
            "7",
        ):
            assert words in told
        await_in(tab, "document.querySelector('dialog img').naturalWidth === 1024")
        tab.keyboard.press("ArrowRight")
        assert "prompt 2" in large.locator("aside p").inner_text()
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowLeft")
        assert "slow" in large.locator("aside p").inner_text()
        assert "running" in large.locator("#nothing").inner_text()
        tab.keyboard.press("Home")
        large.locator("[data-step='1']").click()
        assert "prompt 1" in large.locator("aside p").inner_text()
        tab.keyboard.press("Escape")
        assert large.is_hidden()
        assert "prompt 1" in (tab.evaluate("document.activeElement.ariaLabel") or "")


def test_html_in_prompts_is_shown_as_text(browser: Browser, large_batch: Path) -> None:
    """HTML in a prompt is shown as it was written, in both views, and never runs."""
    with shown(browser, large_batch) as tab:
        assert tab.locator("article p").nth(3).text_content() == HTML
        tab.locator("article button").nth(3).click()
        assert tab.locator("aside p").text_content() == HTML
        assert tab.locator("#bold").count() == 0
        assert tab.title() != "run"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_and_follows_the_scheme(
    browser: Browser, tmp_path: Path, width: int, scheme: Any
) -> None:
    """Nothing reaches beyond a phone's or a desk's width, large view included; dark is dark."""
    folder = tmp_path / ("long" * 20)
    rows = [
        made(1, paint(folder, "a.png"), fields={"prompt": "x" * 500}),
        made(2, paint(folder, "wide.png", (900, 90)), fields={}),
        made(3, status="failed", error="Error: " + "y" * 900),
    ]
    runs, sent = [(0.0, 4.0), (5.0, 60.0)], [(1.0, "submit"), (6.0, "poll")]
    page = write_page(write_journal(folder / "journal.sqlite", rows, runs=runs, sent=sent))
    with shown(browser, page, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        choice = tab.locator("#turn").bounding_box()
        assert choice is not None
        assert choice["x"] + choice["width"] <= width
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(re.findall(r"\d+", ground)[0])
        assert red > 200 if scheme == "light" else red < 50
        for number in range(3):
            tab.locator("article button").nth(number).click()
            assert tab.evaluate("document.querySelector('dialog').scrollWidth") <= width
            tab.keyboard.press("Escape")


def test_a_page_of_a_run_follows_it(browser: Browser, tmp_path: Path) -> None:
    """While the run goes on the open page loads itself anew; afterwards it stays as it is."""
    now = time.time()
    journal = write_journal(
        tmp_path / "journal.sqlite", [made(1)], runs=[(0.0, None)], start=now - 5
    )
    lock = Lock(journal)
    lock.take(journal)
    page = write_page(journal, total=2)
    lock.release()
    with shown(browser, page) as tab:
        assert (tab.locator("#when").text_content() or "").startswith("goes on")
        journal.unlink()
        write_journal(
            journal, [made(1), made(2)], runs=[(0.0, 5.0)], start=now - 5, sent=[(1.0, "submit")]
        )
        write_order(tmp_path, Order(prices=(Price("wavespeed-ai/flux-dev", KIND, 0.25),)))
        write_page(journal)
        tab.locator("#when").filter(has_text=re.compile("^as of")).wait_for(timeout=20_000)
        assert "2 of 2" in tab.locator("#figures").inner_text()
        assert "0.50 USD" in tab.locator("#figures").inner_text()


KIND = priced({"size": "1024*768", "num_images": 1})


def test_a_page_of_a_run_that_was_killed_says_so(browser: Browser, tmp_path: Path) -> None:
    """A page that nobody writes any more tells how old its news is."""
    rows, runs = [made(1)], [(0.0, None)]
    journal = write_journal(tmp_path / "j.sqlite", rows, runs=runs, start=time.time() - 5)
    page = write_page(journal)
    with shown(browser, page) as tab:
        assert "was interrupted: the same command" in (tab.locator("#when").text_content() or "")
    lock = Lock(journal)
    lock.take(journal)
    write_page(journal)
    lock.release()
    now = data_of(page)["made"]
    page.write_text(page.read_text("utf-8").replace(f'"made": {now}', f'"made": {now - 300}'))
    with shown(browser, page) as tab:
        assert "no news for 5 min" in (tab.locator("#when").text_content() or "")
