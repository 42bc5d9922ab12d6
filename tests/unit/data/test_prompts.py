"""What a model is asked with: styles, system messages, examples as turns, and chat templates that refuse some of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import data
from toolkit.data.examples import read_files
from toolkit.data.prompts import STYLES, ask, for_template
from toolkit.data.schema import R1_SYSTEM_PROMPT, WORKED_SOLUTION, Problems, Row
from toolkit.errors import ModelError, ToolkitError
from toolkit.machine.provenance import recorded
from toolkit.models import embedded
from toolkit.rewards import format
from toolkit.rewards.bench.layouts import asked_by
from toolkit.settings import DataSettings, GrpoSettings
from toolkit.settings.parse import parse

ROWS: list[Row] = [
    {"question": f"What is {i} plus 1?", "answer": f"{i + 1}", WORKED_SOLUTION: f"{i}+1"} for i in range(6)
]
PROBLEMS = Problems(ROWS[:4], ROWS[4:], "rows")


def settings(**changes: Any) -> DataSettings:
    return read_files(DataSettings(**changes))


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def said(problems: Problems) -> str:
    return problems.report[-1]


def test_r1_without_examples_is_the_prompt_that_the_presets_were_made_with() -> None:
    asked = data.load(DataSettings(dataset="arithmetic", n_eval=2), seed=0)
    row = asked.train[0]
    assert list(row) == ["prompt", "question", "answer"]
    system = {"role": "system", "content": R1_SYSTEM_PROMPT}
    assert row["prompt"] == [system, {"role": "user", "content": row["question"]}]
    assert said(asked) == "prompt: style r1"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_asks_for_the_layout_that_its_examples_show(style: str) -> None:
    row = ask(PROBLEMS, settings(prompt_style=style)).train[0]
    assert asked_by(row["prompt"])[:1] == (() if style == "none" else (STYLES[style].layout,))
    shown = ask(PROBLEMS, settings(prompt_style=style, examples="1"))
    assert asked_by(shown.train[0]["prompt"])[0] == STYLES[style].layout


def test_examples_are_turns_before_the_question_and_neither_trained_nor_measured_on() -> None:
    asked = ask(PROBLEMS, settings(examples="2"))
    system, *turns, question = asked.train[0]["prompt"]
    assert (system["role"], question["content"]) == ("system", "What is 2 plus 1?")
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    assert format(completions=[turn["content"] for turn in turns[1::2]]) == [1.0, 1.0]
    assert {row["question"] for row in asked.train} == {"What is 2 plus 1?", "What is 3 plus 1?"}
    assert said(asked) == "prompt: style r1, 2 examples as turns (2 rows with these questions left out)"


def test_a_question_in_a_file_of_examples_is_not_measured_either(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", {"question": "What is 4 \n plus 1?", "reasoning": "4+1=5", "answer": 5})
    asked = ask(PROBLEMS, settings(examples=path, prompt_style="hash"))
    assert [row["question"] for row in asked.held_out] == ["What is 5 plus 1?"]
    assert asked.train[0]["prompt"][2]["content"] == "4+1=5\n#### 5"


def test_worked_answers_and_written_messages_are_examples_too(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4, I think."}]
    rows = (
        {"question": "Tom?", "answer": "He has 48/2=<<48/2=24>>24 pens.\n#### 24"},
        {"prompt": turns[:1], "completion": turns[1:]},
        {"prompt": "2+2?", "completion": "4, I think."},
    )
    shown = ask(PROBLEMS, settings(examples=write(tmp_path / "e.jsonl", *rows))).examples
    assert shown[1]["content"] == "<reasoning>\nHe has 48/2=24 pens.\n</reasoning>\n<answer>\n24\n</answer>"
    assert list(shown[2:]) == turns * 2


@pytest.mark.parametrize(
    ("given", "content", "report"),
    [
        ("Be brief.", "Be brief.", "the given system message in place of style boxed's"),
        ("Go. {style}", "Go. " + STYLES["boxed"].instruction, "the given system message with style boxed in it"),
        ("{{ style }} {x}", STYLES["boxed"].instruction + " {x}", "the given system message with style boxed in it"),
        ("", None, "no system message"),
    ],
)
def test_a_given_system_message_replaces_the_styles_or_takes_it_in(
    given: str, content: str | None, report: str
) -> None:
    asked = ask(PROBLEMS, settings(system_prompt=given, prompt_style="boxed"))
    first = asked.train[0]["prompt"][0]
    assert (first["content"] if first["role"] == "system" else None) == content
    assert said(asked) == f"prompt: {report}"


def test_rows_keep_their_own_prompts_behind_a_given_system_message() -> None:
    bare, whole = [{"role": "user", "content": "Hm?"}], [{"role": "system", "content": "S"}]
    rows = [ROWS[0] | {"prompt": bare}, ROWS[1] | {"prompt": [*whole, *bare]}, ROWS[2] | {"prompt": "Text:"}]
    problems = Problems(rows, ROWS[4:], "rows")
    assert [row["prompt"] for row in ask(problems, settings()).train] == [bare, [*whole, *bare], "Text:"]
    given = ask(problems, settings(system_prompt="Mine."))
    mine = {"role": "system", "content": "Mine."}
    assert [row["prompt"] for row in given.train] == [[mine, *bare], [*whole, *bare], "Text:"]
    assert "3 of 5 rows bring their own" in said(given)


@pytest.mark.parametrize(
    "text", ["--- Rules\n- one: {style}\n", "See notes.md", "None", "true", "[1, 2]", " é\\n\t'\""]
)
def test_a_run_keeps_what_the_files_said(text: str, tmp_path: Path) -> None:
    path = tmp_path / "system.txt"
    path.write_text(text + "\nmore")
    examples = tmp_path / "e.yaml"
    examples.write_text("- {question: --q, reasoning: r, answer: 7}\n")
    begun = settings(system_prompt=str(path), examples=str(examples), prompt_style="hash")
    kept = json.loads(json.dumps(recorded(GrpoSettings(data=begun))))
    assert parse(GrpoSettings, [], [("settings.json", kept)]).data == begun
    assert begun.system_prompt == (text + "\nmore").strip()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such text": ({"system_prompt": "my rules.txt"}, "--system_prompt my rules.txt does not exist"),
    "no such file": ({"examples": "e.jsonl"}, "--examples e.jsonl is neither a number nor a file"),
    "a negative number": ({"examples": "-1"}, "--examples -1 is neither"),
    "no reasoning": (
        {"question": "Q?", "reasonin": "x", "answer": "7"},
        "has no reasoning in words; did you mean reas",
    ),
    "no answer": ({"question": "Q?", "reasoning": "x", "answer": None}, "has no answer in words"),
    "a system message": ({"prompt": [{"role": "system", "content": "x"}]}, "messages of system;"),
    "no answering turn": ({"prompt": "Q?"}, "messages of user; wanted messages with text, a user's and"),
    "an odd message": ({"prompt": ["Q?"], "completion": "A"}, "messages of no text"),
    "half a character": ({"question": "\ud800", "reasoning": "x", "answer": "7"}, "half a character"),
}


@pytest.mark.parametrize(("given", "found"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_asked_with_is_one_line(given: dict[str, Any], found: str, tmp_path: Path) -> None:
    is_row = not given.keys() <= {"system_prompt", "examples"}
    with pytest.raises(ToolkitError) as caught:
        settings(**({"examples": write(tmp_path / "e.jsonl", given)} if is_row else given))
    assert found in str(caught.value)


def test_too_few_worked_solutions_are_counted() -> None:
    bare = [{"question": row["question"], "answer": row["answer"]} for row in ROWS]
    with pytest.raises(ToolkitError, match="--examples 1: 0 of 6 training rows have a worked solution"):
        ask(Problems(bare, bare, "rows"), settings(examples="1"))


CHATML = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
DROPS = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
HIDES_THOUGHTS = CHATML.replace("m.content | trim", "m.content.split('</think>')[-1]")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded.folder())


@pytest.mark.parametrize(("template", "is_merged"), [(CHATML, False), (REFUSES, True), (DROPS, True)])
def test_a_template_without_a_system_role_gets_it_in_the_first_question(
    tokenizer: Any, template: str, is_merged: bool
) -> None:
    tokenizer.chat_template = template
    asked = ask(PROBLEMS, settings(examples="1", prompt_style="boxed"))
    fitted = for_template(asked, tokenizer, "a model")
    assert (fitted == asked) is not is_merged
    for row in (*fitted.train, *fitted.held_out):
        text = tokenizer.apply_chat_template(row["prompt"], tokenize=False)
        assert text.count(STYLES["boxed"].instruction) == 1
        assert ("system" in [turn["role"] for turn in row["prompt"]]) is not is_merged
    assert ("takes no system message" in fitted.report[-1]) is is_merged


def test_a_template_that_hides_thoughts_cannot_show_examples_of_them(tokenizer: Any) -> None:
    tokenizer.chat_template = HIDES_THOUGHTS
    with pytest.raises(ModelError, match="does not show the examples whole"):
        for_template(ask(PROBLEMS, settings(examples="1", prompt_style="think")), tokenizer, "a model")
    for_template(ask(PROBLEMS, settings(examples="1", prompt_style="boxed")), tokenizer, "a model")


def test_a_template_that_opens_the_thoughts_is_told_of(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML + "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
    assert "opens <think> itself" in said(for_template(ask(PROBLEMS, settings()), tokenizer, "a model"))


def test_rows_with_and_without_a_worked_solution_go_together(tmp_path: Path) -> None:
    golds = ["2 + 2 = 4\n#### 4", "5", "3 + 3 = 6\n#### 6", "7", "8"]
    path = write(tmp_path / "mixed.jsonl", *({"question": f"{i}?", "answer": gold} for i, gold in enumerate(golds)))
    asked = data.load(settings(dataset=path, examples="1", n_eval=1), seed=0)
    assert {name for row in asked.train for name in row} == {"prompt", "question", "answer"}
