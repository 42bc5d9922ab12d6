"""The rules over metric series: every one trips on what it is for, none is red on a sound run, and none ever raises."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.paths import GOLDEN
from tests.unit.control.series import CONTEXT, MADE_FOR, NO_REWARD, SOLVED, Row, after, noise, sound
from toolkit.control.health import LOSS_NOTE, Health, Latch, Verdict
from toolkit.control.history import ALIASES, Context
from toolkit.control.rule import Limit
from toolkit.control.rules import BY_ID, RULES
from toolkit.control.signals import SIGNALS
from toolkit.runs import metrics

HEALTHY = [json.loads(line) for line in (GOLDEN / "healthy_run.jsonl").read_text().splitlines()]


def judged(rows: list[Row], context: Context = CONTEXT) -> Health:
    health = Health(context)
    for row in rows:
        health.feed(row)
    return health


def levels(health: Health) -> dict[str, str]:
    return {verdict.rule.id: verdict.level for verdict in health.tripped()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_trips_on_the_series_made_for_it_at_its_worst_level(rule: Any) -> None:
    worst_level = "red" if rule.red else "amber"
    found = {verdict.rule.id: verdict for verdict in judged(MADE_FOR[rule.id]).tripped()}
    assert found[rule.id].level == worst_level
    said = found[rule.id]
    assert said.found
    assert said.next_step
    assert "{" not in said.line() + said.next_step  # no fact of a text is missing
    assert "nan" not in said.found.replace(" nan is", "")


def test_the_sound_series_trips_nothing() -> None:
    assert levels(judged(sound())) == {}


@pytest.mark.parametrize("context", [Context(), CONTEXT], ids=["unknown", "known"])
@pytest.mark.parametrize("has_split", [True, False], ids=["ours", "trl"])
def test_no_red_on_a_real_healthy_run(context: Context, has_split: bool) -> None:
    ours = ("groups/", "time/", "memory/", "completions/distinct", "completions/identical")
    rows = [row if has_split else {k: v for k, v in row.items() if not k.startswith(ours)} for row in HEALTHY]
    assert len(rows) == 40
    assert set(levels(judged(rows, context)).values()) <= {"amber"}
    assert levels(judged(rows, context)).keys() <= {"R27"}  # it has learned all that its problems teach


def test_every_limit_has_a_source_and_every_signal_a_rule() -> None:
    causes = {cause.signal for rule in RULES for cause in rule.causes}
    assert {rule.signal for rule in RULES} | causes == set(SIGNALS)
    assert len(BY_ID) == len(RULES)
    for rule in RULES:
        limits = [limit for limit in (rule.amber, rule.red) if limit]
        assert limits, rule.id
        sign = -1 if rule.is_below else 1
        assert all(limit.source for limit in limits), rule.id
        assert all(sign * limit.release <= sign * limit.value for limit in limits), rule.id


class TestHysteresis:
    def test_a_limit_trips_after_so_many_in_a_row_and_is_released_after_so_many_at_its_release(self) -> None:
        latch = Latch(Limit(0.8, 0.5, "", trip=2, dwell=2), is_below=False)
        seen = [latch.see(value) for value in (0.9, 0.1, 0.9, 0.9, 0.6, 0.4, 0.6, 0.4, 0.4)]
        assert seen == [False, False, False, True, True, True, True, True, False]

    def test_a_verdict_is_said_once_grows_worse_once_and_is_over_once(self) -> None:
        clipped = [0.1] * 3 + [0.3] * 5 + [0.9] * 5 + [0.3] * 2 + [0.1] * 6
        health = Health()
        told = [
            (i, verdict.level, verdict.now, verdict.stands)
            for i, share in enumerate(clipped, start=1)
            for verdict in health.feed({"step": i, "completions/clipped_ratio": share})
        ]
        assert told == [(6, "amber", "amber", True), (10, "red", "red", True), (18, "red", "amber", False)]
        [verdict] = health.tripped()
        assert (verdict.first_step, verdict.last_step, verdict.level) == (6, 17, "red")
        assert verdict.line() == "health: R01 truncated is over (steps 6 to 17)"

    def test_a_row_without_the_signal_changes_nothing(self) -> None:
        health = judged(MADE_FOR["R01"])
        assert health.feed({"step": 11, "loss": 0.0}) == []
        assert health.row()[metrics.HEALTH_RED] == ["R01"]

    def test_the_row_has_the_levels_of_now(self) -> None:
        health = judged(sound(12, completions__clipped_ratio=after(6, 0.3, 0.9)))
        assert health.row() == {metrics.HEALTH_LEVEL: 1.0, metrics.HEALTH_AMBER: ["R01"], metrics.HEALTH_RED: []}
        assert health.tripped()[0].level == "red"  # the worst that it was


class TestSignal:
    def test_two_flat_rounds_are_said_at_once_with_the_rewards_that_never_pay_and_the_cause(self) -> None:
        health = Health(CONTEXT)
        rows = sound(2, **{**NO_REWARD, "completions__clipped_ratio": 1.0, "completions__max_length": 48.0})
        assert [v for v in health.feed(rows[0]) if v.rule.id == "R26"] == []
        [verdict] = [v for v in health.feed(rows[1]) if v.rule.id == "R26"]
        assert verdict.level == "red"
        assert "2 rounds in a row (100% all wrong)" in verdict.found
        assert "always 0: correct, format" in verdict.found
        assert "truncated at 48 tokens" in verdict.next_step
        assert "raise max_completion_length" in verdict.next_step

    @pytest.mark.parametrize(
        ("changes", "cause"),
        [
            ({"completions__identical_frac": 1.0}, "raise temperature"),
            ({}, "does not find what the prompt asks for"),
            ({"rewards__format__mean": 0.5, "groups__partly_right_frac": 1.0}, "do not tell completions apart"),
            ({"rewards__format__mean": 0.5}, "mix easier and harder problems"),
        ],
        ids=["alike", "never paid", "blind", "unknown"],
    )
    def test_the_cause_follows_from_the_other_metrics(self, changes: dict[str, Any], cause: str) -> None:
        health = judged(sound(3, **{**NO_REWARD, **changes}))
        [verdict] = [verdict for verdict in health.tripped() if verdict.rule.id == "R26"]
        assert cause in verdict.next_step

    def test_one_group_a_step_needs_more_rounds_for_red(self) -> None:
        assert levels(judged(sound(3, **NO_REWARD), Context(n_groups=1)))["R26"] == "amber"
        assert levels(judged(sound(8, **NO_REWARD), Context(n_groups=1)))["R26"] == "red"

    def test_a_row_of_ten_steps_counts_for_ten(self) -> None:
        rows = [row | {"step": 10 * row["step"]} for row in sound(2, **NO_REWARD)]
        assert levels(judged(rows, Context()))["R26"] == "red"

    def test_flat_because_solved_is_no_fault_but_said(self) -> None:
        learned = [
            *sound(40, groups__zero_std_frac=0.25, groups__all_right_frac=0.2),
            *sound(20, **SOLVED, grad_norm=0.0, entropy=0.001, completions__identical_frac=1.0),
        ]
        rows = [row | {"step": i} for i, row in enumerate(learned, start=1)]
        assert levels(judged(rows)) == {"R27": "amber"}

    def test_flat_because_the_reward_is_back_at_nothing_is_a_fault(self) -> None:
        rows = [*sound(30), *sound(10, **NO_REWARD)]
        found = levels(judged([row | {"step": i} for i, row in enumerate(rows, start=1)]))
        assert found["R26"] == "red"
        assert "R27" not in found

    def test_a_run_that_was_solved_from_the_start_never_learns(self) -> None:
        assert levels(judged(sound(30, **SOLVED)))["R03"] == "red"


class TestGradient:
    def test_a_loss_of_0_is_explained_and_no_fault(self) -> None:
        health = judged(sound(30, loss=0.0))
        assert levels(health) == {}
        [verdict] = [v for v in health.verdicts() if v.rule.id == "R05"]
        assert verdict.level == "green"
        assert LOSS_NOTE in verdict.found

    def test_a_gradient_of_0_is_red_where_groups_differ_and_amber_where_they_do_not(self) -> None:
        assert levels(judged(MADE_FOR["R05"]))["R05"] == "red"
        [verdict] = [v for v in judged(sound(10, **NO_REWARD)).tripped() if v.rule.id == "R05"]
        assert verdict.level == "amber"
        assert "see R26" in verdict.next_step

    def test_without_metrics_of_rewards_it_is_red_too(self) -> None:
        assert levels(judged([{"step": i, "loss": 1.0, "grad_norm": 0.0} for i in range(6)])) == {"R05": "red"}

    @pytest.mark.parametrize("bad", [math.nan, math.inf, None, "NaN"])
    def test_a_loss_that_is_no_number_is_red_at_once(self, bad: Any) -> None:
        [verdict] = judged(sound(3, loss=after(2, bad, 0.1))).tripped()
        assert (verdict.rule.id, verdict.level, verdict.first_step) == ("R06", "red", 3)
        assert "loss is not a finite number" in verdict.found

    def test_single_overflows_of_the_gradient_are_amber(self) -> None:
        assert levels(judged(sound(30, grad_norm=lambda i: math.inf if i == 2 else 0.2))) == {"R06": "amber"}
        assert levels(judged(sound(30, grad_norm=lambda i: math.nan if i > 20 else 0.2)))["R06"] == "red"

    def test_a_reward_that_judged_none_is_not_taken_for_a_nan(self) -> None:
        assert levels(judged(sound(10, rewards__correct__mean=None))) == {}

    def test_a_warm_up_from_0_and_a_last_row_at_0_are_no_fault(self) -> None:
        rate = sound(30, learning_rate=lambda i: 0.0 if i in (1, 30) else 1e-5)
        assert levels(judged(rate)) == {}


class TestBehaviour:
    def test_length_that_pays_is_no_fault(self) -> None:
        assert levels(judged(sound(60, completions__mean_length=lambda i: 200 + 8.0 * i))) == {}

    def test_length_is_held_against_the_held_out_measure_where_there_is_one(self) -> None:
        rows: list[Row] = sound(60, completions__mean_length=lambda i: 200 + 8.0 * i)
        for i in (10, 30, 50):
            rows.insert(i, {"step": i, "eval_reward": 0.4})
        [verdict] = [v for v in judged(rows).tripped() if v.rule.id == "R12"]
        assert "eval reward" in verdict.found

    def test_noise_about_a_level_is_no_fall(self) -> None:
        assert levels(judged(sound(100, reward=lambda i: 0.5 + 0.2 * noise(i)))) == {}

    def test_memory_that_is_steady_or_will_do_is_no_fault(self) -> None:
        assert levels(judged(sound(100, memory__peak_gib=lambda i: 12 + 0.3 * noise(i)))) == {}
        assert levels(judged(sound(100, memory__peak_gib=lambda i: 12 + 0.004 * i))) == {}

    def test_memory_that_grows_is_told_with_the_steps_that_are_left(self) -> None:
        [verdict] = judged(MADE_FOR["R14"]).tripped()
        # 0.1 GiB a step, and 24 GiB are reached at row 120
        assert "102.4 MiB a step" in verdict.found
        assert verdict.level == "red"

    def test_supervised_training_is_not_held_to_an_entropy(self) -> None:
        rows = [{"step": i, "loss": 1.0, "grad_norm": 0.5, "entropy": 0.001} for i in range(40)]
        assert levels(judged(rows)) == {}


def test_older_names_of_metrics_are_understood() -> None:
    rows = [
        {"step": i, "completion_length": 100.0, "rewards/xml": 0.0, "reward": 0.0, "reward_std": 0.0} for i in (1, 2)
    ]
    [verdict] = [v for v in judged(rows, Context(n_groups=8)).tripped() if v.rule.id == "R26"]
    assert "always 0: xml" in verdict.found
    assert set(ALIASES.values()) <= metrics.METRICS.keys()


def test_rows_fed_again_at_a_resume_lead_to_the_same_state() -> None:
    rows = MADE_FOR["R01"] + MADE_FOR["R39"]
    whole, resumed = judged(rows), judged(rows[:7])
    for row in rows[7:]:
        resumed.feed(row)
    assert whole.as_json() == resumed.as_json()


def test_the_json_of_a_verdict_is_complete() -> None:
    report = judged(MADE_FOR["R01"]).as_json()
    assert report["level"] == "red"
    first = report["verdicts"][0]
    assert first["rule"] == "R01"
    assert {"level", "first_step", "last_step", "found", "wanted", "next", "means", "source", "stands"} <= first.keys()
    assert {verdict["level"] for verdict in report["verdicts"]} == {"red", "green"}
    assert "R16" in report["not_judged"]
    assert json.loads(json.dumps(report)) == report


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["", "nan", "1.5", "x", [], {}, 10**400]),
)
KEYS = [*metrics.METRICS, "step", "rewards/a/mean", "rewards/a/std", "rewards/b", "unjudged/a_frac", "eval_reward"]
KEYS += ["held_out_low", "held_out_high", "held_out_growth", "", "rewards/"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=30), min_size=1, max_size=8), st.integers(1, 8)
)
def test_no_row_whatsoever_raises(rows: list[Row], n_times: int) -> None:
    health = Health(CONTEXT)
    for row in rows * n_times:
        assert all(isinstance(verdict, Verdict) for verdict in health.feed(row))
    json.dumps([health.as_json(), health.row(), [str(v.finding) + v.line() for v in health.verdicts()]])


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 0.0, -0.0, 1e200, 10**400, math.nan])
def test_extremes_in_every_metric_for_many_rows_do_not_raise(value: Any) -> None:
    keys = [*metrics.METRICS, "rewards/a/mean", "rewards/b/mean"]
    judged([dict.fromkeys(keys, value if i % 3 else 0.5) for i in range(70)]).as_json()
