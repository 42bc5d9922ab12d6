"""Records become tables, and two results are compared."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from toolkit.bench import compare, store
from toolkit.bench.heat_maps import maps_of
from toolkit.bench.plots import draw, exponent, pareto
from toolkit.bench.tables import figures_of, notes, reasons_of, rows_of, table_of
from toolkit.cli import main
from toolkit.errors import RunFolderError, SettingsError


def record(
    status: str = "ok", peak: float = 1.0, steps: tuple[float, ...] = (1.0, 1.1, 0.9), **point: Any
) -> dict[str, Any]:
    figures = {
        "step_s": list(steps),
        "step_s_median": sorted(steps)[len(steps) // 2],
        "tokens_per_s": 1000 / steps[0],
        "peak_gib": {"process": peak},
        "samples_per_s": 20.0,
        "n_tokens": 500,
        "reward": 0.5,
    }
    return {
        "id": "x",
        "point": {"engine": "toolkit", "model": "m", **point},
        "status": status,
        "why": "" if status == "ok" else "no memory",
        "measured": figures if status == "ok" else {},
        "predicted": None,
    }


def test_a_table_has_what_varies_and_the_change_from_the_first() -> None:
    records = [record(g=4), record(g=4, peak=1.2), record(g=8, peak=2.2, steps=(2.0,)), record("out_of_memory", g=16)]
    lines = table_of(records).markdown().splitlines()
    assert lines[0] == "| g | peak GiB | % | tokens/s | % | s/step | reward | n | status | why |"
    assert lines[2] == "| 4 | 1.10 | +0 | 1,000 | +0 | 1 | 0.50 | 2 | ok |  |"
    assert lines[4] == "| 16 | - | - | - | - | - | - | 0 | out of memory | no memory |"


def test_csv_has_plain_numbers_under_names_of_their_own() -> None:
    rows = list(csv.DictReader(StringIO(figures_of([record(g=4), record("out_of_memory", g=8)]).csv())))
    assert (rows[0]["tokens_per_s"], rows[0]["completions_per_s"], rows[0]["reward_per_minute"]) == (
        "1000",
        "20",
        "600",
    )
    assert (rows[1]["tokens_per_s"], rows[1]["n_ok"], rows[1]["why"]) == ("", "0", "no memory")


@pytest.mark.parametrize(
    ("name", "value"), [("card", ["RTX 4090"]), ("warmup_steps", 2), ("versions", {"torch": "2.14"})]
)
def test_cells_of_other_conditions_are_no_repeats(name: str, value: Any) -> None:
    about = {"card": [], "n_cpus": 2, "warmup_steps": 1, "versions": {"torch": "2.13"}}
    records = [record() | {"about": about}, record() | {"about": about | {name: value}}]
    assert len(rows_of(records)) == 2
    assert len(table_of(records).rows) == 2
    assert notes(records)[0].startswith("mixed: ")
    assert len(compare.compare(records[:1], records[1:])) == 3
    assert compare.warnings(records[:1], records[1:])


def test_a_busy_machine_is_told_and_its_times_not_judged() -> None:
    busy = [record(steps=(9.0, 9.0)) | {"machine": {"is_quiet": False}}] * 2
    assert "busy before 2 of 2" in notes(busy)[0]
    assert {r.verdict for r in compare.compare([record()] * 2, busy) if r.figure == "s/step"} == {"cannot tell"}


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        ([(1.1,), (1.0,)], "same"),
        ([(1.5,), (1.6,)], "worse"),
        ([(0.8,), (2.7,)], "cannot tell"),
        ([(0.5,), (0.6,)], "no worse"),
        ([(1.4,)], "cannot tell"),
        ([(1.0,)], "cannot tell"),
        ([(1.6,)], "worse"),
    ],
)
def test_a_time_is_judged_by_its_repeats(second: list[tuple[float, ...]], verdict: str) -> None:
    ratios = compare.compare([record(steps=(1.0,))] * 2, [record(steps=steps) for steps in second])
    assert [r.verdict for r in ratios if r.figure == "s/step"] == [verdict]


@pytest.mark.parametrize(
    ("on_cpu", "peak", "verdict"), [(True, 1.03, "same"), (True, 1.06, "worse"), (False, 1.02, "worse")]
)
def test_resident_memory_differs_by_itself(on_cpu: bool, peak: float, verdict: str) -> None:
    first, second = record(), record(peak=peak)
    for one in (first, second) if on_cpu else ():
        one["measured"]["peak_gib"]["resident"] = one["measured"]["peak_gib"]["process"]
    assert [r.verdict for r in compare.compare([first], [second]) if r.figure == "peak GiB"] == [verdict]


def test_all_is_to_be_seen_in_eighty_columns() -> None:
    grid = [
        {"num_generations": g, "max_completion_length": 96 * g, "gradient_checkpointing": c}
        for g in (4, 16)
        for c in ("none", "hf")
    ]
    first, second = ([record(peak=peak, **point) for point in grid] for peak in (1.0, 1.5))
    second[3] = record("out_of_memory", **grid[3])
    console = Console(width=80, file=StringIO())
    console.print(compare.table_of(compare.compare(first, second), on_screen=True).rich(gap=1))
    console.print(table_of(second, on_screen=True).rich(gap=1))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] # a StringIO
    assert (text.count("same"), text.count("worse"), text.count("cannot")) == (3, 3, 3)
    assert "…" not in text
    assert all(word in text for word in ("status", "memory"))
    (reason,) = reasons_of(second)
    assert reason.endswith("gradient_checkpointing hf: out of memory: no memory")


def test_counted_work_has_no_luck() -> None:
    more = record()
    more["measured"]["n_forward_passes"], first = 102, record()
    first["measured"]["n_forward_passes"] = 100
    assert {r.figure for r in compare.compare([first], [more]) if r.is_regression} == {"passes"}


def test_what_is_not_in_the_second_is_named(tmp_path: Path) -> None:
    first, second = [record(g=g) for g in (1, 2, 3)], [record(g=1), record("out_of_memory", g=2)]
    second[0]["measured"]["peak_gib"] = {}
    assert compare.lost(first, second) == ["without peak GiB: g 1", "out of memory: no memory: g 2", "missing: g 3"]
    with pytest.raises(SettingsError, match="no cell in common"):
        compare.compare([record(g=1)], [record(g=2)])
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, records in zip(paths, (first[1:2], second[1:]), strict=True):
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
    assert main(["bench", "compare", *map(str, paths)]) == 1, "all failed in the second"


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


RECORD = {"id": "a", "status": "ok", "point": {}, "measured": {}}


@pytest.mark.parametrize("broken", ["{", '{"id": "b"}', json.dumps({**RECORD, "measured": None}), "\ufffd"])
def test_half_a_line_at_the_end_is_left_out_and_any_other_is_refused(tmp_path: Path, broken: str) -> None:
    path, whole = tmp_path / store.CELLS, json.dumps(RECORD) + "\n"
    path.write_text(whole + broken)
    assert store.read(tmp_path) == [RECORD]
    path.write_text(f"{broken}\n{whole}")
    with pytest.raises(RunFolderError, match=r"cells.jsonl is broken at line 1"), store.opened(tmp_path):
        pass
    assert path.read_text() == f"{broken}\n{whole}"
