"""What a measured run teaches: numbers by hand, intervals by their law, and nothing from a run that cannot teach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import cli
from toolkit.errors import SettingsError
from toolkit.vram.calibration import add_run, learn, read_run
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.constants import calibration_file, constants_for, learned_about, narrowed
from toolkit.vram.plan import Plan, as_json, make_plan
from toolkit.vram.request import Request
from toolkit.vram.run_plan import RunPlan

CARD = find_card("4090")
HF = Request(generation="hf")
SMALL = Request(generation="hf", model="Qwen/Qwen2.5-0.5B-Instruct")
LONG = Request(generation="hf", max_completion_length=2048)
VLLM = Request(standby=True)


@pytest.fixture(autouse=True)
def _own_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CALIBRATION", str(tmp_path / "data" / "calibration.json"))


def raw_plan(request: Request) -> Plan:
    return make_plan(request, find(request.model), CARD, constants_for(CARD))


def plan(request: Request, card: str = "4090") -> Plan:
    return make_plan(request, find(request.model), find_card(card))


def write_run(folder: Path, request: Request, measured: dict[str, float | None], **effective: Any) -> Path:
    """The records of a finished run, as the recipes write them."""
    folder.mkdir(exist_ok=True)
    effective = {"num_generations": 8, "use_vllm": request.generation == "vllm"} | effective
    memory = {f"peak_{kind}_gib": value for kind, value in measured.items()}
    records = {
        "settings.json": {"recipe": "gsm8k_r1", "requested": {}, "effective": effective},
        "environment.json": {
            "gpus": [{"name": "NVIDIA GeForce RTX 4090", "driver_version": "580.65"}],
            "versions": {"torch": "2.13.0"},
            "earlier": [],
        },
        "summary.json": {"plan": RunPlan(raw_plan(request), None, ()).record(), "memory": memory},
    }
    for name, content in records.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def off_by(request: Request, allocated: float, slack: float, context: float) -> dict[str, float | None]:
    """Peaks so many GiB beyond the plan: of tensors, and of a context and a slack that are given whole."""
    tensors = raw_plan(request).peak_allocated_gib + allocated
    return {"allocated": tensors, "reserved": tensors + slack, "process": tensors + slack + context}


def calibrate(folder: Path) -> None:
    add_run(folder)


def test_context_and_slack_are_what_the_runs_show(tmp_path: Path) -> None:
    calibrate(write_run(tmp_path / "a", HF, {"allocated": 5.0, "reserved": 6.0, "process": 6.4}))
    calibrate(write_run(tmp_path / "b", LONG, {"allocated": 8.0, "reserved": 9.3, "process": 9.9}))
    learned = learned_about("RTX 4090")
    assert learned is not None
    assert learned.n_runs == 2
    assert learned.context_gib == pytest.approx((0.4 + 0.6) / 2)
    alone = [learn([read_run(tmp_path / name)]).slack["unsloth"] for name in ("a", "b")]
    assert learned.slack == {"unsloth": pytest.approx(sum(alone) / 2)}


def test_half_the_planned_slack_is_a_factor_of_a_half(tmp_path: Path) -> None:
    """Supervised: no rollout, so that one phase has both peaks."""
    request = Request(task="sft", max_seq_length=1024)
    planned = raw_plan(request)
    half = (planned.peak_reserved_gib - planned.peak_allocated_gib) / 2
    entry = read_run(write_run(tmp_path / "a", request, off_by(request, 0.0, half, 0.4)))
    assert learn([entry]).slack == {"unsloth": pytest.approx(0.5)}


def test_later_plans_for_the_card_stand_on_it_and_others_do_not(tmp_path: Path) -> None:
    measured = off_by(HF, allocated=0.0, slack=0.8, context=0.3)
    calibrate(write_run(tmp_path / "a", HF, measured))
    found = plan(HF)
    assert found.peak_process_gib == pytest.approx(measured["process"])
    assert found.peak_reserved_gib == pytest.approx(measured["reserved"])
    assert as_json(found)["calibration"] == {"card": "RTX 4090", "n_runs": 1}
    assert plan(VLLM).phases["rollout"].parts_gib["context"] == pytest.approx(0.3)
    other_head = Request(generation="hf", framework="trl")
    kept = {
        name: p.phases["update"].parts_gib["slack"]
        for name, p in (("raw", raw_plan(other_head)), ("new", plan(other_head)))
    }
    assert kept["raw"] == kept["new"], "what one loss head's allocator does says nothing of another's"
    assert as_json(plan(HF, "3090"))["calibration"] is None
    assert plan(HF, "3090").peak_process_gib == raw_plan(HF).peak_process_gib


def test_a_run_with_vllm_teaches_its_residual_alone(tmp_path: Path) -> None:
    process = raw_plan(VLLM).peak_process_gib + 7.0  # far outside of any interval
    calibrate(write_run(tmp_path / "a", VLLM, {"allocated": None, "reserved": None, "process": process}))
    learned = learned_about("RTX 4090")
    assert learned is not None
    assert (learned.context_gib, learned.slack) == (None, {})
    ((residual, planned),) = learned.residuals_gib["vllm"]
    assert (residual, planned) == pytest.approx((7.0, process - 7.0))
    assert plan(VLLM).peak_process_gib == raw_plan(VLLM).peak_process_gib
    assert plan(VLLM).interval_gib[1] == pytest.approx(process)
    assert plan(HF).interval_gib == raw_plan(HF).interval_gib


def width(request: Request) -> float:
    low, high = plan(request).interval_gib
    return high - low


def test_the_interval_shrinks_where_runs_of_different_settings_agree(tmp_path: Path) -> None:
    shipped_width = width(HF)
    widths = []
    for name, request in (("a", HF), ("b", SMALL), ("c", LONG)):
        slack = 0.9 * (raw_plan(request).peak_reserved_gib - raw_plan(request).peak_allocated_gib)
        calibrate(write_run(tmp_path / name, request, off_by(request, 0.0, slack, 0.4)))
        widths.append(width(HF))
    assert widths[0] > 0.9 * shipped_width, "one run has no spread"
    assert widths[2] <= widths[1] < 0.2 * shipped_width
    low, high = plan(HF).interval_gib
    error = constants_for()["formula"]["relative"] * plan(HF).peak_phase.allocated_gib
    assert min(plan(HF).peak_process_gib - low, high - plan(HF).peak_process_gib) >= error - 1e-9


def test_a_run_repeated_is_one_run_for_the_interval(tmp_path: Path) -> None:
    calibrate(write_run(tmp_path / "a", HF, off_by(HF, 0.0, 0.8, 0.4)))
    before = width(HF)
    calibrate(write_run(tmp_path / "b", HF, off_by(HF, 0.0, 0.8, 0.4)))
    assert width(HF) == pytest.approx(before)
    assert as_json(plan(HF))["calibration"] == {"card": "RTX 4090", "n_runs": 2}


def test_a_run_that_disagrees_stays_inside(tmp_path: Path) -> None:
    calibrate(write_run(tmp_path / "a", HF, off_by(HF, 0.0, 0.8, 0.4)))
    calibrate(write_run(tmp_path / "b", LONG, off_by(LONG, 3.0, 0.8, 0.4)))
    residuals = learned_about("RTX 4090").residuals_gib["torch"]  # type: ignore[union-attr]
    assert len(residuals) == 2
    assert plan(LONG).interval_gib[1] >= off_by(LONG, 3.0, 0.8, 0.4)["process"] - 1e-6  # type: ignore[operator]


def test_a_second_calibration_of_a_run_replaces_the_first(tmp_path: Path) -> None:
    for context in (0.9, 0.3):
        calibrate(write_run(tmp_path / "a", HF, off_by(HF, 0.0, 0.8, context)))
    learned = learned_about("RTX 4090")
    assert learned is not None
    assert learned.n_runs == 1
    assert learned.context_gib == pytest.approx(0.3)


# Two residuals of 1 and 3 GiB: mean 2, s = sqrt(2), t(1) = 6.314; half = 6.314 x 1.4142 x sqrt(1.5) = 10.936
BY_HAND = [
    ([], (-50, 80), (-50, 80)),
    ([(1.0, 50.0)], (-50, 80), (-50, 80)),
    ([(90.0, 50.0)], (-50, 80), (-50, 90)),
    ([(1.0, 50.0), (3.0, 50.0)], (-50, 80), (-8.936, 12.936)),
    ([(1.0, 50.0), (3.0, 50.0)], (-5, 8), (-5, 8)),
    ([(1.0, 25.0), (3.0, 75.0)], (-50, 80), (2.5 - 5.468, 2.5 + 5.468)),  # 1 at half the size is 2; 3 stays
    ([(2.0, 50.0)] * 9, (-50, 80), (-1, 2)),  # all alike: down to the plan with the formula's error, and what was seen
]


@pytest.mark.parametrize(("residuals", "bounds", "expected"), BY_HAND)
def test_intervals_by_hand(
    residuals: list[tuple[float, float]], bounds: tuple[float, float], expected: tuple[float, float]
) -> None:
    low, high = narrowed((50 + bounds[0], 50 + bounds[1]), 50.0, 1.0, residuals)
    assert (low - 50, high - 50) == pytest.approx(expected, abs=0.002)


RESIDUAL = st.tuples(st.floats(-20, 20), st.floats(0.5, 80))


@given(st.lists(RESIDUAL, max_size=20), st.floats(0.5, 80), st.floats(0, 10), st.floats(0, 10), st.floats(0, 1))
def test_an_interval_holds_the_plan_and_every_run_and_is_no_wider_than_it_must(
    residuals: list[tuple[float, float]], peak: float, below: float, above: float, error: float
) -> None:
    low, high = narrowed((peak - below, peak + above), peak, error, residuals)
    seen = [residual * max(1, peak / planned) for residual, planned in residuals]
    assert low <= peak <= high
    assert all(low <= peak + value <= high for value in seen)
    assert low >= min([peak - below, peak - error, *(peak + value for value in seen)])
    assert high <= max([peak + above, peak + error, *(peak + value for value in seen)])


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def change(name: str, **values: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return apply


NONE = dict.fromkeys(("peak_allocated_gib", "peak_reserved_gib", "peak_process_gib"))
OTHER = {"gpus": [{"name": "Tesla T4", "driver_version": "580.65"}]}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop("settings.json"), "has no settings.json"),
        (drop("summary.json"), "wanted the folder of a run that ended"),
        (lambda folder: (folder / "summary.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "summary.json").write_text("[]"), "holds a list"),
        (change("environment.json", gpus=[]), "is a run on a CPU"),
        (change("environment.json", earlier=[OTHER]), "was resumed on another card"),
        (change("environment.json", gpus=[{}]), "are incomplete"),
        (change("summary.json", plan=None), "was not planned"),
        (change("summary.json", memory=NONE), "has no measured memory"),
        (change("summary.json", memory=NONE | {"peak_allocated_gib": 5.0}), "has no measured memory"),
        (change("settings.json", effective={"per_device_train_batch_size": 16}), "planned with 8"),
        (change("settings.json", effective={"use_vllm": True}), "ran with use_vllm True"),
    ],
)
def test_a_run_that_cannot_teach_is_refused(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", HF, off_by(HF, 0.0, 0.8, 0.4))
    spoil(folder)
    with pytest.raises(SettingsError) as refused:
        calibrate(folder)
    assert said in str(refused.value)
    assert not calibration_file().exists()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 2, "cards": {}}',
        '{"format": 1, "cards": {"RTX 4090": {"runs": {}}}}',
        '{"format": 1, "cards": {"RTX 4090": {"runs": {}, "learned": {"context_gib": "much"}}}}',
        '{"format": 1, "cards": {"RTX 4090": {"runs": {}, "learned": {"slack": {"unsloth": NaN}}}}}',
        '{"format": 1, "cards": {"RTX 4090": {"runs": {}, "learned": {"slack": {"unsloth": -1}}}}}',
        '{"format": 1, "cards": {"RTX 4090": {"runs": {}, "learned": {"residuals_gib": {"torch": [[1, 0]]}}}}}',
    ],
)
def test_a_broken_calibration_is_one_line_and_is_left_alone(content: str, tmp_path: Path) -> None:
    path = calibration_file()
    path.parent.mkdir()
    path.write_text(content)
    for ask in (lambda: plan(HF), lambda: calibrate(write_run(tmp_path / "a", HF, off_by(HF, 0.0, 0.8, 0.4)))):
        with pytest.raises(SettingsError, match="is not a calibration") as refused:
            ask()
        assert "\n" not in str(refused.value)
        assert "delete it" in str(refused.value)
    assert path.read_text() == content


def test_the_file_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLKIT_CALIBRATION")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert calibration_file() == tmp_path / "grpo-toolkit" / "calibration.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert calibration_file().parts[-4:] == (".local", "share", "grpo-toolkit", "calibration.json")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*args: str) -> str:
        assert cli.main(["plan", *args]) == 0
        return capsys.readouterr().out

    measured = off_by(HF, 0.0, 0.8, 0.3)
    folder = str(write_run(tmp_path / "a", HF, measured))
    assert [line.split() for line in told("--calibrate", folder).splitlines() if line.startswith("context")] == [
        ["context_gib", "0.45", "0.30"]
    ]
    answer = json.loads(told("--calibrate", folder, "--json"))
    assert answer["peaks_gib"]["process"]["measured"] == pytest.approx(measured["process"])
    assert answer["n_runs"] == 1
    later = json.loads(told("--gpu", "4090", "--generation", "hf", "--json"))
    assert later["calibration"] == {"card": "RTX 4090", "n_runs": 1}
    assert later["peak_process_gib"] == pytest.approx(measured["process"], abs=1e-3)
    assert cli.main(["plan", "--calibrate", str(tmp_path / "nothing")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
