"""From a completion to its answer: where the answer stands, and whether it equals the gold answer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from toolkit.rewards import equations
from toolkit.rewards.numerals import MAX_ANSWER_CHARS, PLAIN, parse_number, without_latex
from toolkit.rewards.prose import is_finished, last_number, strip_tags
from toolkit.rewards.statements import is_denied, stated_answer

MarkedLayout = Literal["answer_tag", "hashes", "boxed"]
Layout = MarkedLayout | Literal["answer_is", "last_number"]
"""How an answer is given: `<answer>18</answer>`, `#### 18`, `\\boxed{18}`, "the answer is 18", as the last number."""

ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
_BOXED = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_BRACE = re.compile(r"\\[{}\\]|[{}]")
_HASHES = re.compile(r"(?<!#)####(?!#)")
_LINE = re.compile(r"(?:[ *:\t\r]*\n\s*)?([^\n]*)")
_PERCENT = re.compile(r"%|\bper ?cent|\bpct\b", re.IGNORECASE)
# What may stand before the number inside a tag, a box or a line: `So the final answer is: `, `#### `
_LEAD_IN = re.compile(
    r"\s*(?:#{1,6}\s*)?(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct)\s+)?"
    r"(?:answer\s+is\b:?\s*)?(.*)",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE_END = re.compile(r"[.!?。！？](?=\s|$)|\n")
_EXPRESSION = re.compile(r"([0-9.,+\-*/×÷x·^!√()% ]*[0-9)!%])\s*+([A-Za-z][A-Za-z ]*)?")  # and its unit
_NAME = re.compile(r"[\s$(\\\[]*[A-Za-z]?\s*")
_RANGE_OR_DATE = re.compile(r"[0-9]+(?:-[0-9]+)+|[0-9]+/[0-9]+/[0-9]+")
_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_LATEX_GROUPS = (
    (re.compile(r"\\sqrt\s*\{([^{}]*)\}"), r"√(\1)"),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
)


def _tag_span(text: str) -> tuple[int, int] | None:
    """From an opening to the first closing after it; where openings are nested, from the innermost."""
    start = text.rfind(ANSWER_OPEN, 0, max(text.rfind(ANSWER_CLOSE), 0))
    if start < 0:
        return None
    start += len(ANSWER_OPEN)
    return start, text.find(ANSWER_CLOSE, start)


def _boxed_span(text: str) -> tuple[int, int] | None:
    """Braces inside are counted. A box that is never closed is ignored; of boxes in each other the outermost counts."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    starts = {found.end() - 1 for found in _BOXED.finditer(text)}
    stack: list[int] = []
    last = None
    for brace in _BRACE.finditer(text, min(starts, default=len(text))):
        if brace[0] == "{":
            stack.append(brace.start())
        elif brace[0] == "}" and stack and (start := stack.pop()) in starts:
            last = (start + 1, brace.start())
    return last


def _hashes_span(text: str) -> tuple[int, int] | None:
    """The rest of the line, or the next line where nothing follows."""
    at = text.rfind("####")
    if text[at - 1 : at] == "#":  # five are a heading
        at = max((found.start() for found in _HASHES.finditer(text)), default=-1)
    if at < 0:
        return None
    found = _LINE.match(text, at + 4)
    return found.span(1) if found else (at + 4, at + 4)


_SPANS: dict[MarkedLayout, Callable[[str], tuple[int, int] | None]] = {
    "answer_tag": _tag_span,
    "hashes": _hashes_span,
    "boxed": _boxed_span,
}
LAYOUTS: tuple[Layout, ...] = (*_SPANS, "answer_is", "last_number")
"""Every layout, the most explicit first."""


def span(text: str, layout: MarkedLayout) -> tuple[int, int] | None:
    """Start and end of the last complete answer in this layout, without its marks; None where there is none."""
    return _SPANS[layout](text)


def count(text: str, layout: MarkedLayout) -> int:
    """How many answers in this layout a text gives: of opening and closing tags the larger number."""
    if layout == "answer_tag":
        return max(text.count(ANSWER_OPEN), text.count(ANSWER_CLOSE))
    return len((_HASHES if layout == "hashes" else _BOXED).findall(text))


def find_answer(text: str, layouts: tuple[Layout, ...], is_truncated: bool | None = None) -> str | None:
    """Return the answer's text from the first of `layouts` that the text has, or None when it has none of them.

    A layout that is there decides, whether or not a number stands in it: a model that writes `<answer>many</answer>`
    does not get a second chance with its last number. A truncated text has no last number, which would be right by
    accident, and states its answer before its last, broken sentence. Where it is not known (None), a text that breaks
    off after its last number (`prose.is_finished`) has none. Nor is a last number the answer that is said not to be it
    (`the answer is not 12`). Linear in the text's length.
    """
    for layout in layouts:
        if layout == "answer_is":
            answer = stated_answer(_whole_sentences(text) if is_truncated else text)
        elif layout == "last_number":
            is_there = not is_truncated if is_truncated is not None else is_finished(text)
            answer = last_number(text) if is_there else None
            answer = None if answer is not None and is_denied(text, answer) else answer
        else:
            found = span(text, layout)
            answer = text[found[0] : found[1]] if found else None
        if answer is not None:
            return answer
    return None


def _whole_sentences(text: str) -> str:
    """The text up to its last full stop or line end."""
    *_, last = [None, *_SENTENCE_END.finditer(text)]
    return text[: last.end()] if last else ""


def read(answer: str | None) -> Fraction | None:
    """The number that an extracted answer says, or None.

    Beside what `parse_number` reads: tags inside, a lead-in (`The final answer is 18`), an equation that holds
    (`9 * 2 = 18`), and an expression of numbers with its exact value (`2^{10}`, `3 \\cdot 4`, `5!`, `\\sqrt{16}`).
    """
    if answer is None:
        return None
    value = parse_number(answer)
    if value is not None or len(answer) > MAX_ANSWER_CHARS:
        return value
    plain = strip_tags(answer).strip()
    lead_in = _LEAD_IN.fullmatch(plain)
    value = parse_number(lead_in[1]) if lead_in else None
    if value is not None:
        return value
    left, sign, right = (lead_in[1] if lead_in else plain).rpartition("=")
    result = parse_number(right) if sign else None
    result = _evaluated(right) if result is None else result
    is_so = not sign or _NAME.fullmatch(left) is not None or (result is not None and _evaluated(left) == result)
    return result if is_so else None


def _evaluated(text: str) -> Fraction | None:
    """The value of an expression of numbers, plain or in LaTeX; a range (`10-12`) and a date are none."""
    if not any(char.isdigit() for char in text):
        return None
    for _ in range(4 if "{" in text else 0):
        for pattern, plain in _LATEX_GROUPS:
            text = pattern.sub(plain, text)
    text = text.replace("\\div", "÷").replace("**", "^").strip()
    text = without_latex(text.removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]"))
    text = text.translate(PLAIN).strip("$ ").removesuffix(".")
    if not text.isascii():
        text = _RAISED.sub(lambda raised: "^" + unicodedata.normalize("NFKC", raised[0]).replace("\u2212", "-"), text)
    found = _EXPRESSION.fullmatch(text)
    if found is None or _RANGE_OR_DATE.fullmatch(found[1].strip()):  # a range with a unit is a range, too
        return None
    if found[2] and parse_number(f"1 {found[2]}") is None:
        return None
    return equations.evaluate(found[1])


def golds(answer: object) -> tuple[str, ...]:
    """The gold answers of a row, each of which is right: one, or the items of a list.

    A list may stand as JSON's text with its items in quotes (`["4", "5"]`), as `gold_list` writes it; `[4, 5]` is one
    answer, an interval.
    """
    if isinstance(answer, str):
        if not answer.startswith('["'):
            return (answer,)
        try:
            answer = json.loads(answer)
        except ValueError:
            return (str(answer),)
    return tuple(map(str, answer)) if isinstance(answer, (list, tuple)) else (str(answer),)


def gold_list(items: Sequence[str]) -> str:
    """A row's gold answers as one text: the answer itself where there is one, else a list that `golds` reads."""
    items = list(dict.fromkeys(item for item in items if item))
    return json.dumps(items, ensure_ascii=False) if len(items) > 1 else "".join(items)


def parse_gold(answer: object) -> Fraction | None:
    """Read a gold answer: bare (`18`), after GSM8K's last `####`, in the last `\\boxed{}`, or after "the answer is".

    Of several the first that can be read.
    """
    if isinstance(answer, str) and not answer.startswith('["'):
        return _read_gold(answer)[0]
    return next((value for gold in golds(answer) if (value := _read_gold(gold)[0]) is not None), None)


def is_number(answer: str) -> bool:
    """Whether `parse_gold` reads it, as every gold answer must be for the rewards that compare numbers."""
    return parse_gold(answer) is not None


@lru_cache(maxsize=8192)
def _read_gold(answer: str) -> tuple[Fraction | None, bool]:
    """The number, and whether it is a percentage."""
    value = read(answer)
    if value is None and (found := find_answer(answer, ("hashes", "boxed", "answer_tag", "answer_is"))) is not None:
        value, answer = read(found), found
    return value, _PERCENT.search(answer) is not None


def equal(answer: str | None, gold: object) -> bool | None:
    """Numeric equality of an answer with a gold answer, or any of several; None when no gold answer can be read.

    A number is compared as it is written (`50%` is 50, as in "what percent"); where one side alone has a percent sign,
    its hundredth counts too (`50%` is 0.5).
    """
    if isinstance(gold, str) and not gold.startswith('["'):
        return _equal(answer, gold)
    verdicts = {_equal(answer, one) for one in golds(gold)}
    return True if True in verdicts else False if False in verdicts else None


def _equal(answer: str | None, gold: str) -> bool | None:
    wanted, is_percent_wanted = _read_gold(gold)
    if wanted is None:
        return None
    value = read(answer)
    if answer is None or value is None or value == wanted:
        return value is not None
    if (_PERCENT.search(answer) is not None) == is_percent_wanted:
        return False
    return value * 100 == wanted if is_percent_wanted else value == wanted * 100
