"""The page in headless Chromium, opened from disk: keyboard, pointer, two widths, accessibility, no request."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.page.render import render
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.thumbnails import Thumbnails

from helpers.tables import write_table

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it comes with [dev]")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed; it comes with [dev]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
DESKTOP, PHONE = (1280, 900), (390, 844)
HOSTILE = "</script><img src=x onerror=alert(1)>"
METHODS = [HOSTILE, "aga", "hessian", "pgd-at"]


@dataclass
class Opened:
    """A page, and what it has done that it must not."""

    page: Any
    trouble: list[str] = field(default_factory=list)

    def rows(self) -> list[str]:
        """Names of the rows, in order."""
        return self.page.locator("#table tbody th button").evaluate_all("all => all.map(e => e.firstChild.textContent)")

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def focused(self) -> str:
        return self.page.evaluate("document.activeElement.closest('td, th')?.innerText.split('\\n')[0] ?? ''")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    board = build([write_table(folder, METHODS, baselines=("untrained",))])
    (folder / "leaderboard.html").write_text(render(board), encoding="utf-8")
    return folder / "leaderboard.html"


def opened_by(browser: Any, path: Path, size: tuple[int, int], **settings: Any) -> Opened:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **settings)
    found = Opened(page)
    page.on("console", lambda message: found.trouble.append(message.text))
    page.on("pageerror", lambda error: found.trouble.append(str(error)))
    page.on("dialog", lambda dialog: found.trouble.append(dialog.message))
    page.on("request", lambda request: request.url != path.as_uri() and found.trouble.append(request.url))
    page.goto(path.as_uri())
    if size is PHONE:
        assert not page.get_by_label("Method").is_visible()
        page.get_by_text("Filters", exact=True).click()
    return found


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def opened(browser: Any, path: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The page; it must end without an error, a message, a dialog or a request beside its own file."""
    found = opened_by(browser, path, request.param)
    yield found
    found.page.close()
    assert troubles(found) == []


def troubles(opened: Opened) -> list[str]:
    """What it has done; what lies in the page itself is not asked for."""
    return [text for text in opened.trouble if not text.startswith("data:")]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with pictures of the worst images and costs of training."""
    folder = tmp_path_factory.mktemp("pictured")
    store = write_table(folder, METHODS)
    buffer = io.BytesIO()
    Image.new("RGB", (118, 28), (30, 60, 200)).save(buffer, "PNG")
    for row in store.rows().values():
        assert isinstance(row, ScoredRow)
        order = np.argsort(store.load(row).scores, kind="stable").tolist()
        # The last of the five that the page names has none.
        for image in order[:4] if row.metric.higher_is_better else order[:-5:-1]:
            Thumbnails(folder).save(row.fingerprint, row.scores_sha256, image, buffer.getvalue())
    known = {label: 100.0 * (len(METHODS) - number) for number, label in enumerate(METHODS[:-1])}
    store.write_plan(replace(store.plan(), passes=known).signed())
    (folder / "leaderboard.html").write_text(render(build([store])), encoding="utf-8")
    return folder / "leaderboard.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pictures_of_the_worst_images_are_shown_described_and_fit(
    browser: Any, pictured: Path, size: tuple[int, int], scheme: str
) -> None:
    opened = opened_by(browser, pictured, size, color_scheme=scheme)
    page = opened.page
    page.get_by_label("Metric").select_option("l2")
    page.locator("#table tbody tr").nth(1).locator("td button").last.click()
    dialog = page.get_by_role("dialog")
    shown = dialog.locator("img")
    assert shown.count() == 4
    assert dialog.locator("table tbody tr").last.locator("td").last.inner_text() == "none"
    for index in range(4):
        image = dialog.locator("table tbody th").nth(index).inner_text()
        alt = shown.nth(index).get_attribute("alt")
        assert alt.startswith(f"Image {image}: clean image, attacked image, map of the clean one")
        assert alt.endswith("of aga, l2, ig, topk")
        assert shown.nth(index).evaluate("img => img.complete && img.naturalWidth") == 118
    assert dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    edges = "img => img.getBoundingClientRect().right < img.closest('dialog').getBoundingClientRect().right - 8"
    assert shown.first.evaluate(edges)
    result = axe.Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    page.close()
    assert troubles(opened) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_cost_of_training_is_sorted_stays_and_opens(browser: Any, pictured: Path, size: tuple[int, int]) -> None:
    opened = opened_by(browser, pictured, size)
    page = opened.page
    page.get_by_label("Explainer").select_option("ig")
    head = page.locator("#table thead th", has_text="passes of each image")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    # Of the last its cost is not known.
    assert opened.rows() == ["hessian", "aga", HOSTILE, "pgd-at"]
    assert "best first by passes of each image, training" in opened.status()
    head.locator("button").click()
    assert opened.rows() == [HOSTILE, "aga", "hessian", "pgd-at"]
    page.locator("#table tbody td button", has_text="400").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_text("epochs times the forward, backward and double-backward passes").is_visible()
    page.keyboard.press("Escape")
    page.locator("#table tbody th button").first.click()
    assert dialog.get_by_text("400 passes of each image").is_visible()
    result = axe.Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    page.close()
    assert troubles(opened) == []


def test_a_click_on_a_column_sorts_by_it_and_says_so(opened: Opened) -> None:
    page = opened.page
    assert opened.rows() == [*METHODS, "untrained"]
    head = page.locator("#table thead th", has_text="l2").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.rows()[:2] == [HOSTILE, "aga"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    # A baseline leads no order.
    assert opened.rows() == [*reversed(METHODS), "untrained"]
    assert "worst first by l2, saliency, noise" in opened.status()
    assert page.evaluate("document.activeElement.closest('th').ariaSort") == "descending"


def test_filters_keep_rows_and_columns_and_say_how_many(opened: Opened) -> None:
    page = opened.page
    assert opened.status() == "5 of 5 rows, 9 of 9 columns."
    page.get_by_label("Method").fill("GA")
    assert opened.rows() == ["aga"]
    page.get_by_label("Explainer").select_option("ig")
    page.get_by_label("Attack").select_option("topk")
    assert opened.status() == "1 of 5 rows, 3 of 9 columns."
    page.get_by_label("Metric").select_option("l2")
    assert opened.status() == "1 of 5 rows, 2 of 9 columns."
    page.get_by_label("Images").select_option("common")
    page.get_by_label("Passes and seconds").check()
    assert opened.status() == "1 of 5 rows, 4 of 17 columns."
    page.get_by_text("Show all").click()
    assert opened.status() == "5 of 5 rows, 9 of 9 columns."
    assert page.get_by_label("Images").input_value() == "all"


def test_a_number_opens_its_images_and_a_method_its_card_and_focus_comes_back(opened: Opened) -> None:
    page = opened.page
    number = page.locator("#table tbody tr").nth(1).locator("td button").nth(2)
    number.click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading", name="aga").is_visible()
    assert dialog.get_by_role("img", name="Histogram of 40 images in 20 bins").is_visible()
    assert dialog.get_by_text("1200 forward, 1200 backward, 1200 double backward").count() == 1
    assert dialog.locator("table tbody tr").count() == 5
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert number.evaluate("element => element === document.activeElement")
    page.locator("#table tbody th button").first.click()
    assert dialog.get_by_role("heading", name=HOSTILE).is_visible()
    assert dialog.get_by_text("run_benchmark.py --methods").count() == 1
    dialog.get_by_role("button", name="Close").click()
    assert opened.focused() == HOSTILE


def test_the_reason_of_a_flag_is_told_where_its_number_is_opened(opened: Opened) -> None:
    flagged = opened.page.locator("#table tbody td button", has_text="1 flag").first
    flagged.click()
    assert opened.page.get_by_role("dialog").get_by_text("noise does more").is_visible()


def test_the_keyboard_alone_sorts_moves_and_opens(opened: Opened) -> None:
    page = opened.page
    page.locator("#table thead button").last.focus()
    page.keyboard.press("Enter")
    assert "best first" in opened.status()
    page.keyboard.press("Tab")
    assert opened.focused() == HOSTILE
    page.keyboard.press("ArrowDown")
    assert opened.focused() == "aga"
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert opened.focused().startswith("98.0") or opened.focused().startswith("97.5")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    # Focus stays in the dialog however often it moves.
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert opened.focused() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_rules_of_accessibility_hold(browser: Any, path: Path, size: tuple[int, int], scheme: str) -> None:
    opened = opened_by(browser, path, size, color_scheme=scheme)
    page = opened.page
    places = (lambda: None, lambda: page.locator("#table tbody td button").nth(2).click())
    for go in places:
        go()
        result = axe.Axe().run(page)
        assert result.violations_count == 0, result.generate_report()
    page.close()


def test_nothing_is_wider_than_a_phone(browser: Any, path: Path) -> None:
    page = opened_by(browser, path, PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    page.locator("#table tbody td button").nth(2).click()
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    page.close()


def test_the_theme_follows_the_system_until_it_is_switched(browser: Any, path: Path) -> None:
    page = opened_by(browser, path, DESKTOP, color_scheme="dark").page
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    page.close()


def test_what_is_shown_is_printed_without_controls_and_in_whole(browser: Any, path: Path) -> None:
    page = opened_by(browser, path, DESKTOP, color_scheme="dark").page
    page.get_by_label("Method").fill("aga")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible()
    tables = page.locator("table.printed")
    assert tables.count() == 2
    assert [tables.nth(index).locator("tbody td").count() for index in range(2)] == [7, 2]
    assert tables.first.is_visible() and not page.locator("#table").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tables.count() == 0
    page.close()


def seconds_to_open(browser: Any, path: Path, status: str) -> float:
    """Until the first picture of the whole table is drawn."""
    opened = opened_by(browser, path, DESKTOP)
    assert opened.status() == status
    opened.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seconds: float = opened.page.evaluate("performance.now()") / 1000
    opened.page.close()
    return seconds


def test_forty_methods_by_thirty_columns_open_as_fast_as_without_a_script_and_are_under_three_megabytes(
    browser: Any, tmp_path: Path
) -> None:
    """The same elements without a script, which a browser has only to lay out, took 1.3 times as long."""
    methods = [f"method-{index}" for index in range(40)]
    explainers, attacks = ("saliency", "ig", "lrp"), ("noise", "topk", "target", "auto", "frame")
    board = build([write_table(tmp_path, methods, explainers=explainers, attacks=attacks, images=100)])
    path, plain = tmp_path / "leaderboard.html", tmp_path / "plain.html"
    path.write_text(render(board), encoding="utf-8")
    assert path.stat().st_size < 3_000_000
    status = "40 of 40 rows, 31 of 31 columns."
    opened = opened_by(browser, path, DESKTOP)
    opened.page.evaluate("document.querySelectorAll('script').forEach(element => element.remove())")
    plain.write_text(opened.page.content(), encoding="utf-8")
    opened.page.close()
    pairs = [(seconds_to_open(browser, path, status), seconds_to_open(browser, plain, status)) for _ in range(3)]
    assert min(ours for ours, _ in pairs) < 1.5 * min(theirs for _, theirs in pairs)
