"""Is the answer right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards import answers, equations, latex, notation
from toolkit.rewards.answers import Layout
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import FINISH_REASON, TRUNCATED, Completion, one_line, text_of


@dataclass(frozen=True)
class _Answered(RewardFunction):
    """A reward that looks at the answer in the first of `layouts` that the completion has."""

    layouts: tuple[Layout, ...] = ("answer_tag",)
    """How the answer may be marked, looked for in this order: see `answers.Layout`."""

    columns = ("answer",)

    @property
    def optional_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What tells a truncated completion, for the layouts in which one could be right by accident."""
        is_open = "last_number" in self.layouts or "answer_is" in self.layouts
        return (FINISH_REASON,) if is_open else ()

    def __post_init__(self) -> None:
        for layout in self.layouts:
            if layout not in answers.LAYOUTS:
                hint = did_you_mean(layout, answers.LAYOUTS) or f"one of {', '.join(answers.LAYOUTS)}"
                raise RewardError(f"reward {self.name!r}: there is no layout {layout!r}", hint)

    @property
    def best_layouts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.layouts

    def _found(self, text: str, row: Mapping[str, Any]) -> str | None:
        return answers.find_answer(text, self.layouts, self._is_truncated(row) if row else None)

    def _is_truncated(self, row: Mapping[str, Any]) -> bool | None:
        """None where nothing says."""
        reason = row.get(FINISH_REASON)
        return reason == TRUNCATED if reason else None

    def _shown(self, text: str, row: Mapping[str, Any], is_number: bool = True) -> str:
        """The answer as an explanation shows it, and that it is no number where it should be one."""
        found = self._found(text, row)
        if found is None:
            is_truncated = "last_number" in self.layouts and answers.find_answer(text, self.layouts, False) is not None
            return f"no answer in {' or '.join(self.layouts)}" + (": the text is truncated" if is_truncated else "")
        unread = ", which is not one number" if is_number and answers.read(found) is None else ""
        return f"answer {one_line(found, 60)!r}{unread}"

    def _why(self, text: str, score: float | None, answer: object, row: Mapping[str, Any], verdict: str) -> str:
        if score is None:
            return _no_gold(answer)
        wanted = [value for gold in answers.golds(answer) if (value := answers.parse_gold(gold)) is not None]
        return f"{self._shown(text, row)}, {verdict} {' or '.join(map(str, wanted))}"


def _no_gold(answer: object) -> str:
    return f"the gold answer {one_line(str(answer), 60)!r} cannot be read"


@dataclass(frozen=True)
class Correct(_Answered):
    """`right` when the answer equals the gold answer as a number, else `wrong`: 1 and 0, or 1 and -1.

    By default the answer is the last complete `<answer>` block. `18`, `18.0`, `$18`, `1,800`, `18 dollars`, `-3`,
    `3/4`, `x = 18`, `**18**` are read, `18 million` and `18 or nineteen` are not (see `numerals.parse_number`). An
    expression of numbers has its value: `2^{10}`, `9 * 2`, `5!`. A list of gold answers accepts each. None when the
    gold answer itself cannot be read: the model is not punished for a broken row.

    A truncated completion cannot be right by its last number. It is known by the column `finish_reason`
    ("length"), which every run adds; without it a text that breaks off after its last number has none, and a text that
    ends on one (`A: 18`) is taken for whole.
    """

    name = "correct"
    purpose = "The point of a run: the answer equals the gold answer as a number."
    weakness = (
        "Guessing small whole numbers pays where those are common, and so do right answers by wrong reasoning and "
        "arithmetic that is left to the reader (`9 * 2`); a list of candidates is no answer and does not pay."
    )

    right: float = 1.0
    wrong: float = 0.0

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.wrong, self.right

    def judge(self, text: str, *, answer: object, **row: Any) -> float | None:
        verdict = self._verdict(text, answer, row)
        return None if verdict is None else self.right if verdict else self.wrong

    def _verdict(self, text: str, answer: object, row: Mapping[str, Any]) -> bool | None:
        return answers.equal(self._found(text, row), answer)

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        return self._why(text, score, answer, row, "equals" if score == self.right else "is not")


@dataclass(frozen=True)
class CorrectLatex(Correct):
    """`right` when the answer is the same mathematics as the gold answer, by math-verify, else `wrong`.

    Two plain numbers are compared exactly and at once; the rest goes to a worker process with a hard time-out (about
    200 comparisons a second and worker). None when the gold answer cannot be read; an answer that runs into the
    time-out is wrong, else a model could write itself out of judgement. https://github.com/huggingface/Math-Verify

    An inequality answers an interval (`2<x\\le 5` is `(2,5]`). What math-verify drops must agree, too: primes, bases of
    numbers, transposes, units where both have one, and the first digits of small numbers (see `notation`).
    """

    name = "correct_latex"
    purpose = "Formulas, sets, intervals and matrices as answers: equal as mathematics, by math-verify."
    weakness = (
        "Floats are rounded to 6 places, so a near value can pass; an answer of many formulas in one box is read by "
        "math-verify's rules, not ours."
    )

    layouts: tuple[Layout, ...] = ("answer_tag", "boxed")
    how: latex.Equivalence = latex.DEFAULT
    workers: int = 2
    """Processes that compare at a time; each takes about 0.1 GiB."""

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        asked = zip(completions, lists["answer"], strict=True)
        pairs = [self._pair(text_of(c), gold) for c, answer in asked for gold in answers.golds(answer)]
        latex.equivalent_all([pair for pair in dict.fromkeys(pairs) if pair], self.how, self.workers)  # fills the cache
        return super().scores(completions, lists, extra)

    def _verdict(self, text: str, answer: object, row: Mapping[str, Any]) -> bool | None:
        return self._comparison(text, answer).equal

    def _comparison(self, text: str, answer: object) -> latex.Comparison:
        """With the gold answer that it equals, or else the first one that can be read."""
        each = [self._comparison_with(text, gold) for gold in answers.golds(answer)] or [latex.Comparison(None)]
        return min(each, key=lambda one: (not one.equal, one.equal is None))

    def _comparison_with(self, text: str, answer: str) -> latex.Comparison:
        pair = self._pair(text, answer)
        if pair is None and answers.parse_gold(answer) is not None:
            found = self._found(text, {})
            equal = bool(answers.equal(found, answer))
            what = notation.difference(found, answer) if found and equal else ""
            return latex.Comparison(equal and not what, f"they differ in {what}" if what else "")
        comparison = latex.equivalent(*pair, self.how) if pair else latex.Comparison(None)
        if comparison.equal is None:
            gold = latex.as_formula(answer)  # by itself: is it the gold answer that cannot be read?
            readable = latex.equivalent(gold, gold, self.how).equal is not None
            return latex.Comparison(False, comparison.why) if readable else latex.Comparison(None, _no_gold(answer))
        return comparison

    def _pair(self, text: str, gold: str) -> tuple[str, str] | None:
        """The answer and the gold answer for math-verify; None where numbers, or no answer, decide without it."""
        found = self._found(text, {})
        if found is None or (answers.read(found) is not None and answers.parse_gold(gold) is not None):
            return None
        return latex.as_formula(found), latex.as_formula(gold)

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        comparison = self._comparison(text, answer)
        if score is None:
            return comparison.why
        why = f" ({comparison.why})" if comparison.why else ""
        verdict = "equals" if comparison.equal else "is not"
        wanted = " or ".join(map(repr, answers.golds(answer)))
        return f"{self._shown(text, {}, is_number=False)}, {verdict} {one_line(wanted, 60)}{why}"


@dataclass(frozen=True)
class Close(_Answered):
    """1 for the gold number; `near` falling linearly to 0 over the relative error `tolerance`; else 0.

    The error is taken relative to the gold answer (to 1 where that is 0). None when the gold answer cannot be read.
    """

    name = "close"
    purpose = "A slope towards the right number, for tasks where a near answer shows most of the way."
    weakness = "Estimates instead of calculations: keep `near` below half, and end the run with `correct`."

    tolerance: float = 0.1
    near: float = 0.5

    def judge(self, text: str, *, answer: object, **row: Any) -> float | None:
        gold, found = answers.parse_gold(answer), self._found(text, row)
        if gold is None:
            return None
        if answers.equal(found, answer):
            return 1.0
        value = answers.read(found)
        if value is None:
            return 0.0
        error = abs(value - gold) / (abs(gold) or 1)
        return self.near * float(1 - error / Fraction(self.tolerance)) if error < self.tolerance else 0.0

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        near = "equals" if score == 1 else f"is within {self.tolerance:.0%} of" if score else "is not near"
        return self._why(text, score, answer, row, near)


@dataclass(frozen=True)
class Integer(_Answered):
    """1 when the answer is a whole number, right or wrong, else 0."""

    name = "integer"
    columns = ()
    purpose = "A slope for early in a run on tasks whose answers are whole numbers."
    weakness = "Any whole number earns it, so weigh it far below `correct`, and only early in a run."

    @property
    def best_layouts(self) -> tuple[str, ...]:
        return ()  # a right answer need not be whole

    def judge(self, text: str, **row: Any) -> float | None:
        value = answers.read(self._found(text, row))
        return float(value is not None and value.denominator == 1)

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        return f"{self._shown(text, row)}, {'a' if score else 'no'} whole number"


@dataclass(frozen=True)
class PartialCredit(_Answered):
    """1 for the right answer; else `share` times the part of the completion's equations that hold.

    Every distinct equation counts once, GSM8K's `<<48/2=24>>` and prose alike, and is checked exactly
    (see `equations.find`). None when the gold answer cannot be read.
    """

    name = "partial_credit"
    purpose = "Pays for right steps on the way to a wrong answer, where right answers are rare."
    weakness = "Equations that are true and lead nowhere (`1+1=2`) earn up to `share`."
    known_exploits = ("true_equations",)

    share: float = 0.3

    def judge(self, text: str, *, answer: object, **row: Any) -> float | None:
        verdict = answers.equal(self._found(text, row), answer)
        if verdict is not False:
            return 1.0 if verdict else None
        n_right, n = self._counts(text)
        return self.share * n_right / n if n else 0.0

    def _counts(self, text: str) -> tuple[int, int]:
        found = set(equations.find(text))
        return sum(equation.holds for equation in found), len(found)

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        n_right, n = self._counts(text)
        why = self._why(text, score, answer, row, "equals" if score == 1 else "is not")
        return why if score is None else f"{why}; {n_right} of {n} equations hold"


correct = Correct()
correct_signed = Correct(wrong=-1.0, title="correct_signed")
correct_hashes = Correct(("hashes",), title="correct_hashes")
correct_boxed = Correct(("boxed",), title="correct_boxed")
correct_answer_is = Correct(("answer_is",), title="correct_answer_is")
correct_last_number = Correct(("last_number",), title="correct_last_number")
correct_any = Correct(answers.LAYOUTS, title="correct_any")
correct_latex = CorrectLatex()
close = Close()
integer = Integer()
partial_credit = PartialCredit()
