"""The page: one file, escaped; a real browser opens it without a network and sorts it by number."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html import unescape

import pytest

from sparsegrad_cli.report.render import to_html
from sparsegrad_cli.report.table import sort_value

from .documents import SPECIAL, hard_chapters

STAYS = "(each) => getComputedStyle(each).position === 'static'"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("81.0 ± 1.2 (3)†", 81.0),
        ("70.8k (1.0%)", 70_800),
        ("22.7M", 22.7e6),
        ("1,016", 1016),
        ("-0.4 [-1.2, 0.3]", -0.4),
        ("+1.2", 1.2),
        ("(52.0)", 52.0),
        ("5.80?", 5.8),
        ("0.10-0.16", 0.1),
        ("–", None),
        ("", None),
    ],
)
def test_cells_are_sorted_by_their_first_number(cell, value):
    assert sort_value(cell) == (value if value is None else pytest.approx(value))


def test_everything_is_escaped_and_nothing_lies_outside_the_file(tmp_path):
    text = to_html(hard_chapters(tmp_path), ["100% of 3_000"])
    body = text.partition("<body>")[2]
    assert re.search(r"(?i)https?:|//[a-z]|<link|<iframe|url\(|@import| on[a-z]+=| style=", text) is None
    assert "<b>|" not in body  # of SPECIAL, whose < is none
    assert [unescape(words) for words in re.findall(r"<figcaption>(.*?)</figcaption>", body)] == [SPECIAL]
    assert body.count("data:image/png;base64,") == 1


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The page in a browser, with `requests` and `complaints`, all that it asked for and said."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} on PATH: only this check needs a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to check the page")
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(to_html(hard_chapters(folder), ["100% of 3_000"]), encoding="utf-8")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 400, "height": 800})
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        yield page
        opened.close()


def rows(page, title: str) -> list[list[str]]:
    found = page.get_by_role("group", name=title, exact=True).locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in found]


def head(page, title: str, name: str):
    return page.get_by_role("group", name=title, exact=True).get_by_role("columnheader", name=name)


def test_it_opens_without_network_or_complaint_and_shows_its_figures(page):
    (asked,) = [url for url in page.requests if not url.startswith("data:")]
    assert asked == page.url
    assert page.complaints == []
    widths = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert widths == [30]


def test_it_may_not_reach_the_network_even_if_it_wanted(page):
    before = len(page.requests)
    reached = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'yes', (error) => error.name)")
    assert reached == "TypeError"
    assert any("Content Security Policy" in text for text in page.complaints)
    assert page.requests[before:] == []


def test_a_click_sorts_by_number_both_ways_and_back_and_keeps_rows_whole(page):
    whole = rows(page, "sorted by number")
    button = head(page, "sorted by number", "score").get_by_role("button")
    scores = []
    for order in ("ascending", "descending", "none"):
        button.click()
        assert head(page, "sorted by number", "score").get_attribute("aria-sort") == order
        found = rows(page, "sorted by number")
        assert sorted(found) == sorted(whole)
        scores.append([score for _, score in found])
    up, down, back = scores
    assert up == ["-3.0", "9.0 ± 1.0", "10.5", "1.2k", "70.8k (1.0%)", "–"]
    assert down == ["70.8k (1.0%)", "1.2k", "10.5", "9.0 ± 1.0", "-3.0", "–"]
    assert back == [score for _, score in whole]


def test_the_keyboard_sorts_too_and_text_by_its_letters(page):
    button = head(page, "sorted by number", "method").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert [label for label, _ in rows(page, "sorted by number")] == list("abcdef")
    page.keyboard.press("Space")
    assert [label for label, _ in rows(page, "sorted by number")] == list("fedcba")


def test_rows_that_belong_together_stay_together(page):
    head(page, "pairs", "score").get_by_role("button").click()
    assert [label for label, _ in rows(page, "pairs")] == ["lora", "paper", "ft", "paper"]


def test_on_a_phone_wide_tables_scroll_inside_their_box(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    box = page.get_by_role("group", name="wide", exact=True)
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")


def test_every_section_is_reached_from_the_contents(page):
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))")
    assert len(targets) == 6
    for target in targets:
        assert page.locator(target).count() == 1


@pytest.mark.parametrize(("width", "is_open"), [(1200, True), (400, False)])
def test_the_contents_stand_beside_the_text_and_are_folded_on_a_phone(page, width, is_open):
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    assert page.evaluate("document.querySelector('nav details').open") == is_open
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    top = page.get_by_role("heading", name="Results & more").bounding_box()
    assert top["y"] < 200
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_it_prints_without_contents_or_controls_and_nothing_is_cut(page):
    page.set_viewport_size({"width": 702, "height": 1000})  # A4 less its margins, in CSS pixels
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.get_by_role("navigation").is_visible()
    assert page.evaluate("[...document.querySelectorAll('main details')].every((each) => each.open)")
    assert page.evaluate("[...document.querySelectorAll('main *')].every(stays)".replace("stays", STAYS))
    for name in ("wide", "tall", "pairs"):
        box = page.get_by_role("group", name=name, exact=True)
        assert box.evaluate("(box) => box.querySelector('table').getBoundingClientRect().right") <= 702
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.emulate_media(media="screen")
