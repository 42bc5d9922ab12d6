"""What was found before the first step, as lines: the findings, the first prompt, and two completions to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.display.findings import WORDS
from toolkit.display.terminal import visible
from toolkit.findings import Finding
from toolkit.rewards.completions import one_line
from toolkit.units import plural

MAX_LINES, MAX_COLUMNS = 12, 400
"""Of a text that is shown, its beginning and its end; preflight.json has all of it."""
MAX_QUESTION = 80
N_IDS = 6
"""Token ids shown at each end of the prompt."""


def preflight_lines(
    findings: Sequence[Finding], prompt: str, prompt_ids: Sequence[int], completions: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One line a finding, then the texts, indented. `completions`: rows as a run keeps them, with `reward`."""
    lines = [_line(finding) for finding in findings]
    lines += [f"first prompt, {plural(len(prompt_ids), 'token')}: {_ids(prompt_ids)}", *_text(prompt)]
    for row in completions:
        parts = ", ".join(f"{name} {_score(score)}" for name, score in row["rewards"].items())
        ending = f"{plural(row['n_tokens'], 'token')}, {'truncated' if row['finish_reason'] == 'length' else 'ended'}"
        lines.append(f"a completion, reward {_score(row['reward'])} ({parts}), {ending}, to {_asked(row)}:")
        lines += _text(row["completion"])
    return lines


def _line(finding: Finding) -> str:
    is_fine = finding.level in ("green", "info")
    return f"{finding.name + ':':<8} " + (finding.found if is_fine else f"{WORDS[finding.level]}: {finding}")


def _ids(ids: Sequence[int]) -> str:
    if len(ids) <= 2 * N_IDS:
        return " ".join(map(str, ids))
    return f"{_ids(ids[:N_IDS])} ... {_ids(ids[-N_IDS:])}"


def _text(text: str) -> list[str]:
    """Lines of a text, indented; without control characters, which a model may write."""
    lines = [visible(line)[:MAX_COLUMNS] for line in text.strip("\n").split("\n")]
    n_more, half = len(lines) - MAX_LINES, MAX_LINES // 2
    shown = [*lines[:half], f"... {plural(n_more, 'line')} ...", *lines[-half:]] if n_more > 0 else lines
    return [f"    {line}".rstrip() for line in shown]


def _asked(row: Mapping[str, Any]) -> str:
    """The end of the question, where it asks, and the answer where the row has one."""
    question = " ".join(row["prompt"].split())
    shown = question if len(question) <= MAX_QUESTION else f"...{question[-MAX_QUESTION:]}"
    answer = row.get("answer")
    return f'"{shown}"' + ("" if answer is None else f" (answer {one_line(str(answer), MAX_QUESTION)})")


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
