"""Completions of a policy, a batch at a time: each is on disk before the next is sampled, and none is sampled twice.

The same prompts, batch size and seed make the same batches, and a batch draws from a seed of its own, so completions
are the same whether or not a kill came between, and whatever else draws random numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.backends.base import Backend, Generation, Policy, Sampling
from toolkit.data.schema import Messages
from toolkit.machine import processes

Told = Callable[[int, int], None]
"""Told after each batch how many completions there are, and how many there will be."""
Batch = list[list[Generation]]
"""What each process has sampled of one batch."""


@dataclass(frozen=True)
class Journal:
    """Batches of completions as they come, one JSON line each, in a file that a kill at any moment leaves readable."""

    path: Path
    key: Mapping[str, Any]
    """What was sampled, and how: batches under another key are not taken over."""

    def read(self) -> list[Batch]:
        """The whole batches of the same key, in their order; none without a file."""
        try:
            lines = self.path.read_bytes().split(b"\n")
            if json.loads(lines[0]) != json.loads(json.dumps(self.key)):
                return []
        except (OSError, ValueError):
            return []
        batches: list[Batch] = []
        for line in lines[1:-1]:  # what follows the last line break was cut off by a kill
            try:
                batches.append([[Generation(**one) for one in part] for part in json.loads(line)])
            except (ValueError, TypeError):
                break
        return batches

    def begin(self, kept: Sequence[Batch]) -> None:
        """Start the file with the batches that are kept."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self.key), *map(_line, kept)]
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        temporary.replace(self.path)

    def append(self, batch: Batch) -> None:
        """Add a batch; when this returns a kill does not lose it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(batch) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _line(batch: Batch) -> str:
    return json.dumps([[asdict(one) for one in part] for part in batch], ensure_ascii=False)


def key_of(prompts: Sequence[Messages], sampling: Sampling, **more: Any) -> dict[str, Any]:
    """What decides a batch of completions, beside the policy, which `more` is to name."""
    asked = hashlib.sha256(json.dumps(list(prompts), ensure_ascii=False, default=str).encode()).hexdigest()
    return {"prompts": asked, "n_processes": processes.world_size(), **asdict(sampling), **more}


def sample(
    backend: Backend,
    policy: Policy,
    prompts: Sequence[Messages],
    sampling: Sampling,
    journal: Journal | None = None,
    told: Told | None = None,
) -> list[Generation]:
    """Complete this process's prompts, each once, in batches of similar length; results in the order of `prompts`.

    Collective: every process is to bring equally many prompts. The first one writes `journal`; without one nothing is
    kept.
    """
    batches = _batches(policy, prompts, sampling.batch_size)
    kept: list[Batch] = processes.on_main(journal.read)[: len(batches)] if journal else []
    if journal and processes.is_main() and len(kept) < len(batches):
        journal.begin(kept)
    found: dict[int, Generation] = {}
    for number, batch in enumerate(batches):
        if number < len(kept):
            own = kept[number][processes.rank()]
        else:
            seed = None if sampling.seed is None else _seed(sampling.seed, number)
            how = Sampling(sampling.max_completion_length, sampling.temperature, len(batch), seed)
            own = backend.generate(policy, [prompts[i] for i in batch], how)
            every = processes.gather(own) if journal else []
            if journal and processes.is_main():
                journal.append(every)
        found |= dict(zip(batch, own, strict=True))
        if told:
            told(len(found), len(prompts))
    return [found[i] for i in range(len(prompts))]


def _batches(policy: Policy, prompts: Sequence[Messages], size: int) -> list[list[int]]:
    """Indices of prompts of similar length, so that little of a batch is padding."""
    order = list(range(len(prompts)))
    if len(prompts) > size:
        template = policy.tokenizer.apply_chat_template
        texts = [template(prompt, add_generation_prompt=True, tokenize=False) for prompt in prompts]
        order.sort(key=lambda i: len(texts[i]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _seed(seed: int, batch: int) -> int:
    """A seed for each batch and process, far from one another."""
    text = f"{seed}/{batch}/{processes.rank()}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
