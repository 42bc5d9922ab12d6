"""Numbers in running text: the last one, and the one that "the answer is" announces."""

from __future__ import annotations

import re

from toolkit.rewards.numerals import MAX_ANSWER_CHARS, PLAIN, parse_number, without_latex

WINDOW = 160  # characters looked at after a lead-in
DIGITS = "0123456789"
_BINDING = frozenset(f"{DIGITS}×x*/^")  # before a space: `1 3/4`, `1.5 × 10^3`
TAIL = 32  # and before the last digit, unless a number begins there
MAX_LEADS = 100  # lead-ins looked at, from the last
_TAGS = re.compile(r"</?[A-Za-z_]{1,32}>|<\|[A-Za-z_]{1,32}\|>")  # `<think>`, and special tokens such as `<|im_end|>`

_FIGURE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
# One number with what belongs to it. The tail makes a time, range, date, version, wrong separator, power, or a word
# that scales one text, which `parse_number` then refuses.
_TOKEN = re.compile(
    r"(?:(?<![A-Za-z0-9_^/])|(?<=USD)|(?<=Rs))(?<![0-9][.,])(?<!\^-)(?<![\^_]\{)"
    rf"(?:[0-9]+ [0-9]{{1,2}}/[0-9]+(?![0-9/])|{_FIGURE}\s?/\s?{_FIGURE}(?![0-9/])|{_FIGURE})"
    r"(?:[eE][+-]?[0-9]+|\s?[×x*]\s?10\s?(?:\^\s?[+-]?[0-9]+|[⁺⁻]?[⁰¹²³⁴-⁹]+))?"
    r"(?:(?:[:,./-][0-9]+)+|\^-?[0-9a-z]+|[½¼¾²³])?"
    r"(?:\s?(?:%|[kKM]\b|[十百千万亿]|(?:percent|pct|(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?)\b"
    r"|and (?:a |one )?(?:half|third|quarter)\b))?"
)
_SIGN = re.compile(r"(?:(?<![0-9A-Za-z)%])(?<![0-9)%] )-|[=≈]\s?-\s)(?:US\$|[$€£¥₹])?$|[$€£¥₹]-$")

_LEAD = re.compile(
    r"answers?\b(?:[^.\n:=<>]{0,80}?(?:\b(?:is|are|be|equals)\b|[:=])|[*_) ]{0,8}\n)|答案[^.。\n]{0,20}?[是为:：=]|A:",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!Rs)(?<!approx)[.!?](?=[\s*$]|$)|\n")
_DENIAL = re.compile(r"\b(?:not|correct|right|wrong|reasonable|because|since)\b|n't\b", re.IGNORECASE)
_ANOTHER = re.compile(r"[\s*$]*(?:[A-Za-z]+ )?(?:or|and|to|through|-)\s*[$€£¥]?\s?[0-9]", re.IGNORECASE)
_CALCULATES = re.compile(r"[\s$)]*[-+*/×÷·x=]\s*[$€£¥(]*\s*[0-9(]")


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
    window = _plain(text[start : at + TAIL])
    found = _last_token(window)
    if start > 0 and (found is None or found.start() < 2):  # a number longer than the window, or digits of a word
        window = _plain(text)
        found = _last_token(window)
    return _signed(window, found) if found else None


def stated_answer(text: str) -> str | None:
    """Return what the last "the answer is ..." (`Answer: ...`, `A: ...`, `答案是...`) announces, or None.

    It is the number that its sentence gives, alone or before a reason; of an equation the result. Where the sentence
    gives several (`18 or 19`) it is their text, which `parse_number` refuses. A sentence without a number
    (`this answer is correct`) is passed over.
    """
    at = len(text)
    for _ in range(MAX_LEADS):
        at = max(text.rfind("nswer", 0, at), text.rfind("NSWER", 0, at), text.rfind("答案", 0, at), _short(text, at))
        if at < 0:
            return None
        lead = _LEAD.match(text, max(0, at - (text[at] in "nN")))
        if lead and (answer := _announced(text[lead.end() : lead.end() + WINDOW])) is not None:
            return answer
    return None


def _short(text: str, end: int) -> int:
    """Where the last line that begins with `A:` stands before `end`; -1 when there is none."""
    at = text.rfind("\nA:", 0, end) + 1
    return at if at or (end and text.startswith("A:")) else -1


def _announced(rest: str) -> str | None:
    """The answer in what follows a lead-in; None when its sentence has no number."""
    rest = _plain(rest).lstrip(" *:#_`>\n\t")
    end = _SENTENCE_END.search(rest)
    sentence = rest[: end.start()] if end else rest
    if len(sentence) <= MAX_ANSWER_CHARS and parse_number(sentence) is not None:
        return sentence
    found = _TOKEN.search(sentence)
    if found is None or _DENIAL.search(sentence, 0, found.start()):
        return None
    if _ANOTHER.match(sentence, found.end()):
        return sentence
    if _CALCULATES.match(sentence, found.end()):
        result = sentence.rpartition("=")[2]
        found = _TOKEN.search(result)
        return _signed(result, found) if found and result != sentence else sentence
    return _signed(sentence, found)


def _plain(text: str) -> str:
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
        for found in _TOKEN.finditer(text, start):  # noqa: B007
            pass
        if found:
            return found
    return None


def _signed(text: str, found: re.Match[str]) -> str:
    """The token, with a minus where one stands before it that subtracts nothing."""
    before = text[max(0, found.start() - 8) : found.start()]
    return "-" + found[0] if "-" in before and _SIGN.search(before) else found[0]
