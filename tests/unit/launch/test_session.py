"""A run on a card is planned before anything loads: the decisions, given a card that is not there."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.paths import CONFIGS
from toolkit.backends.transformers import TransformersBackend
from toolkit.backends.unsloth import UnslothBackend
from toolkit.errors import SettingsError
from toolkit.evaluation.run import Measurement
from toolkit.launch import memory
from toolkit.launch.session import Session
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import parse, read_yaml
from toolkit.settings.resolved import Resolved
from toolkit.vram.mapping import request_of
from toolkit.vram.plan import can_run, make_plan, surely_fits
from toolkit.vram.run_plan import RunPlan, card_of, plan_run
from toolkit.vram.views import run_report

GIB = 2**30


@pytest.fixture(autouse=True)
def _no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CALIBRATION", str(tmp_path / "none.json"))


def card(name: str, total_gib: float, capability: tuple[int, int] = (8, 9), held_gib: float = 0.0) -> Gpu:
    """An idle card as the driver reports it, less what other processes hold; 0.45 GiB are the driver's own."""
    return Gpu(0, name, total_gib, total_gib - 0.45 - held_gib, capability, "580.65")


RTX_4090 = card("NVIDIA GeForce RTX 4090", 23.99)
RTX_3060 = card("NVIDIA GeForce RTX 3060", 12.0, (8, 6))
T4 = card("Tesla T4", 14.76, (7, 5))
FOUR_BIT = {
    "max_prompt_length": 512,
    "max_completion_length": 1024,
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "max_steps": 250,
    "optim": "adamw_8bit",
}


@functools.cache
def asked(*argv: str, preset: str | None = None) -> GrpoSettings:
    """A 4-bit run under Unsloth's standby, or that of a shipped preset."""
    below = read_yaml(CONFIGS / f"{preset}.yaml") if preset else FOUR_BIT
    return parse(GrpoSettings, argv, [("preset", below)])


def plan(settings: GrpoSettings, gpu: Gpu, **given: Any) -> RunPlan:
    return plan_run(settings, gpu, **{"framework": "unsloth", "has_vllm": True, "share_is_given": False} | given)


@pytest.mark.parametrize(
    ("argv", "gpu", "framework", "has_vllm", "expected"),
    [
        ([], RTX_4090, "unsloth", True, {"method": "qlora", "dtype": "bf16", "generation": "vllm", "standby": True}),
        ([], RTX_4090, "trl", True, {"gradient_checkpointing": "hf", "framework": "trl", "standby": True}),
        ([], RTX_4090, "unsloth", False, {"generation": "hf", "standby": False}),
        (["--use_vllm", "false"], RTX_4090, "unsloth", True, {"generation": "hf", "standby": False}),
        (["--load_in_4bit", "false"], T4, "trl", True, {"method": "lora", "dtype": "fp16"}),
        (["--optim", "adamw_bnb_8bit"], T4, "trl", True, {"optim": "adamw_8bit"}),
        (["--optim", "lion_32bit"], T4, "trl", True, {"optim": "adamw_torch"}),
        (["--target_modules", "q_proj", "v_proj"], T4, "trl", True, {"lora_targets": "q_proj,v_proj"}),
    ],
)
def test_the_planner_is_asked_about_the_run_that_will_be(
    argv: list[str], gpu: Gpu, framework: Any, has_vllm: bool, expected: dict[str, Any]
) -> None:
    request = request_of(asked(*argv), has_bf16=gpu.has_bf16, framework=framework, has_vllm=has_vllm)
    assert {name: getattr(request, name) for name in expected} == expected
    lengths = (request.max_prompt_length, request.max_completion_length)
    assert (*lengths, request.batch.generation_batch_size) == (512, 1024, 32)


@pytest.mark.parametrize(
    ("gpu", "name", "usable_gib", "held_gib"),
    [
        (RTX_4090, "RTX 4090", 23.51, 0.0),
        (card("NVIDIA GeForce RTX 4060 Ti", 15.99), "RTX 4060 Ti 16GB", 15.54, 0.03),  # two sizes of one name
        (card("NVIDIA L4", 22.49), "L4", 22.04, 0.12),  # ECC takes a sixteenth of the 24 GB
        (card("NVIDIA GeForce RTX 4090", 23.99, held_gib=5.0), "RTX 4090", 18.54, 4.97),
        (card("NVIDIA GeForce RTX 3060", 8.0), "NVIDIA GeForce RTX 3060", 7.55, 0.0),  # the table knows 12 GB only
        (card("NVIDIA GeForce RTX 4090 Laptop GPU", 15.99), "NVIDIA GeForce RTX 4090 Laptop GPU", 15.54, 0.0),
        (card("Graphics Device", 10.0, held_gib=1.0), "Graphics Device", 8.55, 1.0),
    ],
)
def test_usable_is_what_is_free_now(gpu: Gpu, name: str, usable_gib: float, held_gib: float) -> None:
    found, held = card_of(gpu)
    assert (found.name, found.usable_gib) == (name, usable_gib)
    assert held == pytest.approx(held_gib, abs=0.01)


def test_memory_that_others_hold_is_said_and_left_to_them() -> None:
    crowded = plan(asked(), card("NVIDIA GeForce RTX 4090", 23.99, held_gib=9.0))
    assert any("other processes hold 8.97 GiB of RTX 4090" in note for note in crowded.notes)
    assert not any("hold" in note for note in plan(asked(), RTX_4090).notes)
    assert crowded.plan.peak_process_gib < plan(asked(), RTX_4090).plan.peak_process_gib


@pytest.mark.parametrize(("preset", "gpu"), [("24gb", RTX_4090), ("16gb", T4), ("12gb", RTX_3060)])
def test_each_preset_runs_on_its_card_by_the_plan(preset: str, gpu: Gpu) -> None:
    found = plan(asked(preset=preset), gpu)
    assert found.flags == ()
    assert surely_fits(found.plan)


def test_unsloths_standby_takes_its_share_from_its_own_table() -> None:
    assert plan(asked(), RTX_4090).share is None


@pytest.mark.parametrize("argv", [["--standby", "false"], ["--standby", "false", "--max_completion_length", "2048"]])
@pytest.mark.parametrize("framework", ["unsloth", "trl"])
@pytest.mark.parametrize("gpu", [RTX_4090, card("NVIDIA H200", 140.4, (9, 0))], ids=lambda gpu: gpu.name)
def test_the_chosen_share_is_the_largest_that_surely_fits(gpu: Gpu, framework: Any, argv: list[str]) -> None:
    found = plan(asked(*argv), gpu, framework=framework)
    assert found.share is not None
    assert surely_fits(found.plan)
    more = replace(found.plan.request, gpu_memory_utilization=found.share + 0.01)
    assert found.share == 0.95 or not surely_fits(make_plan(more, found.plan.shape, found.plan.card))


def test_where_no_share_is_safe_the_smallest_with_room_for_one_sequence_is_taken() -> None:
    found = plan(asked("--standby", "false", "--per_device_train_batch_size", "32"), T4)
    engine = found.plan.engine
    assert engine is not None
    assert engine.kv_tokens >= 1536
    assert not surely_fits(found.plan)
    less = replace(found.plan.request, gpu_memory_utilization=engine.setup.gpu_memory_utilization - 0.01)
    smaller = make_plan(less, found.plan.shape, found.plan.card).engine
    assert smaller is not None
    assert smaller.kv_tokens < 1536


def test_a_given_share_stands_and_is_judged() -> None:
    found = plan(asked("--standby", "false", "--gpu_memory_utilization", "0.9"), RTX_4090, share_is_given=True)
    assert found.share is None
    assert found.plan.request.gpu_memory_utilization == 0.9
    assert found.flags not in ((), None)


TOO_MUCH = [
    (("--model", "Qwen/Qwen2.5-7B-Instruct"), RTX_3060),
    (("--model", "Qwen/Qwen3-14B", "--max_completion_length", "8192"), RTX_4090),
    (("--gradient_checkpointing", "none", "--standby", "false", "--max_completion_length", "4096"), RTX_4090),
    (("--model", "Qwen/Qwen2.5-7B-Instruct", "--load_in_4bit", "false", "--optim", "adamw_torch"), T4),
]


@pytest.mark.parametrize("share_is_given", [False, True])
@pytest.mark.parametrize("framework", ["unsloth", "trl"])
@pytest.mark.parametrize(("argv", "gpu"), TOO_MUCH)
def test_the_suggested_flags_run_when_they_are_pasted(
    argv: tuple[str, ...], gpu: Gpu, framework: Any, share_is_given: bool
) -> None:
    given = {"framework": framework, "share_is_given": share_is_given}
    found = plan(asked(*argv), gpu, **given)
    assert found.flags
    again = plan(asked(*argv, *" ".join(found.flags).split()), gpu, **given)
    assert can_run(again.plan)
    assert again.flags == ()


def test_a_smaller_rank_keeps_the_scale_of_the_update() -> None:
    argv = ("--lora_rank", "256", "--lora_alpha", "768", "--model", "Qwen/Qwen3-14B", "--max_completion_length", "8192")
    found = plan(asked(*argv), T4)
    pasted = asked(*argv, *" ".join(found.flags or ()).split()).model
    assert pasted.lora_rank < 256
    assert pasted.lora_alpha == 3 * pasted.lora_rank


def session(settings: GrpoSettings, gpu: Gpu | None, *given: str) -> Session[GrpoSettings]:
    backend = UnslothBackend(gpu) if gpu else TransformersBackend(None)
    resolved = Resolved.of(settings, frozenset(given))
    return Session("gsm8k_r1", resolved, backend, "the reason", [gpu] if gpu else [], [])


@pytest.fixture
def _with_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name that can be found; nothing here imports it."""
    (tmp_path / "site" / "vllm").mkdir(parents=True)
    (tmp_path / "site" / "vllm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("_with_vllm")
def test_the_session_hands_the_chosen_share_to_the_run() -> None:
    settings = asked("--standby", "false")
    ours, given = session(settings, RTX_4090), session(settings, RTX_4090, "gpu_memory_utilization")
    for each in (ours, given):
        each.plan_memory()
    assert ours.resolved.settings.model.gpu_memory_utilization == ours.run_plan.share != 0.6  # type: ignore[union-attr]
    assert given.resolved.settings.model.gpu_memory_utilization == 0.6


def test_on_a_cpu_nothing_is_planned_or_said() -> None:
    settings = asked(preset="embedded")
    ours = session(settings, None)
    ours.plan_memory()
    assert ours.resolved.settings is settings
    assert (ours.run_plan, ours.introduction) == (None, [])


@pytest.mark.parametrize(
    ("argv", "gpu", "why"),
    [
        (["--model", "someone/my-model"], RTX_4090, "unknown model"),
        (["--target_modules", "q_prj"], RTX_4090, "has no module"),
        ([], replace(RTX_4090, visible_as="MIG-1c9f"), "MIG slice"),
    ],
)
def test_what_cannot_be_planned_runs_with_a_note(argv: list[str], gpu: Gpu, why: str) -> None:
    settings = asked(*argv)
    ours = session(settings, gpu)
    ours.plan_memory()
    assert ours.resolved.settings is settings
    (note,) = ours.introduction
    assert note.startswith("memory is not planned: ")
    assert why in note


@pytest.mark.usefixtures("_with_vllm")
def test_what_does_not_fit_stops_with_flags_and_force_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    settings = asked("--model", "Qwen/Qwen2.5-7B-Instruct")
    with pytest.raises(SettingsError) as stopped:
        session(settings, RTX_3060).plan_memory()
    said = str(stopped.value)
    assert "RTX 3060 12GB has 11.6 GiB" in said
    assert "wanted --" in said
    assert "--force" in said
    assert "\n" not in said
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "the reason"
    assert any("does not fit on RTX 3060 12GB" in line for line in shown), "the plan comes before the error"
    forced = replace(settings, record=replace(settings.record, force=True))
    going_on = session(forced, RTX_3060)
    going_on.plan_memory()
    assert going_on.resolved.settings == forced


def test_a_resumed_run_is_not_told_flags_that_it_may_not_change() -> None:
    settings = asked("--model", "Qwen/Qwen2.5-14B-Instruct", "--resume", "runs/x")
    with pytest.raises(SettingsError, match="free the card, or --force") as stopped:
        session(settings, RTX_3060).plan_memory()
    assert "--per_device" not in str(stopped.value)


@pytest.mark.parametrize("argv", [[], ["--standby", "false"], ["--use_vllm", "false"]])
def test_the_plan_is_a_few_lines_of_its_own_numbers(argv: list[str]) -> None:
    found = plan(asked(*argv), RTX_4090)
    lines = run_report.before(found)
    assert len(lines) <= 6 + len(found.notes)
    if (engine := found.plan.engine) is not None:
        assert f"for {engine.kv_tokens:,} tokens: {engine.n_concurrent(1536)} sequences of 1,536" in "\n".join(lines)
    assert max(map(len, lines[:4])) <= 80
    for name, phase in found.plan.phases.items():
        (row,) = [line for line in lines if line.startswith(name)]
        *parts, total = map(float, row.split()[1:])
        assert total == pytest.approx(phase.total_gib, abs=0.006)
        assert sum(parts) == pytest.approx(total, abs=0.03)


@pytest.mark.parametrize(
    ("argv", "gpu", "is_slow"),
    [
        ([], RTX_4090, True),
        (["--use_vllm", "false"], RTX_4090, False),  # on purpose
        ([], card("Tesla V100-SXM2-16GB", 15.8, (7, 0)), False),  # which vLLM 0.31 does not know
    ],
)
def test_before_a_run_its_hours_are_said_and_what_would_be_faster(argv: list[str], gpu: Gpu, is_slow: bool) -> None:
    resolved = session(asked("--force", *argv), gpu).resolved
    _, lines = memory.plan(resolved, TransformersBackend(gpu), gpu)
    (now,) = [line for line in lines if line.startswith("by the plan a step takes ")]
    assert ", 250 steps " in now
    faster = [line for line in lines if line.startswith("faster, with Unsloth and vLLM: a step takes ")]
    assert [line.endswith('pip install -e ".[gpu]"') for line in faster] == [True] * is_slow
    if is_slow:  # what it says is what that machine would say
        assert faster[0].split(": ")[1] in "\n".join(memory.plan(resolved, with_vllm(gpu), gpu)[1])


def with_vllm(gpu: Gpu) -> UnslothBackend:
    backend = UnslothBackend(gpu)
    backend.rolls_out_with_vllm = lambda asked: True
    return backend


# ------------------------------------------------------------------ measured


def measurement(share: float) -> Measurement:
    return Measurement(share, 4, (0.0, 1.0), 0.0, 10.0, [True, False, True, False])


def test_a_run_on_a_card_records_its_plan_and_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the recipe does, on a machine whose driver does not answer: planned, and nothing measured."""
    settings = asked("--use_vllm", "false", "--output_dir", str(tmp_path / "run"))
    ours = session(settings, RTX_4090)
    ours.plan_memory()
    with ours.open_run() as run:
        run.update("settings.json", effective={"use_vllm": False})
        run.append_metrics({"step": 1, "memory/peak_allocated_gib": 5.0, "memory/peak_gib": 6.0})
        ours.conclude(measurement(0.5), measurement(0.5), 1)
    ours.finish([])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["plan"]["request"]["generation"] == "hf"
    assert summary["plan"]["peak_process_gib"] == pytest.approx(ours.run_plan.plan.peak_process_gib, abs=1e-4)  # type: ignore[union-attr]
    assert set(summary["memory"]) >= {"peak_allocated_gib", "peak_reserved_gib", "peak_process_gib"}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "the reason"
    assert shown[1].startswith("planned GiB")
    assert any(line.startswith("process") and "planned" in line for line in shown)
    assert not any("--calibrate" in line for line in shown), "nothing was measured"


def test_a_finished_run_that_is_resumed_keeps_what_it_measured(tmp_path: Path) -> None:
    settings = asked("--use_vllm", "false", "--output_dir", str(tmp_path / "run"))
    first = session(settings, RTX_4090)
    with first.open_run() as run:
        run.write("summary.json", {"plan": {"fits": True}, "memory": {"peak_process_gib": 7.5}})
    again = asked("--use_vllm", "false", "--resume", str(tmp_path / "run"), "--save", "merged_16bit")
    ours = session(again, RTX_4090)
    ours.plan_memory()
    with ours.open_run():
        ours.conclude(measurement(0.5), measurement(0.5), 1)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["plan"], summary["memory"]) == ({"fits": True}, {"peak_process_gib": 7.5})


@pytest.mark.parametrize(
    ("error", "status", "has_page"),
    [
        (KeyboardInterrupt(), "stopped", True),
        (ValueError("no\nsense"), "failed", True),
        (KeyboardInterrupt(), "stopped", False),
    ],
)
def test_a_run_that_ends_early_has_a_summary_and_unless_refused_a_page(
    error: BaseException, status: str, has_page: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    flags = () if has_page else ("--report", "false")
    ours = session(asked("--use_vllm", "false", "--output_dir", str(folder), *flags), RTX_4090)

    def one_step() -> None:
        with ours.open_run() as run:
            run.update("measurements.json", before={"pass_at_1": 0.5, "verdicts": [True], "scores": [1.0]})
            run.append_metrics({"step": 1, "reward": 0.5})
            raise error

    with pytest.raises(type(error)):
        one_step()
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["before"]) == (status, 1, {"pass_at_1": 0.5})
    assert summary["error"] == ("no" if status == "failed" else "")
    assert (folder / "report.html").exists() == has_page
    assert (f"{folder / 'report.html'}" in capsys.readouterr().out) == has_page


def test_an_early_end_does_not_touch_the_summary_of_a_run_that_was_finished(tmp_path: Path) -> None:
    first = session(asked("--use_vllm", "false", "--output_dir", str(tmp_path / "run")), RTX_4090)
    with first.open_run() as run:
        run.write("summary.json", {"status": "finished", "after": {"pass_at_1": 0.5}})
    again = session(asked("--use_vllm", "false", "--resume", str(tmp_path / "run")), RTX_4090)
    with pytest.raises(KeyboardInterrupt), again.open_run():
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


def test_planned_beside_measured_compares_like_with_like() -> None:
    planned = plan(asked("--use_vllm", "false"), RTX_4090).record()
    known = {"peak_allocated_gib": 5.0, "peak_reserved_gib": 6.0, "peak_process_gib": 6.5, "counts_vllm": False}
    rows = {line.split()[0]: line.split() for line in run_report.after(planned, known)[1:]}
    for kind, measured in (("allocated", 5.0), ("reserved", 6.0), ("process", 6.5)):
        assert float(rows[kind][2]) == measured
        assert float(rows[kind][3]) == pytest.approx(measured - planned[f"peak_{kind}_gib"], abs=0.006)
    with_vllm = run_report.after(planned, {"peak_process_gib": 6.5, "counts_vllm": True})
    assert with_vllm[1].split()[2:] == ["-", "-"]
    assert "not compared" in with_vllm[-1]
