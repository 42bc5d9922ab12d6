"""From text that says one number to that number as a `Fraction`, so that no rounding decides a reward."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

MAX_ANSWER_CHARS = 200  # longer is not one number; also keeps int() below Python's digit limit
MAX_EXPONENT = 300  # about a float's; 10**10**9 would take the machine's memory

# Minus signs that models write: U+2212 minus, U+2013 en dash, U+FE63 small hyphen; spaces that they put between
# thousands: U+00A0 no-break, U+202F narrow no-break, U+2009 thin; fullwidth ASCII, the ideographic space and full stop
PLAIN = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys(map(ord, "\u2212\u2013\ufe63"), "-")
    | dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u3000"), " ")
    | {0x3002: "."}
)
_DIGIT = re.compile(r"[^\x00-\x7f\D]")  # of other scripts
_FRACTION = re.compile(
    r"(?<!\d)[\u00bc-\u00be\u2153-\u215e](?!\d)"
)  # one sign for the whole number; none beside another
_SYMBOL = r"[$€£¥₹¢]"
_CURRENCY = rf"US\$|{_SYMBOL}|(?i:USD|EUR|GBP|INR|JPY|CNY|RMB|CAD|AUD|CHF|Rs\.?)"
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+"
_DECIMAL = rf"(?:{_GROUPED}|[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_PART = rf"(?:{_GROUPED}|[0-9]+)(?:\.[0-9]+)?"  # above or below the line of a fraction
_POWER = r"(?:[eE](?P<e>[+-]?[0-9]+)|\s*+[×x*]\s*+10\s*+(?:\^\s*+(?P<power>[+-]?[0-9]+)|(?P<raised>[⁺⁻]?[⁰¹²³⁴-⁹]+)))"
# `1 3/4`; at most two digits above the line, since three after a space are a group of thousands
_MIXED = rf"(?P<whole>{_GROUPED}|[0-9]+) {{1,2}}(?=[0-9]{{1,2}}[ /])"
_LETTERS = r"[^\W\d_]+"
# A unit is words only: a digit in it would mean a second number, and then this is not one answer; `cm^2` has none
_UNIT = rf"%|(?:°|/\s*+)?{_LETTERS}(?:[ .\-'/]+{_LETTERS})*(?:\^-?[1-9](?![0-9]))?|°"
# Spaces are possessive (`\s*+`): several `\s*` in a row would try every way to share out a long run of spaces
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*+(?:(?P<before>{_CURRENCY})\s*+)?(?P<inner>[+-]?)\s*+"
    rf"(?:(?:{_MIXED})?(?P<top>{_PART})\s*+/\s*+(?P<bottom>{_PART})|(?P<decimal>{_DECIMAL}){_POWER}?)"
    rf"\s*+(?:(?P<after>{_SYMBOL})\s*+)?(?P<unit>{_UNIT})?\s*+\.?"
)
_BARE = re.compile(r"-?[0-9]{1,100}")  # what most answers are
_WORD = re.compile(_LETTERS)
# A name of the quantity and its sign of equality: `x = `, `Total cost: `, `≈ `; words alone need the sign
_NAME = re.compile(rf"(?:({_LETTERS}(?: {_LETTERS}){{0,5}})?\s*+[=≈]|({_LETTERS}(?: {_LETTERS}){{0,5}})\s*+:)\s*+")
_EMPHASISED = re.compile(r"\*\*([^*]+)\*\*\s*+([%°/]?\s*+[^\W\d_].*|%)", re.DOTALL)  # and a unit: `**18** dollars`
_WRAPPED = re.compile(
    r"(?:\*\*(.*)\*\*|\*([^*]*)\*|__(.*)__|`([^`]*)`|\"([^\"]*)\"|'([^']*)'|“([^”]*)”|\[([^\[\]]*)\]|\(([^()]*)\)|\{([^{}]*)\}"
    r"|\\boxed\s*\{(.*)\}|\$\$(.*)\$\$|\\\((.*)\\\)|\\\[(.*)\\\]|\$(.*)\$)\s*+\.?",
    re.DOTALL,
)

_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|textnormal)\s*\{([^{}]*)\}")
_LATEX_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(-?)([0-9.,]+)\s*\}|([0-9]))\s*(?:\{\s*([0-9.,]+)\s*\}|([0-9]))")
_LATEX_POWER = re.compile(r"\^\s*\{\s*([+-]?[0-9]+)\s*\}")
_LATEX_NAMES = re.compile(
    r"\\(times|cdot|approx|degree|circ|left|right|displaystyle|quad|qquad|pounds|euro)(?![a-zA-Z])"
)
_LATEX_SIGNS = {"times": "×", "cdot": "×", "approx": "≈", "degree": "°", "circ": "°", "pounds": "£", "euro": "€"}
_LATEX_SPACES = re.compile(r"\\[,;: ]|~")

_COUNTING = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety hundred thousand million billion trillion pi
"""
# Parts and multiples, whose names are also names of things (a quarter is a coin), and the words of arithmetic
_CHANGING = """
half halves halved third fifth eighth ninth twelfth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth
ninetieth quarter dozen score gross grand lakh crore k mil mill mln bln mn bn tn e i x
or plus minus squared cubed twice thrice double doubled triple tripled divided multiplied factorial
"""
_NUMBER_WORDS = frozenset(_COUNTING.split())
_ALTERING_WORDS = _NUMBER_WORDS | frozenset(_CHANGING.split())
_CAPITAL_SCALES = frozenset(("M", "MM", "B", "T"))  # 18M is millions; 18m is metres


def parse_number(text: str) -> Fraction | None:
    """Read text that says exactly one number, or return None; never raises.

    Accepts a sign (also the unicode minus), a currency before (`$18`, `USD 18`, `Rs. 18`) or after (`18¢`),
    thousands separators in their right places (`1,800`, `1 800`), a decimal point, a power of ten (`1.5e3`,
    `1.5 × 10^3`), a fraction (`3/4`, `\\frac{3}{4}`), a mixed number (`1 3/4`), a unit in words (`18 dollars`,
    `5 km/h`, `$18/hour`, `18 cm^2`, `40%`, `40\\%`, `18¢`: the number as written, nothing is converted) and one closing
    full stop; all that after `=`, `≈` or a name (`x = 18`, `Total cost: 18`), and inside emphasis, quotes, brackets or
    formula marks (`**18**`, `$18$`, `\\(18\\)`, `\\boxed{18}`); LaTeX's `\\text{}`, spaces and signs are read
    (`18\\,\\text{dollars}`, `1{,}800`); digits of other scripts count as digits, and `½` alone as 1/2.

    Two numbers (`18 or 19`, `5:30`, `10-12`), English words and signs that change the number or bring a second one
    (`18 million`, `18k`, `18 and a half`, `2 dozen`, `18 times two`, `18π`, `18½`), two currencies (`$18¢`), a wrong
    separator (`1,80`), an improper part of a mixed number (`1 4/3`), a zero denominator, an exponent beyond 300 and
    anything over 200 characters are None.
    """
    return _read(text) if len(text) <= MAX_ANSWER_CHARS else None


@lru_cache(maxsize=8192)  # a group gives the same few answers, and each is compared with the same gold answer
def _read(text: str) -> Fraction | None:
    text = text.strip()
    if _BARE.fullmatch(text):
        return Fraction(int(text))
    text = text.translate(PLAIN)
    if not text.isascii():
        text = _FRACTION.sub(lambda one: unicodedata.normalize("NFKC", one[0]).replace("\u2044", "/"), text)
        text = _DIGIT.sub(lambda digit: str(int(digit[0])), text)
    if "\\" in text or "{" in text:
        text = without_latex(text)
    text = _unwrapped(text.strip())
    if name := _NAME.match(text):
        if _names_number(name[1] or name[2]):
            return None
        text = _unwrapped(text[name.end() :])
    match = _NUMBER.fullmatch(text)
    if match is None or (match["sign"] and match["inner"]):
        return None
    if (match["before"] and match["after"] and match["before"] != match["after"]) or changes_number(match["unit"]):
        return None
    value = _value(match)
    return -value if value and "-" in (match["sign"], match["inner"]) else value


def _value(match: re.Match[str]) -> Fraction | None:
    """The number without its sign; None for a zero denominator, a part that is no part, or an exponent out of range."""
    if match["decimal"] is not None:
        value = decimal(match["decimal"])
        power = match["e"] or match["power"] or unicodedata.normalize("NFKC", match["raised"] or "0")
        exponent = int(power.replace("\u2212", "-"))
        return value * Fraction(10) ** exponent if abs(exponent) <= MAX_EXPONENT else None
    top, bottom = decimal(match["top"]), decimal(match["bottom"])
    if bottom == 0:
        return None
    part = top / bottom
    if not match["whole"]:
        return part
    is_part = part < 1 and "." not in match["top"] + match["bottom"]
    return decimal(match["whole"]) + part if is_part else None


def decimal(text: str) -> Fraction:
    """`1,234.50` and `1 234` as they are; `.5` and `18.` too."""
    return Fraction(text.replace(",", "").replace(" ", "").rstrip("."))


def without_latex(text: str) -> str:
    """LaTeX's way to write a number, as plain text; what is not known stays, and makes the text no number."""
    text = text.replace("\\$", "$").replace("\\%", "%").replace("{,}", ",").replace("\\!", "")
    text = _LATEX_NAMES.sub(lambda name: _LATEX_SIGNS.get(name[1], ""), _LATEX_SPACES.sub(" ", text))
    text = text.replace("^°", "°").replace("^{°}", "°")
    for _ in range(3):  # `\textbf{\text{18}}`
        text = _LATEX_TEXT.sub(r"\1", text)
    text = _LATEX_POWER.sub(r"^\1", text)
    return _LATEX_FRACTION.sub(lambda m: f" {m[1] or ''}{m[2] or m[3]}/{m[4] or m[5]} ", text)


def _unwrapped(text: str) -> str:
    """The text without the emphasis and formula marks around all of it, or around all but its unit."""
    while match := _WRAPPED.fullmatch(text):
        text = match[match.lastindex or 0].strip()
    if match := _EMPHASISED.fullmatch(text):
        text = f"{_unwrapped(match[1].strip())} {match[2]}"
    return text


def _names_number(name: str | None) -> bool:
    """Whether what stands before `=` is a number itself (`five = 18`) or a sum (`y plus x = 18`); `x` is a name."""
    words = _WORD.findall(name or "")
    if len(words) == 1:
        return words[0].casefold() in _NUMBER_WORDS or not words[0].isalpha()
    return changes_number(name)


def changes_number(words: str | None) -> bool:
    """Whether a word beside the number makes it another number, or adds one."""
    if not words:
        return False
    found = _WORD.findall(words)
    # `3 times a day` counts; `3 times y` multiplies
    multiplies = any(a == "times" and len(b) == 1 and b != "a" for a, b in pairwise(found))
    return multiplies or any(map(_is_numeric, found))


def _is_numeric(word: str) -> bool:
    """Whether a word counts, scales or calculates; an exponent after a unit (`m²`) does not."""
    word = unicodedata.normalize("NFKC", word.rstrip("²³"))
    folded = word.casefold()
    if not folded or folded in _ALTERING_WORDS or word in _CAPITAL_SCALES:
        return True
    if "π" in folded or any(char.isnumeric() for char in folded):
        return True
    singular = folded.removesuffix("s")
    return len(singular) > 2 and not _ALTERING_WORDS.isdisjoint((singular, singular.removesuffix("th")))
