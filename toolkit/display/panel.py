"""What a run looks like on a screen: the panel, the plain line, the final table.

Everything here is a function of `RunState` and a width; which of panel and line is shown, and when, is decided
in `toolkit.display.live`. A metric that is missing or not a number is shown as `-`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from toolkit.control.rules import BY_ID
from toolkit.display.findings import MARKS, STYLES
from toolkit.display.state import NAN, RunState, finite, time_shares
from toolkit.display.tables import Table, number
from toolkit.runs import metrics
from toolkit.units import format_gib, format_seconds, plural

BLOCKS = "▁▂▃▄▅▆▇█"
LINE_WIDTH = 120
MAX_NAME = 24  # of a metric; a longer one is shown by its beginning and its end
MIN_WIDTH = 60  # below it the panel is drawn at this width and cropped
PHASES = {"rollout": ("█", "cyan"), "reward": ("▓", "magenta"), "update": ("▒", "green"), "other": ("░", "dim")}


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw a series with eight block characters, lowest value `▁`, highest `█`, a space where it is not finite.

    Longer than `width`, neighbours are averaged; shorter, the line is as long as the series. A constant series is
    drawn at half height, and a series of zeros at the bottom.
    """
    n = min(len(values), max(0, width))
    edges = [i * len(values) // n for i in range(n + 1)] if n else []
    buckets = [finite(values[a:b]) for a, b in itertools.pairwise(edges)]
    means = [sum(bucket) / len(bucket) if bucket else NAN for bucket in buckets]
    low, high = min(finite(means), default=0.0), max(finite(means), default=0.0)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return " "
        if not 0 < high - low < math.inf:
            return BLOCKS[3] if high else BLOCKS[0]
        return BLOCKS[min(len(BLOCKS) - 1, int((value - low) / (high - low) * len(BLOCKS)))]

    return "".join(map(block, means))


def step_line(state: RunState, width: int = LINE_WIDTH) -> str:
    """The last recorded step as one plain line; where it would be longer than `width`, the rewards follow on others."""
    head = f"step {state.step}/{state.n_steps}  reward {_show(state.latest(metrics.REWARD))}"
    rewards = [f"{name} {_show(state.latest(key))}" for name, key in state.rewards.items()]
    tail = [
        f"length {_show(state.latest(metrics.LENGTH), '.0f')}",
        f"truncated {_show(state.latest(metrics.TRUNCATED), '.0%')}",
        f"{_show(state.latest(metrics.TOKENS_PER_S), '.0f')} tok/s",
        f"{_seconds(state.latest(metrics.STEP_S))}/step",
        f"eta {_seconds(state.eta_s)}",
    ]
    line = "  ".join([head, *rewards, *tail])
    return line if len(line) <= width else "\n".join(_filled([head, *tail], width) + _filled(rewards, width, "  "))


def measured_line(when: str, side: Mapping[str, Any], width: int = LINE_WIDTH) -> str:
    """A measurement, as `Measurement.summary` gives it, in a line, or in several where it would be longer."""
    parts = []
    if side["pass_at_1"] is not None:
        parts.append(f"pass@1 {side['pass_at_1']:.1%} ({_interval(side['interval'], '.1f', '%')})")
    parts += [f"{name} {_show(_mean(side, name))}" for name in side["rewards"]]
    if side["format_frac"] is not None:
        parts.append(f"format rate {side['format_frac']:.1%}")
    parts += [f"length {side['mean_tokens']:.0f}", f"truncated {side['truncated_frac']:.0%}"]
    return "\n".join(_filled([f"{when}: {parts[0]}", *parts[1:]], width))


def _filled(parts: Sequence[str], width: int, indent: str = "") -> list[str]:
    """Parts beside each other in lines of `width`, two blanks between; those after the first line are indented."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(("  " if lines else indent) + part)
    return lines


def render(state: RunState, width: int) -> RenderableType:
    """The panel of a run, `width` columns wide (at least `MIN_WIDTH`); its height changes only with the metrics."""
    width = max(width, MIN_WIDTH)
    inner = width - 4  # border and padding
    body: list[RenderableType] = [_progress(state), _clocks(state)]
    if state.n_recorded:
        body += ["", _curves(state, inner), "", _time_bar(state, inner), _facts(state), _health(state)]
    space = width - 12 - len(state.recipe) - len(state.backend)
    return Panel(
        Group(*body),
        title=Text.assemble((state.recipe, "bold"), f" · {_tail(state.model, space)} · {state.backend}"),
        title_align="left",
        subtitle=Text(_tail(state.run_folder, width - 8)),
        subtitle_align="left",
        border_style="cyan",
        padding=(0, 1),
        width=width,
    )


def _progress(state: RunState) -> RenderableType:
    """The phase in progress and how far it has come; one that is not counted stands beside the steps."""
    grid = RichTable.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    n_done, n = (state.done, state.of) if state.of else (state.step, state.n_steps)
    done = Text(f"{n_done}/{n}  {n_done / max(1, n):.0%}")
    bar = ProgressBar(total=max(1, n), completed=n_done, complete_style="cyan", finished_style="green")
    grid.add_row(Text(state.phase, "bold"), bar, done)
    return grid


def _clocks(state: RunState) -> Text:
    now_s = state.clock()
    parts = [f"elapsed {_seconds(now_s - state.started_s)}"]
    if state.of:
        parts += [f"this phase {_seconds(now_s - state.phase_began_s)}", f"eta {_seconds(state.phase_eta_s)}"]
    elif not state.n_recorded:
        parts.append(f"this phase {_seconds(now_s - state.phase_began_s)}")
    else:
        parts += [f"eta {_seconds(state.eta_s)}", f"{_seconds(state.step_s)}/step"]
    return Text("   ".join(parts), "dim", no_wrap=True, overflow="ellipsis")


def _curves(state: RunState, inner: int) -> RenderableType:
    """One row a metric: now, mean of the recent steps, its course since the process began.

    No loss: at num_iterations 1 and beta 0 GRPO's is 0 by construction, whatever is learned.
    """
    rows = [("reward", metrics.REWARD, ""), *((f"  {name}", key, "") for name, key in state.rewards.items())]
    rows += [
        ("length, tokens", metrics.LENGTH, ".0f"),
        ("truncated", metrics.TRUNCATED, ".0%"),
        ("no-signal groups", metrics.NO_SIGNAL, ".0%"),
        ("grad norm", metrics.GRAD_NORM, ""),
        *((key, key, "") for key in (metrics.ENTROPY, metrics.KL) if key in state.history),
    ]
    name_width = min(MAX_NAME, max(len(name) for name, _, _ in rows))
    spark_width = inner - name_width - 2 * 8 - 3 * 2
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=8, justify="right", no_wrap=True)
    grid.add_column(width=8, justify="right", no_wrap=True)
    grid.add_column(width=spark_width, no_wrap=True)
    grid.add_row("", *(Text(title, "dim") for title in ("now", f"last {state.n_recent}", "trend")))
    for name, key, spec in rows:
        style = _style(key, state.latest(key))
        now, mean = _show(state.latest(key), spec), _show(state.mean(key), spec)
        curve = Text(sparkline(state.course(key), spark_width), "cyan")
        grid.add_row(Text(_short(name, name_width), style), Text(now, style), mean, curve)
    return grid


def _time_bar(state: RunState, inner: int) -> Text:
    """Where the time of the recent steps went: a stacked bar and its legend, which is at most 48 columns."""
    shares = time_shares(state)
    if not shares:
        return Text("time  -")
    bar_width, bar, legend, end = max(8, inner - 56), Text(), Text(), 0.0
    for name, share in shares.items():
        mark, style = PHASES[name]
        start, end = end, end + share
        bar.append(mark * (round(end * bar_width) - round(start * bar_width)), style)
        legend.append(f"  {name} ", "dim").append(f"{share:.0%}", style)
    return Text.assemble("time  ", bar, legend, no_wrap=True, overflow="ellipsis")


def _facts(state: RunState) -> Text:
    peak_gib = state.latest(metrics.RESERVED_GIB)
    peak = format_gib(peak_gib) if math.isfinite(peak_gib) else "-"
    rate, speed = _show(state.latest(metrics.LEARNING_RATE), ".1e"), _show(state.latest(metrics.TOKENS_PER_S), ".0f")
    line = f"{speed} tok/s   peak {state.memory_label} {peak}   learning rate {rate}"
    return Text(line, no_wrap=True, overflow="ellipsis")


def _health(state: RunState) -> Text:
    """The worst verdict in one line, and how many more there are."""
    if not state.findings:
        return Text.assemble("health  ", (f"{MARKS['green'][0]} nothing found", STYLES["green"]))
    first, n_more = state.findings[0], len(state.findings) - 1
    more = f"+{n_more} more  " if n_more else ""
    style = STYLES[first.level]
    mark = (f"{MARKS[first.level][0]} ", style)
    line = Text.assemble("health  ", mark, (more, style), (first.name, style), ": ", first.found)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def summary_table(summary: Mapping[str, Any]) -> RenderableType:
    """The end of a run: pass@1 before and after with 95% intervals, the gain, and what it took.

    Reads `before` and `after` (`pass_at_1`, `interval`, `n`; shares from 0 to 1), `difference` (`value`, `interval`),
    `wall_s`, `steps`, `model`, `backend`, `seed` and `run_folder`; `rewards` and `measured_by` where `--reward` was
    given. Where nothing says which score is right, `pass_at_1` is None, and `mean_score` is shown.
    """
    has_pass = summary["before"]["pass_at_1"] is not None
    facts = [
        f"{plural(summary['steps'], 'step')} in {_seconds(summary['wall_s'])}",
        f"{summary['model']} on {summary['backend']}, seed {summary['seed']}",
        summary["run_folder"],
    ]
    if "measured_by" in summary:
        right = f", where {summary['before']['pass_score']:g} or more is right" if has_pass else ""
        facts = [f"paid {summary['rewards']}; measured by {summary['measured_by']}{right}", *facts]
    if not has_pass:
        facts.insert(0, "no pass@1: nothing says which score is right; --pass_score does")
    table = _pass_table(summary) if has_pass else _mean_table(summary)
    by_reward = _reward_table(summary["before"], summary["after"])
    body = Group(table.rich(gap=3), "", *by_reward, *(Text(fact, overflow="fold") for fact in facts))
    return Panel(body, title=Text("result", "bold"), title_align="left", border_style="cyan")


def _pass_table(summary: Mapping[str, Any]) -> Table:
    table = Table(["", number("pass@1"), "95% interval", number("problems")])
    for name in ("before", "after"):
        side = summary[name]
        value = Text(f"{side['pass_at_1']:.1%}", "bold")
        table.add(name, value, _interval(side["interval"], ".1f", "%"), str(side["n"]))
    gain = summary["difference"]
    low, high = gain["interval"]
    style = "bold green" if low > 0 else "bold red" if high < 0 else "bold"
    unsure = Text("includes 0", "dim") if low <= 0 <= high else ""
    value = Text(f"{100 * gain['value']:+.1f}", style)
    table.add("gain", value, _interval(gain["interval"], "+.1f", " points"), unsure)
    return table


def _mean_table(summary: Mapping[str, Any]) -> Table:
    """Where nothing says which score is right."""
    table = Table(["", number("mean score"), number("problems")])
    for name in ("before", "after"):
        side = summary[name]
        mean = NAN if side["mean_score"] is None else side["mean_score"]
        table.add(name, Text(_show(mean), "bold"), str(side["n"]))
    return table


def _reward_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[RenderableType]:
    """Each reward's mean on the held-out problems, and the share in the format; nothing for a run that has neither."""
    sides = before, after
    names = dict.fromkeys(name for side in sides for name in side.get("rewards", {}))
    if not names:
        return []
    table = Table(["reward, mean", number("before"), "95% interval", number("after"), "95% interval"])
    for name in names:
        table.add(_short(name, MAX_NAME), *itertools.chain(*(_mean_and_range(side, name) for side in sides)))
    rates = [side.get("format_frac") for side in sides]
    if any(rate is not None for rate in rates):
        shown = ["-" if rate is None else f"{rate:.1%}" for rate in rates]
        table.add("format rate", shown[0], "", shown[1], "")
    return [table.rich(), ""]


def _mean_and_range(side: Mapping[str, Any], name: str) -> tuple[str, str]:
    interval = side.get("rewards", {}).get(name, {}).get("interval")
    return _show(_mean(side, name)), " to ".join(map(_show, interval)) if interval else "-"


def _mean(side: Mapping[str, Any], name: str) -> float:
    mean = side.get("rewards", {}).get(name, {}).get("mean")
    return NAN if mean is None else mean


def _short(name: str, width: int) -> str:
    """The beginning and the end of a name that is too long: names of one kind differ at one of them."""
    return name if len(name) <= width else f"{name[: width // 2]}…{name[len(name) - (width - width // 2) + 1 :]}"


def _show(value: float, spec: str = "") -> str:
    """A number by its format spec, or `-`. Without a spec: two decimals, unless they would say 0.00 or be too wide."""
    if not math.isfinite(value):
        return "-"
    return format(value, spec or (".2f" if value == 0 or 0.005 <= abs(value) < 10_000 else ".1e"))


def _seconds(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    return format_seconds(seconds) if seconds else "0s"


def _interval(interval: Sequence[float], spec: str, unit: str) -> str:
    """`20.1 to 30.6%` of shares from 0 to 1."""
    return " to ".join(format(100 * bound, spec) for bound in interval) + unit


def _style(key: str, value: float) -> str:
    if key == metrics.REWARD:
        return "bold"
    level = BY_ID["R01"].level(value) if key == metrics.TRUNCATED else "green"
    return "" if level == "green" else STYLES[level]


def _tail(text: str, width: int) -> str:
    """The end of a path or model id, which says more than its beginning."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
