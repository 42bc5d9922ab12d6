"""The reward of a server against a real one on this machine, which answers as it is told and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Given, serving
from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.rewards.base import RewardWarning
from toolkit.rewards.bench import score
from toolkit.rewards.learned.http import HttpReward, read_scores
from toolkit.rewards.target import find
from toolkit.training.rewards import Reward, check_rewards

Answer = tuple[int, str]
ROWS: list[Row] = [
    {"prompt": [{"role": "user", "content": f"{i} + 1?"}], "question": f"{i} + 1?", "answer": f"{i + 1}"}
    for i in range(4)
]


class Server:
    """`answer` gets the rows of a request and its number."""

    def __init__(self) -> None:
        self.answer: Callable[[list[dict[str, Any]], int], Answer] = right
        self.delay_s = 0.0
        self.url = ""
        self.requests: list[dict[str, Any]] = []


def right(rows: list[dict[str, Any]], _i: int) -> Answer:
    return 200, json.dumps({"scores": [float(row["answer"] in row["completion"]) for row in rows]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server()

    def answer(path: str, headers: dict[str, str], body: Any) -> Given:
        state.requests.append({"path": path, "auth": headers.get("authorization"), "rows": body["rows"]})
        time.sleep(state.delay_s)
        status, text = state.answer(body["rows"], len(state.requests))
        return status, text.encode(), {}

    with serving(answer) as address:
        state.url = f"{address}/score"
        yield state


def quick(url: str, **settings: Any) -> HttpReward:
    return HttpReward(url=url, **{"backoff_s": 0.01, **settings})


def call(reward: HttpReward, rows: list[Row] = ROWS, text: str = "it is 3") -> list[float | None]:
    """As TRL calls it, with prompts and completions as messages."""
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    completions = [[{"role": "assistant", "content": text}] for _ in rows]
    logged: dict[str, float] = {}
    return reward(
        completions=completions, prompts=[row["prompt"] for row in rows], completion_ids=[[1]] * len(rows),
        trainer_state=object(), log_metric=logged.__setitem__, log_extra=print, **columns,
    )  # fmt: skip


def test_a_batch_is_one_request_of_rows_as_documented(server: Server) -> None:
    rows: list[Row] = [row | {"tags": ["a", float("nan")], "odd": "\ud800"} for row in ROWS]
    assert call(quick(server.url), rows) == [0.0, 0.0, 1.0, 0.0]
    assert len(server.requests) == 1
    assert server.requests[0]["rows"][2] == {
        "prompt": [{"role": "user", "content": "2 + 1?"}],
        "question": "2 + 1?",
        "answer": "3",
        "tags": ["a", None],
        "odd": "?",
        "completion": "it is 3",
    }
    server.answer = lambda rows, _i: (200, json.dumps([None, 1, 2.5, -1]))
    with pytest.warns(RewardWarning, match="1 of 8 completions have no score so far; last: it gave null"):
        assert call(quick(server.url)) == [None, 1.0, 2.5, -1.0]


def test_it_waits_for_a_server_that_recovers(server: Server) -> None:
    server.answer = lambda rows, i: (500, "starting") if i < 3 else right(rows, i)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(quick(server.url)) == [0.0, 0.0, 1.0, 0.0]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "text", "why"),
    [
        (200, '{"scores": [1, 2]}', "it gave 2 scores for 4 rows"),
        (200, '{"scores": {"a": 1}}', "neither"),
        (200, "7", "neither"),
        (200, "<html>", "is not JSON: '<html>'"),
        (200, "[" * 100_000, "is not JSON"),
        (500, "down at hush", "HTTP 500"),
        (401, "who are you", "HTTP 401"),
        (302, "", "HTTP 302"),
    ],
)
def test_an_answer_that_cannot_be_used_is_none_for_every_row_with_one_line(
    server: Server, status: int, text: str, why: str
) -> None:
    server.answer = lambda _rows, _i: (status, text)
    with pytest.warns(RewardWarning, match="4 of 4 completions have no score so far") as told:
        assert call(quick(server.url)) == [None] * 4
    assert why in str(told[0].message)
    assert len(told) == 1


def test_single_scores_that_are_no_number_are_none_and_counted() -> None:
    scores, why = read_scores('[1, NaN, Infinity, "good", true, null, 1e999, 1' + "0" * 400 + "]", 8)
    assert scores == [1.0] + [None] * 7
    assert why.startswith("6 of 8 scores are no finite number")


def test_warnings_count_and_become_rarer(server: Server) -> None:
    reward = quick(server.url)
    server.answer = lambda _rows, _i: (400, "no")
    with pytest.warns(RewardWarning) as told:
        _ = [call(reward) for _ in range(16)]
    assert [str(w.message).split()[2] for w in told] == ["4", "8", "16", "32", "64"]


def test_a_slow_server_is_given_up_in_time_and_a_silent_one_does_not_end_the_run(server: Server) -> None:
    server.delay_s = 0.5
    started = time.monotonic()
    with pytest.warns(RewardWarning, match=r"no answer in 0\.1 s"):
        assert call(quick(server.url, timeout_s=0.1, retries=1)) == [None] * 4
    assert time.monotonic() - started < 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/score"
    with pytest.warns(RewardWarning, match="no connection"):
        assert call(quick(closed)) == [None] * 4


def test_before_a_run_one_attempt_says_in_one_line_that_it_does_not_answer(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda _rows, _i: (503, "busy")
    reward = Reward(quick(server.url), 1.0, "the server")
    with pytest.raises(RewardError, match=r"reward 'score' \(the server\) gives no scores: HTTP 503 .*--force"):
        check_rewards([reward], ROWS, force=False)
    assert len(server.requests) == 1
    assert check_rewards([reward], ROWS, force=True) == []
    assert "Started all the same" in capsys.readouterr().out
    server.answer = right
    assert [checked.holds for checked in check_rewards([reward], ROWS, force=False)] == [True]


def test_a_user_and_password_reach_the_server_and_nobody_else(server: Server, tmp_path: Path) -> None:
    address = server.url.replace("http://", "http://me:hu%2Fsh@") + "?key=hush"
    target = find(address)
    reward = target.function
    assert isinstance(reward, HttpReward)
    assert call(reward) == [0.0, 0.0, 1.0, 0.0]
    assert server.requests[0]["auth"] == "Basic bWU6aHUvc2g="
    assert server.requests[0]["path"] == "/score?key=hush"
    server.answer = lambda _rows, _i: (400, f"bad address {address}")
    file = tmp_path / "c.jsonl"
    file.write_text('{"prompt": "2 + 3?", "completion": "5", "answer": "5"}\n')
    with pytest.raises(RewardError) as caught:
        list(score.score_file(file, [target], [1.0]))
    shown = (target.name, repr(reward), reward.__name__, str(caught.value))
    assert not [text for text in shown if "hush" in text or "hu%2Fsh" in text]
    assert "HTTP 400" in str(caught.value)


@pytest.mark.parametrize("bad", ["http://", "ftp://host", "http://me:hush@host:port/", "http://[::1", "http:///score"])
def test_a_bad_address_is_refused_without_being_quoted(bad: str) -> None:
    with pytest.raises(RewardError) as caught:
        HttpReward(url=bad)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h:80/a/score?x=1", "score"), ("http://h/", "h"), ("http://u:p@h:8000", "h"), ("http://h/a/", "a")],
)
def test_it_is_called_by_the_end_of_its_address(url: str, name: str) -> None:
    assert HttpReward(url=url).__name__ == name
