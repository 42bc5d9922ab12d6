"""The preference pairs of a rating are what TRL's DPOTrainer reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.test_rate import rate, write_run
from toolkit.compat.trl import install_cpu_logprobs
from toolkit.models import embedded


@pytest.mark.slow
def test_dpo_trains_on_the_pairs_of_a_rating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_run(tmp_path / name, [f"{name} says {i}" for i in range(4)])
    assert rate(monkeypatch, "lrll", "a", "b") == 0
    install_cpu_logprobs()
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    rows = load_dataset(
        "json", data_files=str(tmp_path / "ratings/a-after-vs-b-after/preferences.jsonl"), split="train"
    )
    model = AutoModelForCausalLM.from_pretrained(embedded.folder())
    tokenizer = AutoTokenizer.from_pretrained(embedded.folder())
    config = DPOConfig(
        str(tmp_path / "dpo"), max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False, report_to="none",
        gradient_checkpointing=False, logging_steps=1,
    )  # fmt: skip
    trainer = DPOTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    (logged, *_) = trainer.state.log_history
    assert logged["loss"] == pytest.approx(0.6931, abs=1e-3)  # of equal policies, as before the first step
    assert logged["grad_norm"] > 0
    text = tokenizer.decode(trainer.train_dataset[0]["prompt_ids"])
    assert "put your final answer within" in text
    assert "question " in text
