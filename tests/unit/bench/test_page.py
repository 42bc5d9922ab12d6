"""The page of a sweep in a browser: what it says of measured cells, and how a run is chosen, judged and shared."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.browser import PHONE, Chromium
from tests.integration.commands import toolkit
from tests.unit.bench.test_results import record
from toolkit.bench import explorer, page
from toolkit.bench.predict import planner_of
from toolkit.errors import ModelError, SettingsError

CARDS, MODEL = ("RTX 3060 12GB", "RTX 4090"), "Qwen/Qwen2.5-3B-Instruct"
EVIL = "</script><script>document.title='run'</script><img src=https://example.com/x>"
ABOUT = {"card": [], "n_cpus": 2, "versions": {"torch": "2.13.0"}, "git_commit": None}
LARGE = "gpu=RTX+3060+12GB&max_completion_length=4096&num_generations=16&standby=false"


@pytest.fixture(scope="module")
def plans() -> dict[str, Any]:
    return explorer.grid(CARDS, [MODEL])


def sweep() -> list[dict[str, Any]]:
    cells = [
        record(peak=1 + g / 8 + n / 1000, steps=(g / 4 + n / 100,), g=g, n=n) for g in (4, 8, 16) for n in (64, 128)
    ]
    cells += [record("out_of_memory", g=32, n=64) | {"why": EVIL}]
    not_run = record("not_run", g=64, n=64) | {
        "why": "",
        "predicted": {"card": "RTX 4090", "peak_gib": 9.5, "step_s": 2},
    }
    cells[0]["measured"]["phases"] = {"rollout": 0.75, "update": 0.5}
    return [cell | {"about": ABOUT, "spec": EVIL, "machine": {"is_quiet": False}} for cell in [*cells, not_run]]


@pytest.fixture(scope="module")
def file(plans: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(page.write(sweep(), plans).encode())
    return path


def test_the_whole_page_stays_below_3_mb(plans: dict[str, Any], file: Path) -> None:
    a_pair = len(json.dumps(plans["plans"], separators=(",", ":"))) / len(CARDS)
    gpus, models = explorer.choices([])
    assert len(gpus) * len(models) >= 80
    assert file.stat().st_size + a_pair * len(gpus) * len(models) < 2_500_000


def test_a_sweeps_own_card_and_model_are_planned_too_where_they_are_known() -> None:
    def swept(model: str, card: str) -> dict[str, Any]:
        return record() | {"point": {"model": model}, "predicted": {"card": card}}

    records = [
        swept("Qwen/Qwen3-32B", "RTX A6000"),
        swept("embedded", "a card of tomorrow"),
        swept("gone/folder", "T4"),
    ]
    gpus, models = explorer.choices(records)
    assert (gpus[8:], models[10:]) == (["RTX A6000"], ["Qwen/Qwen3-32B"])
    assert explorer.choices(records, ["4090", "RTX 4090"], [MODEL]) == (["RTX 4090"], [MODEL])
    with pytest.raises(SettingsError):
        explorer.choices([], ["409O"])
    with pytest.raises(ModelError):
        explorer.choices([], [], ["Qwen/Qwen9-3B"])


def test_figures_say_whether_and_where_they_were_measured() -> None:
    assert page.source_of(record() | {"about": ABOUT}) == "measured (CPU, 2 cores)"
    assert page.source_of(record() | {"about": {"card": ["RTX 4090"], "n_cpus": 8}}) == "measured (RTX 4090)"
    assert page.source_of(record()) == "measured (machine not recorded)"
    assert page.source_of(record("not_run")) == f"predicted ({planner_of()})"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/results"], "/nowhere/results holds no finished cell"),
        (["--gpus", "409O"], "unknown card"),
        (["--models", "Qwen/Qwen9-3B"], "Qwen9-3B"),
        (["--output", "/nowhere/page.html"], "there is no folder /nowhere"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    from toolkit.cli import main

    assert main(["bench", "page", *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told
    assert len(told.splitlines()) == 1


@pytest.mark.browser
def test_a_sweep_is_shown_with_its_sources_and_what_ended_otherwise(chromium: Chromium, file: Path) -> None:
    with chromium.open(file, "cells.sort=0d&cells.filter=measured") as visit:
        visit.assert_clean()
        shown = visit.page
        assert EVIL in shown.title()
        rows = shown.locator("#cells tbody tr:visible")
        assert rows.count() == 7  # the one that has not run is predicted
        assert "out of memory" in (rows.first.text_content() or "")
        assert EVIL in (rows.first.text_content() or "")
        assert "measured (CPU, 2 cores)" in (rows.last.text_content() or "")
        shown.get_by_role("searchbox", name="filter cells").fill("predicted")
        assert "9.5" in (rows.first.text_content() or "")
        shown.get_by_text("Seconds by phase").click()
        phases = shown.locator("[data-table=phases] tbody tr").first.locator("td").all_text_contents()
        assert phases == ["4", "64", "0.75", "0.5"]
        shown.get_by_text("Versions and machine").click()
        assert "quiet before each cell" in (shown.locator("[data-table=machine]").text_content() or "")
        titles = shown.locator("#charts figure.chart > figcaption b").all_text_contents()
        assert titles == [
            *("speed against memory, by g, n", "peak GiB by g", "s/step by g"),
            *("peak GiB", "tokens/s"),
        ]
        fields = shown.locator("#charts svg").nth(3).locator("text").all_text_contents()
        assert {"1.56", "memory", "not run (9.50)"} <= set(fields)  # measured, ended otherwise, predicted


@pytest.mark.browser
def test_a_run_is_chosen_judged_and_made_to_fit(chromium: Chromium, file: Path) -> None:
    with chromium.open(file) as visit:
        shown = visit.page
        verdict, why = shown.locator(".verdict"), shown.locator(".why")
        shown.get_by_label("gpu").select_option("RTX 3060 12GB")
        shown.get_by_label("num_generations").select_option("16")
        shown.get_by_label("max_completion_length").select_option("4096")
        shown.get_by_label("standby").select_option("false")
        assert "too large" in (verdict.text_content() or "")
        assert f"predicted ({planner_of()})" in (verdict.text_content() or "")
        assert "above the 11.6 GiB" in (why.text_content() or "")
        shown.locator(".nearest button").first.click()
        assert (verdict.text_content() or "").startswith(("fits", "tight"))
        assert shown.locator(".nearest button").count() == 0
        shown.locator("table.lengths tbody tr:first-child button").last.click()  # without checkpoints
        assert shown.get_by_label("gradient_checkpointing").input_value() == "none"
        assert shown.get_by_label("max_completion_length").input_value() == "8192"
        shown.locator("table.cards button").last.click()
        assert shown.get_by_label("gpu").input_value() == "RTX 4090"
        visit.assert_clean()
        chosen, fragment = shown.locator(".command").text_content(), shown.url.partition("#")[2]
    with chromium.open(file, fragment) as again:
        assert again.page.locator(".command").text_content() == chosen


@pytest.mark.browser
@pytest.mark.parametrize("fragment", [LARGE, "num_generations=4&max_prompt_length=2048&gpu=RTX+3060+12GB"])
def test_the_command_plans_what_the_page_shows(chromium: Chromium, file: Path, fragment: str) -> None:
    with chromium.open(file, fragment) as visit:
        command = visit.page.locator(".command").text_content() or ""
        shown = float((visit.page.locator(".verdict b").text_content() or "").split()[0])
    done = toolkit(*shlex.split(command)[1:], "--json")
    assert done.returncode in (0, 1), done.stderr
    plan = json.loads(done.stdout)
    assert plan["gpu"]["name"] == "RTX 3060 12GB"
    assert shown == pytest.approx(plan["peak_process_gib"], abs=0.06)


@pytest.mark.browser
def test_a_link_with_values_that_are_not_there_falls_back(chromium: Chromium, file: Path) -> None:
    with chromium.open(file, "gpu=H9000&model=%3Cb%3E&num_generations=7&cells.sort=99d&at=nowhere") as visit:
        assert visit.page.get_by_label("gpu").input_value() == "RTX 4090"
        visit.assert_clean()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(chromium: Chromium, file: Path, scheme: str) -> None:
    with chromium.open(file, LARGE, viewport=PHONE, color_scheme=scheme) as visit:
        assert visit.overflow() <= 0
        visit.assert_clean()


@pytest.mark.browser
def test_paper_has_room_for_all_columns(chromium: Chromium, tmp_path: Path, plans: dict[str, Any]) -> None:
    path = tmp_path / "page.html"
    names = ("num_generations", "max_completion_length", "gradient_checkpointing", "gpu_memory_utilization")
    wide = [record(steps=(1 + i,), **dict.fromkeys(names, i)) | {"why": "w" * 80, "about": ABOUT} for i in (1, 2)]
    path.write_bytes(page.write(wide, plans).encode())
    with chromium.open(path, viewport={"width": 700, "height": 1000}) as visit:
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        visit.page.emulate_media(media="print")
        assert visit.overflow() <= 0
