"""Records become tables, and two results are compared."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from toolkit.bench import compare
from toolkit.bench.heat_maps import maps_of
from toolkit.bench.plots import draw, exponent, pareto
from toolkit.bench.tables import rows_of, table_of
from toolkit.errors import SettingsError

GRID = [(g, c) for g in (4, 16) for c in ("none", "hf")]


def record(
    status: str = "ok", peak: float = 1.0, steps: tuple[float, ...] = (1.0, 1.1, 0.9), **point: Any
) -> dict[str, Any]:
    figures = {
        "step_s": list(steps),
        "step_s_median": sorted(steps)[len(steps) // 2],
        "tokens_per_s": 1000 / steps[0],
        "peak_gib": {"process": peak},
        "n_tokens": 500,
        "reward": 0.5,
    }
    return {
        "id": "x",
        "point": {"engine": "toolkit", "model": "m", **point},
        "status": status,
        "why": "no memory",
        "measured": figures if status == "ok" else {},
        "predicted": None,
    }


def test_a_table_has_what_varies_and_the_change_from_the_first() -> None:
    records = [record(g=4), record(g=4, peak=1.2), record(g=8, peak=2.2, steps=(2.0,)), record("out_of_memory", g=16)]
    assert table_of(records).csv().splitlines() == [
        "g,peak GiB,%,tokens/s,%,s/step,reward,n,status",
        '4,1.10,+0,"1,000",+0,1,0.50,2,ok',
        "8,2.20,+100,500,-50,2,0.50,1,ok",
        "16,-,-,-,-,-,-,1,out of memory",
    ]
    assert (
        table_of(records).latex().splitlines()[2]
        == r"g & peak GiB & \% & tokens/s & \% & s/step & reward & n & status \\"
    )


@pytest.mark.parametrize(
    ("second", "regressions"),
    [
        (record(), set()),
        (record(steps=(1.1, 1.0, 1.2)), set()),
        (record(steps=(1.5, 1.6, 1.7)), {"s/step"}),
        (record(steps=(0.5, 0.6, 0.7)), set()),
        (record(peak=1.02), {"peak GiB"}),
        (record(peak=1.005), set()),
    ],
)
def test_a_regression_is_beyond_chance_and_tolerance(second: dict[str, Any], regressions: set[str]) -> None:
    ratios = compare.compare([record()], [second])
    assert {ratio.figure for ratio in ratios if ratio.is_regression} == regressions


def test_repeats_say_how_far_a_peak_differs_by_itself() -> None:
    noisy = [record(peak=1.00), record(peak=1.03)]
    (peak,) = (r for r in compare.compare(noisy, [record(peak=1.03), record(peak=1.04)]) if r.figure == "peak GiB")
    assert (round(peak.low, 4), round(peak.high, 4)) == (1.0, 1.04)
    assert not peak.is_regression
    (peak,) = (r for r in compare.compare(noisy, [record(peak=1.06), record(peak=1.05)]) if r.figure == "peak GiB")
    assert peak.is_regression, "the least of the second is above all of the first"


def test_the_verdict_is_to_be_seen_in_eighty_columns() -> None:
    first, second = (
        [record(peak=peak, num_generations=g, max_completion_length=96, gradient_checkpointing=c) for g, c in GRID]
        for peak in (1.0, 1.5)
    )
    console = Console(width=80, file=StringIO())
    console.print(compare.table_of(compare.compare(first, second), on_screen=True).rich(gap=1))
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue] # a StringIO
    endings = [line.split()[-1] for line in lines if line.strip()]
    assert (endings.count("same"), endings.count("worse")) == (8, 4)


def test_counted_work_has_no_luck() -> None:
    more = record()
    more["measured"]["n_forward_passes"], first = 102, record()
    first["measured"]["n_forward_passes"] = 100
    assert {r.figure for r in compare.compare([first], [more]) if r.is_regression} == {"passes"}


def test_a_cell_that_no_longer_finishes_is_lost() -> None:
    first, second = [record(g=1), record(g=2)], [record(g=1), record("out_of_memory", g=2)]
    assert compare.lost(first, second) == ["out of memory: no memory"]
    with pytest.raises(SettingsError, match="no finished cell in common"):
        compare.compare([record(g=1)], [record(g=2)])


def test_the_front_is_what_no_cell_beats_in_both() -> None:
    points = [(2.0, 100.0), (1.0, 50.0), (3.0, 90.0), (2.0, 120.0), (4.0, 130.0), (1.0, 40.0)]
    assert pareto(points) == [1, 3, 4]


def test_growth_is_the_exponent_of_a_power() -> None:
    assert exponent([(x, 3 * x**1.5) for x in (1.0, 2.0, 5.0)]) == pytest.approx(1.5)
    assert exponent([(2.0, 1.0), (2.0, 3.0)]) is None


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_sweep_is_drawn(suffix: str, begin: bytes) -> None:
    records = [record(g=g, peak=1.0 + g / 8) for g in (4, 8, 16)]
    assert draw(records, suffix).startswith(begin)


def test_two_settings_become_a_map_for_each_of_the_others() -> None:
    from matplotlib.figure import Figure

    records = [
        record("out_of_memory" if (g, length) == (8, 64) else "ok", peak=g / 4, g=g, length=length, kind=kind)
        for g in (4, 8)
        for length in (32, 64)
        for kind in ("none", "hf")
    ]
    records[0]["predicted"] = {"peak_gib": 1.25}
    maps = maps_of(rows_of(records))
    assert [one.title for one in maps] == ["kind none", "kind hf"]
    figure = Figure()
    maps[0].draw(figure.subfigures(1, 1, squeeze=False)[0, 0])
    memory, speed = ([text.get_text() for text in axes.texts] for axes in figure.axes)
    assert memory == ["1.00 (1.25)", "1.00", "2.00", "memory"]
    assert speed == ["1,000", "1,000", "1,000", "memory"]
    assert maps_of(rows_of(records[:2])) == []
