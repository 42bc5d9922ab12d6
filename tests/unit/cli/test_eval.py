"""`toolkit eval` refuses in one line what it cannot measure, before anything loads, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit import cli
from toolkit.compat import environment


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Folders and files that are nearly what is wanted."""
    for name in ("empty", "adapter", "lost", "run", "evaluation"):
        (tmp_path / name).mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "lost" / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone/away"}')
    (tmp_path / "lost" / "adapter_model.safetensors").touch()
    (tmp_path / "run" / "settings.json").write_text('{"recipe": "x", "requested": {}}')
    (tmp_path / "evaluation" / "settings.json").write_text('{"recipe": "evaluate", "requested": {}}')
    (tmp_path / "evaluation" / "evaluation.json").write_text("{}")
    rows = [{"question": f"What is {i} + {i}?", "answer": str(2 * i), "level": i} for i in range(120)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "file").touch()
    return {path.name: str(path) for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no RUN, ADAPTER or MODEL given"),
        (["{empty}"], "is no run, no adapter and no model"),
        (["{file}"], "is a file"),
        (["{empty}/gone"], "does not exist"),
        (["embeded"], "did you mean embedded?"),
        (["{run}"], "has no adapter and no whole checkpoint"),
        (["{adapter}"], "has no adapter_model.safetensors"),
        (["{lost}"], "belongs to /gone/away, which is not here"),
        (["{evaluation}"], "is an evaluation"),
        (["embedded", "--n_samples", "2", "--k", "3"], "--k 3 with --n_samples 2; wanted k at most n"),
        (["embedded", "--k", "1"], "--k 1 with --n_samples 0"),
        (["embedded", "--n_samples", "2", "--k", "0"], "--k is 0"),
        (["embedded", "--n_samples", "-1"], "--n_samples is -1"),
        (["embedded", "--n_samples", "2", "--temperature", "0"], "--temperature is 0"),
        (["embedded", "--n_eval", "0"], "--n_eval is 0"),
        (["embedded", "--max_completion_length", "0"], "--max_completion_length is 0"),
        (["embedded", "--by", "levle", "--dataset", "{sums.jsonl}"], "did you mean level?"),
        (["embedded", "--by", "level", "--dataset", "{sums.jsonl}", "--n_eval", "60"], "different values there"),
        (["embedded", "--by", "steps", "--dataset", "{sums.jsonl}"], "no worked solutions"),
        (["embedded", "--dataset", "{sums.jsonl}", "--answer_column", "gold"], "no column 'gold'"),
        (["embedded", "--dataset", "no-such.jsonl"], "no-such.jsonl does not exist"),
        (["embedded", "--reward", "corect"], "did you mean correct"),
        (["embedded", "--system_prompt", "no-such.txt"], "no-such.txt does not exist"),
        (["embedded", "--output_dir", "{empty}/.."], "holds something else"),
        (["embedded", "--output_dir", "{file}"], "holds something else"),
        (["embedded", "--n-smaples", "3"], "did you mean --n_samples"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    args: list[str], said: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(environment, "MUST_COME_FIRST", ())  # other tests of this process have loaded torch
    before = sorted(tmp_path.rglob("*"))
    filled = [arg.replace("{sums.jsonl}", places["sums.jsonl"]) for arg in args]
    folders = {name: place for name, place in places.items() if "." not in name}
    filled = [arg.format(**folders) if arg.startswith("{") else arg for arg in filled]
    assert cli.main(["eval", *filled, "--json"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 1), shown
    assert said in shown.err
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_the_verbs_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--help"]) == 0
    assert "toolkit eval compare --help" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["eval", "compare", "--help"]) == 0
    assert "--html" in capsys.readouterr().out
