"""Where the answer stands in a completion: a table of endings that models write, and GSM8K in every format."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.paths import SHARED
from toolkit.rewards.answers import LAYOUTS, Layout, equal, find_answer, parse_gold
from toolkit.rewards.registry import get

GSM8K = SHARED / "data" / "gsm8k" / "train.jsonl"

# The completion, and a gold answer that it gives (RIGHT) or does not give (WRONG)
RIGHT: dict[Layout, list[tuple[str, str]]] = {
    "answer_tag": [
        ("<answer>18</answer>", "18"), ("<answer>The answer is 18.</answer>", "18"),
        (r"<answer>\boxed{18}</answer>", "18"), ("<answer>#### 18</answer>", "18"), ("<answer>9*2=18</answer>", "18"),
        ("<answer>A: 18</answer>", "18"), ("<answer>$18 per day</answer>", "18"),
        ("<answer><b>18</b></answer>", "18"), ("<answer>\n$18\n</answer>", "18"),
        ("<answer>Janet: 18</answer>", "18"),
    ],
    "answer_is": [
        ("The answer is 18.", "18"), ("The answer is: $1,234.50.", "1234.5"), ("**Answer: 18**", "18"),
        ("**Answer:** 18", "18"), ("**Final Answer**\n\n18", "18"), ("### Final Answer\n\\boxed{18}", "18"),
        (r"The final answer is $\boxed{42}$. I hope it is correct.", "42"),
        (r"Therefore, the answer is \(18\).", "18"), ("So the answer is **$18.00**.", "18"),
        ("The answer is 18 dollars, because 9*2=18.", "18"), ("The answer is 9 * 2 = 18 dollars.", "18"),
        ("The answer is x = 5", "5"), ("The answer is 3/4.", "0.75"), ("The answer is 1 3/4 cups", "1.75"),
        ("The answer is -3.", "-3"), ("The answer is −3 degrees", "-3"),
        ("The answer is 18.\n\nLet me know if this answer is correct.", "18"),
        ("The answer is 17. Wait, the answer is 18.", "18"), ("answer: 18", "18"), ("ANSWER: 18", "18"),
        ("A: 18", "18"), ("blah\nA: 18\n", "18"), ("Q: how\nA: 1,000", "1000"),
        ("The answer to how many eggs she sells is 18.", "18"), ("The answer is therefore 18 eggs.", "18"),
        ("The answer is that Janet makes $18 every day.", "18"), ("答案是18元。", "18"), ("答案：18", "18"),
        ("因此，答案为 **18** 个苹果。", "18"), ("答案是18。因此", "18"), ("The answer is 18%", "18"),
        ("The answer is 18 percent.", "18"), ("The answer is 1.5e3", "1500"), ("The answer is $18$.", "18"),
        (r"The answer is \[18\]", "18"), ("Final answer: 18 (eighteen)", "18"),
        ("The correct answer is 18, not 19", "18"), ("The answer is approximately 3.33.", "3.33"),
        ("The answer is `18`.", "18"), ("The answer is \"18\".", "18"), ("Answer = 18", "18"),
        ("The answer is <b>18</b>.", "18"), (r"The answer is \boxed{\frac{3}{4}}.", "0.75"),
        ("The answer is Rs. 18.", "18"), ("The answer is 18.<|im_end|>", "18"),
        (r"The final answer is: $$\boxed{18}$$", "18"), ("The answer is 18,000.", "18000"),
        ("The answer is 20 - 2 = 18.", "18"), ("The answer is £18.50 in total.", "18.5"),
        ("The answer is $ 18.", "18"), ("Therefore, the answer is (18).", "18"), ("The answer is 18!", "18"),
        ("The answer is 50 miles/hour.", "50"), ("The answer: 18\nExplanation: 3 * 6", "18"),
        ("So the answer is 18\n\nStep 2: 19", "18"),
    ],
    "last_number": [
        ("So she has 18 eggs.", "18"), ("= 18 eggs.", "18"), ("18%", "18"), ("So 3/4", "0.75"), ("x = 5", "5"),
        ("9*2=18", "18"), ("16-3=13", "13"), ("the total is -5", "-5"), ("x=-5", "-5"), ("= - 5", "-5"),
        ("- 5 apples", "5"), ("$1,234.50.", "1234.5"), ("He gets $18.00", "18"), ("18 dollars per CO2", "18"),
        ("Answer 18 cm^2", "18"), ("Answer 18 cm^{2}", "18"), (r"\boxed{18}", "18"), (r"\boxed{\frac{3}{4}}", "0.75"),
        ("**18**", "18"), ("#### 18", "18"), ("A: 18", "18"), ("<answer>18</answer>", "18"), ("18<|im_end|>", "18"),
        ("-$18", "-18"), ("$-18", "-18"), ("is −18", "-18"), (r"1.5 \times 10^{3}", "1500"), ("1e3", "1000"),
        ("18th", "18"), ("18 times a day", "18"), ("共18元。", "18"), ("共１８元。", "18"), ("(18)", "18"),
        ("10, 11, 12", "12"), ("18 19 20 18", "18"), ("1 3/4 cups", "1.75"), (".5", "0.5"), ("is .5.", "0.5"),
        ("USD18", "18"), ("<<48/2=24>>24", "24"), ("#### -5", "-5"), ("48/2 = 24", "24"), ("24 = 48/2", "24"),
        ("5 - 3", "3"), ("5 -3", "3"), ("a-3", "3"), ("Answer: 18. [2nd]", "2"), ("18" + " words" * 60 + ".", "18"),
        ("18" + " of CO2" * 60 + ".", "18"), ("7" * 60, "7" * 60),
    ],
    "hashes": [
        ("#### 18", "18"), ("####18", "18"), ("#### 1,000", "1000"), ("#### $18", "18"),
        ("#### 18 dollars\nmore 19", "18"), ("#### 17\n#### 18", "18"), ("####\n18", "18"), ("#### Answer: 18", "18"),
        ("#### **18**", "18"), ("#### The answer is 18.", "18"), ("#### -5", "-5"), ("#### 18.0", "18"),
        (r"#### \boxed{18}", "18"), ("#### 18<|im_end|>", "18"), ("#### $18.00.", "18"),
    ],
    "boxed": [
        (r"\boxed{18}", "18"), (r"\(\boxed{18\,\text{dollars}}\)", "18"), (r"\boxed{5} no \boxed{18}", "18"),
        (r"\boxed{17} \boxed{18", "17"), (r"\boxed{\frac{3}{4}}", "0.75"), (r"\boxed{\$18}", "18"),
        (r"\boxed{18.00}", "18"), (r"\boxed{50\%}", "50"), (r"\boxed{50\%}", "0.5"), (r"\boxed{0.5}", "50%"),
        (r"\boxed{x=18}", "18"), (r"\boxed{18 \text{ dollars}}", "18"), (r"\boxed{\text{18}}", "18"),
        (r"\boxed{1{,}000}", "1000"), (r"\boxed{1,\!000}", "1000"), (r"\boxed{90^\circ}", "90"),
        (r"\boxed{18\text{ cm}^2}", "18"), (r"\boxed{\boxed{18}}", "18"), (r"\boxed{2 \times 10^{3}}", "2000"),
        (r"\boxed{-5}", "-5"), (r"\boxed {18}", "18"), (r"\fbox{18}", "18"), (r"\boxed{\text{Answer: } 18}", "18"),
        (r"\boxed{9 \times 2 = 18}", "18"), (r"\boxed{3\frac{1}{2}}", "3.5"), (r"\boxed{18.}", "18"),
        (r"\boxed{\mathbf{18}}", "18"), (r"\boxed{\dfrac{7}{2}\text{ hours}}", "3.5"),
        (r"\boxed{18\ \text{eggs}}", "18"), (r"\boxed{\approx 3.33}", "3.33"), (r"\boxed{\left(18\right)}", "18"),
        (r"\boxed{\$1,234.50}", "1234.5"), (r"\boxed{18~\text{km/h}}", "18"),
    ],
}  # fmt: skip
WRONG: dict[Layout, list[tuple[str, str]]] = {
    "answer_tag": [
        ("<answer>9*2=19</answer>", "19"), ("<answer>18 or 19</answer>", "18"), ("<answer>18, 19</answer>", "19"),
    ],
    "answer_is": [
        ("The answer is 18 or maybe 20.", "18"), ("The answer is 18 (or 20).", "18"),
        ("The answer is 18 minus 2.", "18"), ("The answer is 18 divided by 2.", "18"),
        ("The answer is 18 or 19.", "18"), ("The answer is 10-12.", "10"), ("The answer is 10-12.", "12"),
        ("The answer is 5:30.", "5"), ("The answer is 5:30", "30"),
        ("The answer is 17. Wait, the answer is 18.", "17"), ("The answer is 2 million", "2"),
        ("The answer is not 17.", "17"), ("The answer is 18 not 19", "19"), ("no number", "18"),
        ("The answer is eighteen.", "18"), ("The answers are 18 and 19.", "18"), ("<answer>18</answer>", "18"),
        ("The answer is 20 - 2.", "20"), ("The answer is 2^5", "2"),
    ],
    "last_number": [
        ("It takes 5:30", "30"), ("at 5:30", "5"), ("16-3=13", "-13"), ("between 10-12", "12"), ("10–12", "12"),
        (r"\frac{3}{4}", "4"), ("18 million", "18"), ("18k", "18"), ("1,80", "80"), ("1.5.2", "2"), ("2^10", "10"),
        ("18½", "18"), ("So the ratio is 3:4", "4"), ("18 and a half", "18"), ("12/5/2024", "2024"), ("x_1", "1"),
        ("", "18"), ("7" * 400, "7" * 100),
    ],
    "hashes": [
        ("##### 18", "18"), ("### 18", "18"), ("18", "18"), ("text #### 18 ####", "18"),
        ("#### Final Answer\n18", "18"),
    ],
    "boxed": [
        (r"\boxed{5} no \boxed{18}", "5"), (r"\boxed{18", "18"), (r"\boxed{0.5}", "50"), (r"\boxed{18, 19}", "18"),
        (r"\boxed{18 \text{ or } 19}", "18"), (r"\boxed{}", "18"), ("18", "18"), (r"\boxed{10\text{ and }11}", "10"),
        (r"\boxed{5:30}", "5"),
    ],
}  # fmt: skip


def cases(table: dict[Layout, list[tuple[str, str]]]) -> list[tuple[Layout, str, str]]:
    return [(layout, text, gold) for layout, listed in table.items() for text, gold in listed]


@pytest.mark.parametrize(("layout", "text", "gold"), cases(RIGHT))
def test_a_right_answer_is_found_and_read(layout: Layout, text: str, gold: str) -> None:
    assert equal(find_answer(text, (layout,)), gold) is True


@pytest.mark.parametrize(("layout", "text", "gold"), cases(WRONG))
def test_what_is_not_the_answer_is_not_taken_for_it(layout: Layout, text: str, gold: str) -> None:
    assert equal(find_answer(text, (layout,)), gold) is False


def test_the_first_layout_that_is_there_decides() -> None:
    text = "The answer is 17. \\boxed{18}\n#### 19\n<answer>20</answer>"
    order: tuple[Layout, ...] = ("boxed", "answer_is", "hashes", "answer_tag")
    assert [find_answer(text, order[i:]) for i in range(4)] == ["18", "17", " 19", "20"]
    assert find_answer("The answer is 17. So 18.", ("boxed", "answer_is", "last_number")) == "17"
    assert find_answer("<answer>many</answer> 18", LAYOUTS) == "many"
    assert find_answer("none", LAYOUTS) is None


@pytest.mark.parametrize(
    ("gold", "value"),
    [
        ("18", 18), ("1,000", 1000), ("He sells 9*2 = <<9*2=18>>18.\n#### 18", 18), ("Then she has 3.\nA: 18", 18),
        (r"So $x+2$ is $\boxed{18}$.", 18), ("It was 3. The answer is 18.", 18), ("$18", 18), ("\u22125", -5),
        ("Tom has 3 and Ann has 18.", None), ("many", None), ("", None), ("18 or 19", None), ("#### many", None),
    ],
)  # fmt: skip
def test_a_gold_answer_is_read_bare_or_behind_its_mark(gold: str, value: int | None) -> None:
    assert parse_gold(gold) == value


def test_a_percent_is_its_number_and_its_hundredth_but_bare_numbers_are_not_scaled() -> None:
    assert [
        equal(*pair) for pair in (("50%", "50"), ("50%", "0.5"), ("0.5", "50%"), ("50", "50%"), ("50%", "50%"))
    ] == ([True] * 5)
    assert [equal(*pair) for pair in (("0.5", "50"), ("50", "0.5"), ("0.5%", "50%"), ("40%", "0.5"))] == [False] * 4


TEMPLATES: dict[Layout, list[str]] = {
    "answer_tag": [
        "<reasoning>\n{s}\n</reasoning>\n<answer>\n{x}\n</answer>", "{s}<answer>${x}</answer>",
        "<answer>{x} dollars</answer>", "<answer>{x}.</answer>", "<answer>The answer is {x}</answer>",
        "<answer>**{x}**</answer>", "<answer>\\boxed{{{x}}}</answer>", "<answer>{x}.00</answer>",
    ],
    "hashes": ["{s}\n#### {x}", "{s}\n#### {x}.", "{s}\n####{x}\n", "{s}\n#### ${x}", "{s}\n#### {x} apples\nDone."],
    "boxed": [
        "{s}\nThe answer is \\boxed{{{x}}}.", "\\boxed{{3}} no: $\\boxed{{{x}}}$ indeed 7",
        "\\(\\boxed{{{x}\\,\\text{{dollars}}}}\\)", "\\boxed{{\\${x}}}", "\\boxed{{x = {x}}}",
        "{s} \\boxed{{\\text{{{x} eggs}}}}",
    ],
    "answer_is": [
        "{s}\nThe answer is {x}.", "{s}\nTherefore, the final answer is ${x}.", "{s}\n**Answer: {x}**", "{s}\nA: {x}",
        "The answer is {x} because 3 + 4 = 7.", "The final answer is $\\boxed{{{x}}}$. I hope it is correct.",
        "{s}\nThe answer is: ${x}.00.", "### Final Answer\n{x} eggs", "The answer is {x}\n\nThis answer is right.",
        "答案是{x}元。",
    ],
    "last_number": [
        "{s}\nA: {x}", "{s} So {x}", "{s}\nSo the total is ${x}.", "{s} = {x} eggs.", "{x}%",
        "{s} makes **{x}** dollars.", "\\boxed{{{x}}}", "#### {x}", "<answer>{x}</answer>", "The answer is {x}.00.",
    ],
}  # fmt: skip


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the repository")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_gsm8k_answer_agrees_in_every_format(layout: Layout) -> None:
    rng, n = random.Random(0), 0
    for line in GSM8K.read_text().splitlines():
        solution, _, gold = json.loads(line)["answer"].rpartition("####")
        value = int(gold.replace(",", ""))
        wrong = rng.choice((value + 1, value - 1, value * 10 + 3, value + 100, -value or 7))
        template = rng.choice(TEMPLATES[layout])
        for said, right in ((str(value), True), (f"{value:,}", True), (str(wrong), False), (f"{wrong:,}", False)):
            text = template.format(s=solution.strip(), x=said)
            assert equal(find_answer(text, (layout,)), gold) is right, (template, said, gold)
            n += 1
    assert n == 4 * 7473


@pytest.mark.parametrize(
    "piece",
    [
        "1", "=", "\n", "answer is ", "answer ", "A:\n", "the answer is 1 or ", "答案", "nswer", "{", "}", "\\boxed{", 
        "\\boxed{1}", "####", "<answer>", "1,", "x1", "1-1-", ".5", "$1$ ", "\\frac{", "<",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["correct_any", "correct_boxed", "correct_hashes", "correct_answer_is", "correct_last_number"]
)
def test_a_megabyte_of_anything_takes_well_under_a_second(name: str, piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    begin = time.process_time()
    assert get(name)([text], answer=["18"]) == [0.0]
    assert time.process_time() - begin < 0.8
