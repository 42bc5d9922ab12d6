"""`toolkit chat` on the embedded model: in this process, through a pipe, and in a pseudo terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from toolkit.backends.base import Sampling
from toolkit.backends.shared import _Pieces
from toolkit.cli import main
from toolkit.errors import DataError
from toolkit.launch import open_policy
from toolkit.launch.chat import BASE, TRAINED, Chat
from toolkit.models import embedded

QUESTION = "Ana has 3 eggs. She buys 11 more. How many eggs does Ana have now?"


@pytest.fixture(scope="module", autouse=True)
def many_in_one_process() -> Iterator[None]:
    """What it sets must stand before torch is imported, and the tests of this process have imported that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.compat.environment.set_before_imports", lambda circumstances: ({}, []))
        yield


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that moves the model: random, not trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(embedded.folder())
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tuned.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def talk(adapter: Path) -> Chat:
    opened = open_policy(str(adapter), {"max_completion_length": 32, "use_vllm": False})
    return Chat(opened, opened.load(), Sampling(32))


def test_the_base_answers_with_the_adapter_switched_off_and_pieces_make_the_whole(talk: Chat) -> None:
    told: dict[str, list[str]] = {TRAINED: [], BASE: []}
    assert talk.put(QUESTION) == ""
    for who, pieces in told.items():
        said = talk.answer(who, pieces.append)
        assert "".join(pieces).rstrip("\ufffd") == said.text.rstrip("\ufffd")
        assert len(pieces) > 3
        assert said.n_tokens <= 32
    plain = open_policy("embedded", {"max_completion_length": 32})
    policy = plain.load()
    (alone,) = plain.backend.generate(policy, [talk.prompt], Sampling(32))
    assert talk.said[1].text == alone.text == "<reasoning>\n3+11=14\n</reasoning>\n<answer>\n14\n</answer>"
    assert talk.said[0].text != alone.text
    (again,) = talk.opened.backend.generate(talk.policy, [talk.prompt], Sampling(32))
    assert talk.said[0].text == again.text  # and is switched on again


def test_rewards_score_an_answer_and_ask_for_the_right_one_where_they_need_it(talk: Chat) -> None:
    talk.put(QUESTION)
    said = talk.answer(BASE, lambda piece: None)
    without, right, wrong = (talk.scores(said, gold) for gold in (None, "14", "15"))
    assert [(score.name, score.value) for score in without] == [("correct", None), ("format", 1.0)]
    assert without[0].why == "needs the right answer: /answer ..."
    assert [score.value for score in right] == [1.0, 1.0]
    assert [score.value for score in wrong] == [0.0, 1.0]


def test_a_question_without_room_for_an_answer_is_refused_and_a_long_one_gets_what_is_left(talk: Chat) -> None:
    positions = talk.policy.model.config.max_position_embeddings
    with pytest.raises(DataError, match="fewer than"):
        talk.put("1 " * positions)
    talk.put(QUESTION)
    assert talk.sampling.max_completion_length == 32
    n_prompt = len(talk.policy.tokenizer.apply_chat_template(talk.prompt, add_generation_prompt=True)["input_ids"])
    note = talk.put(QUESTION + " 1" * ((positions - n_prompt) // 2 - 5))
    assert "more than any prompt in training" in note
    assert 0 < talk.sampling.max_completion_length < 32


def test_a_character_of_several_tokens_is_told_when_it_is_whole(talk: Chat) -> None:
    import torch

    told: list[str] = []
    ids = talk.policy.tokenizer("a 🙂中", add_special_tokens=False)["input_ids"]
    assert len(ids) > 5
    pieces = _Pieces(talk.policy.tokenizer, told.append)
    pieces.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for token in ids:
        pieces.put(torch.tensor([token]))
    pieces.end()
    assert "".join(told) == "a 🙂中"
    assert "\ufffd" not in "".join(told)


def start(*args: str, **how: Any) -> subprocess.Popen[Any]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "toolkit", "chat", *args]
    return subprocess.Popen(command, env=env, start_new_session=True, **how)


def test_in_a_terminal_ctrl_c_ends_the_answer_and_then_the_program(adapter: Path) -> None:
    """Random tokens without end: one Ctrl-C stops them, the next ends the program; what they say is escaped."""
    ours, theirs = pty.openpty()
    args = (str(adapter), "--temperature", "90", "--max_completion_length", "256")
    started = start(*args, stdin=theirs, stdout=theirs, stderr=theirs)
    screen = Screen(ours)
    screen.wait_for("> ")
    os.write(ours, f"{QUESTION}\n".encode())
    screen.wait_for(lambda seen: len(seen.partition(QUESTION)[2]) > 20)
    os.killpg(started.pid, signal.SIGINT)
    screen.wait_for("(stopped)")
    screen.wait_for(lambda seen: seen.endswith("> "))
    os.write(ours, b"/answer 14\n")
    screen.wait_for("no answer to score yet")
    screen.wait_for(lambda seen: seen.endswith("> "))
    for _ in range(60):  # readline shows its prompt before it listens, and a signal between the two waits for a key
        os.killpg(started.pid, signal.SIGINT)
        if select.select([ours], [], [], 1.0)[0]:  # a line break: it was heard
            break
    assert started.wait(60) == 130
    assert "Traceback" not in screen.seen
    assert not set(screen.seen.partition(QUESTION)[2].partition("(stopped)")[0]) & set("\x00\x01\x07\x08\x0e")
    os.close(ours)
    os.close(theirs)


class Screen:
    """What a terminal got."""

    def __init__(self, fd: int) -> None:
        self._fd, self.seen = fd, ""

    def wait_for(self, wanted: str | Callable[[str], bool]) -> None:
        end = time.monotonic() + 300
        while not (wanted in self.seen if isinstance(wanted, str) else wanted(self.seen)):
            assert time.monotonic() < end, self.seen
            if select.select([self._fd], [], [], 1.0)[0]:
                self.seen += os.read(self._fd, 4096).decode(errors="replace")


def test_through_a_pipe_each_line_is_a_question_and_truncated_answers_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = f"{QUESTION}\n\n/nonsense\n{QUESTION} /answer 14\n/answer\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", "embedded", "--max_completion_length", "8"]) == 0
    out = capsys.readouterr().out
    assert out.count("(truncated after 8 tokens") == 2
    assert out.count(f"> {QUESTION}") == 2
    assert "unknown /nonsense" in out
    assert "1 x correct 0.00 + 1 x format 0.00 = 0.00" in out
    assert "no right answer behind /answer" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no RUN, ADAPTER or MODEL given"),
        (["/nowhere"], "does not exist"),
        (["--compare", "embedded"], "is a whole model"),
        (["embedded", "--temperature", "-1"], "--temperature is -1.0"),
        (["embedded", "--max_completion_length", "0"], "--max_completion_length is 0"),
        (["embedded", "--reward", "corect"], "correct"),
        (["embedded", "--examples", "missing.jsonl"], "--examples missing.jsonl"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", *args]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
