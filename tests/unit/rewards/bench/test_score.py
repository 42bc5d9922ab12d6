"""Scoring a file, trying cases, and naming rewards: what is printed, and what a bad line says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from toolkit import cli, data
from toolkit.data.shapes import Wanted
from toolkit.rewards import registry
from toolkit.rewards.bench import score
from toolkit.rewards.bench.cases import try_cases
from toolkit.rewards.bench.subject import ANY, training_rows
from toolkit.rewards.target import find, find_all
from toolkit.settings import DataSettings

EXAMPLE = ROOT / "recipes" / "cases" / "gsm8k_r1.yaml"
PROBLEMS = ROOT / "tests" / "golden" / "problems.jsonl"


def in_format(answer: str) -> str:
    return f"<reasoning>\nSo it is.\n</reasoning>\n<answer>\n{answer}\n</answer>"


ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "completion": in_format("18"), "answer": "18"},
    {"prompt": "a", "completion": "the answer is 18", "answer": "18"},
    {"prompt": "b", "completion": [{"role": "assistant", "content": in_format("$1,800")}], "answer": "#### 1800"},
    {"prompt": "b", "completion": in_format("3"), "answer": "who knows"},
]
Written = Callable[[list[Any]], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(rows: list[Any]) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def scored(args: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert cli.main(["reward", "score", *args, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_is_one_line_a_row_in_order(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    lines = scored(["--reward", "correct,format", "--input", str(written(ROWS))], capsys)
    assert lines == [
        {"row": 0, "scores": {"correct": 1.0, "format": 1.0}, "total": 2.0},
        {"row": 1, "scores": {"correct": 0.0, "format": 0.0}, "total": 0.0},
        {"row": 2, "scores": {"correct": 1.0, "format": 1.0}, "total": 2.0},
        {"row": 3, "scores": {"correct": None, "format": 1.0}, "total": None},
    ]


def test_weights_are_those_of_the_rewards_in_their_order(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--reward", "correct,format", "--reward_weights", "1", "-0.25", "--input", str(written(ROWS))]
    assert [line["total"] for line in scored(args, capsys)] == [0.75, 0.0, 0.75, None]


def test_what_a_reward_prints_stays_out_of_the_json(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loud.py").write_text(
        "print('imported')\n"
        "def mine(completions, **_):\n"
        "    print('called')\n"
        "    return [len(c) for c in completions]\n"
    )
    name = f"{tmp_path / 'loud.py'}:mine"
    lines = scored(["--reward", name, "--input", str(written(ROWS[:2]))], capsys)
    assert [line["scores"] for line in lines] == [{name: float(len(row["completion"]))} for row in ROWS[:2]]


def test_batches_split_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(i + 1, {"prompt": f"p{i // 3}", "completion": "x"}) for i in range(30)]
    sizes = [len(batch) for batch in score.batches(iter(rows), size=4)]
    assert sizes == [6, 6, 6, 6, 6]
    one_prompt = [(i + 1, {"prompt": "p", "group": i // 2, "completion": "x"}) for i in range(6)]
    assert [len(batch) for batch in score.batches(iter(one_prompt), size=100)] == [2, 2, 2]


def test_group_rewards_compare_the_rows_of_a_group(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    short, long = in_format("18"), in_format("18") + " " * 400
    rows = [{"prompt": "p", "group": i // 2, "completion": [short, long][i % 2], "answer": "18"} for i in range(4)]
    lines = scored(["--reward", "group_length", "--input", str(written(rows))], capsys)
    assert [line["total"] for line in lines] == [0.5, -0.5, 0.5, -0.5]


def test_table_shows_first_rows_summary_and_what_cannot_be_judged(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reward", "score", "--reward", "correct,format", "--input", str(written(ROWS * 5))]) == 0
    shown = capsys.readouterr().out
    assert "and 10 rows more" in shown
    assert "correct cannot judge 5 rows: lines 4, 8, 12, ..." in shown


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROWS[0], '{"prompt": '], "line 2 is not JSON"),
        ([ROWS[0], "[1, 2]"], "line 2 holds [1, 2]"),
        ([ROWS[0], {"prompt": "a", "answer": "1"}], "line 2 has no 'completion'"),
        ([ROWS[0], {"completion": "1", "anwser": "1"}], "line 2 has no 'answer'; did you mean anwser?"),
        ([ROWS[0], {"completion": 5, "answer": "1"}], "line 2: completion is int"),
    ],
)
def test_broken_line_is_one_line_with_file_and_number(
    rows: list[Any], said: str, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(rows)
    assert cli.main(["reward", "score", "--reward", "correct", "--input", str(path), "--json"]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.startswith(str(path))
    assert said in shown


def test_example_cases_of_the_recipe_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "try", str(EXAMPLE)]) == 0
    assert "all 16 pass" in capsys.readouterr().out


CASES = """
rewards: [r1_bundle, correct]
columns: {answer: "18"}
cases:
  - name: bare
    completion: <answer>18</answer>
    expect: {correct: %s, r1_bundle/steps: 0, r1_bundle: [0.55, 0.65]}
"""


def test_failed_case_says_why_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(CASES % "0.5")
    assert cli.main(["reward", "try", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  bare: correct 1, wanted 0.5" in shown
    assert "answer '18', equals 18" in shown
    assert "1 of 3 fail" in shown
    path.write_text(CASES % "null")
    assert [tried.passed for tried in try_cases(path)] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rewards: [corect]\ncases: []", "did you mean correct"),
        ("reward: [correct]\ncases: []", "unknown key 'reward'; did you mean rewards?"),
        ("rewards: [correct]\ncases: []", "cases is []"),
        (CASES.replace("expect: {correct", "expect: {corect") % 1, "cases[1].expect names 'corect'"),
        (CASES.replace("r1_bundle/steps", "r1_bundle/step") % 1, "did you mean r1_bundle/steps"),
        (CASES % "high", "cases[1].expect.correct is 'high'"),
        (CASES % "[1, 0]", "cases[1].expect.correct is [1, 0]"),
        ("rewards: [correct", "is not YAML at line 1; wanted a YAML file with `rewards` and `cases`; fix the file"),
        ("rewards: 2024-99-99", "is not YAML"),
    ],
)
def test_bad_case_file_is_one_line(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    assert cli.main(["reward", "try", str(path)]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert said in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("corect", "did you mean correct"),
        ("", "no reward given"),
        ("no_such_module:f", "cannot be imported (ModuleNotFoundError"),
        ("no/such/file.py:f", "there is no file"),
        ("tests.unit.rewards.bench.user_rewards:sond", "did you mean sound?"),
        ("tests.unit.rewards.bench.user_rewards:CALLS", "is a list"),
        ("toolkit.rewards.correctness:Correct", "is a class"),
        (f"{ROOT}/tests/unit/rewards/bench/user_rewards.py", "names no function"),
    ],
)
def test_unknown_reward_is_one_line(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "show", name]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert said in shown


def test_the_list_says_of_a_second_reward_of_a_kind_how_it_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "list"]) == 0
    lines = {line.split()[0]: line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["correct_signed"].endswith("the same with wrong = -1.0")
    assert lines["distinct_2"].endswith("the same with n = 2")
    assert "Varied wording" in lines["distinct_1"]


def test_a_long_name_leaves_room_for_the_completion(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    name = "tests.unit.rewards.bench.user_rewards:sound"
    assert cli.main(["reward", "score", "--reward", f"{name},correct", "--input", str(written(ROWS[:2]))]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split() == ["row", "sound", "correct", "total", "completion"]
    assert name in shown


def test_list_and_show_say_range_purpose_and_weakness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["reward", "list"]) == 0
    shown = capsys.readouterr().out
    for name in registry.REWARDS:
        assert f"\n{name} " in shown
        assert registry.get(name).purpose in " ".join(shown.split())
    assert cli.main(["reward", "show", "partial_credit"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    reward = registry.get("partial_credit")
    assert reward.weakness in shown
    assert "0 to 1" in shown
    assert "share = 0.3" in shown
    assert "true_equations" in shown


def test_file_and_module_give_the_same_function_for_pickle(tmp_path: Path) -> None:
    (tmp_path / "mine_for_pickle.py").write_text("def mine(completions, **_):\n    return [0.0 for _ in completions]\n")
    first, second = (find(f"{tmp_path}/mine_for_pickle.py:mine").function for _ in range(2))
    assert first is second


def test_rows_are_as_training_makes_them(tmp_path: Path) -> None:
    rows, prompts_are_given = training_rows(str(PROBLEMS), 3)
    assert not prompts_are_given
    assert [row["answer"] for row in rows] == ["88", "1,250", "12"]
    assert rows[0]["prompt"][-1]["content"] == rows[0]["question"]
    path = tmp_path / "own.csv"
    path.write_text("prompt,solution\nWhat is 1+1?,two\nWhat is 1+1?,2\n")
    asked = {"prompt": [{"role": "user", "content": "What is 1+1?"}], "question": "What is 1+1?", "answer": "two"}
    assert training_rows(str(path), 5, replace(ANY, answer_column="solution")) == ([asked | {"solution": "two"}], True)


def test_columns_of_other_names_feed_rewards_as_in_training(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    path, named = tmp_path / "own.jsonl", ["--answer_column", "final", "--question_column", "problem"]
    table = [{"problem": f"What is {i} plus 1?", "final": f"So:\n#### {i + 1}", "unit": "m"} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    wanted = Wanted(question_column="problem", answer_column="final")
    rows, _ = training_rows(str(path), 8, wanted)
    asked = DataSettings(dataset=str(path), question_column="problem", answer_column="final", n_eval=1)
    trained_on = data.load(asked, seed=0).train
    assert trained_on
    assert all(row in rows for row in trained_on)
    reward = "tests.unit.rewards.bench.notebook_rewards:tagged"
    for verb in ("check", "attack"):
        cli.main(["reward", verb, reward, "--dataset", str(path), *named, "--json"])
        assert json.loads(capsys.readouterr().out)["layout"] == "answer_tag"
    scored_file = written([row | {"prompt": "p", "completion": in_format(str(i + 1))} for i, row in enumerate(table)])
    lines = scored(["--reward", reward, "--input", str(scored_file), *named], capsys)
    assert [line["total"] for line in lines] == [1.0] * 8
    assert cli.main(["reward", "check", reward, "--dataset", str(path), "--answer_column", "none"]) == 2
    assert "no column 'none'" in capsys.readouterr().err


def test_gold_answers_are_found_by_the_names_that_training_knows(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    named: list[dict[str, Any]] = [{"ground_truth": "18"}, {"reward_model": {"ground_truth": "18"}}]
    for gold in named:
        path = written([{"prompt": "p", "completion": in_format("18"), **gold}])
        assert scored(["--reward", "correct", "--input", str(path)], capsys)[0]["total"] == 1.0


def test_unsafe_code_is_allowed_by_a_flag_alone() -> None:
    names = ("code_tests", "code_all_tests")
    assert [getattr(find(name).function, "allow_unsafe_code", None) for name in names] == [False, False]
    allowed = find_all("code_tests,correct", allow_unsafe_code=True)
    assert [getattr(target.function, "allow_unsafe_code", None) for target in allowed] == [True, None]
