"""What scripts and people get from `toolkit plan`, as a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.integration.commands import toolkit
from toolkit.vram.plan import PARTS


def test_json_has_what_scripts_rely_on() -> None:
    done = toolkit("plan", "--model", "Qwen/Qwen2.5-3B-Instruct", "--gpu", "RTX 4090", "--json")
    answer = json.loads(done.stdout)
    assert answer["model"]["parameters"] == 3_085_938_688
    assert set(PARTS) <= set(answer["parts_gib"])
    assert set(answer["phases"]) == {"load", "rollout", "update"}
    assert answer["fits"] in (True, False)
    assert len(answer["interval_process_gib"]) == 2
    for key in ("gpu", "peak_allocated_gib", "peak_reserved_gib", "peak_process_gib", "suggestion"):
        assert key in answer


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--model", "Qwen/Qwen2.5-3B-Instrct"), "Qwen/Qwen2.5-3B-Instruct"),
        (("--gpu", "RTX 4095"), "4090"),
        (("--standby", "--generation", "hf"), "--standby with --generation hf"),
        (("--lora_targets", "q,zz"), "zz"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], said: str) -> None:
    done = toolkit("plan", *args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
