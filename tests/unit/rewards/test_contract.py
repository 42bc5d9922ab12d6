"""What holds for every reward: names, ranges, documents, pickling, TRL's calling convention, any text at all."""

from __future__ import annotations

import dataclasses
import math
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rewards.samples import PURE, ROW, TEXTS, columns
from toolkit.errors import RewardError
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.composition import Composition, Part
from toolkit.rewards.registry import get

PIECES = [
    "<answer>", "</answer>", "<reasoning>", "</reasoning>", "<think>", "</think>", "#### ", "\\boxed{", "}", "{",
    "\\frac{", "the answer is ", "A: ", "答案是", "18", "17", "1,000", ".5", "3/4", "-", " or ", "=", "3*6=18", "%",
    "$", "\n", " ", "1e9", "9" * 300, "1e999999", "let me check: ", "因为", "\ud800", "\x00", "\u2212", "½", "٣", "x",
    "a ", "您好", "🙂",
]  # fmt: skip
ANY_TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=25).map("".join)
pytestmark = pytest.mark.filterwarnings("ignore::toolkit.rewards.base.RewardWarning")


def assert_in_range(reward: RewardFunction, score: float | None) -> None:
    low, high = reward.range
    assert score is None or (isinstance(score, (int, float)) and low <= score <= high), (reward.__name__, score)


@pytest.mark.parametrize("name", PURE)
def test_a_reward_says_what_it_is(name: str) -> None:
    reward = get(name)
    assert reward.__name__ == name
    low, high = reward.range
    assert math.isfinite(low)
    assert low < high < math.inf
    for text in (reward.purpose, reward.weakness):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "\n" not in text
    assert (type(reward).__doc__ or "").strip()
    assert dataclasses.is_dataclass(reward)
    with pytest.raises(dataclasses.FrozenInstanceError):
        reward.title = "other"  # pyright: ignore[reportAttributeAccessIssue]
    assert dataclasses.replace(reward, title="mine").__name__ == "mine"


def test_the_names_of_the_registry_are_its_instances() -> None:
    assert len(PURE) == len(set(PURE)) >= 30
    with pytest.raises(RewardError, match="did you mean correct"):
        get("corect")
    with pytest.raises(RewardError, match="toolkit reward list"):
        get("zzz")


@pytest.mark.parametrize("name", PURE)
def test_conversations_score_as_plain_text_and_explanations_as_calls(name: str) -> None:
    reward = get(name)
    plain = [reward([text], **columns(1))[0] for text in TEXTS]
    chats = [[{"role": "assistant", "content": text}] for text in TEXTS]
    assert [reward([chat], **columns(1))[0] for chat in chats] == plain
    explained = [reward.explain(chat, **ROW) for chat in chats]
    assert [e.score for e in explained] == plain
    assert all(e.reason and "\n" not in e.reason for e in explained)
    for score in plain:
        assert_in_range(reward, score)


@pytest.mark.parametrize("name", [name for name in PURE if get(name).columns])
def test_a_missing_or_broken_column_is_one_line(name: str) -> None:
    reward = get(name)
    needed = reward.columns[0]
    given = {column: ["x"] for column in reward.columns if column != needed}
    for bad, said in (
        ({}, f"got no column '{needed}'"),
        ({needed + "s": ["18"]}, f"did you mean {needed}s"),
        ({needed: "18"}, "is a str"),
        ({needed: ["18", "18"]}, "2 values of .* for 1 completions"),
    ):
        with pytest.raises(RewardError, match=said) as raised:
            reward(["18"], **given, **bad)
        assert "\n" not in str(raised.value)


def test_the_last_message_is_judged_unless_a_tool_wrote_it() -> None:
    correct, right = get("correct"), "<answer>18</answer>"
    turns = [
        [{"role": "assistant", "content": "<answer>17</answer>"}, {"role": "assistant", "content": right}],
        [{"role": "assistant", "content": "calling"}, {"role": "tool", "content": right}],
        [{"role": "assistant", "content": [{"type": "text", "text": right}]}],
        [{"role": "assistant", "content": None}],
        [],
    ]
    assert correct(turns, answer=["18"] * 5) == [1.0, 0.0, 1.0, 0.0, 0.0]


def check_any_text(names: list[str], text: str, ids: list[int] | None) -> None:
    row = columns(1) | ({} if ids is None else {"completion_ids": [ids]})
    for name in names:
        reward = get(name)
        (score,) = reward([text], **row)
        assert_in_range(reward, score)


CHEAP = [name for name in PURE if name != "correct_latex"]  # which asks a process for each text


@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT, ids=st.none() | st.lists(st.integers(0, 9), max_size=60))
def test_any_text_scores_in_range_without_an_exception(text: str, ids: list[int] | None) -> None:
    check_any_text(CHEAP, text, ids)


@settings(max_examples=30, deadline=None)
@given(text=ANY_TEXT, gold=ANY_TEXT)
def test_any_text_and_any_gold_answer_are_explained_on_one_line(text: str, gold: str) -> None:
    for name in CHEAP:
        explained = get(name).explain(text, answer=gold, prompts=text)
        assert_in_range(get(name), explained.score)
        assert "\n" not in explained.reason


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None, database=None)
@given(text=ANY_TEXT, ids=st.none() | st.lists(st.integers(0, 9), max_size=60))
def test_a_hundred_thousand_texts_score_in_range(text: str, ids: list[int] | None) -> None:
    check_any_text(CHEAP, text, ids)


@pytest.mark.parametrize(
    "piece", ["a", " ", "1+", "=-", "\n", "so. ", "1=1 ", "你好", "$", "let me check: 1+1=3 ", "`"]
)
@pytest.mark.parametrize("name", [name for name in PURE if not name.startswith("correct")])
def test_a_megabyte_of_anything_takes_well_under_a_second(name: str, piece: str) -> None:
    text = "<reasoning>" + piece * (1_000_000 // len(piece)) + "</reasoning><answer>17</answer>"
    begin = time.process_time()
    get(name)([text], **columns(1))
    assert time.process_time() - begin < 1.0


def test_trl_calls_every_reward_in_its_own_way() -> None:
    """The installed trainer's own method, on a batch of two groups in conversation, with a broken gold answer."""
    import torch
    from trl import GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]
    from trl.trainer.utils import get_callable_name

    rewards = [*map(get, PURE), Composition((Part(get("correct")), Part(get("overlong"))), title="mine")]
    prompts = [[{"role": "user", "content": f"How many {i // 2}?"}] for i in range(4)]
    completions = [[{"role": "assistant", "content": "<answer>18</answer>"}]] * 4
    inputs = [
        {"prompt": prompt, "answer": gold} for prompt, gold in zip(prompts, ("18", "18", "19", "many"), strict=True)
    ]
    extra, metrics = {}, {}
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu"), is_main_process=True),
        args=SimpleNamespace(report_to=[]),
        state=SimpleNamespace(global_step=0, max_steps=10),
        reward_funcs=rewards,
        reward_processing_classes=[None] * len(rewards),
        reward_func_names=[get_callable_name(reward) for reward in rewards],
        environments=None,
        _log_completion_extra=lambda column, values: extra.setdefault(column, values),
        _log_metric=lambda name, value: metrics.setdefault(name, value),
    )
    scores = GRPOTrainer._calculate_rewards(trainer, inputs, prompts, completions, [[1, 2, 3]] * 4)  # pyright: ignore[reportArgumentType]
    assert trainer.reward_func_names == [*PURE, "mine"]
    assert scores.shape == (4, len(rewards))
    correct = scores[:, PURE.index("correct")].tolist()
    assert correct[:3] == [1.0, 1.0, 0.0]
    assert math.isnan(correct[3])
    assert metrics["unjudged/correct_frac"] == 0.25
    assert extra["mine/correct"] == [1.0, 1.0, 0.0, None]
