"""Looking before the leap, with the embedded model: what is found, and that nothing of a run is changed by it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.integration.parity_trainer import Built, build
from tests.recipes import harness
from toolkit import data
from toolkit.data.schema import Row
from toolkit.display.console import console
from toolkit.display.live import View
from toolkit.display.state import RunState
from toolkit.evaluation.preflight import look
from toolkit.rewards import correct, format
from toolkit.runs.metrics import is_volatile
from toolkit.settings import DataSettings, Lengths
from toolkit.training import Reward, longest, train

QUICK = ("--per_device_train_batch_size", "16", "--save_steps", "2", "--max_steps", "2")
PAID = [Reward(correct), Reward(format, 0.25)]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return data.load(DataSettings(dataset="arithmetic"), 0).train[:64]


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Built]:
    made = build(tmp_path / "run", *QUICK)
    yield made
    made.run.close()


def random_states() -> list[Any]:
    return [random.getstate(), torch.get_rng_state().tolist()]


def trained(built: Built) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    train(built.assembly, built.run, View(RunState("r", "m", "b", "f", 2), console))
    steady = [{k: v for k, v in row.items() if not is_volatile(k)} for row in built.run.rows]
    return steady, load_file(built.run.checkpoints / "checkpoint-2" / "adapter_model.safetensors")


def test_a_run_that_looked_and_tried_the_longest_sample_trains_the_same_bit_for_bit(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, a reference pass, and masks of truncated completions: all that draws, scores and drops in an update."""
    more = ("--lora_dropout", "0.1", "--beta", "0.1", "--grpo.mask_truncated_completions")
    plain = build(tmp_path / "plain", *QUICK, *more)
    expected = trained(plain)
    plain.run.close()
    looked = build(tmp_path / "looked", *QUICK, *more)
    states, told = random_states(), []
    found = look(looked.assembly, rows, PAID, told=lambda done, of: told.append((done, of)))
    assert random_states() == states
    assert told[-1] == (max(row["n_tokens"] for row in found.completions), 48)
    tried: list[dict[str, Any]] = []

    def in_place_of_a_card(assembly: Any, run: Any, say: Any) -> longest.LongestFirst:
        first = longest.LongestFirst(assembly, run, say)
        monkeypatch.setattr(longest, "in_words", lambda what: tried.append(what) or "tried")
        return first

    monkeypatch.setattr("toolkit.training.loop.open_longest", in_place_of_a_card)
    ours = trained(looked)
    looked.run.close()
    assert [(what["rows"], what["tokens"]) for what in tried] == [(16, 256 + 48)]
    assert ours[0] == expected[0]
    assert ours[1].keys() == expected[1].keys()
    assert all(torch.equal(ours[1][name], value) for name, value in expected[1].items())


def test_the_longest_sample_is_as_long_as_a_run_allows_and_is_differentiated(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, seen = built.trainer, []
    trainer.current_gradient_accumulation_steps = 1

    def backward(loss: torch.Tensor, **how: Any) -> None:
        loss.backward()
        seen.append([p.grad.abs().sum().item() for p in trainer.model.parameters() if p.grad is not None])

    hook = trainer.model.get_base_model().model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    monkeypatch.setattr(trainer.accelerator, "backward", backward)
    longest.try_longest(trainer, Lengths(100, 48))
    hook.remove()
    *shapes, gradients = seen
    assert set(shapes) == {(16, 148)}
    assert sum(gradients) > 0
    assert all(p.grad is None for p in trainer.model.parameters())
    assert (trainer._step, trainer._buffered_inputs, dict(trainer._metrics["train"])) == (0, None, {})


def test_what_is_found_is_what_was_sampled(built: Built, rows: list[Row]) -> None:
    found = look(built.assembly, rows, PAID)
    figures, lengths = found.figures, [row["n_tokens"] for row in found.completions]
    assert (figures.n, figures.n_groups, found.group_size) == (32, 4, 8)
    questions = [row["prompt"] for row in found.completions]
    assert [questions[i] for i in range(0, 32, 8)] == [rows[i]["question"] for i in (0, 16, 32, 48)]
    assert all(len({*questions[i : i + 8]}) == 1 for i in range(0, 32, 8))
    assert 1 <= figures.tokens_p50 <= figures.tokens_p95 <= max(lengths) <= figures.max_completion_length == 48
    assert figures.rewarded_frac == sum(row["reward"] > 0 for row in found.completions) / 32
    assert {tuple(row["rewards"]) for row in found.completions} == {("correct", "format")}
    assert found.rewards["format"]["mean"] == pytest.approx(figures.format_frac)
    assert found.prompt.text.startswith("<|im_start|>system\n")
    assert figures.prompt_tokens == len(found.prompt.ids)
    assert figures.ending_tokens == ["<|endoftext|>", "<|im_end|>"]
    best, worst = found.shown()
    assert best["reward"] > worst["reward"]
    assert best["prompt"] == worst["prompt"]
    json.dumps(found.record())


def test_a_chat_template_whose_end_is_no_end_is_found_out(built: Built, rows: list[Row]) -> None:
    """As of a base model: the template ends a turn with <|im_end|>, generation stops at <|endoftext|> alone."""
    trainer = built.trainer
    end = trainer.processing_class.convert_tokens_to_ids("<|endoftext|>")
    trainer.processing_class.pad_token = "<|endoftext|>"
    trainer.eos_token_ids = [end]
    trainer.generation_config.eos_token_id = trainer.model.generation_config.eos_token_id = end
    trainer.generation_kwargs["eos_token_id"] = end
    figures = look(built.assembly, rows, PAID).figures
    assert figures.truncated_frac > 0.8
    assert figures.passed_tokens["<|im_end|>"] > 16
    (ending,) = [f for f in look(built.assembly, rows, PAID).findings if f.name == "ending"]
    assert "go on past <|im_end|>" in ending.found


def test_a_run_stops_where_nearly_all_is_truncated_and_goes_on_where_that_is_allowed(tmp_path: Path) -> None:
    few = ("--model", "embedded", "--max_completion_length", "4", "--max_steps", "1", *harness.QUICK)
    folder = tmp_path / "run"
    done = harness.run(*few, "--output_dir", folder)
    assert done.returncode == 2
    (line,) = done.error_lines()
    assert line.startswith("before the first step: p50 4, p95 4 of 4 tokens; 100% truncated; wanted at most 80%, since")
    assert "--max_completion_length 16, or go on all the same with --allow_truncation" in line
    assert "\nlength:  fail: p50 4" in done.stdout
    assert "a completion, reward 0.00 (correct 0.00, format 0.00), 4 tokens, truncated, to " in done.stdout
    assert not folder.exists()
    done = harness.run(*few, "--output_dir", folder, "--allow_truncation")
    assert done.returncode == 0, done.stderr
    kept = json.loads((folder / "preflight.json").read_text())
    assert kept["findings"][0]["level"] == "amber"
    assert kept["longest"]["skipped"].startswith("the longest sample is not tried on a CPU")
    done = harness.run("--resume", folder, "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    assert "sampling before the first step" not in done.stdout
    assert json.loads((folder / "preflight.json").read_text()) == kept
