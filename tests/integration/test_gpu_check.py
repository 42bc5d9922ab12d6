"""benchmarks/gpu_check.py without a card: the choice of cells, and one real check of the tiny model on the CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from benchmarks.gpu import plans, report, results
from benchmarks.gpu.cells import CONFIGS, Cell, folder_of, on_a_card, on_a_cpu, shape_of
from benchmarks.gpu.check import Check, Limits
from benchmarks.gpu.checkpoints import size_gib
from benchmarks.gpu.flagship import STEPS
from benchmarks.gpu.supervise import CellProcess, Workplace
from benchmarks.gpu.update import given_rollouts
from benchmarks.gpu.worker import is_out_of_memory
from tests.paths import ROOT
from toolkit.errors import ModelError
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import parse, read_yaml
from toolkit.units import gib
from toolkit.vram import constants
from toolkit.vram.run_plan import plan_run

H200 = Gpu(0, "NVIDIA H200", 140.4, 139.8, (9, 0), "580.1")
RTX_3070 = Gpu(0, "NVIDIA GeForce RTX 3070", 8.0, 7.6, (8, 6), "580.1")
UPDATE = next(cell for cell in on_a_card() if cell.name == "update 7B transformers")
FITS, OVER = (
    next(cell for cell in on_a_card() if cell.name == f"{kind} 24 GB 7B unsloth") for kind in ("fits", "over")
)


def start_check(output: Path, *flags: str) -> subprocess.Popen[bytes]:
    script = str(ROOT / "benchmarks" / "gpu_check.py")
    command = [sys.executable, script, "--device", "cpu", "--output", str(output), "--log", f"{output}.log", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=output.parent)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """One check on the CPU: the document and what was printed."""
    output = tmp_path_factory.mktemp("check") / "check.json"
    only = ("flagship", "numerics tiny", "update tiny transformers", "fits", "vllm")
    process = start_check(output, "--only", *only, "--budget_s", "300", "--models", str(output.parent / "models"))
    printed = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, printed
    return json.loads(output.read_text()), printed


def cell_named(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in document["cells"] if row["name"] == name)


def test_a_cell_trains_through_the_backend_and_the_assembly(checked: tuple[dict[str, Any], str]) -> None:
    measured = cell_named(checked[0], "update tiny transformers")["measured"]
    assert measured["n_linear_4bit"] == 14
    assert measured["n_adapters_moved"] == measured["n_adapters"] == 28
    assert measured["update"]["loss_is_finite"]
    assert len(measured["update"]["step_s"]) == 2
    assert measured["update"]["tokens_per_step"] == 4 * 64 + (16 + 14 + 16 + 12)  # as given, not as generated
    assert measured["update"]["tokens_per_s"] > 0
    assert measured["decode"]["n_tokens"] > 0
    assert measured["differences"] == ["optim: asked adamw_8bit, in effect adamw_torch"]


def test_the_flagships_path_is_gone_to_its_end_a_step_at_a_time(checked: tuple[dict[str, Any], str]) -> None:
    document, printed = checked
    row = cell_named(document, "flagship tiny transformers")
    assert row["status"] == "ran", row
    steps = row["measured"]["steps"]
    assert [step["step"] for step in steps] == [step for step in STEPS if step not in ("sleep", "wake")]
    assert all(step["seconds"] >= 0 for step in steps)
    assert "in_step" not in row["measured"]
    assert [check["passes"] for check in row["measured"]["checks"]] == [True, True, True]
    assert row["measured"]["update"]["rollout_tokens_per_s"] > 0
    assert re.search(r"tiny reload +[0-9.]+ +- +done", printed)
    stand_in = cell_named(document, "flagship without standby tiny")
    assert (stand_in["status"], stand_in["why"]) == ("skipped", "flagship tiny transformers ran")


def test_every_numerical_check_is_made_and_passes(checked: tuple[dict[str, Any], str]) -> None:
    checks = [check for check in checked[0]["summary"]["numerics"] if "adapter after" not in check["check"]]
    assert len(checks) == 9 + 2, "those of the numerics, and the parity gate of the flagship"
    assert [check for check in checks if not check["passes"]] == []


def test_what_a_cpu_cannot_show_is_null_beside_the_plan(checked: tuple[dict[str, Any], str]) -> None:
    row = cell_named(checked[0], "update tiny transformers")
    assert row["planned"]["update"]["allocated"] > 0
    assert row["planned"]["verdict"] is None
    assert set(row["errors_percent"]["update"].values()) == {None}
    assert checked[0]["calibration"] is None


def test_what_cannot_run_here_is_skipped_with_its_reason(checked: tuple[dict[str, Any], str]) -> None:
    document, printed = checked
    row = cell_named(document, "fits 12 GB tiny transformers")
    assert (row["status"], row["why"]) == ("skipped", "a CPU has no card to emulate")
    assert row["why"] in printed
    assert cell_named(document, "vllm tiny transformers")["why"] == "vllm is not installed"
    assert any(line.startswith("vllm is not installed: ") for line in document["degradations"])


def test_a_killed_check_leaves_a_whole_json_and_no_process(checked: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    models = str(Path(checked[1].splitlines()[-1]).parent / "models")
    process = start_check(tmp_path / "check.json", "--only", "update tiny transformers", "--models", models)
    wait_for(lambda: len(cells_of(process)) == 1)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    document = json.loads((tmp_path / "check.json").read_text())
    assert [row["status"] for row in document["cells"]] == ["not_run"]
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_a_cell_ends_with_the_check_that_started_it() -> None:
    code = "from toolkit.machine.child import end_with_parent; end_with_parent(); import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT)
    child.communicate(timeout=60)  # closes its input, as the end of this process would
    assert child.returncode == 1


def cells_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "benchmarks.gpu.worker" in words_of(child)]


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; none once it has ended, which a child of another process may do between two questions."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a ZombieProcess is one, too
        return []


def wait_for(happened: Any, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_cells_without_time_are_listed_as_not_run(tmp_path: Path) -> None:
    process = start_check(tmp_path / "check.json", "--budget_s", "3")
    process.communicate(timeout=60)
    document = json.loads((tmp_path / "check.json").read_text())
    assert process.returncode == 1
    assert {row["status"] for row in document["cells"]} == {"not_run", "skipped"}
    assert "of the budget were left" in cell_named(document, "numerics tiny")["why"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with (tmp_path / "log").open("wb") as log:
        yield Workplace(None, tmp_path / "models", tmp_path / "work", log)


def test_a_cell_that_takes_too_long_is_ended(place: Workplace) -> None:
    process = CellProcess(on_a_cpu()[0], place)
    child = psutil.Process(process.child.process.pid)
    found = process.run(limit_s=0.5, context_gib=0.5)
    assert (found["status"], found["why"]) == ("timed_out", "stopped after 0 s")
    assert not child.is_running()


def test_a_cell_that_is_killed_is_a_failure(place: Workplace) -> None:
    process = CellProcess(on_a_cpu()[0], place)
    os.kill(process.child.process.pid, signal.SIGKILL)
    found = process.run(limit_s=30, context_gib=0.5)
    assert found["status"] == "failed"
    assert "signal 9" in found["why"]


def test_a_large_card_runs_every_cell_as_asked() -> None:
    for cell in on_a_card():
        fit, why = plans.fitted(cell, H200, longest_s=60)
        assert fit is not None, why
        if cell.rollouts == "vllm":
            fit = replace(fit, gpu_memory_utilization=cell.gpu_memory_utilization)
        assert replace(fit, max_completion_length=cell.max_completion_length) == cell
        assert cell.emulates or fit == cell


@pytest.mark.parametrize("name", ["24gb", "16gb", "12gb"])
def test_a_card_measures_its_own_preset_second_with_the_share_that_a_run_plans(name: str) -> None:
    totals = {"24gb": 23.99, "16gb": 15.99, "12gb": 12.0}
    gpu = Gpu(0, "NVIDIA GeForce RTX 4090", totals[name], totals[name] - 0.45, (8, 9), "580.1")
    first, stand_in, second, *others = on_a_card(gpu)
    assert (first.kind, first.standby, stand_in.stands_in_for) == ("flagship", True, first.name)
    assert second.name.endswith(name)
    assert not any(cell.name.startswith("preset") for cell in others)
    settings = parse(GrpoSettings, [], [(name, read_yaml(CONFIGS / f"{name}.yaml"))])
    fit, why = plans.fitted(second, gpu, longest_s=60)
    assert fit is not None, why
    wanted = plan_run(settings, gpu, framework="unsloth", has_vllm=True, share_is_given=False)
    assert fit.gpu_memory_utilization == wanted.share
    assert plans.plan_of(fit, gpu).request.batch == wanted.plan.request.batch


def test_a_small_card_gets_a_pass_that_fits_the_same_for_both_engines() -> None:
    cells = [cell for cell in on_a_card() if cell.name.startswith("update 3B")]
    fits = [plans.fitted(cell, RTX_3070, longest_s=60) for cell in cells]
    assert {(fit.per_device_train_batch_size, fit.max_completion_length) for fit, _ in fits if fit} == {(2, 1024)}
    assert all("too much for this card" in why for _, why in fits)
    seven, why = plans.fitted(UPDATE, RTX_3070, longest_s=60)
    assert (seven, "smallest pass" in why) == (None, True)


def test_a_slow_card_gets_a_pass_that_ends_in_time() -> None:
    t4 = Gpu(0, "Tesla T4", 15.0, 14.56, (7, 5), "580.1")
    fit, _ = plans.fitted(UPDATE, t4, longest_s=30)
    assert fit is not None
    assert fit.per_device_train_batch_size < UPDATE.per_device_train_batch_size
    assert 0 < plans.steps_s(fit, t4) <= 30 < plans.steps_s(UPDATE, t4)


def test_an_emulated_card_is_tried_on_both_sides_of_its_edge() -> None:
    (fits, _), (over, _) = (plans.fitted(cell, H200, longest_s=60) for cell in (FITS, OVER))
    assert fits is not None
    assert over is not None
    assert fits.max_completion_length < over.max_completion_length
    usable_gib = 23.51  # RTX 4090, cards.json
    assert plans.plan_of(fits, H200).interval_gib[1] <= usable_gib < plans.plan_of(over, H200).interval_gib[0]
    longer = replace(fits, max_completion_length=fits.max_completion_length + plans.LENGTH_STEP)
    assert plans.plan_of(longer, H200).interval_gib[1] > usable_gib


def test_a_card_larger_than_the_one_at_hand_is_not_emulated() -> None:
    fit, why = plans.fitted(FITS, RTX_3070, longest_s=1e6)
    assert (fit, why) == (None, "the card has 7.6 GiB, fewer than the emulated RTX 4090")


def test_the_next_cell_imports_ahead_only_where_it_is_not_seen(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    seen = {"measured": {"update": {"process_from": "the driver's list of processes"}}}
    guessed = {"measured": {"update": {"process_from": "the fall of the card's free memory"}}}
    for gpu, rows, ahead in (
        (H200, [seen], True),
        (H200, [guessed], False),
        (H200, [], False),
        (RTX_3070, [seen], False),
    ):
        check = Check(gpu, Limits(450, 120), tmp_path / "x.json", place.models, tmp_path, place.log)
        check.document["cells"] = rows
        assert check._imports_ahead() == ahead


def finished(cell: Cell, **found: Any) -> dict[str, Any]:
    return results.finished_row(
        cell, plans.plan_of(cell, H200), "", {"status": "ran", "why": "", "wall_s": 20.0} | found
    )


def as_planned(cell: Cell, factor: float) -> dict[str, Any]:
    """An update that took `factor` times what is planned."""
    planned = plans.record(cell, plans.plan_of(cell, H200))["update"]
    return {kind: factor * value for kind, value in planned.items()} | {"tokens_per_s": 1e4, "median_update_s": 2.0}


def test_an_error_below_zero_means_that_the_plan_is_too_low() -> None:
    row = finished(UPDATE, update=as_planned(UPDATE, 1.25))
    assert row["errors_percent"]["update"] == {"allocated": -20.0, "reserved": -20.0, "process": -20.0}


def test_a_verdict_is_right_when_the_emulated_card_does_what_was_planned() -> None:
    assert finished(FITS)["verdict_is_right"] is True
    assert finished(FITS, status="out_of_memory")["verdict_is_right"] is False
    assert finished(OVER)["verdict_is_right"] is False
    assert finished(OVER, status="out_of_memory")["verdict_is_right"] is True
    assert "verdict_is_right" not in finished(OVER, status="failed")


def test_the_calibration_is_one_that_plans_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plans.plan_of(UPDATE, H200)
    row = finished(UPDATE, update={"allocated": 11.0, "reserved": 12.0, "process": 12.75})
    content = results.calibration([row], {UPDATE.name: plan}, {"torch": "2.13.0"}, H200, "2026-11-21")
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(content))
    monkeypatch.setenv("TOOLKIT_CALIBRATION", str(file))
    learned = constants.learned_about("H200")
    assert learned is not None
    assert learned.context_gib == pytest.approx(0.75)
    assert set(learned.slack) == {"chunked"}


def test_what_is_written_names_no_folder_of_the_machine() -> None:
    why = (
        "ModelError: /home/ann/models/0.5B-nf4 cannot be loaded (No such file: '/tmp/gpu_check_x/a.json'); "
        r"C:\Users\ann\venv\torch.dll, ~/runs/x; see https://github.com/huggingface/trl/issues/1 (1/2 GiB, and/or)"
    )
    written = results.as_written({"cells": [{"why": why, "measured": {"notes": (why,), "logps": [1.0]}}]})
    expected = (
        "ModelError: 0.5B-nf4 cannot be loaded (No such file: 'a.json'); "
        "torch.dll, x; see https://github.com/huggingface/trl/issues/1 (1/2 GiB, and/or)"
    )
    assert written == {"cells": [{"why": expected, "measured": {"notes": [expected]}}]}


def test_the_share_of_the_rate_is_the_one_that_explains_the_time() -> None:
    plan = plans.plan_of(UPDATE, H200)
    timing = plans.timing_of(plan)
    assert timing is not None
    assert plans.tensor_share(plan, timing.update_s.mid) == pytest.approx(
        constants.shipped()["time"]["flops"]["mid"], abs=1e-3
    )
    assert plans.tensor_share(plan, 1e-6) is None


def test_given_completions_have_exact_lengths() -> None:
    rollout = given_rollouts(UPDATE, 471)(["prompt"] * 8, None)
    assert {len(ids) for ids in rollout["prompt_ids"]} == {512}
    lengths = [len(ids) for ids in rollout["completion_ids"]]
    assert max(lengths) == 1024
    assert 1016 <= min(lengths) < 1024
    assert all(ids[-1] == 2 and 2 not in ids[:-1] for ids in rollout["completion_ids"])
    equal = given_rollouts(replace(UPDATE, equal_lengths=True), 471)(["prompt"] * 8, None)
    assert {len(ids) for ids in equal["completion_ids"]} == {1024}


def test_out_of_memory_is_known_through_what_wraps_it() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names its own."""

    wrapped = ModelError("cannot be loaded")
    wrapped.__cause__ = OutOfMemoryError("Tried to allocate 2 GiB")
    assert is_out_of_memory(wrapped)
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not is_out_of_memory(ModelError("no such folder"))


@pytest.mark.parametrize("in_4bit", [True, False], ids=["nf4", "16bit"])
def test_a_random_checkpoint_takes_what_was_said_and_has_every_weight(
    in_4bit: bool, checked: tuple[dict[str, Any], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from safetensors import safe_open

    models = next(tmp_path_factory.getbasetemp().glob("check*")) / "models"
    file = next(folder_of(models, "tiny", in_4bit).glob("*.safetensors"))
    assert gib(file.stat().st_size) == pytest.approx(size_gib(("tiny", in_4bit), "float32"), rel=0.1)
    with safe_open(file, "pt") as tensors:
        names = set(tensors.keys())
        norm, embedding = (tensors.get_tensor(f"model.{name}.weight") for name in ("norm", "embed_tokens"))
    assert float(norm.min()) == float(norm.max()) == 1.0
    assert float(embedding.std()) == pytest.approx(0.02, rel=0.02)
    assert ("model.layers.1.mlp.down_proj.weight.absmax" in names) == in_4bit
    shape = shape_of("tiny")
    assert len({name.split(".weight")[0] for name in names if "proj.weight" in name}) == 7 * shape.n_layers


def test_the_readme_names_every_part_of_the_json(checked: tuple[dict[str, Any], str]) -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    row = cell_named(checked[0], "update tiny transformers")
    names = [
        *checked[0],
        *row,
        *(f"summary.{key}" for key in checked[0]["summary"]),
        *checked[0]["summary"]["statuses"],
    ]
    assert len(names) > 25
    assert [name for name in names if f"`{name}" not in text] == []
    kinds = {cell.name.rpartition(f" {cell.size}")[0] for cell in on_a_card() if not cell.emulates}
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_screen(width: int) -> None:
    rows = [finished(cell, update=as_planned(cell, 1.01)) for cell in on_a_card() if cell.kind == "update"]
    rows.append(results.row_of(UPDATE, "not_run", "12 s of the budget were left, and it may take 20"))
    document = {"cells": rows, "summary": results.summarise(rows), "wall_s": 400.0, "calibration": None}
    screen = Console(file=StringIO(), width=width)
    screen.print(report.render(document))
    lines = screen.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert max(map(len, lines)) <= width
    for cell in on_a_card():
        if cell.kind == "update" and not cell.emulates:
            assert any(line.startswith(f"{cell.name} ") and "10.0k" in line for line in lines), cell.name
    assert sum("wrong" in line for line in lines) == 4
    assert not any("…" in line for line in lines)
