"""Which text is the answer, and which number it says."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.rewards import correct
from toolkit.rewards.answers import equal, last_answer_block, parse_gold, parse_number

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18), ("18.0", 18), ("$18", 18), ("1,800", 1800), ("18 dollars", 18), ("-3", -3), ("3/4", Fraction(3, 4)),
        ("\u22123", -3), ("-$18", -18), ("$-18", -18), ("\\$18", 18), ("18.", 18), (" 18\n", 18), ("+18", 18),
        (".5", Fraction(1, 2)), ("1,234,567.25", Fraction(123456725, 100)), ("5 km/h", 5), ("40%", 40), ("18 €", 18),
        ("007", 7), ("18\u00a0apples", 18),
    ],
)  # fmt: skip
def test_one_number_is_read(text: str, value: Fraction | int) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eighteen",
        "18 or 19",
        "18 19",
        "1,80",
        "1,8000",
        "1/0",
        "--3",
        "1.5.2",
        "x = 18",
        "18;19",
        "<answer>18",
        "9" * 5000,
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    assert parse_number(text) is None


def test_the_last_complete_block_decides() -> None:
    assert last_answer_block("<answer>5</answer> no: <answer>7</answer>") == "7"
    assert last_answer_block("<answer>5</answer> <answer>7") == "5"
    assert last_answer_block("<answer><answer>5</answer>") == "5"
    assert last_answer_block("</answer><answer>5") is None
    assert last_answer_block("5") is None


def test_an_unreadable_gold_answer_is_not_the_models_fault() -> None:
    completions = ["<answer>18</answer>", "<answer>18</answer>", "<answer>18.0</answer>", "18"]
    assert correct(completions, answer=["many", "19", "Natalia sold 18.\n#### 18", "18"]) == [None, 0.0, 1.0, 0.0]


def test_conversational_completions_are_judged_like_plain_ones() -> None:
    assert correct([[{"role": "assistant", "content": "<answer>3/4</answer>"}]], answer=["0.75"]) == [1.0]


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=1))
def test_every_way_to_write_a_whole_number_is_equal(value: Fraction) -> None:
    n = int(value)
    for text in (f"{n}", f"{n:,}", f"{n}.00", f"${n:,}", f"{n} apples"):
        assert equal(text, str(n)) is True
        assert equal(text, str(n + 1)) is False


@given(st.text(alphabet="0123456789,./-+$% <>answer\u2212x", max_size=60))
def test_any_text_is_read_or_refused_without_an_exception(text: str) -> None:
    value = parse_number(text)
    assert value is None or isinstance(value, Fraction)
    assert correct([f"<answer>{text}</answer>"], answer=["18"])[0] in (0.0, 1.0)


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the repository")
def test_every_gsm8k_gold_answer_is_read() -> None:
    rows = [json.loads(line) for f in ("train", "test") for line in (GSM8K / f"{f}.jsonl").read_text().splitlines()]
    assert len(rows) == 7473 + 1319
    assert [row["answer"] for row in rows if parse_gold(row["answer"]) is None] == []
