"""Which text is the answer, and which number it says."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paths import SHARED
from toolkit.rewards import correct, correct_latex
from toolkit.rewards.answers import equal, find_answer, gold_list, golds, parse_gold, read
from toolkit.rewards.correctness import Correct
from toolkit.rewards.numerals import parse_number
from toolkit.rewards.registry import get

GSM8K = SHARED / "data" / "gsm8k"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18), ("18.0", 18), ("$18", 18), ("1,800", 1800), ("18 dollars", 18), ("-3", -3), ("3/4", Fraction(3, 4)),
        ("\u22123", -3), ("-$18", -18), ("$-18", -18), ("\\$18", 18), ("18.", 18), (" 18\n", 18), ("+18", 18),
        (".5", Fraction(1, 2)), ("1,234,567.25", Fraction(123456725, 100)), ("5 km/h", 5), ("40%", 40), ("18 €", 18),
        ("007", 7), ("18\u00a0apples", 18),
        ("18 dollars per hour", 18), ("3 red balls", 3), ("5 apples", 5), ("18 seconds", 18), ("18 months", 18),
        ("18 points", 18), ("18 m", 18), ("18kg", 18), ("18 m²", 18), ("18 is", 18), ("18 apples and pears", 18),
        ("**18**", 18), ("**18**.", 18), ("**$18.**", 18), (r"\boxed{18}", 18), (r"$\boxed{-3/4}$", Fraction(-3, 4)),
        ("$$18$$", 18), ("$18$", 18), ("$-18$", -18), (r"$\$18$", 18), (r"\(18\)", 18), (r"\[ 18 \]", 18),
        ("$18$ dollars", 18), ("= 18", 18), ("x = 18", 18), ("k=-18", -18), ("Total = $18", 18), ("$x = 18$", 18),
        (r"x = \boxed{18}", 18), ("**score = 18 points**", 18),
        ("$18/hour", 18), ("18/hour", 18), ("18 / hour", 18),
        ("USD 18", 18), ("-USD 18", -18), ("US$18", 18), ("Rs. 18", 18), ("Rs.5", 5), ("Rs 18", 18), ("18¢", 18),
        ("**18** dollars", 18), ("**18**%", 18), ("**$18** per hour.", 18), ("x = **18** /hour", 18),
        (r"**\boxed{18}** dollars", 18), (r"40\%", 40), (r"$40\%$", 40), ("40%.", 40),
        (r"\frac{3}{4}", Fraction(3, 4)), (r"-\dfrac{3}{4}", Fraction(-3, 4)), (r"$x = \frac{10}{5}$", 2),
        (r"\boxed{\tfrac{1}{2}}", Fraction(1, 2)), (r"1\frac{3}{4}", Fraction(7, 4)),
        (r"2 \frac{1}{2} cups", Fraction(5, 2)),
        ("1 3/4", Fraction(7, 4)), ("-1 3/4", Fraction(-7, 4)), ("$1,200 1/2", Fraction(2401, 2)),
        ("12 1/2%", Fraction(25, 2)),
        ("3\u00a01/4 hours", Fraction(13, 4)), ("0 3/4", Fraction(3, 4)), ("1 25/100", Fraction(5, 4)),
        ("18 times", 18), ("18 times a day", 18), ("18 m^2", 18), (r"18\text{ cm}^{2}", 18), 
        ("90°", 90), (r"90^\circ", 90),
        ("1.5e3", 1500), ("1.5E-3", Fraction(3, 2000)), ("1.5 × 10^3", 1500), ("1.5x10^3", 1500), ("1.5 × 10³", 1500),
        (r"2.5 \times 10^{4}", 25000), ("1e300", 10**300), ("0.5/2", Fraction(1, 4)), ("1,000/3", Fraction(1000, 3)),
        (r"18\,\text{dollars}", 18), (r"1{,}800", 1800), (r"\$1,\!000", 1000), (r"\frac34", Fraction(3, 4)),
        (r"\textbf{\text{18}}", 18), ("\uff11\uff18", 18), ("18元", 18), ("18。", 18), ("(18)", 18), ("`18`", 18),
        ("Total cost: $18", 18), ("total cost = 18", 18), ("≈ 18", 18), ("18.00 dollars", 18), ("1.50", Fraction(3, 2)),
        ("1 800", 1800), ("1\u2009800", 1800), ("1\u202f234\u00a0567.5", Fraction(2469135, 2)), ("$1 800 a day", 1800),
        ("½", Fraction(1, 2)), ("¾ cup", Fraction(3, 4)), ("\u0661\u0668", 18), ("\u096d", 7),
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
        "18;19",
        "5:30",
        "10-12",
        "1e301",
        "1e999999999",
        "18 × 10",
        "2e",
        "18, 19",
        "y plus x = 18",
        "five eggs = 18",
        "<answer>18",
        "9" * 5000,
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "18 million", "18 thousand", "18k", "18 K", "18 hundred", "18 billion", "1.5 million", "18M", "18bn", "2 dozen",
        "18 MILLION dollars", "18 millions", "2 score", "18 and a half", "18 dollars and fifty cents",
        "18 or nineteen", "18 or more", "18 to twenty", "18 to twenty-one", "18 squared", "18π", "18 πr", "18 pi",
        "18 \U0001d70b", "5 minus two", "5 minus y", "5 plus two", "5 plus y", "18 times two", "18 times y",
        "3 halves", "2 thirds",
        "3 quarters", "3 fourths", "3 fifths", "3 hundredths", "18x", "18/two", "18/x", "18½", "18²", "18 万",
        "18 lakh", "18 \uff4b", "**18 million**", "x = 18k", "$18¢", "$18€",
    ],
)  # fmt: skip
def test_a_word_that_changes_the_number_is_not_a_unit(text: str) -> None:
    assert parse_number(text) is None


def test_no_number_word_is_a_unit() -> None:
    words = """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
    half third quarter dozen score pi
    """
    texts = [f"{text} {word} pears" for word in words.split() for text in ("18", "18 apples and")]
    assert [text for text in texts if parse_number(text) is not None] == []


@pytest.mark.parametrize(
    "text",
    [
        "18 80", "18 8000", "1 800 00", "1  800", "1\n800", "1800 000", "0 800", "1 800,000", "1 300/4",
        "1 800/900", "1 4/3", "1 4/4", "1 3/0", "1\n3/4", "1-3/4", "1 3/4 1/2", "1.5 3/4", "3/4 5", "1 800 3/4",
        "1 3/4 million", r"\frac{3}{4}5", r"\frac{3}{0}", r"\frac{3}", r"\frac{3}{4}{5}", r"\frac{x}{4}", r"\sqrt{4}",
        r"5\frac{3}{4}\frac{1}{2}",
        "**18** 5", "**18** 000", "**1** 800", "**18**5", "**18** 1/2", "**18** million", "**18** or nineteen",
        "**3** apples and **4** pears", "**18** and a half", "****18** dollars", r"40\\%", r"40\% 5",
        "18!", "18 m^", "18 m^23", "18^2", "**18** or **19**", "**18", r"\boxed{18", 
        r"\boxed{18} \boxed{19}", "$$", "****", "=", "x =",
        "2x = 18", "x1 = 18", "x - 2 = 18", "x = y = 18", "= = 18", "x = 18 = 19", "five = 18", "½ = 18", "18 = x",
        "USD", "USD USD 18", "18/", "18//hour",
    ],
)  # fmt: skip
def test_marks_around_a_number_do_not_let_a_second_one_in(text: str) -> None:
    assert parse_number(text) is None


def in_tags(text: str) -> str | None:
    return find_answer(text, ("answer_tag",))


def test_the_last_complete_block_decides() -> None:
    assert in_tags("<answer>5</answer> no: <answer>7</answer>") == "7"
    assert in_tags("<answer>5</answer> <answer>7") == "5"
    assert in_tags("<answer><answer>5</answer>") == "5"
    assert in_tags("<answer>5</answer></answer>") == "5"
    assert in_tags("<answer>5</answer> then </answer>") == "5"
    assert in_tags("<answer>5</answer> </answer> <answer>7</answer></answer> <answer>") == "7"
    assert in_tags("<answer></answer>") == ""
    assert in_tags("</answer><answer>5") is None
    assert in_tags("</answer>") is None
    assert in_tags("5") is None


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("<answer>" * 100_000, None), ("</answer>" * 100_000, None), ("</answer><answer>" * 100_000, ""),
        ("<answer>5</answer>" + "<answer>" * 100_000, "5"), ("<answer>5</answer>" + "</answer>" * 100_000, "5"),
        ("<answer>" * 100_000 + "5" + "</answer>" * 100_000, "5"), ("<answer" * 100_000, None),
    ],
)  # fmt: skip
def test_many_tags_take_linear_time(text: str, block: str | None) -> None:
    begin = time.process_time()
    assert in_tags(text) == block
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    "text",
    [
        "-" + " " * 198 + "!", "1" + " " * 198 + "!", "1 /" + " " * 196 + "!", "1 $" + " " * 196 + "!", "1" * 199 + "!",
        "1" + "/ a" * 66, "1" + " a" * 99 + "!", "1 a" + " ." * 98, "1 a" + "." * 196 + "!", "$" * 200, "*" * 200,
        "1" + " 000" * 49 + "!", "1" + ",000" * 49 + "!", "x" + " " * 198 + "!", r"\boxed{" * 28, "$ " * 100,
        r"\frac{1}{" * 20, r"\frac{" + "1" * 190, "**" + "1" * 150 + "** " + "a " * 20 + "!",
        "**1** " + " " * 190 + "!", "1 " * 100,
        "9" * 1_000_000, " " * 1_000_000 + "18", "$" * 1_000_000,
    ],
)  # fmt: skip
def test_a_hostile_answer_costs_little(text: str) -> None:
    begin = time.process_time()
    for _ in range(100):
        parse_number(text)
    assert time.process_time() - begin < 0.5


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


@given(st.text(alphabet="0123456789,./-+$% <>answer\u2212x=*\\(){}\u2009½²π¢k", max_size=60) | st.text())
def test_any_text_is_read_or_refused_without_an_exception(text: str) -> None:
    value = parse_number(text)
    assert value is None or isinstance(value, Fraction)
    assert correct([f"<answer>{text}</answer>"], answer=["18"])[0] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^{10}", 1024), ("2^10", 1024), ("2**10", 1024), ("2¹⁰", 1024), ("2^{-1}", Fraction(1, 2)), ("-2^2", -4),
        ("(-2)^2", 4), ("5!", 120), ("3!^2", 36), (r"3 \cdot 2^4", 48), (r"\sqrt{16}", 4), (r"\frac{2^3}{4}", 2),
        (r"\left(\frac{1}{2}\right)^3", Fraction(1, 8)), ("2^3^2", 512), ("9 * 2", 18), ("20 - 2", 18),
        ("$2^{10}$", 1024), ("x = 2^{10}", 1024), ("2^{10} = 1024", 1024), ("The answer is 2^{10}.", 1024),
        (r"2^{10}\text{ ways}", 1024),
        ("5!!", None), (r"\sqrt{2}", None), ("10-12", None), ("2-3 hours", None), ("12/5/2024", None),
        ("2024-01-05", None),
        ("10^10^10", None), ("999!", None), ("1/0", None), ("0^{-1}", None), ("2(3)", None), ("18 19", None),
        ("18½", None), ("2^10 or 3", None), ("9 * 2 = 19", None), ("2^{10} million", None), ("y = 2x = 18", None),
    ],
)  # fmt: skip
def test_an_expression_of_numbers_is_its_value(text: str, value: Fraction | int | None) -> None:
    assert read(text) == value


def joined(parts: tuple[str, str, str]) -> str:
    return f"({''.join(parts)})"


@given(
    st.recursive(
        st.integers(0, 12).map(str), lambda e: st.tuples(e, st.sampled_from("+-*/"), e).map(joined), max_leaves=6
    )
)
def test_an_expression_has_pythons_value(expression: str) -> None:
    try:
        value = eval(re.sub(r"(\d+)", r"Fraction(\1)", expression))  # noqa: S307 - digits and signs of our own
    except ZeroDivisionError:
        value = None
    assert read(expression) == value


def test_each_of_several_gold_answers_is_right() -> None:
    said = [f"<answer>{x}</answer>" for x in ("4", "5", "6", "x")]
    for gold in (["4", "5"], ("4", 5.0), '["4", "5"]'):
        assert correct(said, answer=[gold] * 4) == [1.0, 1.0, 0.0, 0.0]
        assert correct_latex(said[:3], answer=[gold] * 3) == [1.0, 1.0, 0.0]
    assert correct(said[:1] * 2, answer=[["4"], ["many", "4"]]) == [1.0, 1.0]
    assert [equal("4", gold) for gold in ([], ["many"])] == [None, None]
    assert "is not 4 or 5" in correct.explain(said[2], answer=["4", "5"]).reason
    assert [golds(gold_list(items)) for items in (["4"], ["4", "4"], ["a", "b"])] == [("4",), ("4",), ("a", "b")]
    assert golds("[4, 5]") == ("[4, 5]",)  # an interval


BROKEN = [
    "18 eggs. Then she sells", "She has 18 eggs and then she", "18 of the", "18 +", "18 *", "18 =", "18,", "18 (",
    "18\n\nThen", "So 18 eggs in all, and Ann has", "18: the", "She has 18 eggs that are in a basket in", "18. So",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_text_that_breaks_off_has_no_last_number(text: str) -> None:
    assert [get(name).judge(text, answer="18") for name in ("correct_last_number", "correct_any")] == [0.0, 0.0]
    assert "the text is truncated" in get("correct_last_number").explain(text, answer="18").reason


def test_no_beginning_of_a_solution_pays_for_an_earlier_number() -> None:
    solution, reward = (
        "She has 3 + 15 = 18 eggs. She gives 4 away, so 18 - 4 = 14 are left.\nA: 14",
        Correct(("last_number",)),
    )
    paid = [solution[:n] for n in range(len(solution)) if reward.judge(solution[:n], answer="18")]
    # What a text alone cannot tell: it ends on the number, on its unit, or on their full stop
    assert [text for text in paid if not re.search(r"18[ egs.]*$", text)] == []


def test_a_truncated_completion_is_known_by_its_finish_reason() -> None:
    texts, gold = ["So 18", "So 18.", "18 eggs. Then she"], ["18"] * 3
    reasons = ["length", "stop", "stop"]
    assert get("correct_last_number")(texts, answer=gold, finish_reason=reasons) == [0.0, 1.0, 1.0]
    stated = ["The answer is 18", "The answer is 18.", "The answer is 18.\nA: 1"]
    assert get("correct_answer_is")(stated, answer=gold, finish_reason=["length"] * 3) == [0.0, 1.0, 1.0]
    assert correct(["<answer>18</answer> and"], answer=["18"], finish_reason=["length"]) == [1.0]


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the repository")
def test_every_gsm8k_gold_answer_is_read() -> None:
    rows = [json.loads(line) for f in ("train", "test") for line in (GSM8K / f"{f}.jsonl").read_text().splitlines()]
    assert len(rows) == 7473 + 1319
    assert [row["answer"] for row in rows if parse_gold(row["answer"]) is None] == []
