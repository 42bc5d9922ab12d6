"""Multiple choice: what names a choice, and what does not."""

from __future__ import annotations

import pytest

from toolkit.data import choices
from toolkit.data.schema import Row, messages
from toolkit.rewards.bench.check import check_before_training
from toolkit.rewards.choice import CorrectChoice, correct_choice, letter_of

CAPITALS = ["London", "Paris", "The city of Rome", "none of these"]


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", "(B)", "B.", "B)", "B:", "**B**", "\\text{B}", "B. Paris", "(B) paris.", "B: Paris", "Paris",
        "PARIS.", "option B", "The answer is B", "the correct choice is (B)", "The answer is Paris", "$B$",
        "**B)** Paris", "**B.** Paris", "\uff22",
    ],
)  # fmt: skip
def test_the_letter_or_the_text_names_a_choice(answer: str) -> None:
    assert letter_of(answer, CAPITALS) == "B"
    assert correct_choice([f"<answer>\n{answer}\n</answer>"], answer=["B"], choices=[CAPITALS]) == [1.0]


@pytest.mark.parametrize(
    "answer", ["C", "B or C", "A B", "B. London", "Paris or London", "E", "", "Par", "not B", "ABCD", "B, C", "1"]
)
def test_what_names_another_choice_or_several_is_wrong(answer: str) -> None:
    assert correct_choice([f"<answer>{answer}</answer>"], answer=["B"], choices=[CAPITALS]) == [0.0]


def test_a_letter_is_enough_without_choices_and_no_answer_earns_nothing() -> None:
    assert correct_choice(["<answer>B</answer>", "\\boxed{B}", "B"], answer=["B"] * 3) == [1.0, 1.0, 0.0]


@pytest.mark.filterwarnings("ignore::toolkit.rewards.base.RewardWarning")
def test_a_gold_answer_is_a_letter_or_the_text_of_a_choice() -> None:
    said = ["<answer>B</answer>"] * 4
    assert correct_choice(said, answer=["B", "Paris", "18", "Z"], choices=[CAPITALS] * 4) == [1.0, 1.0, None, None]


def test_choices_that_are_letters_are_named_by_their_letter() -> None:
    assert [letter_of(said, ["B", "A", "C"]) for said in ("A", "B", "C")] == ["A", "B", "C"]


@pytest.mark.parametrize("layout", CorrectChoice().layouts)
def test_it_keeps_the_contract_of_a_reward(layout: str) -> None:
    rows: list[Row] = []
    for i in range(16):
        options = choices.Options(tuple("ABCD"), (f"item {i}", f"thing {i}", f"place {i}", f"person {i}"))
        question = choices.rendered(f"What is number {i}?", options)
        row = {"question": question, "answer": "ABCD"[i % 4], "choices": list(options.texts)}
        rows.append({"prompt": messages(question), **row})
    asked = CorrectChoice((layout,))  # pyright: ignore[reportArgumentType]
    if layout != "answer_tag":  # which is what the recipes' prompt asks for
        rows = [row | {"prompt": [{"role": "user", "content": row["question"]}]} for row in rows]
    assert [finding for finding in check_before_training(asked, rows).findings if finding.level != "green"] == []
