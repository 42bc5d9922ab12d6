"""From a completion to a number: which text is the answer, what number it says, whether two are equal.

Numbers are exact (`fractions.Fraction`), so 0.1 + 0.2 style surprises cannot decide a reward.
"""

from __future__ import annotations

import re
from fractions import Fraction

ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
MAX_ANSWER_CHARS = 200  # longer is not one number; also keeps int() below Python's digit limit

# Minus signs that models write: U+2212 minus, U+2013 en dash, U+FE63 small hyphen, U+FF0D fullwidth hyphen
_MINUS = str.maketrans(dict.fromkeys("\u2212\u2013\ufe63\uff0d", "-") | {"\u00a0": " ", "\u202f": " "})
_CURRENCY = r"[$€£¥₹]"
_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
# A unit is words only: a digit in it would mean a second number, and then this is not one answer
_UNIT = r"%|°?[^\W\d_][^\W\d_]*(?:[ .\-'/]+[^\W\d_]+)*"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*{_CURRENCY}?\s*(?P<inner>[+-]?)\s*"
    rf"(?:(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)|(?P<decimal>{_DECIMAL}))"
    rf"\s*{_CURRENCY}?\s*(?:{_UNIT})?\s*\.?"
)


def last_answer_block(text: str) -> str | None:
    """Return the text inside the last complete `<answer>...</answer>`, or None when there is none.

    A block is complete when it is closed; of nested openings the innermost counts.
    """
    close = text.rfind(ANSWER_CLOSE)
    start = text.rfind(ANSWER_OPEN, 0, close) if close >= 0 else -1
    return None if start < 0 else text[start + len(ANSWER_OPEN) : close]


def parse_number(text: str) -> Fraction | None:
    """Read text that says exactly one number, or return None.

    Accepts a sign (also the unicode minus), a currency sign before or after, thousands separators in their
    right places, a decimal point, a fraction `3/4`, a unit in words (`18 dollars`, `5 km/h`, `40%`: the
    number as written, not divided by 100) and one closing full stop. Two numbers (`18 or 19`), a wrong
    separator (`1,80`), a zero denominator and anything over 200 characters are None.
    """
    if len(text) > MAX_ANSWER_CHARS:
        return None
    match = _NUMBER.fullmatch(text.translate(_MINUS).replace("\\$", "$").strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    if match["decimal"] is not None:
        value = Fraction(match["decimal"].replace(",", "").rstrip(".") or "0")
    elif int(match["bottom"]) == 0:
        return None
    else:
        value = Fraction(int(match["top"]), int(match["bottom"]))
    return -value if "-" in (match["sign"], match["inner"]) else value


def parse_gold(answer: str) -> Fraction | None:
    """Read a gold answer: bare (`18`), or GSM8K's, where the text after the last `####` counts."""
    return parse_number(str(answer).rpartition("####")[2])


def equal(completion_answer: str, gold_answer: str) -> bool | None:
    """Numeric equality of two answers; None when the gold answer cannot be read, which is no fault of the model."""
    gold = parse_gold(gold_answer)
    return None if gold is None else parse_number(completion_answer) == gold
