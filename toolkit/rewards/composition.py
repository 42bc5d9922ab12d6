"""Several rewards as one: weights, gates, schedules, clipping and per-objective normalisation. It keeps its parts.

One composition or several `Reward`s? TRL sums several functions itself, by constant weights. A composition adds what
that sum cannot: a gate, weights that change during the run, and a score for the other parts where one cannot judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards.base import Explanation, RewardFunction
from toolkit.rewards.completions import Completion, one_line, text_of
from toolkit.rewards.correctness import correct
from toolkit.rewards.formatting import format, format_soft
from toolkit.rewards.length import groups
from toolkit.rewards.reasoning import connectives, steps, verification
from toolkit.rewards.schedule import WEIGHTS, Linear, Piecewise, phases, progress_of

EPSILON = 1e-4  # TRL's, in the division by a group's standard deviation
Z_LIMIT = 10.0  # of a normalised part; one right answer among 100 has 9.9


@dataclass(frozen=True)
class Part:
    """A reward in a composition."""

    reward: RewardFunction
    weight: float | Piecewise | Linear = 1.0
    """0 or more, constant or over the run."""
    only_if: RewardFunction | None = None
    """A gate: where this scores less than `at_least`, the part gets its lowest score."""
    at_least: float = 1.0

    @property
    def name(self) -> str:
        return self.reward.__name__

    def weight_at(self, progress: float) -> float:
        return self.weight if isinstance(self.weight, (int, float)) else self.weight.at(progress)


@dataclass(frozen=True)
class Composition(RewardFunction):
    """The weighted sum of its parts, each a reward of its own.

    **None.** A part that cannot judge drops out, and the weights of the others are scaled up to the same sum, so that
    a completion is neither punished nor paid for it; the result stays in the range that all parts together have. None
    when no part with a weight can judge. A gate that cannot judge makes its part None.

    **Normalisation.** With `normalize` each part is first centred and divided by its standard deviation within the
    group of one prompt, so that a weight says how much a part moves the policy and not how far apart its scores
    lie (GDPO, arXiv:2601.05242). TRL then normalises the total within the same group again: with `scale_rewards`
    "group" that only rescales a group as a whole and keeps the parts' proportions, with "none" the sum stands as it is.
    TRL's own `multi_objective_aggregation="normalize_then_sum"` does the same across several reward functions; to it a
    composition is one function, so use one or the other.

    **Records.** The mean of each part goes to the metric `<name>/<part>`, its weight to `<name>/<part>_weight` where it
    has a schedule, and the scores to the table of completions.
    """

    name = "composition"
    purpose = "Several rewards as one, with gates, schedules and a rule for parts that cannot judge."
    weakness = "What hacks a part hacks it in proportion to its weight; a gate bounds that."

    parts: tuple[Part, ...] = ()
    clip: tuple[float, float] | None = None
    """Bounds of the total."""
    normalize: bool = False
    """Normalise each part within its group; needs the column `prompts`, and a completion alone scores 0."""

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names:
            raise RewardError(f"composition {self.__name__!r} has no parts", "at least one")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RewardError(f"composition {self.__name__!r} has {twice[0]!r} twice", "a title for one of them")
        for part in self.parts:
            if isinstance(part.weight, (int, float)) and not 0 <= part.weight < math.inf:
                raise RewardError(f"part {part.name!r} has the weight {part.weight}", "a number, 0 or more")
        if self.clip and not self.clip[0] < self.clip[1]:
            raise RewardError(f"composition {self.__name__!r}: clip is {self.clip}", "a lower and an upper bound")

    @property
    def columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of all parts and gates."""
        found = [column for reward in self._rewards() for column in reward.columns]
        return tuple(dict.fromkeys((*found, *(("prompts",) if self.normalize else ()))))

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        moments = {0.0, 1.0}
        for part in self.parts:
            if not isinstance(part.weight, (int, float)):
                moments |= set(part.weight.starts) | {math.nextafter(s, 0) for s in part.weight.starts}
        bounds = [self._bounds(moment) for moment in moments]
        return self._clipped(min(low for low, _ in bounds)), self._clipped(max(high for _, high in bounds))

    @property
    def best_layouts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those in which every part and gate is at its best."""
        each = [reward.best_layouts for reward in self._rewards()]
        return () if self.normalize else tuple(name for name in each[0] if all(name in others for others in each))

    @property
    def known_exploits(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of its parts; a gate or a small weight may stop some."""
        found = [name for part in self.parts for name in part.reward.known_exploits]
        return tuple(dict.fromkeys(found))

    def judge(self, text: str, **row: Any) -> float | None:
        progress = progress_of(row.get("trainer_state"))
        scores = [self._gated(part, part.reward.judge(text, **row), self._gate(part, text, row)) for part in self.parts]
        return self._total([0.0 if self.normalize and s is not None else s for s in scores], progress)

    def breakdown(self, completions: Sequence[Completion], **columns: Any) -> dict[str, list[float | None]]:
        """The scores of each part by its name, gates applied, before weights and normalisation."""
        found = {}
        for part in self.parts:
            scores = part.reward(completions, **columns)
            if part.only_if is not None:
                gates = part.only_if(completions, **columns)
                scores = [self._gated(part, *pair) for pair in zip(scores, gates, strict=True)]
            found[part.name] = scores
        return found

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        progress = progress_of(extra.get("trainer_state"))
        found = self.breakdown(completions, **extra)
        self._record(found, progress, extra)
        if self.normalize:
            members = groups(lists["prompts"])
            found = {name: [z for group in members for z in normalized(s[group])] for name, s in found.items()}
        return [self._total(row, progress) for row in zip(*found.values(), strict=True)]

    def explain(self, completion: Completion, **row: Any) -> Explanation:
        self._checked(row)
        text = text_of(completion)
        score = self.judge(text, **row)
        return Explanation(score, one_line(self.reason(text, score, **row), 600))

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        progress = progress_of(row.get("trainer_state"))
        notes = []
        for part in self.parts:
            plain = part.reward.explain(text, **row)
            gated = self._gated(part, plain.score, self._gate(part, text, row))
            closed = f", gate {part.only_if.__name__} closed" if part.only_if and gated != plain.score else ""
            shown = "None" if gated is None else f"{gated:.3g}"
            notes.append(f"{part.weight_at(progress):.3g} x {part.name} {shown} ({plain.reason}{closed})")
        return " + ".join(notes)

    def _rewards(self) -> list[RewardFunction]:
        return [reward for part in self.parts for reward in (part.reward, part.only_if) if reward is not None]

    def _gate(self, part: Part, text: str, row: Mapping[str, Any]) -> float | None:
        return part.at_least if part.only_if is None else part.only_if.judge(text, **row)

    def _gated(self, part: Part, score: float | None, gate: float | None) -> float | None:
        if score is None or gate is None:
            return None
        return score if gate >= part.at_least else part.reward.range[0]

    def _bounds(self, progress: float) -> tuple[float, float]:
        """The lowest and highest sum at one moment of the run."""
        low = high = 0.0
        for part in self.parts:
            bounds = (-Z_LIMIT, Z_LIMIT) if self.normalize else part.reward.range
            low += part.weight_at(progress) * bounds[0]
            high += part.weight_at(progress) * bounds[1]
        return low, high

    def _total(self, scores: Sequence[float | None], progress: float) -> float | None:
        weights = [part.weight_at(progress) for part in self.parts]
        judged = [(weight, score) for weight, score in zip(weights, scores, strict=True) if score is not None]
        n_all, n_judged = sum(weights), sum(weight for weight, _score in judged)
        if n_judged == 0 < n_all:
            return None
        total = sum(weight * score for weight, score in judged)
        if len(judged) < len(scores) and n_judged:
            low, high = self._bounds(progress)
            total = min(high, max(low, total * n_all / n_judged))
        return self._clipped(total)

    def _clipped(self, total: float) -> float:
        return total if self.clip is None else min(self.clip[1], max(self.clip[0], total))

    def _record(self, found: Mapping[str, list[float | None]], progress: float, extra: Mapping[str, Any]) -> None:
        log_metric, log_extra = extra.get("log_metric"), extra.get("log_extra")
        for part in self.parts:
            key, judged = f"{self.__name__}/{part.name}", [score for score in found[part.name] if score is not None]
            if log_metric and judged:
                log_metric(key, fmean(judged))
            if log_metric and not isinstance(part.weight, (int, float)):
                log_metric(f"{key}_weight", part.weight_at(progress))
            if log_extra:
                log_extra(key, found[part.name])


def normalized(scores: Sequence[float | None]) -> list[float | None]:
    """One group's scores, centred and divided by their standard deviation; 0 where there is none, None stays."""
    judged = [score for score in scores if score is not None]
    if not judged:
        return list(scores)
    mean, spread = fmean(judged), stdev(judged) if len(judged) > 1 else 0.0
    return [None if s is None else max(-Z_LIMIT, min(Z_LIMIT, (s - mean) / (spread + EPSILON))) for s in scores]


def hybrid(rule: RewardFunction, model: RewardFunction, rule_weight: float = 0.6, title: str = "hybrid") -> Composition:
    """A rule and a model's opinion, 0.6 to 0.4; where one of them cannot judge the other decides alone.

    `rule_weight=0.7` for 0.7 to 0.3. In a file: `composition:FILE.yaml` with `weights: hybrid_60_40` or `hybrid_70_30`.
    """
    return Composition((Part(rule, rule_weight), Part(model, 1 - rule_weight)), title=title)


def weighted(preset: str, rewards: Mapping[str, RewardFunction]) -> tuple[Part, ...]:
    """Parts with the weights of a preset of `schedule.WEIGHTS`, by role: rule, heuristic, neural.

    Raises:
        RewardError: no such preset, a role that it does not have, or none of its roles.
    """
    if preset not in WEIGHTS:
        hint = did_you_mean(preset, WEIGHTS) or f"one of {', '.join(WEIGHTS)}"
        raise RewardError(f"there are no weights {preset!r}", hint)
    weights = WEIGHTS[preset]
    for role in rewards:
        if role not in weights:
            hint = did_you_mean(role, weights) or f"one of {', '.join(weights)}"
            raise RewardError(f"the weights {preset!r} have no part {role!r}", hint)
    return tuple(Part(rewards[role], weight) for role, weight in weights.items() if role in rewards)


@dataclass(frozen=True)
class R1Bundle(Composition):
    """0.60 right answer, 0.15 steps, 0.15 flow (connectives), 0.10 self-verification; 0 to 1."""

    name = "r1_bundle"
    purpose = "A whole reward for R1-style training: right, in steps that follow from each other, checked."
    weakness = "The look of reasoning alone is worth 0.40, a right answer without any 0.60."

    parts: tuple[Part, ...] = (
        Part(correct, 0.60),
        Part(steps, 0.15),
        Part(connectives, 0.15),
        Part(verification, 0.10),
    )


@dataclass(frozen=True)
class Mixed(Composition):
    """A rule, a heuristic and a model's opinion with the weights of a preset of `schedule.WEIGHTS`.

    `mixed_explore` weighs them 0.3, 0.5 and 0.2, `mixed_balance` 0.5, 0.3 and 0.2, `mixed_exploit` 0.7, 0.2 and 0.1;
    `mixed_phases` goes from the first to the last during a run. By name they are `correct` and `steps`, with no model,
    so the weights sum to less than 1: `composition:FILE.yaml` has rewards of your own, a model's among them.
    """

    name = "mixed"
    purpose = "Form first and the right answer later, in parts weighed by the phase of a run."
    weakness = "Early on the look of reasoning pays more than a right answer; the curve jumps where a phase begins."

    parts: tuple[Part, ...] = weighted("exploit", {"rule": correct, "heuristic": steps})


@dataclass(frozen=True)
class R1Curriculum(Composition):
    """Format and steps first, the answer last: three phases, 0 to 30 %, to 70 % and to 100 % of the run; 0 to 1."""

    name = "r1_curriculum"
    purpose = "A reward that a weak model can earn at first, and that ends as correctness."
    weakness = "Early on half of it is format; the curve jumps where a phase begins, which is no progress."

    parts: tuple[Part, ...] = (
        Part(correct, phases(0.4, 0.6, 0.9)),
        Part(format_soft, phases(0.4, 0.25, 0.1)),
        Part(steps, phases(0.2, 0.15, 0.0)),
    )


@dataclass(frozen=True)
class CorrectIfFormat(Composition):
    """1 for a right answer in the strict R1 format, else 0: no correctness without format."""

    name = "correct_if_format"
    purpose = "Pays for nothing that a strict parser could not read."
    weakness = "Silent until the format is earned, so start from a model that writes it, or add `tag_count`."

    parts: tuple[Part, ...] = (Part(correct, only_if=format),)


r1_bundle = R1Bundle()
r1_curriculum = R1Curriculum()
_PAIR = {"rule": correct, "heuristic": steps}
mixed_explore = Mixed(weighted("explore", _PAIR), title="mixed_explore")
mixed_balance = Mixed(weighted("balance", _PAIR), title="mixed_balance")
mixed_exploit = Mixed(weighted("exploit", _PAIR), title="mixed_exploit")
mixed_phases = Mixed(weighted("phases", _PAIR), title="mixed_phases")
correct_if_format = CorrectIfFormat()
