"""Charts in a page: what they say in words, what they leave out, and that they do not get in each other's way."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from toolkit.display import charts
from toolkit.display.charts import Bar, Dot, Series
from toolkit.display.palette import DARK, LIGHT
from toolkit.display.visible import visible

EVIL = '</svg><script>x</script> "q" $x_1$ \x00\x1b \ud800'
STEPS = [float(step) for step in range(200)]


def all_kinds(word: str = "reward") -> dict[str, Markup]:
    return {
        "lines": charts.lines(word, [Series(word, STEPS, STEPS, STEPS, STEPS)], word, word, [(3, word)]),
        "bars": charts.bars(word, [Bar(word, 0.2, 0.1, 0.3, word), Bar("after", 0.6)], word),
        "histogram": charts.histogram(word, {word: [1, 2, 2, 7], "b": [3.5]}, word, [(2, word)]),
        "scatter": charts.scatter(word, [Dot(1, 2, word, is_marked=True), Dot(2, 1)], word, word, joins_marked=True),
        "heat_map": charts.heat_map(word, [word], ["a", "b"], [[1.0, math.nan]], word, word),
    }


@pytest.mark.parametrize("kind", all_kinds())
def test_a_chart_is_well_formed_in_the_pages_colours_and_says_in_words_what_it_shows(kind: str) -> None:
    chart = all_kinds(EVIL)[kind]
    root = ElementTree.fromstring(visible(chart))  # noqa: S314  # our own
    assert [element for element in root.iter() if "script" in element.tag] == []
    svg = root.find("svg")
    assert svg is not None
    assert svg.attrib["role"] == "img"
    assert len(svg.attrib["aria-label"]) > len(EVIL)
    assert "$x_1$" in "".join(svg.itertext())  # no formula
    assert re.findall("(?:fill|stroke): #[0-9a-f]+", chart) == []  # every colour is one that the page sets
    assert set(re.findall(r"var\(--([a-z0-9]+)\)", chart)) <= {*LIGHT, "key"}
    assert len(chart) < 16_000
    assert "font-family" not in chart


def test_charts_of_one_page_share_no_id() -> None:
    ids = [re.findall(r' id="([^"]+)"', chart) for word in ("a", "b") for chart in all_kinds(word).values()]
    flat = [one for of_chart in ids for one in of_chart]
    assert len(flat) > 10
    assert len(flat) == len(set(flat))
    for chart in all_kinds().values():
        used = re.findall(r'"#([^"]+)"|url\(#([^)]+)\)', chart)
        assert {one or other for one, other in used} == set(re.findall(r' id="([^"]+)"', chart))


def test_gaps_are_left_out_and_a_chart_of_nothing_says_so() -> None:
    chart = charts.lines("t", [Series("a", [1, 2, 3, 4], [0.5, None, math.nan, 0.75]), Series("b", [], [])], "step")
    assert "a: from 0.5 to 0.75" in chart
    assert 'class="key"' not in chart  # the other has no value, so there is nothing to tell apart
    for nothing in (
        charts.lines("t", [Series("a", [1], [math.inf])], "x"),
        charts.bars("t", [Bar("a", None)]),
        charts.histogram("t", {"a": []}, "x"),
        charts.scatter("t", [Dot(math.nan, 1)], "x", "y"),
        charts.heat_map("t", ["a"], ["b"], [[None]], "x", "y"),
    ):
        assert "No values." in nothing
        assert "<svg" not in nothing


def test_whole_numbers_have_a_bin_each_and_no_ticks_between_them() -> None:
    chart = charts.histogram("t", {"": [0, 1, 1, 3]}, "x")
    ticks = re.findall(r">(-?[\d.]+)</text>", chart)
    assert "1" in ticks
    assert not any("." in tick for tick in ticks[: ticks.index("3") + 1])


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_are_read_and_lines_are_seen_on_their_paper(colours: dict[str, str]) -> None:
    def contrast(name: str, on: str) -> float:
        low, high = sorted((luminance(colours[name]), luminance(colours[on])))
        return (high + 0.05) / (low + 0.05)

    for name in ("ink", "grey", "green", "info", "amber", "red"):
        assert min(contrast(name, "paper"), contrast(name, "soft")) >= 4.5, name
    for name in ("c1", "c2", "c3", "c4", "c5", "c6"):
        assert contrast(name, "paper") >= 1.9, name
    assert LIGHT.keys() == DARK.keys()
