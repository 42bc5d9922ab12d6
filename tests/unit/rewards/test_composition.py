"""Several rewards as one: None, gates, schedules, clipping, normalisation, and what is kept of the parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from toolkit.errors import RewardError
from toolkit.rewards import Composition, Linear, Part, Piecewise, hybrid, phases, r1_bundle, r1_curriculum
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.composition import correct_if_format, mixed_phases, normalized
from toolkit.rewards.correctness import correct, correct_signed
from toolkit.rewards.formatting import format
from toolkit.rewards.length import GroupLength
from toolkit.rewards.registry import get
from toolkit.rewards.schedule import progress_of


@dataclass(frozen=True)
class Column(RewardFunction):
    """The score that the row gives, so that a test can say what each part says."""

    name: ClassVar[str] = "column"
    of: str = "a"
    low: float = 0.0
    high: float = 1.0

    @property
    def columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.of,)

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.low, self.high

    def judge(self, text: str, **row: Any) -> float | None:
        return row[self.of]

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return "as the row says"


A, B, C = (Column(title=of, of=of) for of in "abc")
pytestmark = pytest.mark.filterwarnings("ignore::toolkit.rewards.base.RewardWarning")


def scored(reward: RewardFunction, n: int = 1, **columns: Any) -> list[float | None]:
    return reward([""] * n, **columns)


def at_step(step: int, of: int = 100) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, max_steps=of)


def test_the_total_is_the_weighted_sum() -> None:
    both = Composition((Part(A, 0.75), Part(B, 0.5)))
    assert scored(both, 3, a=[1.0, 0.0, 0.5], b=[1.0, 1.0, 0.0]) == [1.25, 0.5, 0.375]
    assert both.range == (0.0, 1.25)


def test_a_part_that_cannot_judge_leaves_its_weight_to_the_others() -> None:
    both = Composition((Part(A, 3.0), Part(B, 1.0)))
    assert scored(both, 4, a=[None, 1.0, None, 0.5], b=[1.0, None, None, 0.5]) == [4.0, 4.0, None, 2.0]
    mixed = Composition((Part(A, 1.0), Part(Column(title="b", of="b", low=-1.0, high=0.0), 1.0)))
    assert mixed.range == (-1.0, 1.0)
    assert scored(mixed, 2, a=[None, 1.0], b=[-1.0, None]) == [-1.0, 1.0]  # not -2 and 2, which no parts together have


def test_only_a_part_without_weight_left_is_none() -> None:
    weightless = Composition((Part(A, 1.0), Part(B, 0.0)))
    assert scored(weightless, 2, a=[None, 1.0], b=[1.0, None]) == [None, 1.0]


def test_a_closed_gate_gives_the_part_its_lowest_score() -> None:
    low = Column(title="a", of="a", low=-1.0)
    gated = Composition((Part(low, 2.0, only_if=B, at_least=0.5), Part(C)))
    assert scored(gated, 3, a=[1.0] * 3, b=[1.0, 0.4, None], c=[0.5] * 3) == [2.5, -1.5, pytest.approx(1.5)]
    assert gated.columns == ("a", "b", "c")


def test_no_correctness_without_format() -> None:
    strict = "<reasoning>\n3*6\n</reasoning>\n<answer>\n18\n</answer>"
    texts = [strict, "<answer>18</answer>", strict.replace("18", "17")]
    assert correct_if_format(texts, answer=["18"] * 3) == [1.0, 0.0, 0.0]
    assert "gate format closed" in correct_if_format.explain(texts[1], answer="18").reason
    signed = Composition((Part(correct_signed, only_if=format),))
    assert signed(texts, answer=["18"] * 3) == [1.0, -1.0, -1.0]


def test_the_total_is_clipped_and_its_range_too() -> None:
    clipped = Composition((Part(A, 2.0), Part(B, 2.0)), clip=(0.5, 3.0))
    assert scored(clipped, 3, a=[1.0, 0.0, 0.5], b=[1.0, 0.0, 0.0]) == [3.0, 0.5, 1.0]
    assert clipped.range == (0.5, 3.0)


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.1), (29, 0.1), (30, 0.5), (69, 0.5), (70, 0.9), (99, 0.9), (100, 0.9)]
)
def test_the_three_phases_begin_at_0_30_and_70_percent(step: int, weight: float) -> None:
    both = Composition((Part(A, phases(explore=0.1, balance=0.5, exploit=0.9)),))
    assert scored(both, a=[1.0], trainer_state=at_step(step)) == [weight]


def test_a_linear_weight_goes_from_start_to_end() -> None:
    both = Composition((Part(A, Linear(1.0, 0.0)), Part(B, Linear(0.0, 2.0))))
    totals = [scored(both, a=[1.0], b=[1.0], trainer_state=at_step(step))[0] for step in (0, 50, 100, 150)]
    assert totals == [1.0, 1.5, 2.0, 2.0]
    assert both.range == (0.0, 2.0)


def test_without_a_run_the_weights_are_those_of_its_end() -> None:
    assert [progress_of(state) for state in (None, at_step(5, 0), at_step(5, 10))] == [1.0, 1.0, 0.5]
    assert r1_curriculum.judge("<answer>18</answer>", answer="18") == pytest.approx(0.9)
    explained = r1_curriculum.explain("<answer>18</answer>", answer="18", trainer_state=at_step(0))
    assert explained.score == pytest.approx(0.4)
    assert explained.reason.startswith("0.4 x correct 1 (")


def test_rule_and_model_are_six_to_four_and_either_can_stand_in() -> None:
    both = hybrid(A, B)
    assert scored(both, 3, a=[1.0, 1.0, None], b=[0.0, None, 0.5]) == [0.6, 1.0, 0.5]


def test_normalised_parts_move_the_policy_by_their_weights_not_by_their_scale() -> None:
    wide = Column(title="b", of="b", high=100.0)
    both = Composition((Part(A, 1.0), Part(wide, 1.0)), normalize=True)
    columns: dict[str, Any] = {
        "prompts": ["p"] * 2 + ["q"] * 2,
        "a": [1.0, 0.0, 1.0, 1.0],
        "b": [0.0, 100.0, 100.0, 0.0],
    }
    totals = scored(both, 4, **columns)
    assert totals == pytest.approx([0.0, 0.0, 0.5**0.5, -(0.5**0.5)], abs=1e-3)  # `a` is the same in the second group
    assert scored(both, 2, prompts=["p", "q"], a=[1.0, None], b=[None, None]) == [0.0, None]


def test_a_normalised_group_has_mean_zero_and_leaves_none_alone() -> None:
    assert normalized([1.0, None, 3.0]) == [
        pytest.approx(-(0.5**0.5), abs=1e-3),
        None,
        pytest.approx(0.5**0.5, abs=1e-3),
    ]
    assert normalized([None, None]) == [None, None]
    assert normalized([2.0, 2.0, 2.0]) == [0.0, 0.0, 0.0]
    assert normalized([0.0] * 999 + [1.0])[-1] == 10.0


def test_the_parts_are_kept_in_metrics_and_in_the_table_of_completions() -> None:
    metrics, table = {}, {}
    both = Composition((Part(A, Linear(1.0, 0.0)), Part(B, 0.5)), title="mine")
    scored(
        both, 3, a=[1.0, None, 0.0], b=[1.0, 1.0, 0.5], trainer_state=at_step(25),
        log_metric=metrics.__setitem__, log_extra=table.__setitem__,
    )  # fmt: skip
    assert metrics == {
        "mine/a": 0.5, "mine/a_weight": 0.75, "mine/b": pytest.approx(2.5 / 3), "unjudged/a_frac": pytest.approx(1 / 3),
    }  # fmt: skip
    assert table == {"mine/a": [1.0, None, 0.0], "mine/b": [1.0, 1.0, 0.5]}
    assert both.breakdown([""], a=[1.0], b=[None]) == {"a": [1.0], "b": [None]}


def test_a_group_relative_part_sees_its_group() -> None:
    reward = Composition((Part(GroupLength()),))
    right = "<answer>18</answer>"
    assert reward([right, right + "x" * 40], prompts=["p", "p"], answer=["18", "18"]) == [0.5, -0.5]


def test_the_r1_bundle_pays_60_15_15_10() -> None:
    whole = (
        "<reasoning>\nFirst 3*6=18, so she has 18 eggs.\nThen there is nothing more to do.\nLet me check: 18/6=3.\n"
        "</reasoning>\n<answer>\n18\n</answer>"
    )
    assert r1_bundle([whole], answer=["18"]) == [pytest.approx(1.0)]
    assert r1_bundle([whole], answer=["19"]) == [pytest.approx(0.40)]
    assert r1_bundle(["<answer>18</answer>"], answer=["18"]) == [pytest.approx(0.60)]
    assert r1_bundle([whole.replace("Let me check: ", "")], answer=["18"]) == [pytest.approx(0.90)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Composition(()), "has no parts"),
        (lambda: Composition((Part(A), Part(A))), "has 'a' twice"),
        (lambda: Composition((Part(A, -1.0),)), "the weight -1.0"),
        (lambda: Composition((Part(A, float("nan")),)), "the weight nan"),
        (lambda: Composition((Part(A),), clip=(1.0, 1.0)), "clip is"),
        (lambda: Piecewise((1.0, 2.0)), "a schedule of 2 values"),
        (lambda: Piecewise((1.0, 2.0), (0.0, 1.5)), "below 1"),
        (lambda: Piecewise((1.0, 2.0), (0.1, 0.5)), "rise from 0"),
        (lambda: Linear(0.0, -1.0), "0 or more"),
    ],
)
def test_a_composition_without_a_meaning_is_refused(make: Any, said: str) -> None:
    with pytest.raises(RewardError, match=said):
        make()


def test_a_missing_column_names_the_part_that_needs_it() -> None:
    with pytest.raises(RewardError, match="got no column 'answer'"):
        Composition((Part(correct), Part(A)))(["18"], a=[1.0])


@pytest.mark.parametrize(
    ("preset", "weights"),
    [
        ("explore", (0.3, 0.5, 0.2)), ("balance", (0.5, 0.3, 0.2)), ("exploit", (0.7, 0.2, 0.1)),
        ("hybrid_70_30", (0.7, 0.3)), ("hybrid_60_40", (0.6, 0.4)),
    ],
)  # fmt: skip
def test_a_file_names_rewards_and_a_preset_weighs_them(preset: str, weights: tuple[float, ...], tmp_path: Path) -> None:
    roles = ("rule: correct", "heuristic: steps", "neural: format_soft")
    parts = roles if len(weights) == 3 else (roles[0], roles[2])
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nweights: {preset}\nparts: {{{', '.join(parts)}}}", encoding="utf-8")
    mine = get(f"composition:{path}")
    assert isinstance(mine, Composition)
    assert (mine.__name__, tuple(part.weight_at(0) for part in mine.parts)) == ("mine", weights)
    assert mine.range == (0.0, pytest.approx(1.0))
    assert mine.judge("<answer>18</answer>", answer="18") == pytest.approx(weights[0])


def test_the_presets_follow_each_other_in_a_run() -> None:
    phases_of = [[part.weight_at(progress) for part in mixed_phases.parts] for progress in (0, 0.5, 1)]
    assert phases_of == [[0.3, 0.5], [0.5, 0.3], [0.7, 0.2]]


def test_a_file_may_weigh_each_part_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nparts: [{reward: correct, weight: 2}, {reward: steps, weight: [0.5, 0.3, 0.2]}]")
    mine = get(f"composition:{path}")
    assert isinstance(mine, Composition)
    assert [part.weight_at(0.5) for part in mine.parts] == [2.0, 0.3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nweights: explor\nparts: {rule: correct}", "did you mean explore"),
        ("name: a\nweights: explore\nparts: {rul: correct}", "did you mean rule"),
        ("name: a\nweights: explore\nparts: {rule: corect}", "did you mean correct"),
        ("name: a\nweights: explore\nparts: [correct]", "wanted rewards by role"),
        ("name: a\nparts: {rule: correct}", "wanted a list of rewards"),
        ("name: a\nparts: []", "has no parts"),
        ("name: a\nparts: [{reward: correct, weight: -1}]", r"parts\[1\].weight is -1"),
        ("name: a\npart: []", "did you mean parts"),
    ],
)
def test_a_file_of_a_composition_is_checked_whole(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RewardError, match=said) as raised:
        get(f"composition:{path}")
    assert str(path) in str(raised.value)
