"""A page in a browser: quiet, offline, readable; sorted and filtered; and text of any origin stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.browser import PHONE, Chromium
from toolkit.display import charts, page
from toolkit.display.page import Page, Passage, Section, Tile
from toolkit.display.tables import Table, number, words
from toolkit.findings import Finding

EVIL = (
    "</script></style></pre></title><script>document.title='run'</script><img src=https://example.com/x onerror=x()>"
    " {{ 7 * 7 }} <b>&amp; \x00\x1b[31m \ud800 \u202e"
)
SEEN = EVIL.replace("\x00", "\u2400").replace("\x1b", "\u241b").replace("\ud800", "\ufffd")


def rows() -> Table:
    table = Table(["name", number("tokens"), number("took"), words("why")])
    figures = ("1,200", "-", "12.3k", "950", "+5", "2M", "97%")
    took = ("42s", "3m 05s", "2h 07m", "0.8s", "", "10s", "1m 00s")
    for name, figure, time in zip("abcdefg", figures, took, strict=True):
        table.add(name, figure, time, "slow" if name in "ab" else "fine")
    return table


def everything() -> Page:
    return Page(
        EVIL,
        [
            Section("Verdict", [page.tiles([Tile(EVIL, EVIL, EVIL, "red")]), page.findings([_finding()])], EVIL),
            Section("Verdict", [page.table(rows(), "rows", EVIL), page.code(EVIL)]),
            Section(EVIL, [page.side_by_side([Passage(EVIL, EVIL, EVIL, "amber")]), page.text(EVIL), page.note(EVIL)]),
            Section(
                "Data", [page.data("data", {"text": EVIL, "nan": float("nan")}), page.details(EVIL, page.text("in"))]
            ),
            Section("Charts", [page.grid(charts.bars(EVIL, [charts.Bar(EVIL, 1.0)]))]),
        ],
        lead=EVIL,
        made=EVIL,
        script="document.body.dataset.own = 'ran';",
    )


def _finding() -> Finding:
    return Finding(EVIL, "red", EVIL, EVIL, EVIL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_bytes(page.render(everything()).encode())
    return path


def test_findings_stand_with_the_worst_first() -> None:
    given = [
        Finding("a", "green", "x"),
        Finding("b", "red", "x"),
        Finding("c", "info", "x"),
        Finding("d", "amber", "x"),
    ]
    assert re.findall(r"<b>(\w)</b>", page.findings(given)) == ["b", "d", "c", "a"]


@pytest.mark.browser
def test_text_stays_text_and_nothing_is_asked_of_a_network(chromium: Chromium, file: Path) -> None:
    with chromium.open(file) as visit:
        visit.assert_clean()
        shown = visit.page
        assert shown.locator("img, script[src], link").count() == 0
        assert shown.locator("script").count() == 3  # the page's, its own, and the data
        assert shown.title() == SEEN
        assert shown.locator(".passages pre").text_content() == SEEN
        assert shown.locator("h1").text_content() == SEEN
        assert shown.evaluate("document.body.dataset.own") == "ran"
        data = json.loads(shown.locator("script#data\\:data").text_content() or "")
        assert data == {"text": EVIL, "nan": None}
        ids = shown.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids))


@pytest.mark.browser
def test_the_policy_stops_what_slips_through(chromium: Chromium, tmp_path: Path) -> None:
    """Even a block that forgot to escape runs nothing and loads nothing."""
    from markupsafe import Markup

    path = tmp_path / "page.html"
    slipped = Markup("<img src='https://example.com/x'><script>document.title='run'</script><b onclick='x()'>b</b>")
    path.write_bytes(page.render(Page("title", [Section("s", [slipped])])).encode())
    with chromium.open(path) as visit:
        assert visit.page.title() == "title"
        assert len(visit.errors) >= 2
        assert all("Content Security Policy" in error for error in visit.errors)


def column(visit_page: object, i: int) -> str:
    return "".join(visit_page.locator(f"tbody tr:visible td:nth-child({i})").all_text_contents())  # type: ignore[attr-defined]  # Playwright's page


@pytest.mark.browser
def test_a_table_is_sorted_and_filtered_and_the_link_keeps_both(chromium: Chromium, file: Path) -> None:
    with chromium.open(file) as visit:
        shown = visit.page
        shown.get_by_role("button", name="tokens").click()
        assert column(shown, 1) == "fcadgeb"  # figures from the largest, what has none last
        shown.get_by_role("button", name="tokens").click()
        assert column(shown, 1) == "egdacfb"
        shown.get_by_role("button", name="took").click()
        assert column(shown, 1) == "cbgafde"
        shown.get_by_role("searchbox").fill("SLOW a")
        assert column(shown, 1) == "a"
        assert shown.get_by_role("status").text_content() == "1 of 7"
        shown.get_by_role("searchbox").fill("slow")
        shown.locator("nav a").nth(2).click()
        fragment = shown.url.partition("#")[2]
        visit.assert_clean()
    with chromium.open(file, fragment) as again:
        assert column(again.page, 1) == "ba"
        assert again.page.get_by_role("columnheader", name="took").get_attribute("aria-sort") == "descending"
        again.page.evaluate("location.hash = 'rows.sort=0d'")  # another link, in the same window
        again.page.wait_for_function("document.querySelector('tbody tr').cells[0].textContent === 'g'")
        assert column(again.page, 1) == "gfedcba"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways_in_light_or_dark(chromium: Chromium, file: Path, scheme: str) -> None:
    with chromium.open(file, viewport=PHONE, color_scheme=scheme) as visit:
        assert visit.overflow() <= 0
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        bar = visit.page.evaluate("getComputedStyle(document.querySelector('svg.chart path[style*=c1]')).fill")
        assert (background, bar) == {
            "light": ("rgb(255, 255, 255)", "rgb(0, 114, 178)"),
            "dark": ("rgb(21, 23, 26)", "rgb(88, 169, 230)"),
        }[scheme]


@pytest.mark.browser
def test_on_paper_everything_is_open_and_white(chromium: Chromium, file: Path) -> None:
    with chromium.open(file, color_scheme="dark") as visit:
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        visit.page.emulate_media(media="print")
        assert visit.page.get_by_text("in", exact=True).is_visible()
        assert not visit.page.locator("nav").is_visible()
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert not visit.page.get_by_text("in", exact=True).is_visible()
