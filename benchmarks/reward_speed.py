"""Completions a second through each regex and numeric reward, on one core, on texts of GSM8K's length.

    python benchmarks/reward_speed.py

The texts are generated word-problem solutions in the layout that the reward reads, each different, half of them right;
their mean length is GSM8K's, 287 characters. Each figure is the fastest of several passes, every one with empty
caches: a training step, whose groups repeat their answers, is faster still.

Writes `benchmarks/baselines/reward_speed.json`.
"""

from __future__ import annotations

import gc
import json
import platform
import random
import time
from dataclasses import dataclass
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any

import tyro

from toolkit.files import write_json
from toolkit.rewards import registry

ROOT = Path(__file__).parents[1]
TARGET_PER_S = 50_000
FAST = (
    "correct", "correct_signed", "correct_hashes", "correct_boxed", "correct_answer_is", "correct_last_number",
    "correct_any", "close", "integer", "partial_credit",
    "format", "format_soft", "tag_count", "format_think", "format_hashes", "one_answer", "nothing_after",
    "steps", "connectives", "verification",
    "length_band", "too_short", "overlong", "cosine_length", "group_length",
    "language_consistency", "printable", "rubric_sales_zh", "rubric_sales_zh_hybrid",
)  # fmt: skip
"""The regex and numeric rewards; those that count n-grams, compress, ask math-verify or compose are measured below."""
SLOW = ("repetition", "distinct_1", "distinct_2", "compression", "r1_bundle", "r1_curriculum")
NAMES = ("Natalia", "Weng", "Betty", "Julie", "James", "Albert", "Ken", "Alexis", "Tina", "Mark")
THINGS = ("clips", "eggs", "books", "pages", "apples", "tickets", "stamps", "marbles", "cookies", "pencils")


@dataclass(frozen=True)
class Settings:
    """Measure the speed of the rewards."""

    n: int = 20_000
    """Completions."""
    passes: int = 7
    """Passes over them; the fastest counts."""
    output: Path = ROOT / "benchmarks" / "baselines" / "reward_speed.json"
    """File to write."""


LAYOUTS = {
    "correct_hashes": "{steps}\n#### {said}",
    "format_hashes": "{steps}\n#### {said}",
    "correct_boxed": "{steps}\nTherefore the answer is $\\boxed{{{said}}}$.",
    "correct_answer_is": "{steps}\nTherefore the answer is {said}.",
    "correct_last_number": "{steps}",
    "format_think": "<think>\n{steps}\n</think>\nThe answer is {said}.",
}
R1 = "<reasoning>\n{steps}\n</reasoning>\n<answer>\n{said}\n</answer>"


def solution(rng: random.Random, layout: str) -> tuple[str, str]:
    """One completion and its gold answer."""
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b, c, d = (rng.randint(2, 400) for _ in range(4))
    total = a * b + c - d
    said = total if rng.random() < 0.5 else total + rng.randint(1, 9)
    steps = (
        f"{who} has {a} boxes with {b} {thing} each, so that is {a} * {b} = <<{a}*{b}={a * b}>>{a * b} {thing}.\n"
        f"Then {c} more {thing} arrive, which makes {a * b} + {c} = <<{a * b}+{c}={a * b + c}>>{a * b + c}.\n"
        f"In the end {d} are given away, {a * b + c} - {d} = {said} {thing} remain."
    )
    return layout.format(steps=steps, said=said), str(total)


def main(settings: Settings) -> None:
    """Measure every reward and write the figures."""
    figures = {name: measure(name, settings) for name in (*FAST, *SLOW)}
    below = [name for name in FAST if figures[name] < TARGET_PER_S]
    write_json(
        settings.output,
        {
            "unit": "completions a second, one core",
            "n": settings.n,
            "mean_characters": round(sum(len(text) for text in batch("correct", settings.n)[0]) / settings.n),
            "target_per_s": TARGET_PER_S,
            "below_target": below,
            "rewards": figures,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    )
    print(json.dumps(figures, indent=1))
    print(
        f"{len(FAST) - len(below)} of {len(FAST)} reach {TARGET_PER_S:,} a second; below: {', '.join(below) or 'none'}"
    )


def batch(name: str, n: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Completions in the layout that the reward reads, and their columns."""
    rng = random.Random(0)
    texts, golds = zip(*(solution(rng, LAYOUTS.get(name, R1)) for _ in range(n)), strict=True)
    return texts, {"answer": golds, "prompts": ["How many are left?"] * n, "completion_ids": [range(90)] * n}


def measure(name: str, settings: Settings) -> int:
    """Completions a second in the fastest pass, each with empty caches."""
    reward = registry.get(name)
    texts, columns = batch(name, settings.n)
    caches, times = _caches(), []
    for _ in range(settings.passes):
        for cache in caches:
            cache.cache_clear()
        gc.collect()
        begin = time.process_time()
        reward(texts, **columns)
        times.append(time.process_time() - begin)
    return round(len(texts) / min(times))


def _caches() -> list[Any]:
    """The caches of the readers."""
    from toolkit.rewards import answers, equations, numerals

    found = [value for module in (answers, equations, numerals) for value in vars(module).values()]
    return [value for value in found if isinstance(value, _lru_cache_wrapper)]


if __name__ == "__main__":
    main(tyro.cli(Settings))
