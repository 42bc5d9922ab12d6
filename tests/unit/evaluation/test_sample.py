"""What was sampled is not sampled again: batches on disk, their key, and seeds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from toolkit.backends.base import Backend, Generation, Policy, Sampling
from toolkit.evaluation.sample import Journal, key_of, sample

PROMPTS = [[{"role": "user", "content": "x" * (1 + i % 5)}] for i in range(10)]
HOW = Sampling(48, 1.0, batch_size=4, seed=7)


class Counting:
    """An engine that answers with its seed and how many it has answered; it may break down."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.calls: list[tuple[list[str], int | None]] = []
        self.breaks_at = breaks_at

    def generate(self, policy: Policy, prompts: Sequence[Any], sampling: Sampling) -> list[Generation]:
        if len(self.calls) == self.breaks_at:
            raise KeyboardInterrupt
        self.calls.append(([prompt[0]["content"] for prompt in prompts], sampling.seed))
        return [Generation(f"{prompt[0]['content']} {sampling.seed}", 3, is_truncated=False) for prompt in prompts]


class Template:
    """Of a policy, what sampling asks for."""

    class tokenizer:  # an attribute of a policy
        @staticmethod
        def apply_chat_template(prompt: Any, **_: Any) -> str:
            return prompt[0]["content"]


def sampled(engine: Counting, journal: Journal | None) -> list[Generation]:
    return sample(cast(Backend, engine), cast(Policy, Template()), PROMPTS, HOW, journal)


def test_batches_are_of_similar_length_and_results_in_the_order_of_the_prompts() -> None:
    engine = Counting()
    found = sampled(engine, None)
    assert [asked for asked, _ in engine.calls] == [
        ["x", "x", "xx", "xx"],
        ["x" * 3] * 2 + ["x" * 4] * 2,
        ["x" * 5] * 2,
    ]
    assert [one.text.split()[0] for one in found] == [prompt[0]["content"] for prompt in PROMPTS]
    assert len({seed for _, seed in engine.calls}) == 3  # each batch draws from its own


def test_after_an_interruption_only_what_is_missing_is_sampled(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "greedy.part", key_of(PROMPTS, HOW))
    whole = sampled(Counting(), None)
    try:
        sampled(Counting(breaks_at=2), journal)
        raise AssertionError("it goes on after an interruption")
    except KeyboardInterrupt:
        pass
    assert len(journal.read()) == 2
    with journal.path.open("a") as file:
        file.write('[[{"text": "half a')  # as a kill leaves the last line
    engine = Counting()
    assert sampled(engine, journal) == whole
    assert len(engine.calls) == 1
    again = Counting()
    assert sampled(again, journal) == whole
    assert again.calls == []


def test_what_was_sampled_otherwise_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "greedy.part"
    sampled(Counting(), Journal(path, key_of(PROMPTS, HOW)))
    others = [
        key_of(PROMPTS, HOW, policy="another"),
        key_of(PROMPTS, Sampling(48, 0.9, batch_size=4, seed=7)),
        key_of(PROMPTS, Sampling(48, 1.0, batch_size=5, seed=7)),
        key_of(PROMPTS[::-1], HOW),
    ]
    for key in others:
        assert Journal(path, key).read() == []
    assert len(Journal(path, key_of(PROMPTS, HOW)).read()) == 3
    path.write_text("no journal")
    assert Journal(path, key_of(PROMPTS, HOW)).read() == []
    assert Journal(tmp_path / "missing", {}).read() == []
