"""What a few completions, sampled before the first step, say of the run that is about to begin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.findings import Finding
from toolkit.units import format_frac, plural

AMBER_TRUNCATED_FRAC, RED_TRUNCATED_FRAC = 0.2, 0.8
"""Share of truncated completions. Above the second a run teaches next to nothing: of TRL's own quick start 97 to 99 %
were truncated at 256 tokens, and 14 % at 1,024 (https://github.com/huggingface/trl/issues/5697)."""
FEW_TRUNCATED_FRAC = 0.05
"""Up to here the 95th percentile of the lengths is that of the policy, and not that of the limit."""
STEP_TOKENS = 16
"""A recommended length is a multiple of it."""


@dataclass(frozen=True)
class Figures:
    """What was sampled. Lengths in tokens, shares from 0 to 1; a truncated completion counts with its limit."""

    n: int
    n_groups: int
    max_completion_length: int
    tokens_p50: int
    tokens_p95: int
    truncated_frac: float
    rewarded_frac: float
    """Completions whose weighted sum of rewards is above 0."""
    signal_frac: float
    """Groups in which completions earn differently."""
    flat_groups: dict[str, int] = field(default_factory=dict)
    """Of the other groups, how many are all right, all wrong and partly right."""
    silent_rewards: list[str] = field(default_factory=list)
    """Rewards that gave every completion their lowest."""
    format_frac: float | None = None
    """Completions in the prompted format; None without a reward for it."""
    prompt_tokens: int = 0
    """Of the first prompt."""
    n_bos: int | None = None
    """Tokens that begin a text, in the first prompt; None where the tokenizer has none of its own."""
    adds_bos: bool = False
    """The tokenizer begins a plain text with one, as the model learnt it."""
    ending_tokens: list[str] = field(default_factory=list)
    """Those that end a completion."""
    passed_tokens: dict[str, int] = field(default_factory=dict)
    """Other special tokens, and how many truncated completions have one inside: they look like an end and are none."""


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def recommended_length(figures: Figures, most: int | None = None) -> int:
    """A `max_completion_length` for this policy, at most `most` tokens, which the model has positions for.

    The 95th percentile, rounded up, where few are truncated. Else it is not known, and this is a first guess: twice the
    limit, or four times where half are truncated.
    """
    if figures.truncated_frac <= FEW_TRUNCATED_FRAC:
        wanted = figures.tokens_p95
    else:
        wanted = figures.max_completion_length * (2 if figures.truncated_frac < 0.5 else 4)
    rounded = math.ceil(wanted / STEP_TOKENS) * STEP_TOKENS
    return min(rounded, most) if most else rounded


def findings(figures: Figures, *, most: int | None = None, allow_truncation: bool = False) -> list[Finding]:
    """One a question: does a completion end, does it earn, does a group teach. Only truncation can be red.

    `most`: the longest completion that the model has positions for. `allow_truncation`: nothing is red.
    """
    return [_length(figures, most, allow_truncation), _prompt(figures), _ending(figures), _reward(figures)]


def _length(figures: Figures, most: int | None, allow_truncation: bool) -> Finding:
    limit, share = figures.max_completion_length, figures.truncated_frac
    found = f"p50 {figures.tokens_p50}, p95 {figures.tokens_p95} of {limit} tokens; {format_frac(share)} truncated"
    better = recommended_length(figures, most)
    if share <= AMBER_TRUNCATED_FRAC:
        near = "" if share > FEW_TRUNCATED_FRAC or better >= limit else f"; --max_completion_length {better} would do"
        return Finding("length", "green", found + near)
    wanted = f"at most {format_frac(RED_TRUNCATED_FRAC if share > RED_TRUNCATED_FRAC else AMBER_TRUNCATED_FRAC)}"
    if better > limit:
        longer = f"--max_completion_length {better}"
    else:
        longer = "a model that answers more briefly, for it has no positions left"
    if share > RED_TRUNCATED_FRAC and not allow_truncation:
        wanted += ", since a truncated completion has no answer to pay"
        return Finding("length", "red", found, wanted, f"{longer}, or go on all the same with --allow_truncation")
    return Finding("length", "amber", found, wanted, longer)


def _prompt(figures: Figures) -> Finding:
    found = f"the first one has {plural(figures.prompt_tokens, 'token')}"
    if figures.n_bos is None:
        return Finding("prompt", "green", found)
    found += f", {figures.n_bos} of them BOS"
    if figures.n_bos > 1:
        return Finding("prompt", "amber", found, "one", "take BOS out of the chat template: the tokenizer adds one")
    if figures.n_bos == 0 and figures.adds_bos:
        wanted = "one, with which the tokenizer begins every text"
        return Finding("prompt", "amber", found, wanted, "put BOS at the beginning of the chat template")
    return Finding("prompt", "green", found)


def _ending(figures: Figures) -> Finding:
    ends = " or ".join(figures.ending_tokens) or "no token"
    n_ended = figures.n - round(figures.truncated_frac * figures.n)
    found = f"{ends} ends {n_ended} of {plural(figures.n, 'completion')}"
    if figures.passed_tokens:
        token, n_passed = max(figures.passed_tokens.items(), key=lambda item: item[1])
        return Finding(
            "ending",
            "amber",
            f"{found}; {n_passed} of the others go on past {token}",
            f"{token} to end a completion",
            "add it to eos_token_id in the model's generation_config.json, or take the instruct model",
        )
    return Finding("ending", "green", found)


def _reward(figures: Figures) -> Finding:
    n_signal = round(figures.signal_frac * figures.n_groups)
    parts = [] if figures.format_frac is None else [f"{format_frac(figures.format_frac)} in the prompted format"]
    parts += [
        f"{format_frac(figures.rewarded_frac)} with any reward",
        f"{n_signal} of {plural(figures.n_groups, 'group')} with signal",
    ]
    found = ", ".join(parts)
    if figures.silent_rewards and figures.n:
        found += f"; never paid: {', '.join(figures.silent_rewards)}"
    if n_signal:
        return Finding("reward", "info" if figures.silent_rewards else "green", found)
    return Finding("reward", "amber", found, "groups whose completions earn differently", _remedy(figures))


def _remedy(figures: Figures) -> str:
    """What to change where no group teaches: by what the flat groups have in common."""
    kinds: Mapping[str, int] = figures.flat_groups
    most = max(kinds, key=lambda kind: kinds[kind], default="")
    if most == "all right":
        return "harder problems: every completion earns the most already"
    if most == "partly right":
        return "look at the completions: the same part of the reward is earned every time"
    if figures.truncated_frac > AMBER_TRUNCATED_FRAC:
        return "first let completions end: see length"
    causes = "the reward may read another format than the prompt asks for, or the problems may be too hard"
    return f"look at the completions: {causes}; --examples 2 shows the model how to answer"
