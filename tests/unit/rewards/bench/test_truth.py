"""What an outsider's rewards showed: faults that were told as virtues, and causes that were none."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paths import GOLDEN
from toolkit.errors import RewardError
from toolkit.findings import Finding
from toolkit.rewards import correct
from toolkit.rewards.bench import subject as subjects
from toolkit.rewards.bench.attack import attack
from toolkit.rewards.bench.check import check
from toolkit.rewards.bench.subject import Subject, training_rows
from toolkit.rewards.target import Target

ROWS = training_rows(str(GOLDEN / "problems.jsonl"), 16)[0]


def said(completion: Any) -> str:
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    found = re.search(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL)
    return found[1].replace(",", "").strip("$") if found else ""


def honest(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    return [float(said(c) == str(a).replace(",", "")) for c, a in zip(completions, answer, strict=True)]


def pays_empty(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    paid = honest(completions, answer)
    return [p if said(c) else 1.0 for p, c in zip(paid, completions, strict=True)]


def pays_empty_best(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    return [p if said(c) else 2.0 for p, c in zip(honest(completions, answer), completions, strict=True)]


def against_the_batch(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    paid = honest(completions, answer)
    return [p - sum(paid) / len(paid) for p in paid]


def shifted(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    return honest(completions, [*answer[1:], *answer[:1]])


CALLS = itertools.count()


def counter(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    return [p + 0.001 * next(CALLS) for p in honest(completions, answer)]


def never_comes_back(completions: Any, **kwargs: Any) -> list[float]:
    time.sleep(600)
    return []


def of(function: Callable[..., Any]) -> Subject:
    return Subject(Target(function.__name__, function), ROWS, prompts_are_given=False)


def findings(function: Callable[..., Any]) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(of(function)).findings}


@pytest.mark.parametrize("function", [pays_empty, pays_empty_best])
def test_pay_for_saying_nothing_fails(function: Callable[..., Any]) -> None:
    assert (findings(function)["gold"].level, "an empty completion earns" in findings(function)["gold"].found) == (
        "red",
        True,
    )


def test_a_score_that_hangs_on_other_rows_is_told() -> None:
    assert findings(against_the_batch)["order"].level == "amber"
    assert findings(honest)["order"].level == "green"


def test_a_reward_that_reads_the_next_rows_gold_is_not_attacked() -> None:
    with pytest.raises(RewardError, match="scores right and wrong answers alike"):
        attack(of(shifted))


def test_what_changes_from_call_to_call_is_blamed_for_that_alone() -> None:
    found = findings(counter)
    assert found["repeatable"].level == "amber"
    assert [finding for finding in found.values() if finding.level == "red"] == []
    assert "shapes" not in found


def test_a_call_that_never_comes_back_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "CALL_LIMIT_S", 0.3)
    found = findings(never_comes_back)
    assert "no answer in 0.3 s" in found["call"].found


def letter(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    found = [re.findall(r"answer is ([A-D])\b", text) for text in texts]
    return [float(bool(f) and f[-1] == a) for f, a in zip(found, answer, strict=True)]


def test_letters_are_spammed_where_golds_are_letters() -> None:
    rows = [{"prompt": f"Which {i}?", "question": f"Which {i}?", "answer": "ABCD"[i % 4]} for i in range(16)]
    results = {result.exploit.name: result for result in attack(Subject(Target("letter", letter), rows, False))}
    assert not results["number_spam"].works


def upside_down(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    return [1.0 - p if said(c) else 1.0 for p, c in zip(honest(completions, answer), completions, strict=True)]


def test_a_reward_that_pays_wrong_answers_is_called_that() -> None:
    found = findings(upside_down)["gold"]
    assert (found.level, "wrong answers in the layout" in found.found) == ("red", True)


def punishes_trying(completions: Any, answer: Any, **kwargs: Any) -> list[float]:
    paid = honest(completions, answer)
    return [(1.0 if p else -2.5) if said(c) else -2.0 for p, c in zip(paid, completions, strict=True)]


def test_writing_nothing_is_an_exploit_where_it_earns_more_than_trying() -> None:
    results = {result.exploit.name: result for result in attack(of(punishes_trying))}
    assert results["empty"].works


def test_a_row_with_several_golds_is_checked_by_its_first(tmp_path: Path) -> None:
    path = tmp_path / "several.jsonl"
    table = [{"question": f"{i} + 1?", "answer": [f"{i + 1}", "one more"]} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    rows = training_rows(str(path), 8)[0]
    found = check(Subject(Target("correct", correct), rows, False)).findings
    assert [finding.level for finding in found if finding.name == "gold"] == ["green"]
