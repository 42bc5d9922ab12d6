"""What is sent in says nothing of who ran it and where, and still says what was measured."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench import share, store
from toolkit.bench.tables import table_of
from toolkit.cli import main

BASELINES = Path(__file__).parents[3] / "benchmarks" / "baselines"
USER, HOST = "marvin", "deepthought"
HOME = f"/home/{USER}"


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.lan.example.org")


def record(**more: Any) -> dict[str, Any]:
    point = {"engine": "toolkit", "model": "Qwen/Qwen2.5-3B-Instruct", "num_generations": 8, **more.pop("point", {})}
    measured = {"n_steps": 2, "step_s": [1.0, 1.1], "step_s_median": 1.05, "tokens_per_s": 900.0, "reward": 0.5}
    return {
        "id": "b34626129b75",
        "date": "2026-12-01T02:29:44+00:00",
        "spec": "24gb",
        "point": point,
        "repeat": 0,
        "status": "ok",
        "why": "",
        "measured": measured | {"peak_gib": {"process": 10.0}},
        "predicted": None,
        "machine": {"load_1min": 1.0},
        "about": {"recipe": "gsm8k_r1", "card": ["NVIDIA GeForce RTX 4090"], "versions": {"torch": "2.13.0+cpu"}},
        **more,
    }


PRIVATE = [
    {"point": {"dataset": f"{HOME}/my data/set one.jsonl"}},
    {"point": {"dataset": f"~{USER}/rows.jsonl", "examples": "private/folder/ex.jsonl"}},
    {"point": {"dataset": rf"C:\Users\{USER}\rows.jsonl", "model": rf"\\wsl$\Ubuntu\home\{USER}\m"}},
    {"point": {"model": f"{USER}/secret-model"}},
    {"point": {"model": "./checkpoints/private/folder"}},
    {"point": {"reward": f"{HOME}/rewards dir/my.py:score:0.5,rubric:private/folder/r.yaml,http://u:pw@10.0.0.7:80/x"}},
    {"point": {"output_dir": f"{HOME}/runs/x", "config": f"{HOME}/c.yaml", "push_to_hub": f"{USER}/x"}},
    {"point": {"system_prompt": f"You are {USER}'s private/folder butler."}},
    {"point": {"grpo": {"chat_template_path": f"{HOME}/private/folder/t.jinja"}}},
    {"status": "failed", "why": f"OSError: {HOME}/private/folder/x.py on {HOST}, token hf_abcDEF123 of {USER.upper()}"},
    {"status": "refused", "why": "private/folder/rows.jsonl has no answer; see file:///srv/private/folder/y"},
    {"why": f"ssh {USER}@{HOST}.lan.example.org:/srv/private/folder/z"},
    {"spec": f"{USER}_24gb", "machine": {"hostname": HOST, "others": [f"{HOME}/bin/python"]}},
    {"why": f"dear {USER}: my data is private/folder"},
    {"settings": {"requested": {"grpo": {"hub_model_id": "deepthought/secret", "wandb_api_key": "0a1b2c3d" * 5}}}},
    {"point": {"grpo": {"run_name": "my data of marvin"}, "host_port": "10.0.0.7:8000"}},
    {"measured": {"note": "marvin@example.org"}, "about": {"a new key": "0a1b2c3d"}},
    {"effective": {"later": {"key": f"/mnt/private/folder/{USER}.bin"}}, "user": USER},
]


@pytest.mark.parametrize("parts", PRIVATE, ids=str)
def test_nothing_says_who_or_where(parts: dict[str, Any]) -> None:
    text = share.as_lines(share.shared([record(**parts)]))
    for word in (
        USER,
        HOST,
        "private/folder",
        "my data",
        "rewards dir",
        "hf_abc",
        "10.0.0.7",
        "pw@",
        "example.org",
        "0a1b2c3d",
    ):
        assert word.lower() not in text.lower()
    assert not re.search(r"(?<![\w*:/])[~/\\]+\w+[/\\]", text)
    assert '"/' not in text


def test_what_was_measured_stays() -> None:
    (kept,) = share.shared([record(why="OutOfMemoryError: 3.2 GiB for the prompt 'my own text'")])
    before = record()
    for name in ("date", "spec", "point", "repeat", "status", "measured", "predicted", "machine", "about"):
        assert kept[name] == before[name]
    assert kept["why"] == "OutOfMemoryError"
    assert share.shared([kept]) == [kept]
    assert table_of([kept, kept | {"point": {**kept["point"], "num_generations": 4}}]).csv().startswith("num_gen")
    assert share.name_of([kept]) == "rtx_4090_24gb.jsonl"


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("stopped after 900 s", "stopped after 900 s"),
        ("exit code 130", "exit code 130"),
        ("torch.OutOfMemoryError: CUDA", "OutOfMemoryError"),
        ("ValueError: Q: who are you?", "ValueError"),
        ("Alice: a line of a prompt", ""),
        ("the last line of a log", ""),
    ],
)
def test_a_reason_is_cut_to_its_kind(why: str, kind: str) -> None:
    assert share.kind_of(why) == kind
    assert share.kind_of(kind) == kind


def test_texts_that_are_hidden_stay_apart() -> None:
    kept = share.shared([record(point={"my_setting": text}) for text in ("mine", "yours", "mine")])
    assert len({one["point"]["my_setting"] for one in kept}) == 2
    assert share.shared(kept) == kept


def test_what_a_path_leaves_is_its_last_part() -> None:
    (kept,) = share.shared([record(point={"dataset": f"{HOME}/my data/rows.jsonl", "reward": "a/b.py:f:0.5,correct"})])
    assert (kept["point"]["dataset"], kept["point"]["reward"]) == ("rows.jsonl", "b.py:f:0.5,correct")


def test_a_file_is_written_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / store.CELLS).write_text(json.dumps(record(why=f"at {tmp_path}/private/x.py")) + "\n")
    assert main(["bench", "share", str(tmp_path)]) == 0
    written = tmp_path / "rtx_4090_24gb.jsonl"
    assert str(tmp_path) not in written.read_text()
    assert [one["status"] for one in store.read(written)] == ["ok"]
    assert main(["bench", "share", str(written), "--output", str(written)]) == 2
    assert "would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.jsonl")), ids=lambda path: path.name)
def test_the_records_of_this_repository_are_as_share_writes_them(path: Path) -> None:
    records = store.read(path)
    assert records
    assert share.shared(records) == records


def test_the_machine_that_this_runs_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    words = share.private_words()
    assert {str(Path.home()), os.getcwd(), socket.gethostname()} <= set(words)
