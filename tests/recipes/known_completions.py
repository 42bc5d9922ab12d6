"""gsm8k_r1.py with rollouts that do not depend on how they are split: the recipe's own run in everything else.

A completion is drawn from a generator that is seeded by its prompt, its place in the group and the step, so one process
and several train on the same groups. Rewards, advantages, loss, gradients and optimizer are the real ones.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

import gsm8k_r1  # noqa: E402  # pyright: ignore[reportMissingImports]

from toolkit import training  # noqa: E402
from toolkit.data.schema import Row  # noqa: E402
from toolkit.launch import run_recipe  # noqa: E402
from toolkit.machine import processes  # noqa: E402
from toolkit.training import Assembly  # noqa: E402


def completion(prompt: Sequence[int], i: int, step: int, answer: str) -> str:
    """Right or wrong, in the format or not, and of different lengths."""
    draw = random.Random(f"{list(prompt)} {i} {step}")
    said = answer if draw.random() < 0.5 else str(draw.randint(0, 99))
    reasoning = " ".join(str(draw.randint(0, 9)) for _ in range(draw.randint(1, 6)))
    if draw.random() < 0.4:
        return f"{reasoning} = {said}"
    return f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{said}\n</answer>"


def with_known_completions(assembly: Assembly, rows: Sequence[Row]) -> Assembly:
    """Replace the method that samples; `rows` say what is right."""
    trainer = assembly.trainer
    tokenizer = trainer.processing_class

    def rendered(row: Row) -> tuple[int, ...]:
        text = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    answers = {rendered(row): row["answer"] for row in rows}

    def generate(prompt_ids: list[list[int]], images: Any, fields: Any, num_generations: int) -> tuple[Any, None]:
        first = processes.rank() * len(prompt_ids)
        texts = [
            completion(ids, (first + i) % num_generations, trainer.state.global_step, answers[tuple(ids)])
            for i, ids in enumerate(prompt_ids)
        ]
        end = tokenizer.eos_token
        return [tokenizer(text + end, add_special_tokens=False)["input_ids"] for text in texts], None

    trainer._generate_single_turn = generate
    return assembly


def build_trainer(policy: Any, rows: Sequence[Row], *more: Any) -> Assembly:
    """The recipe's trainer, with known completions."""
    return with_known_completions(original(policy, rows, *more), rows)


original, training.build_trainer = training.build_trainer, build_trainer

if __name__ == "__main__":
    run_recipe(gsm8k_r1.main, gsm8k_r1.Settings, str(ROOT / "recipes" / "gsm8k_r1.py"))
