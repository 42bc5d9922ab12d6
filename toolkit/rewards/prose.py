"""Numbers in running text, the last one, and whether a text breaks off."""

from __future__ import annotations

import re

from toolkit.rewards.numerals import PLAIN, without_latex

DIGITS = "0123456789"
_BINDING = frozenset(f"{DIGITS}×x*/^")  # before a space: `1 3/4`, `1.5 × 10^3`
TAIL = 32  # and before the last digit, unless a number begins there
_TAGS = re.compile(r"</?[A-Za-z_]{1,32}>|<\|[A-Za-z_]{1,32}\|>")  # `<think>`, and special tokens such as `<|im_end|>`

_FIGURE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
# One number with what belongs to it. The tail makes a time, range, date, version, wrong separator, power, or a word
# that scales one text, which `parse_number` then refuses.
TOKEN = re.compile(
    r"(?:(?<![A-Za-z0-9_^/])|(?<=USD)|(?<=Rs))(?<![0-9][.,])(?<!\^-)(?<![\^_]\{)"
    rf"(?:[0-9]+ [0-9]{{1,2}}/[0-9]+(?![0-9/])|{_FIGURE}\s?/\s?{_FIGURE}(?![0-9/])|{_FIGURE})"
    r"(?:[eE][+-]?[0-9]+|\s?[×x*]\s?10\s?(?:\^\s?[+-]?[0-9]+|[⁺⁻]?[⁰¹²³⁴-⁹]+))?"
    r"(?:(?:[:,./-][0-9]+)+|\^-?[0-9a-z]+|[½¼¾²³])?"
    r"(?:\s?(?:%|[kKM]\b|[十百千万亿]|(?:percent|pct|(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?)\b"
    r"|and (?:a |one )?(?:half|third|quarter)\b))?"
)
_CLOSING = re.compile(r"(?:\s|\*\*|[_)\]}\"'`$”]|\\[)\]])*$")
_FINISHED = re.compile(r"[.!?。！？…~]$|<\|[A-Za-z_]{1,32}\|>|</?[A-Za-z_]{1,32}>\s*$")
_BREAK = re.compile(r"[.!?。！？,，:：;；\n]\s*\S|[-+*/=×÷^,:;(\[{<&]$")
_WORDS = re.compile(r"[^\W\d_]+")
MAX_UNIT_WORDS, MAX_UNIT_CHARS = 3, 40  # `18 dollars per day`, the longest text after a number that needs no full stop
_OPEN = """
a an the of to in on at by for with from per and or but so then than that which who if as is are was were be has have
she he it they we i you her his their its this these those each every because when while not 的 和 是
"""
_OPEN_WORDS = frozenset(_OPEN.split())
"""Words that end no sentence: a text that ends in one breaks off."""
_SIGN = re.compile(r"(?:(?<![0-9A-Za-z)%])(?<![0-9)%] )-|[=≈]\s?-\s)(?:US\$|[$€£¥₹])?$|[$€£¥₹]-$")


def strip_tags(text: str) -> str:
    """The text without tags and special tokens, which readers of mathematics stumble over."""
    return _TAGS.sub(" ", text) if "<" in text else text


def last_number(text: str) -> str | None:
    """Return the last number of a text with its sign, percent or scale, or None when there is none.

    A fraction or a mixed number is one number. Digits of a word (`CO2`), of an index or of a unit's exponent (`cm^2`)
    are none. A time, a range, a date or a scaled number (`5:30`, `10-12`, `18 million`) is returned as it is written,
    and `parse_number` refuses it.
    """
    if not text.isascii():
        text = text.translate(PLAIN)
    at = max(map(text.rfind, DIGITS))
    if at < 0:
        return None
    start = max(0, at - TAIL)
    window = plain(text[start : at + TAIL])
    found = _last_token(window)
    if start > 0 and (found is None or found.start() < 2):  # a number longer than the window, or digits of a word
        window = plain(text)
        found = _last_token(window)
    return signed(window, found) if found else None


def is_finished(text: str) -> bool:
    """Whether a text ends where its author would, as far as its last number shows it.

    It ends in a full stop or another closing mark, in a tag or a special token, on its last number (as `A: 18` does),
    or that number's unit. `18 eggs. Then she sells` breaks off, and so do `18 of the` and `18 +`. What breaks off in
    the middle of a number cannot be told from its text.
    """
    end = max(map(text.rfind, DIGITS)) + 1
    rest = _CLOSING.sub("", text[end:])
    if not rest or _FINISHED.search(rest):
        return True
    if _BREAK.search(rest) or len(rest) > MAX_UNIT_CHARS:
        return False
    said = _WORDS.findall(plain(rest))
    return len(said) <= MAX_UNIT_WORDS and not (said and said[-1].lower() in _OPEN_WORDS)


def plain(text: str) -> str:
    """Without tags and LaTeX commands, ASCII digits."""
    text = strip_tags(text)
    if not text.isascii():
        text = text.replace("。", ". ").translate(PLAIN)
    return without_latex(text) if "\\" in text or "{" in text else text


def _last_token(text: str) -> re.Match[str] | None:
    """The last number's match; looked for in the last word first, where it is unless something binds it to the left."""
    at = max(map(text.rfind, DIGITS))
    word = max(text.rfind(" ", 0, at), text.rfind("\n", 0, at)) + 1
    starts = (0,) if text[:word].rstrip()[-1:] in _BINDING else (word, 0)
    for start in starts:
        found = None
        for found in TOKEN.finditer(text, start):  # noqa: B007
            pass
        if found:
            return found
    return None


def signed(text: str, found: re.Match[str]) -> str:
    """The token, with a minus where one stands before it that subtracts nothing."""
    before = text[max(0, found.start() - 8) : found.start()]
    return "-" + found[0] if "-" in before and _SIGN.search(before) else found[0]
