"""`toolkit plan --simulate`: what it prints, and how it fails. simulation/ tests the simulation itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from toolkit import cli
from toolkit.compat import versions
from toolkit.vram.catalog import find
from toolkit.vram.request import Request
from toolkit.vram.simulation import SimulatedPeak
from toolkit.vram.views import simulated
from toolkit.vram.views.simulated import Comparison

GIB = 2**30


PEAK = SimulatedPeak(
    peak_bytes=8 * GIB,
    load_bytes=5 * GIB,
    by_part={"weights": 4 * GIB, "lora": GIB, "optimizer": GIB, "gradients": 0, "inputs": 0, "rest": 2 * GIB},
    seconds=2.5,
    phase="forward",
    depths=(2, 4),
)


SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 500,
}


SIDE = {"weights": 4.0, "lora": 1.0, "optimizer": 1.0, "gradients": 0.001, "rest": 2.0, "total": 8.0}


def write_config(folder: Path, **change: Any) -> str:
    (folder / "config.json").write_text(json.dumps(SMALL | change))
    return str(folder)


def test_all_layers_tell_what_is_reserved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_config(tmp_path, num_hidden_layers=5)
    assert cli.main(["plan", "--simulate", "--full", "--model", model, "--optim", "paged_adamw_8bit"]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1:] for line in shown.out.splitlines() if line.strip()}
    assert shown.err == ""
    assert rows["depth"] == ["all", "5", "layers"]
    assert float(rows["reserved"][1]) >= float(rows["allocated"][1]) > 0
    assert "may leave for the host" in " ".join(shown.out.split())


def found(**change: Any) -> Comparison:
    request = change.pop("request", Request(framework="trl"))
    sides = change.pop("formula_gib", {**SIDE, "reserved": 9.0}), change.pop("simulated_gib", SIDE)
    return Comparison(find("Qwen/Qwen2.5-7B"), request, *sides, stage="head", peak=replace(PEAK, **change))


def text(comparison: Comparison, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(comparison.render())
    return capture.get()


def test_shown_side_by_side() -> None:
    shown = text(found(formula_gib={**SIDE, "rest": 1.5, "total": 7.5, "reserved": 9.0}))
    rows = {line[:12].strip(): line[12:].split() for line in shown.splitlines()}
    assert rows["weights"] == ["4.00", "4.00", "+0.0%"]
    assert rows["the rest"] == ["1.50", "2.00", "-25.0%"]
    assert rows["allocated"] == ["7.50", "8.00", "-6.2%"]
    assert rows["gradients"] == [], "a thousandth would read 0.00"
    assert "reserved" not in rows
    assert "2 and 4 layers, extended to 28" in shown
    assert "formula: head; simulation: forward" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_reserved_is_shown_where_it_was_simulated() -> None:
    assert "reserved       9.00       10.00       -10.0%" in text(found(simulated_gib={**SIDE, "reserved": 10.0}))


@pytest.mark.parametrize(
    ("request_", "note"),
    [
        (Request(), "Unsloth's own kernels are not run"),
        (Request(framework="trl", optim="paged_adamw_8bit"), "may leave for the host"),
        (Request(framework="trl", method="full", beta=0.04), "left out of both"),
    ],
)
def test_what_is_left_out_is_said(request_: Request, note: str) -> None:
    assert note in text(found(request=request_), width=200)
    assert note not in text(found(), width=200)


def test_the_reference_copy_is_on_neither_side(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("plan", "--simulate", "--json", "--model", "embedded", "--framework", "trl", "--method", "full")
    assert cli.main((*flags, "--beta", "0.04")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["formula_gib"]["weights"] == answer["simulated_gib"]["weights"] > 0
    assert any("beta" in note for note in answer["notes"])


def test_without_the_training_stack_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ("torch", "trl")
    monkeypatch.setattr(simulated, "find_package", lambda name: None if name in gone else versions.find_package(name))
    assert cli.main(["plan", "--simulate", "--model", "embedded"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("--simulate without torch, trl; wanted pip install ")
    assert '"torch==' in shown.err
    assert '"trl==' in shown.err
    assert '"peft' not in shown.err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_act": "nonsense"}, "KeyError: 'nonsense'"),
        ({"head_dim": 33}, "RuntimeError"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"pad_token_id": 5000}, "Padding_idx"),
    ],
)
def test_a_model_that_transformers_cannot_build_is_one_line(
    change: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "--simulate", "--model", write_config(tmp_path, **change)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "cannot be simulated" in shown.err
    assert reason in shown.err
