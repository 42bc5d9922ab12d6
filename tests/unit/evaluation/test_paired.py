"""Two policies on the same problems, with verdicts that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.cli import main
from toolkit.errors import RewardError, RunFolderError
from toolkit.evaluation import paired
from toolkit.evaluation.paired import Side, compare
from toolkit.evaluation.scored import scored


def row(prompt: str, right: bool | None, reward: float | None, text: str = "", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": text or f"{prompt} {right}", "answer": "5", "correct": right,
            "reward": reward, "rewards": {"correct": reward}, "n_tokens": 4, **more}  # fmt: skip


A = Side(
    "a", [row("p", False, 0.0), row("q", True, 1.0), row("r", True, 1.0), row("s", False, None), row("only", True, 1)]
)
B = Side(
    "b", [row("r", True, 1.25), row("q", False, 0.25), row("p", True, 1.0), row("s", True, 1.0), row("new", True, 1)]
)


def test_figures_are_of_the_problems_that_both_have() -> None:
    found = compare(A, B)
    assert (found["n"], found["left_out"]) == (4, {"a": 1, "b": 1})
    passes = found["pass_at_1"]
    assert (passes["a"], passes["b"], passes["gained"], passes["lost"], passes["mcnemar_p"]) == (0.5, 0.75, 2, 1, 1.0)
    assert [(told["prompt"], told["a"], told["b"]) for told in found["gained"]] == [
        ("p", "p False", "p True"),
        ("s", "s False", "s True"),
    ]
    assert [told["prompt"] for told in found["lost"]] == ["q"]
    assert found["rewards"]["correct"]["difference"] == pytest.approx((1.0 - 0.75 + 0.25) / 3)  # s was not judged in A


def test_a_tie_counts_half_and_what_was_not_judged_nothing() -> None:
    win = compare(A, B)["win_rate"]
    assert (win["wins"], win["ties"], win["losses"], win["unjudged"], win["judged_by"]) == (2, 0, 1, 1, "reward")
    assert win["value"] == pytest.approx(2 / 3)
    assert paired.win_rate([1.0, 0.0, None], [1.0, 1.0, 1.0])["value"] == 0.75
    assert paired.win_rate([None], [1.0])["value"] is None


def test_without_verdicts_there_are_no_gains_and_still_a_win_rate() -> None:
    found = compare(Side("a", [row("p", None, 0.1)]), Side("b", [row("p", None, 0.2)]))
    assert (found["pass_at_1"], found["gained"], found["lost"], found["win_rate"]["value"]) == (None, [], [], 1.0)


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(RunFolderError, match="a \\(1 problem\\) and b \\(1 problem\\) have no problem in common"):
        compare(Side("a", [row("p", True, 1)]), Side("b", [row("q", True, 1)]))


def test_repeated_questions_are_told_apart_by_their_occurrence() -> None:
    twice = [row("p", True, 1.0, "first"), row("q", True, 1.0), row("p", False, 0.0, "second")]
    found = paired.pairs(Side("a", twice), Side("b", [row("p", True, 1, "one"), row("p", True, 1, "two")]))
    assert [(x["completion"], y["completion"]) for x, y in found] == [("first", "one"), ("second", "two")]


def test_another_reward_may_say_who_wins() -> None:
    a = Side("a", [row("p", True, 1.0, "<answer>5</answer>"), row("q", True, 1.0, "<answer>5</answer>")])
    b = Side("b", [row("p", False, 0.0, "<answer>5</answer>"), row("q", False, 0.0, "<answer>6</answer>")])
    first, second = scored(paired.pairs(a, b), "correct")
    assert (first, second) == ([1.0, 1.0], [1.0, 0.0])
    assert compare(a, b, "correct", (first, second))["win_rate"]["value"] == 0.25
    with pytest.raises(RewardError, match="reads a column 'tests'"):
        scored(paired.pairs(a, b), "code_tests")


def kept(folder: Path, side: Side) -> Path:
    (folder / "completions").mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in side.rows)
    (folder / "completions" / "after.jsonl").write_text(text)
    return folder


def test_the_command_shows_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (str(kept(tmp_path / side.name, side)) for side in (A, B))
    page = tmp_path / "both.html"
    assert main(["eval", "compare", a, b, "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "2 gained, 1 lost" in shown
    assert "p True" in shown
    html = page.read_text()
    assert "q False" in html
    assert main(["eval", "compare", "--json", a, b]) == 0
    assert json.loads(capsys.readouterr().out)["pass_at_1"]["gained"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "nothing to compare"),
        (["no-such"], "no-such does not exist"),
        (["{empty}"], "is neither a run nor an evaluation"),
        (["{a}", "{b}", "{a}"], "3 folders to compare"),
        (["{a}"], "was not measured before training"),
        (["{a}", "{b}", "--html", "x.pdf"], "wanted a name that ends in .html"),
        (["{a}", "{b}", "--html", "no/such/x.html"], "cannot be written"),
        (["{a}", "{b}", "--reward", "corect"], "did you mean correct"),
        (["{a}", "{b}", "--n_shown", "-1"], "--n_shown is -1"),
        (["{broken}", "{b}"], "is broken at line 1"),
        (["{other}", "{b}"], "row 1 has no completion"),
    ],
)
def test_bad_input_is_one_line(
    args: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {side.name: kept(tmp_path / side.name, side) for side in (A, B)} | {"empty": tmp_path / "empty"}
    places["empty"].mkdir()
    places["broken"] = tmp_path / "broken.jsonl"
    places["broken"].write_text("{half\n")
    places["other"] = tmp_path / "other.jsonl"
    places["other"].write_text('{"prompt": "p", "text": "x"}\n')
    before = sorted(tmp_path.rglob("*"))
    assert main(["eval", "compare", *(arg.format(**places) for arg in args)]) == 2
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 1)
    assert said in shown.err
    assert sorted(tmp_path.rglob("*")) == before
