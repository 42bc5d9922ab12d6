"""Equations in a text, each checked exactly."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paths import SHARED
from toolkit.rewards.equations import evaluate, find

GSM8K = SHARED / "data" / "gsm8k" / "train.jsonl"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He sold 48/2 = <<48/2=24>>24 clips.", ["48/2=24"]),
        ("9 x 2 = 18. Then 3+4=8", ["9x2=18", "not 3+4=8"]),
        ("16 eggs - 3 eggs = 13 eggs", ["16-3=13"]),
        ("1. 9 * 2 = 18\n- 5 - 2 = 3", ["9*2=18", "5-2=3"]),
        ("$9 * 2 = $18 a day", ["$9*2=$18"]),
        ("20% * 50 = 10", ["20%*50=10"]),
        ("(16-3-4)*2 = 18", ["(16-3-4)*2=18"]),
        ("10/3 = 3.33", ["not 10/3=3.33"]),
        ("0.1 + 0.2 = 0.3", ["0.1+0.2=0.3"]),
        ("30*.01=.3", ["30*.01=.3"]),
        ("1,000 + 1 = 1,001.", ["1,000+1=1,001"]),
        (r"\frac{48}{2} = 24 and 9 \times 2 = 18", ["(48)/(2)=24", "9×2=18"]),
        ("48/2 = 24 = 12*2", ["48/2=24", "24=12*2"]),
        ("2*3=6 3*3=8", ["2*3=6", "not 3*3=8"]),
        ("5 - -3 = 8", ["5--3=8"]),
        ("2-3=\u22121", ["2-3=\u22121"]),
        ("x = 5, 3x - 5 = 16, 10 x = 20, 5 = 5, a+b=c, 1/0=5, =, ==", []),
    ],
)
def test_equations_of_numbers_are_found_and_checked(text: str, found: list[str]) -> None:
    assert [f"{'' if e.holds else 'not '}{e.left}={e.right}" for e in find(text)] == found


@given(
    st.integers(-999, 999), st.integers(1, 999), st.integers(1, 999), st.sampled_from("+-*/"), st.sampled_from("+-*/")
)
def test_an_expression_has_its_exact_value(a: int, b: int, c: int, first: str, second: str) -> None:
    exact = {
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": lambda x, y: Fraction(x) / y,
    }
    assert evaluate(f"({a} {first} {b}) {second} {c}") == exact[second](exact[first](a, b), c)
    inner = exact[second](b, c)
    if inner != 0 or first != "/":
        assert evaluate(f"{a} {first} ({b}{second}{c})") == exact[first](a, inner)


def test_products_bind_before_sums_and_equal_ranks_go_from_the_left() -> None:
    values = [evaluate(text) for text in ("2+3*4", "2*3+4", "10-2-3", "24/4/2", "24/4*2", "2-3*4+1", "-2*3")]
    assert values == [14, 10, 5, 3, 12, -9, -6]


@pytest.mark.parametrize(
    "text", ["", "1+", "*2", "1 2", "(1", "1)", "()", "1/0", "2**3", "1+a", "(" * 9 + "1" + ")" * 9, "1" * 81]
)
def test_what_is_no_expression_has_no_value(text: str) -> None:
    assert evaluate(text) is None


@given(st.text(alphabet="0123456789+-*/=().,%x $<>\\ab\n", max_size=120) | st.text())
def test_any_text_is_searched_without_an_exception(text: str) -> None:
    assert all(isinstance(equation.holds, bool) for equation in find(text))


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the repository")
def test_the_annotations_of_gsm8k_are_found_and_nearly_all_hold() -> None:
    texts = [json.loads(line)["answer"] for line in GSM8K.read_text().splitlines()]
    n_annotations = sum(text.count("<<") for text in texts)
    equations = [equation for text in texts for equation in find(text)]
    assert len(equations) > 0.95 * n_annotations
    assert sum(equation.holds for equation in equations) > 0.99 * len(equations)
