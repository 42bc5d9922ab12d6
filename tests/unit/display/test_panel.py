"""What the panel, the plain line and the final table say, at fixed widths and with a fake clock."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from toolkit.display import console
from toolkit.display.live import View
from toolkit.display.panel import BLOCKS, measured_line, render, sparkline, step_line, summary_table
from toolkit.display.state import RunState, time_shares
from toolkit.findings import Finding


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def text_of(renderable: RenderableType, width: int, color_system: Any = None) -> str:
    screen = Console(width=width, file=StringIO(), color_system=color_system, force_terminal=True, _environ={})
    screen.print(renderable)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def state_after(n: int, first: int = 1, changes: Mapping[str, float | None] | None = None) -> RunState:
    """A run of 60 steps of 31 s, looked at 12 s after step `first + n - 1`."""
    clock = Clock()
    state = RunState("gsm8k_r1", "Qwen/Qwen2.5-3B-Instruct", "unsloth", "runs/one", 60, phase="training", clock=clock)
    for i in range(n):
        clock.now_s += 31.0
        metrics: dict[str, float | None] = {
            "reward": 0.5 + i / 8,
            "rewards/correct/mean": i / 8,
            "rewards/format/mean": 0.5,
            "completions/mean_length": 400.0 - 20 * i,
            "completions/clipped_ratio": 0.03,
            "grad_norm": 0.25,
            "loss": 0.0,
            "learning_rate": 5e-6,
            "kl": 0.0004,
            "groups/zero_std_frac": 0.25,
            "time/step_s": 31.0,
            "time/rollout_s": 20.0,
            "time/reward_s": 1.0,
            "time/update_s": 10.0,
            "rollout/tokens_per_s": 812.3,
            "memory/peak_gib": 14.23,
        }
        state.record(first + i, metrics | dict(changes or {}))
    clock.now_s += 12.0
    return state


PANEL_80 = """\
╭─ gsm8k_r1 · Qwen/Qwen2.5-3B-Instruct · unsloth ──────────────────────────────╮
│ training  ━━━━━━━                                                  8/60  13% │
│ elapsed 4m 20s   eta 26m 40s   31s/step                                      │
│                                                                              │
│                        now   last 10  trend                                  │
│ reward                1.38      0.94  ▁▂▃▄▅▆▇█                               │
│   correct             0.88      0.44  ▁▂▃▄▅▆▇█                               │
│   format              0.50      0.50  ▄▄▄▄▄▄▄▄                               │
│ length, tokens         260       330  █▇▆▅▄▃▂▁                               │
│ truncated               3%        3%  ▄▄▄▄▄▄▄▄                               │
│ no-signal groups       25%       25%  ▄▄▄▄▄▄▄▄                               │
│ grad norm             0.25      0.25  ▄▄▄▄▄▄▄▄                               │
│ kl                 4.0e-04   4.0e-04  ▄▄▄▄▄▄▄▄                               │
│                                                                              │
│ time  █████████████▓▒▒▒▒▒▒  rollout 65%  reward 3%  update 32%  other 0%     │
│ 812 tok/s   peak VRAM 14.2 GiB   learning rate 5.0e-06                       │
│ health  ✓ nothing found                                                      │
╰─ runs/one ───────────────────────────────────────────────────────────────────╯
"""


PANEL_120 = """\
╭─ gsm8k_r1 · Qwen/Qwen2.5-3B-Instruct · unsloth ──────────────────────────────────────────────────────────────────────╮
│ measuring after  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸                                            128/256  50% │
│ elapsed 5m 00s   this phase 40s   eta 22s                                                                            │
│                                                                                                                      │
│                        now   last 10  trend                                                                          │
│ reward                1.38      0.94  ▁▂▃▄▅▆▇█                                                                       │
│   correct             0.88      0.44  ▁▂▃▄▅▆▇█                                                                       │
│   format              0.50      0.50  ▄▄▄▄▄▄▄▄                                                                       │
│ length, tokens         260       330  █▇▆▅▄▃▂▁                                                                       │
│ truncated               3%        3%  ▄▄▄▄▄▄▄▄                                                                       │
│ no-signal groups       25%       25%  ▄▄▄▄▄▄▄▄                                                                       │
│ grad norm             0.25      0.25  ▄▄▄▄▄▄▄▄                                                                       │
│ kl                 4.0e-04   4.0e-04  ▄▄▄▄▄▄▄▄                                                                       │
│                                                                                                                      │
│ time  ███████████████████████████████████████▓▓▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  rollout 65%  reward 3%  update 32%  other 0%     │
│ 812 tok/s   peak VRAM 14.2 GiB   learning rate 5.0e-06                                                               │
│ health  ✓ nothing found                                                                                              │
╰─ runs/one ───────────────────────────────────────────────────────────────────────────────────────────────────────────╯
"""


def test_panel_at_80_columns() -> None:
    assert text_of(render(state_after(8), 80), 80) == PANEL_80


@pytest.mark.parametrize("width", [80, 120])
def test_the_worst_verdict_takes_one_line(width: int) -> None:
    state = state_after(8)
    flat = Finding("R26 every group flat", "red", "in every group all completions earned the same; " * 5, "x", "y")
    state.findings = [flat, Finding("R01 truncated", "amber", "90%", "x", "y")]
    lines = text_of(render(state, width), width).splitlines()
    assert len(lines) == len(PANEL_80.splitlines())
    assert lines[-2].startswith("│ health  ✗ +1 more  R26 every group flat: in every group all comp")
    assert lines[-2].endswith("… │")
    assert len(lines[-2]) == width


def measuring() -> RunState:
    """Half-way through measuring: the first 32 took 10 s, which is no measure of the pace, 96 more took 22.5 s."""
    state = state_after(8)
    clock = state.clock
    assert isinstance(clock, Clock)
    state.enter("measuring after")
    for done, seconds in ((32, 10.0), (64, 7.5), (96, 7.5), (128, 7.5)):
        clock.now_s += seconds
        state.advance(done, 256)
    clock.now_s += 7.5
    return state


def test_panel_at_120_columns_while_a_phase_is_counted() -> None:
    assert text_of(render(measuring(), 120), 120) == PANEL_120


def test_a_counted_phase_has_an_eta_from_its_second_count_on_and_none_after_it() -> None:
    state = RunState("r", "m", "b", "f", 10, clock=Clock())
    assert isinstance(state.clock, Clock)
    state.enter("loading the model")
    state.clock.now_s += 4.0
    assert "this phase 4.0s" in text_of(render(state, 80), 80)
    state.advance(100, 300)
    assert "100/300  33%" in text_of(render(state, 80), 80)
    assert "eta -" in text_of(render(state, 80), 80)
    state.clock.now_s += 5.0
    state.advance(200, 300)
    assert state.phase_eta_s == 5.0
    state.enter("measuring before")
    assert (state.done, state.of) == (0, 0)
    assert "0/10  0%" in text_of(render(state, 80), 80)


def test_a_count_is_a_plain_line_now_and_then_and_none_where_it_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    view = View(RunState("r", "m", "b", "f", 10, clock=clock), console.console)
    view.phase("measuring before")
    for done in range(1, 41):
        clock.now_s += 1.0
        view.progress(done, 40)
    view.phase("measuring after")
    clock.now_s += 14.0
    view.progress(1, 2)
    view.progress(2, 2)
    assert capsys.readouterr().out.splitlines() == [
        "measuring before",
        "measuring before: 15 of 40, eta 25s",
        "measuring before: 30 of 40, eta 10s",
        "measuring after",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_panel_fills_its_width_and_never_wraps(width: int) -> None:
    state = state_after(60)
    state.model, state.run_folder, state.phase = "/models/" + "m" * 150, "/runs/" + "r" * 150, "measuring before"
    state.record(61, {f"rewards/{'long_name_' * 5}{i}/mean": 1e9 * i for i in range(3)})
    lines = text_of(render(state, width), width).splitlines()
    assert {len(line) for line in lines} == {width}
    assert len(lines) == 21  # the golden panel and three more rewards: one line each


def test_wider_panel_has_longer_trends_and_the_same_facts() -> None:
    narrow, wide = (text_of(render(state_after(60), width), width).split() for width in (80, 120))
    facts = {"14.2", "812", "65%", "60/60", "100%"}
    assert facts <= set(narrow)
    assert facts <= set(wide)
    assert max(word.count("▄") for word in wide) == 60 > max(word.count("▄") for word in narrow)


@pytest.mark.parametrize(("share", "code"), [(0.2, None), (0.21, "33"), (0.8, "33"), (0.81, "1;31")])
def test_a_high_truncated_share_is_coloured(share: float, code: str | None) -> None:
    panel = text_of(render(state_after(1, changes={"completions/clipped_ratio": share}), 80), 80, "standard")
    assert (f"\x1b[{code}mtruncated" in panel) if code else ("mtruncated" not in panel)


BLANK_METRICS: list[Mapping[str, float | None]] = [
    {},
    dict.fromkeys(("reward", "time/step_s", "completions/clipped_ratio", "rewards/correct/mean"), None),
    dict.fromkeys(("reward", "time/step_s", "time/rollout_s", "memory/peak_gib", "grad_norm"), math.nan),
    dict.fromkeys(("reward", "time/step_s", "time/update_s", "rollout/tokens_per_s"), math.inf),
]


@pytest.mark.parametrize("metrics", BLANK_METRICS, ids=["missing", "none", "nan", "inf"])
def test_metrics_without_a_value_are_dashes(metrics: Mapping[str, float | None]) -> None:
    state = RunState("r", "m", "b", "f", 10, clock=Clock())
    state.record(1, metrics)
    assert step_line(state).startswith("step 1/10  reward -  ")
    assert step_line(state).endswith("length -  truncated -  - tok/s  -/step  eta -")
    panel = text_of(render(state, 80), 80)
    assert "eta -   -/step" in panel
    assert "nan" not in panel.lower()
    assert "inf" not in panel.lower()


def test_panel_before_the_first_step_has_no_table() -> None:
    state = RunState("r", "m", "b", "f", 10, phase="measuring before", clock=Clock())
    assert text_of(render(state, 80), 80).count("\n") == 4
    assert "measuring before" in text_of(render(state, 80), 80)


def test_history_stays_aligned_when_a_metric_comes_late_or_is_skipped() -> None:
    state = RunState("r", "m", "b", "f", 10, clock=Clock())
    for step, metrics in enumerate(({"a": 1.0}, {"b": 2.0}, {"a": 3.0, "b": 4.0}), start=1):
        state.record(step, metrics)
    assert [str(value) for value in state.history["a"]] == ["1.0", "nan", "3.0"]
    assert [str(value) for value in state.history["b"]] == ["nan", "2.0", "4.0"]


def test_eta_of_a_resumed_run_uses_the_steps_seen_and_counts_down_within_one() -> None:
    state = state_after(2, first=51)  # 12 s into step 53 of 60
    assert state.eta_s == 7 * 31.0 + (31.0 - 12.0)
    assert isinstance(state.clock, Clock)
    state.clock.now_s += 500.0  # a step that takes too long does not eat into the steps after it
    assert state.eta_s == 7 * 31.0


def test_eta_is_not_moved_by_one_slow_step() -> None:
    state = state_after(9)
    state.record(10, {"time/step_s": 900.0})
    assert state.eta_s == 50 * 31.0


def test_eta_and_shares_do_not_jump_where_several_steps_share_a_round() -> None:
    clock = Clock()
    state = RunState("r", "m", "b", "f", 24, steps_per_round=4, clock=clock)
    ends, shares, paces = [], [], []
    for step in range(1, 25):
        seconds, rollout_s = (10.0, 9.0) if step % 4 == 1 else (1.0, 0.0)
        clock.now_s += seconds
        state.record(step, {"time/step_s": seconds, "time/rollout_s": rollout_s, "time/update_s": 1.0})
        ends.append(clock.now_s + state.eta_s)
        shares.append(time_shares(state)["rollout"])
        paces.append(state.step_s)
    assert ends[0] == 24 * 10.0  # nothing else was seen
    assert set(ends[3:]) == {6 * 13.0}  # from the first whole round on
    assert set(paces[3:]) == {13 / 4}
    assert set(shares[11:]) == {9 / 13}  # twelve steps, three whole rounds, are looked back at


def test_what_a_round_measures_once_is_shown_at_each_of_its_steps_and_no_longer() -> None:
    state = RunState("r", "m", "b", "f", 8, steps_per_round=3, clock=Clock())
    for step, reward in enumerate((0.5, None, None, 0.25, None, None, None), start=1):
        state.record(step, {"reward": reward, "grad_norm": 1.0})
    assert [f"{value}" for value in state.course("reward")] == ["0.5"] * 3 + ["0.25"] * 3 + ["nan"]
    assert [f"{value}" for value in state.history["reward"]][:3] == ["0.5", "nan", "nan"]
    assert step_line(state).startswith("step 7/8  reward -")
    state.record(8, {"reward": 0.75})
    assert step_line(state).startswith("step 8/8  reward 0.75")


def test_step_line_is_exact() -> None:
    expected = (
        "step 8/60  reward 1.38  correct 0.88  format 0.50  length 260  truncated 3%  812 tok/s  31s/step  eta 26m 40s"
    )
    assert step_line(state_after(8)) == expected


@pytest.mark.parametrize("width", [80, 120])
def test_step_line_shows_every_reward_on_as_many_lines_as_it_takes(width: int) -> None:
    names = [f"reward_number_{i}" for i in range(9)]
    lines = step_line(state_after(1, changes={f"rewards/{name}/mean": 0.5 for name in names}), width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert " ".join(lines[0].split()).startswith("step 1/60 reward 0.50 length 400 truncated 3%")
    assert sum(line.startswith("step ") for line in lines) == 1
    assert " ".join(" ".join(lines).split()).endswith(" ".join(f"{name} 0.50" for name in names))


def test_long_names_of_one_kind_stay_apart_in_the_panel() -> None:
    names = [f"rewards/reward_model_of_some_length_{i}/mean" for i in range(2)]
    panel = text_of(render(state_after(1, changes=dict.fromkeys(names, 0.5)), 80), 80)
    assert "reward_mod…me_length_0" in panel
    assert "reward_mod…me_length_1" in panel


def test_time_shares_sum_to_one_and_leave_the_rest_to_other() -> None:
    shares = time_shares(state_after(3, changes={"time/step_s": 62.0}))
    assert shares == pytest.approx({"rollout": 20 / 62, "reward": 1 / 62, "update": 10 / 62, "other": 0.5})
    assert time_shares(state_after(3, changes={"time/step_s": None}))["rollout"] == pytest.approx(20 / 31)
    assert time_shares(RunState("r", "m", "b", "f", 1)) == {}


number = st.floats(allow_nan=True, allow_infinity=True)
tame = st.floats(min_value=-1e6, max_value=1e6)


@given(st.lists(number, max_size=200), st.integers(0, 50))
def test_sparkline_takes_any_series(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= {*BLOCKS, " "}


@given(st.lists(tame, min_size=2, max_size=50))
def test_sparkline_orders_blocks_as_values(values: list[float]) -> None:
    line = sparkline(values, 50)
    by_value = [block for _, block in sorted(zip(values, line, strict=True))]
    assert by_value == sorted(line)
    if max(values) > min(values):
        assert (by_value[0], by_value[-1]) == ("▁", "█")


def test_sparkline_of_special_series() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5.0, 5.0], 10) == "▄▄"
    assert sparkline([0.0, 0.0], 10) == "▁▁"
    assert sparkline([math.nan, 0.0, 1.0], 10) == " ▁█"
    assert sparkline([0.0, 2.0, 5.0, 7.0, 9.0, math.nan], 3) == sparkline([1.0, 6.0, 9.0], 3)


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "before": {"pass_at_1": 0.25, "n": 256, "interval": [0.201, 0.306]},
        "after": {"pass_at_1": 0.75, "n": 256, "interval": [0.694, 0.799]},
        "difference": {"value": 0.5, "interval": [0.421, 0.577]},
        **{"wall_s": 7712.0, "steps": 250, "backend": "unsloth", "model": "Qwen/Qwen2.5-3B-Instruct", "seed": 0},
        "run_folder": "runs/one",
    } | changes


SUMMARY_80 = """\
╭─ result ─────────────────────────────────────────────────────────────────────╮
│          pass@1   95% interval            problems                           │
│ before    25.0%   20.1 to 30.6%                256                           │
│ after     75.0%   69.4 to 79.9%                256                           │
│ gain      +50.0   +42.1 to +57.7 points                                      │
│                                                                              │
│ 250 steps in 2h 08m                                                          │
│ Qwen/Qwen2.5-3B-Instruct on unsloth, seed 0                                  │
│ runs/one                                                                     │
╰──────────────────────────────────────────────────────────────────────────────╯
"""


def test_summary_at_80_columns() -> None:
    assert text_of(summary_table(summary()), 80) == SUMMARY_80


def test_summary_says_when_the_gain_may_be_nothing() -> None:
    table = summary_table(summary(difference={"value": 0.01, "interval": [-0.02, 0.04]}))
    assert "+1.0   -2.0 to +4.0 points   includes 0" in text_of(table, 80)


def side(pass_at_1: float | None, mean: float | None) -> dict[str, Any]:
    low_high = None if mean is None else [mean - 0.1, mean + 0.1]
    return {
        **{"pass_at_1": pass_at_1, "n": 256, "interval": None if pass_at_1 is None else [0.2, 0.3]},
        **{"mean_tokens": 21.8, "truncated_frac": 0.03, "format_frac": 0.6},
        "rewards": {
            "correct": {"mean": mean, "interval": low_high, "n": 256},
            "x" * 40: {"mean": 0.5, "interval": None},
        },
    }


REWARDS_80 = """\
│ reward, mean              before  95% interval  after  95% interval          │
│ correct                        -  -              0.75  0.65 to 0.85          │
│ xxxxxxxxxxxx…xxxxxxxxxxx    0.50  -              0.50  -                     │
│ format rate                60.0%                60.0%                        │
"""


def test_the_result_has_each_rewards_mean_and_the_format_rate() -> None:
    assert REWARDS_80 in text_of(summary_table(summary(before=side(0.25, None), after=side(0.75, 0.75))), 80)


def test_a_measurement_is_one_line_where_it_fits() -> None:
    line = measured_line("before", side(0.25, 0.125))
    rewards = f"correct 0.12  {'x' * 40} 0.50  format rate 60.0%"
    assert line.replace("\n", "") == f"before: pass@1 25.0% (20.0 to 30.0%)  {rewards}  length 22  truncated 3%"
    assert measured_line("after", side(None, 0.125), 60).splitlines() == [
        "after: correct 0.12",
        f"  {'x' * 40} 0.50",
        "  format rate 60.0%  length 22  truncated 3%",
    ]


def test_say_and_fail_write_one_unwrapped_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[bold]said[/bold] " + "x" * 200)
    console.fail("found this;\n  wanted " + "y" * 200)
    out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capsys.readouterr())  # FORCE_COLOR colours even this
    assert out == "[bold]said[/bold] " + "x" * 200 + "\n"
    assert err == "found this; wanted " + "y" * 200 + "\n"
