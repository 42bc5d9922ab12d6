"""What math-verify does not read as it is meant: written anew before it compares, or compared here.

latex2sympy drops some marks without a word (`x'` is x, `12_7` is 12, `5!!` is (5!)!, `30^\\circ` is 30), and then two
different answers are equal. Whoever says that two texts are equal asks `dropped` of both first.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from toolkit.rewards.numerals import changes_number

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mbox|textnormal|operatorname)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|~|\\q?quad\b")

_REPEATING = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\s*(?:\{([0-9]+)\}|([0-9]))")
_ITEM = r"(?:\{\s*([0-9]{1,4}|[a-z])\s*\}|([0-9]{1,4}|[a-z]))"
_CHOOSE = re.compile(
    rf"(?:\{{\}}|(?<![A-Za-z0-9}}]))[\^_]{_ITEM}\s*(?:\\mathrm\{{C\}}|C)_{_ITEM}"
    r"|(?<![A-Za-z])C\(\s*([0-9]{1,4})\s*,\s*([0-9]{1,4})\s*\)"
)
_DOUBLE_FACTORIAL = re.compile(r"(?<![0-9.])([0-9]{1,3})!!(?!!)")
_TRIGONOMETRIC = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?|[a-z])\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree|°)")
_MATRIX = re.compile(r"\\begin\s*\{[pbvBV]?matrix\}")

# What is dropped, by name; each is compared as the list of what it finds
_DROPPED = {
    "primes": re.compile(r"(?<=[A-Za-z0-9)}\]])(?:\^\{?\s*(?:\\prime\s*)+\}?|'+)(?![A-Za-z])"),
    "the base of a number": re.compile(r"(?<![A-Za-z\\])[0-9]+\s*_\s*\{?\s*([0-9]+)\s*\}?"),
    "a transpose": re.compile(r"\^\s*(?:\{\s*(?:T|\\top|\\intercal)\s*\}|T(?![a-z])|\\top)"),
    "a double factorial": re.compile(r"!!"),
    "a relation": re.compile(r"\\(?:equiv|sim|simeq|cong|propto)(?![a-z])"),
    "the order of a derivative": re.compile(r"\^\s*\{?\s*(\([^(){}]*\))\s*\}?"),
}
_INEQUALITY = re.compile(r"[<>≤≥]|\\(?:leq?|geq?|lt|gt|leqslant|geqslant|leqq|geqq)(?![a-z])")
_SET_LIKE = re.compile(r"[\[(].*,.*[\])]|\\mathbb|\\cup|\\cap|\\emptyset|\\varnothing|\\infty|\\\{", re.DOTALL)
_PAIR, _SET = re.compile(r"\s*(?:\\left)?\(.*,.*\)\s*", re.DOTALL), re.compile(r"\s*(?:\\left)?\\\{.*\}\s*", re.DOTALL)
_NAME = re.compile(r"\s*[A-Za-z](?:_\{?\w+\}?)?'*(?:\([A-Za-z, ]+\))?\s*=")
_BUILDER = re.compile(
    r"\s*(?:[A-Za-z]\s*\\in\s*)?(?:\\left)?\\\{\s*[A-Za-z]\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?(?:\||:|\\mid|\\vert)(.*)"
    r"(?:\\right)?\\\}\s*",
    re.DOTALL,
)
_OR = re.compile(r"\\text\s*\{\s*or\s*\}|\bor\b|\\lor(?![a-z])|\\vee(?![a-z])|\\cup(?![a-z])")
_AND = re.compile(r"\\text\s*\{\s*and\s*\}|\band\b|\\land(?![a-z])|\\wedge(?![a-z])")

_UNITS = """
mm millimeter; cm centimeter centimetre; m meter metre; km kilometer kilometre; in inch inche; ft foot feet; yd yard;
mi mile; mg milligram; g gram; kg kilogram; lb pound; oz ounce; t ton tonne; ms millisecond; s sec second; min minute;
h hr hour; day; week; month; year yr; ml milliliter millilitre; l liter litre; gal gallon; cup; degree deg; radian rad;
dollar usd; cent; euro eur; yuan rmb cny; rupee inr
"""
_UNIT_OF = {word: group.split()[0] for group in _UNITS.split(";") for word in group.split()}
_UNIT = re.compile(r"([A-Za-z]+)\s*(?:\^\s*\{?\s*(-?[0-9])\s*\}?|([²³]))?")


def formula_of(text: str) -> str:
    """The formula that counts: what stands in the last box, else in the last formula marks, else the whole text."""
    start = max((found.end() for found in _BOXED.finditer(text)), default=-1)
    if start >= 0:
        depth = 1
        for at in range(start, len(text)):
            depth += (text[at] == "{") - (text[at] == "}")
            if depth == 0:
                return text[start:at]
    *_, last = [None, *_FORMULA.finditer(text)]
    return next(part for part in last.groups() if part is not None) if last else text


def rewritten(text: str, has_pi: bool = False) -> str:
    """The text with what math-verify cannot read in words that it can: repeating decimals, `C(5,2)`, `5!!`, degrees.

    Degrees become radians inside a trigonometric function, and with `has_pi`, where the other side has radians.
    """
    text = _REPEATING.sub(_repeating, text)
    text = _CHOOSE.sub(lambda m: f"\\binom{{{m[1] or m[2] or m[5]}}}{{{m[3] or m[4] or m[6]}}}", text)
    text = _DOUBLE_FACTORIAL.sub(lambda m: str(math.prod(range(int(m[1]), 0, -2))), text)
    if has_pi or _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"{(\1\\cdot\\frac{\\pi}{180})}", text)
    if _MATRIX.search(text) and "$" not in text and "\\[" not in text and "\\boxed" not in text:
        text = f"${text}$"
    return text


def _repeating(found: re.Match[str]) -> str:
    """`0.1\\overline{6}` as the fraction 15/90."""
    whole, head, tail = found[1] or "0", found[2], found[3] or found[4]
    over = int("9" * len(tail) + "0" * len(head))
    return f"\\frac{{{int(whole + head + tail) - int(whole + head)}}}{{{over}}}"


def difference(answer: str, gold: str) -> str:
    """What math-verify drops and in which two formulas differ, by name; empty where nothing does."""
    answer, gold = formula_of(answer), formula_of(gold)
    if _NAME.match(answer) is None or _NAME.match(gold) is None:  # `f'(x) = 2x` is 2x
        answer, gold = (text.rpartition("=")[2] if _NAME.match(text) else text for text in (answer, gold))
    math_of = [_TEXT.sub(" ", _SPACES.sub(" ", text)) for text in (answer, gold)]
    for name, pattern in _DROPPED.items():
        a, b = (Counter(found[found.lastindex or 0] for found in pattern.finditer(text)) for text in math_of)
        if a != b:
            return name
    if _scales(answer) != _scales(gold):
        return "a word that changes the number"
    units = units_of(answer), units_of(gold)
    if all(units) and units[0] != units[1]:
        return "units"
    for one, other in (math_of, math_of[::-1]):
        if _INEQUALITY.search(one) and not _INEQUALITY.search(other) and not _SET_LIKE.search(other):
            return "an inequality"
        if _PAIR.fullmatch(one) and _SET.fullmatch(other) and not _BUILDER.fullmatch(other):
            return "the order of a pair"
    return ""


def _scales(text: str) -> list[str]:
    said = (words.strip() for words in _TEXT.findall(text))
    return sorted(words for words in said if len(words) > 1 and words != "or" and changes_number(words))


def units_of(text: str) -> Counter[tuple[str, str]]:
    """The units of measurement after the number of an answer, with their powers: `5 m^2`, `\\text{ cm}`."""
    found: Counter[tuple[str, str]] = Counter()
    *_, tail = re.split(r"[0-9)}](?=[\s\\~A-Za-z°]*[A-Za-z])", _SPACES.sub(" ", _TEXT.sub(r" \1 ", text)), maxsplit=1)
    for word, power, raised in _UNIT.findall(tail):
        unit = _UNIT_OF.get(word) or _UNIT_OF.get(word.lower().removesuffix("s"))
        if unit:
            found[unit, power or {"²": "2", "³": "3"}.get(raised, "1")] += 1
    return found


def alternatives(text: str) -> list[list[str]]:
    """An inequality's parts: a list for each `or` of the parts of each `and`; none where a text is no inequality.

    The condition of a set (`\\{x | 2 < x\\}`) counts as its inequality.
    """
    formula = formula_of(text).strip()
    if builder := _BUILDER.fullmatch(formula):
        formula = builder[1].removesuffix("\\right")
    if not _INEQUALITY.search(formula):
        return []
    return [[part.strip(" ,") for part in _AND.split(each)] for each in _OR.split(formula)]
