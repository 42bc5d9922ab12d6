"""Equations that a completion writes on its way (`48/2 = 24`, GSM8K's `<<48/2=24>>`), each checked exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from toolkit.rewards.numerals import decimal

MAX_SIDE = 80  # characters of one side; keeps every search bounded, and every number short
MAX_DEPTH = 8  # of parentheses
MAX_SIGNS = 10_000  # of equality that are looked at; a solution has ten
MAX_BITS = 4096  # of a power; 2^10^10 would take the machine's memory
MAX_FACTORIAL = 200
_OPERATORS = str.maketrans({"×": "*", "·": "*", "÷": "/", "\u2212": "-", "\u2013": "-"})
_TIMES = re.compile(r"(?<=[0-9)%])x(?=[$(0-9.])")  # `9 x 2`; in `3x - 5` it is a variable
_SIDE = r"[0-9.,+\-*/×÷x·\u2212\u2013%()$€£¥ ]*"
_RUN = re.compile(_SIDE)
_TOKEN = re.compile(r"([0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)|([-+*/()%^!√])|[$€£¥ ]+|(.)")
_LEADING_NUMBER = re.compile(r"\s*[$€£¥]?\s?-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?%?")
_SIMPLE = re.compile(r"([0-9]+)([-+*])([0-9]+)")  # what most sides are; the parser gives the same
_OPERATOR = re.compile(r"[-+*/×÷x·\u2212\u2013]")
_BREAK = re.compile(r"[.,]\s+|(?<=[0-9%)])\s+(?=[0-9($])")
_UNIT = re.compile(r"(?<=[0-9%)])\s*[A-Za-z]{2,}(?:\s[A-Za-z]+)?(?=\s*(?:[-+*/×÷)]|$))")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}")
_LATEX = (("\\times", "×"), ("\\cdot", "·"), ("\\div", "÷"), ("\\,", " "), ("\\$", "$"), ("\\%", "%"), ("{,}", ","))


class Equation(NamedTuple):
    """Two sides as written, without their spaces; at least one of them has an operator."""

    left: str
    right: str

    @property
    def holds(self) -> bool:
        """Whether both sides are the same number, exactly: `10/3 = 3.33` does not hold."""
        return _value(self.left) == _value(self.right)


def find(text: str) -> Iterator[Equation]:
    """The equations of numbers in a text, in order; what cannot be evaluated (`x = 5`) is no equation.

    Each link of a chain `a = b = c` counts. A unit after a number (`16 eggs - 3 eggs = 13 eggs`) and a currency are
    ignored, `%` divides by 100, `x` between numbers multiplies.
    """
    if "\\" in text:
        for command, plain in _LATEX:
            text = text.replace(command, plain)
        text = _LATEX_FRACTION.sub(r"(\1)/(\2)", text)
    at = text.find("=")
    for _ in range(MAX_SIGNS):
        if at < 0:
            return
        right = _right_side(text[at + 1 : at + 1 + MAX_SIDE])
        left = None if right is None else _left_side(text[max(0, at - MAX_SIDE) : at])
        if left is not None and right is not None and (_has_operator(left) or _has_operator(right)):
            yield Equation(left, right)
        at = text.find("=", at + 1)


def evaluate(expression: str) -> Fraction | None:
    """The exact value of `+ - * / ^`, factorials, rational roots (`√16`), parentheses and percent over decimals.

    None when it is no such expression, or beyond 80 characters, 8 nested parentheses, 4,096 bits or 200!.
    """
    if len(expression) > MAX_SIDE or _BREAK.search(expression.strip()):  # `1 2` is no 12
        return None
    value = _value(expression.replace(" ", ""))
    return None if value is None else Fraction(value)


def _left_side(window: str) -> str | None:
    """The longest expression that ends the window."""
    side = _last_run(window)
    if side is None and (plain := _UNIT.sub("", window)) != window:
        side = _last_run(plain)
    return side


def _last_run(window: str) -> str | None:
    run = _RUN.match(window[::-1])
    side = run[0][::-1] if run else ""
    if " " in side:
        side = _BREAK.split(side)[-1].strip(" ,").removeprefix("- ").replace(" ", "")  # `- ` is a bullet
    side = side.lstrip(",").rstrip(".,")
    return side if side and _value(side) is not None else None


def _right_side(window: str) -> str | None:
    """The expression that begins the window, or just its number."""
    if window[:3].lstrip(" $")[:1] == "<":  # the annotation in `48/2 = <<48/2=24>>24`, which has its own sign
        return None
    run = _RUN.match(window)
    side = run[0] if run else ""
    if " " in side:
        side = _BREAK.split(side, maxsplit=1)[0].replace(" ", "")
    side = side.rstrip(".,")
    if not side:
        return None
    if _value(side) is not None:
        return side
    number = _LEADING_NUMBER.match(window)
    return number[0].replace(" ", "") if number else None


def _has_operator(side: str) -> bool:
    return _OPERATOR.search(side, 1) is not None


@lru_cache(maxsize=8192)  # the completions of a group write the same equations
def _value(side: str) -> int | Fraction | None:
    if side.isdigit() and side.isascii():
        return int(side)
    if simple := _SIMPLE.fullmatch(side):
        a, b = int(simple[1]), int(simple[3])
        return a + b if simple[2] == "+" else a - b if simple[2] == "-" else a * b
    if "x" in side:
        side = _TIMES.sub("*", side)
    tokens: list[int | Fraction | str] = []
    for number, operator, other in _TOKEN.findall(side.translate(_OPERATORS)):
        if number:
            tokens.append(int(number) if number.isdigit() else decimal(number))
        elif operator == "%":
            if not tokens or isinstance(tokens[-1], str):
                return None
            tokens[-1] = Fraction(tokens[-1]) / 100
        elif operator:
            tokens.append(operator)
        elif other:
            return None
    try:
        value, end = _sum(tokens, 0, 0)
    except (IndexError, ZeroDivisionError, ValueError):
        return None
    return value if end == len(tokens) else None


def _sum(tokens: list[int | Fraction | str], at: int, depth: int) -> tuple[int | Fraction, int]:
    value, at = _product(tokens, at, depth)
    while at < len(tokens) and tokens[at] in ("+", "-"):
        sign = tokens[at]
        term, at = _product(tokens, at + 1, depth)
        value = value + term if sign == "+" else value - term
    return value, at


def _product(tokens: list[int | Fraction | str], at: int, depth: int) -> tuple[int | Fraction, int]:
    value, at = _signed_power(tokens, at, depth)
    while at < len(tokens) and tokens[at] in ("*", "/"):
        operator = tokens[at]
        factor, at = _signed_power(tokens, at + 1, depth)
        value = value * factor if operator == "*" else Fraction(value, factor)
    return value, at


def _signed_power(tokens: list[int | Fraction | str], at: int, depth: int) -> tuple[int | Fraction, int]:
    if tokens[at] == "-" and tokens[at + 1] != "-":
        value, at = _power(tokens, at + 1, depth)
        return -value, at
    return _power(tokens, at, depth)


def _power(tokens: list[int | Fraction | str], at: int, depth: int) -> tuple[int | Fraction, int]:
    value, at = _factor(tokens, at, depth)
    if tokens[at : at + 1] == ["!"]:
        if value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL or tokens[at + 1 : at + 2] == ["!"]:
            raise ValueError("no factorial")
        value, at = math.factorial(int(value)), at + 1
    if tokens[at : at + 1] == ["^"]:
        exponent, at = _signed_power(tokens, at + 1, depth)
        if exponent.denominator != 1 or abs(exponent) * _bits(value) > MAX_BITS:
            raise ValueError("no power")
        value = Fraction(value) ** int(exponent)
    return value, at


def _bits(value: int | Fraction) -> int:
    return max(abs(value.numerator).bit_length(), value.denominator.bit_length())


def _root(value: int | Fraction) -> Fraction:
    if value < 0:
        raise ValueError("no root")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise ValueError("no rational root")
    return root


def _factor(tokens: list[int | Fraction | str], at: int, depth: int) -> tuple[int | Fraction, int]:
    first = tokens[at]
    if not isinstance(first, str):
        return first, at + 1
    if depth == MAX_DEPTH or first not in ("(", "√"):
        raise ValueError("no expression")
    if first == "√":
        value, at = _factor(tokens, at + 1, depth + 1)
        return _root(value), at
    value, at = _sum(tokens, at + 1, depth + 1)
    if tokens[at] != ")":
        raise ValueError("a parenthesis is not closed")
    return value, at + 1
