"""Formats beside R1's (`test_formatting`), reasoning, and the shape of a solution."""

from __future__ import annotations

import pytest

from toolkit.rewards.formatting import FormatThink, NothingAfter, OneAnswer, format_hashes, format_think
from toolkit.rewards.reasoning import Steps, connectives, reasoning_of, steps, verification


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>3*6=18</think>\n18", 1), ("\n<think>\n3*6\n</think>\n\nIt is 18.", 1), ("<think>3*6</think>", 0),
        ("<think> </think>18", 0), ("So <think>3*6</think>18", 0), ("<think>3*6 18", 0), ("3*6</think>18", 0),
        ("<think>a</think><think>b</think>18", 0), ("<think>a<think>b</think>18", 0), 
        ("18</think>6<think>", 0), ("", 0),
    ],
)  # fmt: skip
def test_thoughts_stand_in_think_tags_before_the_answer(text: str, score: float) -> None:
    assert format_think([text]) == [score]


def test_an_opening_tag_by_the_chat_template_is_not_repeated() -> None:
    reward = FormatThink(opened_by_prompt=True)
    assert reward(["3*6</think>18", "<think>3*6</think>18", "</think>18"]) == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("3*6=18\n#### 18", 1), ("3*6=18\n#### 1,800\n", 1), ("#### 18", 1), ("3*6=18 #### 18", 0), ("#### 18\nso", 0),
        ("#### 17\n#### 18", 0), ("#### many", 0), ("##### 18", 0), ("18", 0), ("####", 0), ("#### 18 or 19", 0),
    ],
)  # fmt: skip
def test_a_solution_ends_in_one_line_of_hashes(text: str, score: float) -> None:
    assert format_hashes([text]) == [score]


def test_an_answer_is_given_once() -> None:
    tags = ["<answer>18</answer>", "<answer>17</answer><answer>18</answer>", "<answer>18", "<answer> </answer>", "18"]
    assert OneAnswer()([*tags, "<answer><answer>18</answer>", "</answer><answer>18"]) == [1, 0, 0, 0, 0, 0, 0]
    boxes = [r"\boxed{18}", r"\boxed{17} \boxed{18}", r"\boxed{18", r"\boxed{}"]
    assert OneAnswer("boxed")(boxes) == [1, 0, 0, 0]
    assert OneAnswer("hashes")(["#### 18", "#### 17\n#### 18", "##### 18"]) == [1, 0, 0]


def test_words_after_the_answer_cost_a_hundredth_a_character() -> None:
    texts = ["<answer>18</answer>\n", "<answer>18</answer> ok", "<answer>18</answer>" + "x" * 500, "18", "<answer>18"]
    assert NothingAfter()(texts) == [1.0, 0.98, 0.0, 0.0, 0.0]
    marks = [r"\(\boxed{18}\).", r"$\boxed{18}$<|im_end|>", r"**\boxed{18}**", r"\boxed{18} = x"]
    assert NothingAfter("boxed")(marks) == [1.0, 1.0, 1.0, 0.97]
    assert NothingAfter("hashes", per_character=0.5)(["#### 18\n", "#### 18\nso"]) == [1.0, 0.0]


def test_the_reasoning_is_what_its_tags_hold_else_all_but_the_answer() -> None:
    assert reasoning_of("a<reasoning>b</reasoning>c") == "b"
    assert reasoning_of("<think>b</think>c") == "b"
    assert reasoning_of("<reasoning>b and no end") == "b and no end"
    assert reasoning_of("b<answer>c</answer>") == "b"


def test_steps_are_different_sentences_or_equations() -> None:
    three = "She has 16 eggs.\n16-3=13\nSo she sells them all. 18"
    assert [steps.judge(three), Steps(low=3).judge(three), Steps(low=6).judge(three)] == [1.0, 1.0, 0.5]
    assert Steps(low=4).judge("We add 1 and 2 now.\n" * 50) == 0.25  # one step, said fifty times
    assert Steps(low=4).judge("".join(f"We add {i} to {i + 1} now.\n" for i in range(50))) == 0.25  # and numbered
    many = "".join(f"{i} + 1 = {i + 1}\n" for i in range(18))
    assert [Steps(1, 12).judge(many), Steps(1, 18).judge(many), Steps(1, 9).judge(many)] == [0.5, 1.0, 0.0]
    assert steps.judge("我们先算总数。然后减去三个。") == 1.0


def test_each_connective_counts_once() -> None:
    texts = [
        "so so so so",
        "First 3, then 4, so 7",
        "because of it",
        "",
        "<answer>so then because</answer>",
        "首先算，然后加，所以",
    ]
    assert connectives(texts) == [pytest.approx(1 / 3), 1.0, pytest.approx(1 / 3), 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Let me check: 18/6=3.", 1.0), ("LET ME CHECK it: 18 / 6 = 3", 1.0), ("Let me check: 18/6=4.", 0.5),
        ("To verify, it is fine.", 0.5), ("18/6=3", 0.0), ("验算: 18/6=3", 1.0), ("", 0.0),
        ("18/6=3. Let me check.", 0.5),
        ("let me check: 1+1=3. " + "x" * 300 + "let me check: 1+1=2", 1.0), ("İ" * 300 + " let me check: 1+1=2", 1.0),
        ("Let me check." + " " * 300 + "1+1=2", 0.5),
    ],
)  # fmt: skip
def test_a_check_needs_an_equation_that_holds(text: str, score: float) -> None:
    assert verification([text]) == [score]
