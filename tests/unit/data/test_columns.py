"""Which column is asked and which is the gold answer: found by name, asked for where unclear, and never the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import data
from toolkit.data.schema import Problems
from toolkit.data.shapes import NEEDS, Wanted
from toolkit.data.table import read_file
from toolkit.errors import DataError
from toolkit.rewards import is_number
from toolkit.settings import DataSettings


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "a.jsonl"


def rows(n: int = 12, /, **columns: str) -> list[dict[str, Any]]:
    """`i` in the text of a column counts the rows from 0, `j` from 1."""
    return [{name: text.format(i=i, j=i + 1) for name, text in columns.items()} for i in range(n)]


def load(path: Path, needs: frozenset[str] = NEEDS, **flags: Any) -> Problems:
    return data.load(DataSettings(dataset=str(path), n_eval=2, **flags), seed=0, needs=needs)


def refused(path: Path, **wanted: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, Wanted(**wanted))
    return str(caught.value)


def test_the_one_column_with_a_name_of_a_question_is_taken_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, rows(problem="What is {i} plus 1?", solution="So {j}.", final_answer="{j}"))
    problems = load(path)
    assert "question: column 'problem'" in problems.report
    assert "gold answer: column 'final_answer'" in problems.report
    assert {row["question"] for row in problems.train + problems.held_out} == {
        f"What is {i} plus 1?" for i in range(12)
    }
    assert all(row["solution"] == f"So {row['answer']}." for row in problems.train)


def test_several_that_may_be_it_are_listed_and_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, rows(problem="What is {i}?", query="{i}?", target="{i}", label="{j}"))
    assert "2 that may be it: 'problem', 'query'; wanted one of them; name it with --question_col" in refused(path)
    said = refused(path, question_column="query")
    assert "2 that may be it: 'target', 'label'; wanted one of them; name it with --answer_column" in said
    assert len(read_file(path, Wanted("query", "label")).rows) == 12


def test_several_gold_columns_that_agree_are_one(tmp_path: Path) -> None:
    path = write(tmp_path, rows(question="What is {i} plus 1?", target="{j}", label="{j}"))
    assert read_file(path).rows[0]["answer"] == "1"


@pytest.mark.parametrize("column", ["solution", "ground_truth", "Solution", "target"])
def test_a_gold_answer_is_never_proposed_as_the_question(column: str, tmp_path: Path) -> None:
    path = write(tmp_path, rows(answer="{j}", **{column: "So {j}", "solutions": "x"}))
    said = refused(path)
    assert "no column 'question'; " in said
    assert f"{column}," not in said
    assert column + "?" not in said


def test_a_question_is_never_proposed_as_the_gold_answer(tmp_path: Path) -> None:
    assert "no column 'answer'; wanted one more column; name" in refused(write(tmp_path, rows(question="{i}?")))
    assert "no column 'answer'; wanted one of level; name" in refused(write(tmp_path, rows(question="{i}?", level="1")))


def test_gold_answers_that_stand_in_their_questions_are_told(tmp_path: Path) -> None:
    asked_by_mistake = write(
        tmp_path, rows(30, problem="What is {i}00 plus 100?", solution="It is {j}00.", answer="{j}00")
    )
    assert any("word for word" in line for line in load(asked_by_mistake, question_column="solution").report)
    assert not any("word for word" in line for line in load(asked_by_mistake).report)
    leaking = write(tmp_path, rows(30, question="What is {i}00 plus 100? It is {j}00.", answer="{j}00"))
    (line,) = [line for line in load(leaking).report if "word for word" in line]
    assert "stands word for word in 100% of the questions (another row's in 3%)" in line


@pytest.mark.parametrize(
    "columns",
    [
        {"question": "Is {i} even, yes or no?", "answer": "yes"},  # stands in every question, and so does any other's
        {"question": "Tom has {i} pens and gets 1 more. How many?", "answer": "{j}"},
        {"question": "Which is it, {i} or {j}, of 0 1 2 3 4 5 6 7 8 9 10 11 12?", "answer": "{j}"},
    ],
)
def test_what_chance_explains_is_not_told(columns: dict[str, str], tmp_path: Path) -> None:
    assert not any("word for word" in line for line in load(write(tmp_path, rows(**columns))).report)


@pytest.mark.parametrize("column", ["context", "passage", "choices", "document"])
def test_a_column_that_should_be_asked_and_is_not_is_told(column: str, tmp_path: Path) -> None:
    path = write(tmp_path, rows(question="Who won game {i}?", answer="team {i}", **{column: "Team {i} won game {i}."}))
    assert any(line.startswith(f"column '{column}' is not asked") for line in load(path).report)


def test_input_beside_an_instruction_that_was_named_is_told_not_asked(tmp_path: Path) -> None:
    path = write(tmp_path, rows(instruction="Add 1 to it ({i}).", input="number {i}", output="{j}"))
    assert any(
        line.startswith("column 'input' is not asked") for line in load(path, question_column="instruction").report
    )
    assert "question: column 'instruction', with 'input' below it" in load(path).report


def test_a_context_that_stands_in_the_prompt_is_asked(tmp_path: Path) -> None:
    table = rows(prompt="Team {i} won. Who won game {i}?", context="Team {i} won.", answer="team {i}")
    assert not any("is not asked" in line for line in load(write(tmp_path, table)).report)


def test_rows_that_repeat_a_question_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, [*rows(10, question="What is {i} plus 1?", answer="{j}")] * 3)
    problems = load(path)
    assert len(problems.held_out) == 2
    assert "4 rows dropped: the question is held out already" in problems.report
    assert "16 rows to train on ask what an earlier row asks" in problems.report


def test_bad_rows_are_counted_by_reason_with_the_first_of_each(tmp_path: Path) -> None:
    good = rows(10, question="What is {i} plus 1?", answer="{j}")
    bad = [{"question": "How many?", "answer": "many"}, {"question": "How?"}, {"question": "And?", "answer": "few"}]
    path = write(tmp_path, [*good, *bad, {"question": "", "answer": "1"}])
    said = refused(path, is_gold=is_number)
    assert f"{path} line 11: gold answer 'many' is not one number (2 rows like it; 1 with no gold answer, the" in said
    assert f"the first: {path} line 12: no gold answer; 1 with no question, the first: {path} line 14: column " in said
    assert said.endswith("or go on without: --drop_bad_rows.")
    table = read_file(path, Wanted(is_gold=is_number, drop_bad_rows=True))
    assert len(table.rows) == 10
    assert f"4 rows dropped: 2 with a gold answer that is not one number (first: {path} line 11)" in table.report[0]


def test_lines_that_are_no_rows_are_dropped_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path, rows(5, question="What is {i}?", answer="{i}"))
    path.write_text(path.read_text() + '{"question": "What is\n')
    assert "line 6 is not JSON" in refused(path)
    table = read_file(path, Wanted(drop_bad_rows=True))
    assert (len(table.rows), table.report[0]) == (5, f"1 row dropped: 1 with a line that is no row (first: {path})")
    path.write_text("{\n{\n")
    assert "line 1 is not JSON" in refused(path, drop_bad_rows=True)


def test_a_file_of_bad_rows_is_refused_even_when_they_are_to_be_dropped(tmp_path: Path) -> None:
    said = refused(write(tmp_path, rows(3, question="{i}?", answer="")), drop_bad_rows=True)
    assert "line 1: no gold answer (3 rows like it)" in said
    assert "drop_bad_rows" not in said


def test_the_columns_that_the_rewards_read_are_demanded(tmp_path: Path) -> None:
    path = write(tmp_path, [*rows(11, question="What is {i}?", level="{i}"), {"question": "What is it?"}])
    assert "answer" not in load(path, needs=frozenset()).train[0]
    assert "no column 'answer'" in refused(path)
    assert "no column 'rubric', which a reward reads" in refused(path, needs=frozenset({"rubric"}))
    assert "line 12: nothing in 'level', which a reward reads" in refused(path, needs=frozenset({"level"}))


def test_every_row_has_the_same_columns_and_the_trainer_can_hold_them(tmp_path: Path) -> None:
    from datasets import Dataset

    table: list[dict[str, Any]] = rows(12, question="What is {i}?", answer="{i}")
    for i, row in enumerate(table):
        row |= {"meta": {"from": i}, "mixed": "a" if i % 2 else i, "images": "x"} if i else {}
    problems = load(write(tmp_path, table))
    assert {tuple(sorted(row)) for row in problems.train + problems.held_out} == {
        ("answer", "meta", "prompt", "question")
    }
    assert any(line.endswith("several types or no text: mixed") for line in problems.report)
    assert Dataset.from_list(problems.train).num_rows == len(problems.train)


@pytest.mark.parametrize(
    ("golds", "texts", "letters"),
    [
        ([0, 3, 1], "abcd", "ADB"),
        ([1, 4, 2], "abcd", "ADB"),  # one past the last can only be counted from 1
        (["a", "d", "b"], "wxyz", "ADB"),
        (["(A)", "D.", "b"], "wxyz", "ADB"),
        (["w", "Z", "x."], "wxyz", "ADB"),
        (["3", "1", "2"], "3210", "ACB"),  # all of them are texts of choices
    ],
)
def test_how_a_gold_answer_names_a_choice_is_read_off_the_table(
    golds: list[Any], texts: str, letters: str, tmp_path: Path
) -> None:
    table = [{"question": f"Which, {i}?", "choices": list(texts), "answer": gold} for i, gold in enumerate(golds)]
    assert [row["answer"] for row in read_file(write(tmp_path, table)).rows] == list(letters)


def test_a_gold_answer_that_is_no_choice_is_a_bad_row(tmp_path: Path) -> None:
    table = [{"question": f"Which, {i}?", "choices": ["x", "y"], "answer": "B" if i else "E"} for i in range(9)]
    assert "line 1: gold answer 'E' is none of its 2 choices; wanted a label" in refused(write(tmp_path, table))


def test_a_row_without_choices_has_the_columns_of_the_others(tmp_path: Path) -> None:
    table: list[dict[str, Any]] = [{"question": f"Which, {i}?", "A": "x", "B": "y", "answer": "B"} for i in range(9)]
    table[4] |= {"question": "How many?", "A": None, "answer": "7"}
    made = read_file(write(tmp_path, table)).rows
    assert [row["choices"] for row in made[3:6]] == [["x", "y"], None, ["x", "y"]]
    assert (made[4]["question"], made[4]["answer"]) == ("How many?", "7")


def test_choices_say_which_reward_judges_them(tmp_path: Path) -> None:
    table = [{"question": f"Which, {i}?", "choices": ["x", "y"], "answer": "B"} for i in range(9)]
    assert "judge choices with the reward correct_choice" in refused(write(tmp_path, table), is_gold=is_number)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "4"}],
            "a prompt that ends with an answer",
        ),
        ([{"role": "system", "content": "Hi"}], "a chat without a user's turn"),
        ([{"role": "narrator", "content": "Hi"}], "a message of an unknown role"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "a message without text"),
        ([{"role": "user", "content": " "}], "column 'prompt' holds ' '"),
        (7, "column 'prompt' holds 7"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_told(prompt: Any, said: str, tmp_path: Path) -> None:
    good = {"prompt": [{"role": "user", "content": "What is 1?"}], "answer": "1"}
    (tmp_path / "a.json").write_text(json.dumps([good, {"prompt": prompt, "answer": "4"}]))
    assert f"row 2: {said}" in refused(tmp_path / "a.json").replace("a message of 'narrator'", said).replace(
        "a user's message holds", f"{said}, holds"
    )


def test_tests_that_call_what_no_prompt_names_are_told(tmp_path: Path) -> None:
    needs = frozenset({"tests"})
    table: list[dict[str, Any]] = [{"prompt": f"Add {i}.", "test_list": [f"assert f(1) == {i + 1}"]} for i in range(9)]
    assert any(line.startswith("the tests call functions") for line in load(write(tmp_path, table), needs).report)
    shown = load(tmp_path / "a.jsonl", needs, question_column="prompt")
    assert all("assert f(1) == " in row["question"] for row in shown.train)
    table = [{**row, "prompt": row["prompt"] + " Name it f."} for row in table]
    assert not any(line.startswith("the tests call functions") for line in load(write(tmp_path, table), needs).report)
