"""The records of a run become figures; a share of the card's rates is what arithmetic and reads really took of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.measure import measured, settings_of
from toolkit.bench.utilisation import utilisation
from toolkit.runs import metrics
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.vram.cards import find_card

QWEN = "Qwen/Qwen2.5-1.5B-Instruct"
EFFECTIVE = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "chat_template": "/home/me/x.jinja"}


def row(step: int, **more: float) -> dict[str, Any]:
    """A step of 10 s: 4 s of rollouts with 1 s of sync, 1 s of rewards, 5 s of update with 2 s of scoring."""
    return {
        metrics.STEP: step,
        metrics.STEP_S: 10.0,
        metrics.ROLLOUT_S: 4.0,
        metrics.SYNC_S: 1.0,
        metrics.REWARD_S: 1.0,
        metrics.UPDATE_S: 5.0,
        metrics.REFERENCE_S: 2.0,
        metrics.TOKENS: 4000 * step,
        metrics.TOKENS_PER_S: 400.0,
        metrics.FORWARD_PASSES: 104,
        metrics.REWARD: 0.5,
        metrics.ALLOCATED_GIB: 6.0 + step,
        metrics.RESERVED_GIB: 7.0 + step,
        "memory/rollout_peak_gib": 5.0,
        "memory/rollout_peak_allocated_gib": 4.0 + step,
        metrics.LONGEST: 128,
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [row(1, **{metrics.STEP_S: 90.0, metrics.ROLLOUT_S: 84.0}), row(2), row(3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (tmp_path / "settings.json").write_text(json.dumps({"requested": {"seed": 0}, "effective": EFFECTIVE}))
    (tmp_path / "environment.json").write_text(json.dumps({"load_peak_gib": {"allocated": 1.25, "reserved": 1.5}}))
    (tmp_path / "summary.json").write_text(json.dumps({"phases_s": {"loading the model": 12.5}}))
    return tmp_path


def test_phases_do_not_overlap_and_add_up_to_a_step(run: Path) -> None:
    found = measured(run, 1)
    assert found["phases"] == {
        **{"rollout": 3.0, "sync": 1.0, "reward": 1.0, "reference": 2.0, "update": 3.0},
        "load": 12.5,
    }
    assert sum(found["phases"].values()) - 12.5 == found["step_s_median"] == 10.0


def test_every_phase_has_its_own_rates_and_peaks(run: Path) -> None:
    found = measured(run, 1)
    assert found["rates"]["rollout"] == {"tokens": 3200, "tokens_per_s": 533.3, "samples_per_s": 5.333}
    assert found["rates"]["update"] == {"tokens": 8000, "tokens_per_s": 1333.0, "samples_per_s": 5.333}
    assert found["phase_peak_gib"] == {
        "load": {"allocated": 1.25, "reserved": 1.5},
        "rollout": {"allocated": 7.0, "reserved": 5.0},
    }
    assert (found["peak_gib"]["allocated"], found["peak_gib"]["reserved"]) == (9.0, 10.0)
    assert (found["n_forward_passes"], found["decoded_steps"], found["samples_per_s"]) == (312, 256, 1.6)


def test_settings_are_kept_without_places(run: Path) -> None:
    found = settings_of(run)
    assert found["requested"] == {"seed": 0}
    assert "chat_template" not in found["effective"]
    assert settings_of(run / "nothing") == {}


def test_utilisation_is_the_share_of_the_published_rates(run: Path) -> None:
    settings = GrpoSettings(model=ModelSettings(model=QWEN, load_in_4bit=False))
    found = utilisation(settings, find_card("4090"), measured(run, 1))
    # by hand: 1,310,195,712 weights in projections, 28 layers, q_dim 1536, head 151,936 x 1536; 8000 tokens of 32
    # samples of 250, 3200 of them scored, in 6 s of update
    linear, head = 1_310_195_712, 151_936 * 1536
    flops = 4 * linear * 8000 + 3 * 2 * 28 * 1536 * 250 * 8000 + 4 * head * 3200
    assert found["mfu"] == pytest.approx(flops / 6 / 165.2e12, rel=0.01)
    # 256 steps of decoding, each reading all weights in 16 bit and 16 sequences of 200 tokens of 28 KiB, in 6 s
    read = 256 * (2 * (linear + head) + 16 * 208 * 28 * 1024)
    assert found["mbu"] == pytest.approx(read / 6 / 1008e9, rel=0.01)


def test_where_no_rates_are_known_the_cell_says_so(run: Path) -> None:
    settings, figures = GrpoSettings(model=ModelSettings(model=QWEN)), measured(run, 1)
    on_cpu, nameless = (utilisation(settings, card, figures) for card in (None, find_card("12")))
    assert (on_cpu["mfu"], on_cpu["why"]) == (None, "no published rates of a CPU")
    assert (nameless["mbu"], nameless["why"][:18]) == (None, "no published rates")
