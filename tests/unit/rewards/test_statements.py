"""Which number a text states as its answer, after all that is denied, taken back, asked or only remarked."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.rewards.answers import read
from toolkit.rewards.registry import get
from toolkit.rewards.statements import stated_answer

STATED = [
    ("The answer is 13.\n\nThis answer is the solution to step 2.", 13),
    ("The answer is 13.\n\nThis answer is for question 2.", 13),
    ("The answer is 13. This answer is correct to 2 decimal places.", 13),
    ("The answer is 13. The answer is consistent with x = 2.", 13),
    ("The answer is 13. The answer is shown in Figure 3.", 13),
    ("The answer is 13. My answer is based on 3 steps.", 13),
    ("The answer is 13 (see step 2).", 13),
    ("The answer is 13. The answer is less than 20.", 13),
    ("The answer is 13. I hope this answer is helpful! Step 2 was hard.", 13),
    ("So the answer is **13**.", 13), ("Answer: $13", 13), ("the final answer is: \\boxed{13}", 13),
    ("The answer is not 12 but 13", 13), ("The answer isn't 12, it's 13.", 13), ("The answer is 13, not 12.", 13),
    ("the answer is 12... wait, no, the answer is 13", 13), ("The answer is 12. No, wait, it's 13.", 13),
    ("The answer is 12. Actually, it's 13.", 13), ("The answer is 12... wait, no, 13", 13),
    ("The answer is 12. Sorry, that's wrong. It should be 13.", 13),
    ("the answer is 13 apples", 13), ("answer = 13", 13), ("Final answer: 13 apples", 13), ("the answer was 13.", 13),
    ("The answer should be 13.", 13), ("The answer must be 13", 13), ("The answer turns out to be 13.", 13),
    ("Thus our final answer is 13 dollars.", 13), ("The answer is equal to 13.", 13), ("The answer is about 13", 13),
    ("The answer is a total of 13 apples.", 13), ("The answer is thirteen (13).", 13), ("The answer is x = 13.", 13),
    ("The answer is negative 3.", -3), ("The answer is minus 3", -3), ("The answer is (B) 13.", 13),
    ("The answer is 3.25.", 3.25), ("The answer to 3.5 + 1.5 is 5.", 5), ("Answer: Janet makes $18 every day.", 18),
    ("Answer: the total for 3 days is 18.", 18), ("The answer to part 2 is 13.", 13),
    ("The answer to step 2 is 13", 13),
    ("The answer is the sum of both: 13.", 13), ("The answer is the sum of 3 and 10, which is 13.", 13),
    ("So 13 apples is the answer.", 13), ("Thus, 13 is the final answer!", 13), ("**13** is our answer.", 13),
    ("The answer is 12. But the answer is not 12. The answer is 13.", 13), ("The answer is: 13, since 3 < 4.", 13),
    ("The answer is 12.\nThe previous answer was wrong.\nThe answer is 13.", 13),
    ("The answer is 12. Hmm. The answer is 13. My earlier answer was wrong.", 13),
    ("I think the answer is 13.", 13), ("If we add them, the answer is 13.", 13),
    ("If x is 5, then the answer is 13", 13),
    ("Question: what is the answer if x is 5?\nAnswer: 13", 13),
    ('The answer is 13. You asked: "what is the answer when x = 12?"', 13),
    ('The problem says "the answer is 12 or more". The answer is 13.', 13),
    ("The answer is 13. Is the answer 12? No.", 13), ("The answer is 13, no doubt.", 13),
    ("The answer is 13. No further steps are needed.", 13),
    ("The answer is 13. Wait, let me check: 6+7=13. Yes.", 13),
    ("The answer is 13. If you got 12, the answer is wrong.", 13), ("The wrong answer is 12. The answer is 13.", 13),
    ("The answer is 13. An incorrect answer is 12.", 13), ("Instead of the answer 12, the answer is 13.", 13),
    ("The answer is 13. One might think the answer is 12.", 13), ("The answer is 13. Tom says the answer is 12.", 13),
    ("The answer is 13 instead of 12.", 13), ("答案不是12，而是13。", 13), ("答案是13。", 13),
    ("所以答案是大约13元", 13),
    ("The answer is 12. Let me recompute. The answer is 13.", 13), ("The answer isn't 12. The answer is 13.", 13),
    ("The answer is 13. The answer is not 12.", 13), ("Answer:\n13", 13), ("Answer: 13\nThis answer is final.", 13),
    ("The answer is correct. The answer is 13.", 13), ("The answer cannot be 12, so the answer is 13.", 13),
    ("The answer comes out to 13.", 13), ("The answer remains 13.", 13), ("Answer → 13", 13),
    ("The answer is 12 (no, 13).", 13),
    ("The answer is the number 13.", 13), ("Question 5: The answer is 13.", 13),
    ("The answer is clearly not 12; it's 13.", 13),
    ("The answer we are looking for is 13.", 13), ("The answer is 13 to 2 decimal places", 13),
    ("The answer is found by adding 6 and 7, which gives 13.", 13), ("The answer is a prime number, 13.", 13),
    ("My first guess, 12, was wrong; the answer is 13.", 13),
    ("Your answer of 12 is incorrect. The answer is 13.", 13),
    ("Answer: 1. Done", 1), ("The answer, after rounding, is 13.", 13), ("Answer - the total is: 13", 13),
]  # fmt: skip
NOT_STATED = [
    "the previous answer: 13 was wrong", "The answer: 13 was wrong.", "The answer 13 is incorrect.",
    "13 is not the answer.",
    "The answer is 13, which is wrong.", "The answer is 13? No.", "The answer is 13. No, that is wrong.",
    "The answer is 13. Wait, that's not right.", "The answer is 13.\n\nThis answer is wrong.",
    "The answer is 13. Hmm, the answer is not 13.", "My earlier answer of 13 is wrong.", "The wrong answer is 13.",
    "I don't think the answer is 13.", "It is not true that the answer is 13.", "The answer isn't 13.",
    "The answer cannot be 13.", "The answer can't be 13.", "If the answer is 13, then x is 2.",
    "Suppose the answer is 13",
    "You might think the answer is 13", "Could the answer be 13?", "We check whether the answer is 13.",
    "I thought the answer was 13.", "Tom says the answer is 13.", "The answers are 3 and 13", "The answers are 13, 4",
    "The answers are x = 13 and y = 4.", "Answers:\n1. 13\n2. 4", "Answer:\n1. We compute 6+7=13.\n2. Done.",
    "The answer is between 13 and 20.", "The answer is more than 13.", "The answer is at least 13",
    "The answer is never 13.",
    "The answer is either 13 or 14.", "The answer is 13 or 14", "This answer is the solution to step 13.",
    "Question: why is the answer: 13", "The prompt asks \"when the answer is 13\"",
    "The answer is 13. I made a mistake.", "The answer is 12. Actually, no, 13 or 14.",
    "答案不是13。", "答案是13。不对，答案是12。",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), STATED)
def test_the_answer_that_stands_at_the_end_is_read(text: str, value: float) -> None:
    assert read(stated_answer(text)) == value


@pytest.mark.parametrize("text", NOT_STATED)
def test_what_is_not_stated_does_not_pay(text: str) -> None:
    assert read(stated_answer(text)) != 13


@pytest.mark.parametrize(
    "text", ["the previous answer: 13 was wrong", "The answer is not 13", "The answer is 13. This answer is wrong."]
)
def test_a_number_that_is_taken_back_does_not_pay_as_the_last_one(text: str) -> None:
    assert [get(name).judge(text, answer="13") for name in ("correct_last_number", "correct_any")] == [0.0, 0.0]


# Sentences with {x}: what each makes of the answers that stood before it
STATES = ["The answer is {x}.", "So the final answer is **{x}**.", "Answer: {x}", "Thus, {x} is the answer."]
DENIES = ["The answer is not {x}.", "The answer can't be {x}.", "{x} isn't the answer."]
TAKES_BACK = ["This answer is wrong.", "That answer was a mistake.", "The answer is not correct."]
SAYS_NOTHING = [
    "This answer is the solution to step {x}.", "If the answer is {x}, all is well.", "Is the answer {x}?",
    "Let us add {x} to it.", "The answer is in line {x}.", "Ann thinks the answer is {x}.", "Step {x} is done.",
]  # fmt: skip
SENTENCE = st.tuples(
    st.sampled_from([*STATES, *DENIES, *TAKES_BACK, *SAYS_NOTHING]), st.integers(min_value=20, max_value=25)
)


@given(st.lists(SENTENCE, max_size=8))
def test_sentences_are_read_one_after_the_other(sentences: list[tuple[str, int]]) -> None:
    standing: list[int] = []
    for sentence, number in sentences:
        if sentence in STATES:
            standing.append(number)
        elif sentence in DENIES:
            standing = [other for other in standing if other != number]
        elif sentence in TAKES_BACK:
            standing = []
    text = "\n".join(sentence.format(x=number) for sentence, number in sentences)
    assert read(stated_answer(text)) == (standing[-1] if standing else None), text


@given(st.text(alphabet='answer is: not 13,.?\n"“wrongifbut=A', max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert stated_answer(text + " answer is 1") is None or isinstance(stated_answer(text), str | None)


@pytest.mark.parametrize(
    "piece", ["answer is 1 ", "answer is not ", "the answer is wait no ", "no, ", '"', "answer :\n"]
)
def test_a_megabyte_takes_well_under_a_second(piece: str) -> None:
    begin = time.process_time()
    stated_answer("The answer is 13. " + piece * (1_000_000 // len(piece)))
    assert time.process_time() - begin < 0.5
