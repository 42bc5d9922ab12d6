"""A run's page and that of several, in a browser: drawn, filtered, quiet, offline, small, every text as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.browser import PHONE, Chromium
from tests.unit.runs.made import completions, make_run, row
from toolkit import runs
from toolkit.report import write_pictures, write_report, write_several
from toolkit.runs.names import step_name
from toolkit.runs.record import Record, read_record

EVIL = "</script></pre><img src=https://example.com/x onerror=alert(1)> {{ 7*7 }} \u202e \x00\x1b[2J $x_1$"


def folder_of(tmp_path: Path, name: str = "run") -> Path:
    """A run in which everything that a model, a person or a package has written is hostile."""
    folder = make_run(tmp_path / name, texts=(EVIL, EVIL * 2000), dataset=EVIL)
    run = runs.reopen(folder)
    rows, _ = read_record(folder).completions("after")
    run.write_completions(
        "after", [{**one, "completion": EVIL * (2000 if i == 3 else 1)} for i, one in enumerate(rows)]
    )
    verdict = {
        "rule": "R01",
        "name": EVIL,
        "level": "red",
        "first_step": 1,
        "last_step": 3,
        "found": EVIL,
        "next": EVIL,
    }
    run.update("summary.json", health={"level": "red", "verdicts": [verdict]}, error=EVIL, phases_s={EVIL: 3.0})
    run.update("environment.json", platform=EVIL, argv=["--dataset", EVIL])
    run.update("settings.json", differences=[EVIL])
    warned = {"name": EVIL, "status": "WARN", "found": EVIL, "wanted": "", "remedy": EVIL}
    run.write("reward_check.json", {EVIL: {"findings": [warned, {**warned, "status": "PASS"}]}})
    run.close()
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    record = read_record(folder_of(tmp_path_factory.mktemp("page")))
    return write_report(record, [("look", f"toolkit runs completions {EVIL}")])


def titles(path: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", path.read_text())


def test_it_has_a_part_for_everything_that_was_recorded(page: Path) -> None:
    assert titles(page) == [
        *("Result", "Verdicts", "Reward", "Accuracy", "Completions", "Time and memory"),
        *("Before and after", "During training", "Settings", "Environment"),
    ]
    charts = re.findall(r"<figcaption><b>(.*?)</b>", page.read_text())
    assert {"Reward", "Rewards before weighing, mean ± std", "Reward of a completion", "Entropy"} <= set(charts)
    assert "KL to the reference" not in charts  # which this run has not recorded
    assert page.read_text().count('<span class="badge amber">') >= 2  # a changed setting, and the reward's warning


def test_a_run_that_did_not_finish_has_a_page_too(tmp_path: Path) -> None:
    path = write_report(read_record(make_run(tmp_path / "run", n_steps=1, ends="failed")), [])
    assert "Before and after" not in titles(path)
    assert "failed after 1 of 4 steps" in path.read_text()


def test_a_run_that_has_only_begun_has_a_page_too(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {"model": "embedded"})
    path = write_report(read_record(run.folder), [])
    run.close()
    assert titles(path) == ["Result", "Settings"]


def test_a_run_of_an_older_version_or_with_broken_parts_is_drawn_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "format"}))
    (folder / "completions" / "step_00002.parquet").write_bytes(b"PAR1")
    (folder / "completions" / "after.parquet").write_bytes(b"")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rew')
    text = write_report(read_record(folder), []).read_text()
    for said in ("written by an older version", "metrics.jsonl is broken at line 5", "after.parquet cannot be read"):
        assert said in text
    for name in ("settings.json", "environment.json", "summary.json", "measurements.json", "reward_check.json"):
        (folder / name).write_text(
            '{"requested": 1, "rewards": 2, "versions": [], "gpus": 3, "after": "x", "plan": []}'
        )
        write_report(read_record(folder), [])


def test_long_runs_and_long_texts_stay_below_three_megabytes(tmp_path: Path) -> None:
    run = runs.reopen(folder_of(tmp_path))
    for step in range(5, 1001):
        run.append_metrics(row(step))
    for step in range(5, 40):
        run.write_completions(step_name(step), completions(step, (EVIL * 1500,)))
    texts = [
        {"prompt": f"{i} {EVIL * 50}", "completion": EVIL * 1500, "correct": True, "rewards": {}} for i in range(400)
    ]
    for when in ("before", "after"):
        run.write_completions(when, texts)
    run.close()
    assert write_report(read_record(run.folder), []).stat().st_size < 3e6
    other = write_several([read_record(run.folder)] * 3, tmp_path / "several.html")
    assert other.stat().st_size < 3e6


def test_pictures_are_written_beside_it_on_request(tmp_path: Path) -> None:
    record = read_record(make_run(tmp_path / "run"))
    written = write_pictures(record, record.folder)
    assert [path.name for path in written] == ["reward.png", "completions.png", "policy.png", "cost.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in written)


@pytest.mark.browser
def test_charts_are_drawn_and_text_stays_text(chromium: Chromium, page: Path) -> None:
    with chromium.open(page) as visit:
        shown = visit.page
        assert shown.locator("img, script[src], link, iframe").count() == 0
        drawn = shown.evaluate(
            "[...document.querySelectorAll('svg.chart')].map((one) => one.querySelectorAll('path').length)"
        )
        assert len(drawn) == 12
        assert min(drawn) > 2
        shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        seen = EVIL.replace("\x00", "\u2400").replace("\x1b", "\u241b")
        assert seen in [text.strip() for text in shown.locator(".passages pre").all_text_contents()]
        visit.assert_clean()


@pytest.mark.browser
def test_problems_are_filtered_and_the_link_keeps_the_choice(chromium: Chromium, page: Path) -> None:
    with chromium.open(page) as visit:
        shown = visit.page
        assert shown.locator(".pair:visible").count() == 8
        shown.get_by_label("kind of problem").select_option("gained")
        assert shown.locator(".pair:visible").count() == 4
        shown.get_by_label("search problems").fill("IS 5+1")
        assert shown.locator(".pair:visible").count() == 1
        assert shown.locator("#n-pairs").text_content() == "1 of 8"
        shown.locator("[data-table=settings] input").fill("learning_rate")
        assert shown.locator("[data-table=settings] tbody tr:visible").count() == 1
        fragment = shown.url.partition("#")[2]
        visit.assert_clean()
    with chromium.open(page, fragment) as again:
        assert again.page.locator(".pair:visible").count() == 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_read_on_a_phone_and_on_paper(chromium: Chromium, page: Path, scheme: str) -> None:
    with chromium.open(page, viewport=PHONE, color_scheme=scheme) as visit:
        assert visit.overflow() <= 0
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        visit.assert_clean()


@pytest.mark.browser
def test_several_runs_stand_on_one_page(chromium: Chromium, tmp_path: Path) -> None:
    records: list[Record] = [read_record(folder_of(tmp_path, name)) for name in ("a", "b")]
    records.append(read_record(make_run(tmp_path / "c", ends="stopped", learning_rate=5.0)))
    path = write_several(records, tmp_path / "several.html")
    with chromium.open(path, viewport=PHONE) as visit:
        assert visit.overflow() <= 0
        assert visit.page.locator("svg.chart").count() >= 9
        differing = visit.page.locator("[data-table=setting] td:first-child").all_text_contents()
        assert differing == ["learning_rate", "dataset"]
        assert "C against A: not paired, c was not measured after training" in (visit.page.text_content("body") or "")
        visit.assert_clean()
