"""Look before the leap: a few completions by the run's own sampler, judged, counted and shown before the first step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.backends.base import count_4bit
from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.control import preflight as control
from toolkit.data.schema import Row
from toolkit.evaluation import by_reward
from toolkit.findings import Finding
from toolkit.machine import processes
from toolkit.rewards.completions import FINISH_REASON, finish_reason, text_of
from toolkit.rewards.passing import declared_range
from toolkit.runs.completions import weighted_sum
from toolkit.runs.groups import is_mixed, kind_of
from toolkit.training import Assembly, Reward
from toolkit.training.parity.probe import left_as_it_was
from toolkit.training.parity.sample import sampler_of

N_COMPLETIONS = 32
"""In whole groups, or in two parts of groups where a group is larger than half of it."""
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Prompt:
    """The first prompt as the model gets it."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class Preflight:
    """What was sampled, and what it comes to."""

    figures: control.Figures
    findings: list[Finding]
    prompt: Prompt
    completions: list[dict[str, Any]]
    """`prompt`, `completion`, `answer`, `n_tokens`, `finish_reason`, `rewards` by name, `reward`; one a completion."""
    group_size: int
    rewards: dict[str, Any]
    """The mean of each reward with its interval, as a measurement has it; see `by_reward.means`."""
    seconds: float

    def record(self) -> dict[str, Any]:
        """As preflight.json keeps it."""
        return asdict(self)

    def shown(self) -> list[dict[str, Any]]:
        """Two completions to read: the best and the worst of the first group that earns differently, else of all."""
        size = self.group_size
        groups = [self.completions[i : i + size] for i in range(0, len(self.completions), size)]
        mixed = (group for group in groups if is_mixed([list(row["rewards"].values()) for row in group]))
        of = sorted(next(mixed, self.completions), key=_earned)
        return [of[-1], of[0]] if len(of) > 1 else of


def look(
    assembly: Assembly,
    rows: Sequence[Row],
    rewards: Sequence[Reward],
    *,
    allow_truncation: bool = False,
    told: Told | None = None,
) -> Preflight:
    """Sample groups of completions of training prompts as a rollout does, and judge them as the run will.

    The trainer is left as it was: weights, modes, and the random state of this process. Each process samples whole
    groups, and all get the same answer. `told`: after each token of the longest completion, how many of how many.
    """
    started, trainer = time.perf_counter(), assembly.trainer
    size = min(assembly.batch.num_generations, N_COMPLETIONS // 2)
    n_own = max(1, N_COMPLETIONS // size // processes.world_size())
    asked = _spread(rows, n_own * processes.world_size())[processes.rank() * n_own :][:n_own]
    in_groups = [row for row in asked for _ in range(size)]
    prompt_ids, completion_ids = _sample(trainer, in_groups, size, told)
    own = _judged(trainer, in_groups, completion_ids, rewards)
    parts = processes.gather((own, _passed(trainer, completion_ids)))
    every = [row for part, _ in parts for row in part]
    tokenizer = trainer.processing_class
    text = tokenizer.decode(prompt_ids[0], skip_special_tokens=False)
    first: Prompt = processes.gather(Prompt(text, list(prompt_ids[0])))[0]
    figures = _figures(trainer, every, [passed for _, part in parts for passed in part], size, rewards, first)
    most = _positions_left(assembly)
    scores = [row["rewards"] for row in every]
    return Preflight(
        figures,
        control.findings(figures, most=most, allow_truncation=allow_truncation),
        first,
        every,
        size,
        by_reward.means([reward.function for reward in rewards], scores),
        round(time.perf_counter() - started, 3),
    )


def _spread(rows: Sequence[Row], n: int) -> list[Row]:
    """`n` rows at equal distances: a file may be sorted by difficulty."""
    return [rows[i * len(rows) // n] for i in range(n)]


def _sample(
    trainer: Any, rows: Sequence[Row], group_size: int, told: Told | None
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of each prompt and of a completion: by the method that rollouts draw with, at the run's settings."""
    draw = require(trainer, trl_compat.SAMPLE, trl_compat.RELEASE)
    tokenize = require(trainer, trl_compat.TOKENIZE, trl_compat.RELEASE)
    prompt_ids, _, fields = tokenize([row["prompt"] for row in rows])
    sampler = sampler_of(trainer, count_4bit(trainer.model) > 0)
    with left_as_it_was(trainer, merges=sampler.merges), _counted(trainer, told if sampler.is_trainer else None):
        trainer.model.train()  # as a rollout has it: dropout acts
        completion_ids, _ = draw(prompt_ids, None, fields, group_size)
    return prompt_ids, [list(ids) for ids in completion_ids]


@contextmanager
def _counted(trainer: Any, told: Told | None) -> Iterator[None]:
    """Tell of each pass of the model while it generates: a pass is a token of every completion."""
    if told is None:
        yield
        return
    model, limit, n_passes = trainer.accelerator.unwrap_model(trainer.model), trainer.max_completion_length, 0
    base = model.get_base_model() if hasattr(model, "get_base_model") else model

    def count(*_: Any) -> None:
        nonlocal n_passes
        n_passes += 1
        told(min(n_passes, limit), limit)

    hook = getattr(base, "base_model", base).register_forward_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _judged(
    trainer: Any, rows: Sequence[Row], completion_ids: Sequence[list[int]], rewards: Sequence[Reward]
) -> list[dict[str, Any]]:
    ending, tokenizer = trl_compat.ending_ids(trainer), trainer.processing_class
    texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    ends = [finish_reason(not ids or ids[-1] not in ending) for ids in completion_ids]
    names = dict.fromkeys(name for row in rows for name in row)
    given = [{FINISH_REASON: end, **{n: row.get(n) for n in names}} for row, end in zip(rows, ends, strict=True)]
    scores = by_reward.judge([reward.function for reward in rewards], given, texts, tokenizer)
    weights = [reward.weight for reward in rewards]
    return [
        {
            "prompt": row.get("question") or text_of(row["prompt"]),
            "completion": text,
            "answer": row.get("answer"),
            "n_tokens": len(ids),
            FINISH_REASON: end,
            "rewards": of_one,
            "reward": weighted_sum((of_one[reward.name] for reward in rewards), weights),
        }
        for row, text, ids, end, of_one in zip(rows, texts, completion_ids, ends, scores, strict=True)
    ]


def _passed(trainer: Any, completion_ids: Sequence[list[int]]) -> list[str]:
    """Of each truncated completion, the first special token inside that did not end it."""
    ending, tokenizer = trl_compat.ending_ids(trainer), trainer.processing_class
    special = set(tokenizer.all_special_ids) - ending
    truncated = [ids for ids in completion_ids if not ids or ids[-1] not in ending]
    first = [next((i for i in ids if i in special), None) for ids in truncated]
    return [str(tokenizer.convert_ids_to_tokens(i)) for i in first if i is not None]


def _figures(
    trainer: Any,
    rows: Sequence[Mapping[str, Any]],
    passed: Sequence[str],
    group_size: int,
    rewards: Sequence[Reward],
    first: Prompt,
) -> control.Figures:
    tokenizer, lengths = trainer.processing_class, [row["n_tokens"] for row in rows]
    scores = [[row["rewards"][reward.name] for reward in rewards] for row in rows]
    groups = [scores[i : i + group_size] for i in range(0, len(scores), group_size)]
    bounds = [_bounds(reward, [of_one[i] for of_one in scores]) for i, reward in enumerate(rewards)]
    flat = [kind_of(group, bounds) for group in groups if not is_mixed(group)]
    lowest = [(declared_range(reward.function) or (0.0, 0.0))[0] for reward in rewards]
    silent = [
        reward.name
        for i, (reward, low) in enumerate(zip(rewards, lowest, strict=True))
        if reward.weight > 0 and all(of_one[i] in (None, low) for of_one in scores)
    ]
    bos: int | None = tokenizer.bos_token_id
    if bos in trl_compat.ending_ids(trainer):  # a token that ends a text begins none
        bos = None
    ending = sorted(require(trainer, "eos_token_ids", trl_compat.RELEASE))
    return control.Figures(
        n=len(rows),
        n_groups=len(groups),
        max_completion_length=trainer.max_completion_length,
        tokens_p50=control.percentile(lengths, 0.5),
        tokens_p95=control.percentile(lengths, 0.95),
        truncated_frac=sum(row[FINISH_REASON] == finish_reason(True) for row in rows) / len(rows),
        rewarded_frac=sum(_earned(row) > 0 for row in rows) / len(rows),
        signal_frac=1 - len(flat) / len(groups),
        flat_groups={kind: flat.count(kind) for kind in dict.fromkeys(flat)},
        silent_rewards=silent,
        format_frac=by_reward.format_frac([reward.function for reward in rewards], [row["rewards"] for row in rows]),
        prompt_tokens=len(first.ids),
        n_bos=None if bos is None else first.ids.count(bos),
        adds_bos=bos is not None and bos in tokenizer("a")["input_ids"][:1],
        ending_tokens=[str(token) for token in tokenizer.convert_ids_to_tokens(ending)],
        passed_tokens={token: passed.count(token) for token in dict.fromkeys(passed)},
    )


def _bounds(reward: Reward, scores: Sequence[float | None]) -> tuple[float, float]:
    """The lowest and highest score: by the reward's own word, else of those that it gave."""
    known = [score for score in scores if score is not None] or [0.0]
    return declared_range(reward.function) or (min(known), max(known))


def _earned(row: Mapping[str, Any]) -> float:
    """What a completion is paid; nothing where no reward could judge it."""
    return -math.inf if row["reward"] is None else row["reward"]


def _positions_left(assembly: Assembly) -> int | None:
    """Tokens that the model has positions for after the longest prompt."""
    positions = getattr(assembly.trainer.model.config, "max_position_embeddings", None)
    return max(1, positions - assembly.resolved.settings.lengths.prompt) if positions else None
