"""What a run looks like on a screen: its state, the panel drawn from it, the plain line, the final table.

Everything here is a function of `RunState` and a width; which of panel and line is shown, and when, is decided
in `toolkit.live`. A metric that is missing, None or not a number is shown as `-`.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from toolkit.units import format_gib, format_seconds

NAN = math.nan
BLOCKS = "▁▂▃▄▅▆▇█"
RECENT_STEPS = 10  # steps behind "last 10", the time shares and the median that the ETA is made of
LINE_WIDTH = 120
CUT_KEY = "completions/clipped_ratio"
AMBER_CUT_FRAC, RED_CUT_FRAC = 0.2, 0.8
MIN_WIDTH = 60  # below it the panel is drawn at this width and cropped
PHASES = {"rollout": ("█", "cyan"), "reward": ("▓", "magenta"), "update": ("▒", "green"), "other": ("░", "dim")}

console = Console(highlight=False)
_errors = Console(highlight=False, stderr=True)


@dataclass
class RunState:
    """What is known of a run while it runs; filled by `record`, drawn by `render` and `step_line`.

    `history` holds one list a metric, all of one length: one value a recorded step, NaN where it had none. It covers
    this process only, so the ETA of a resumed run stands on the steps that were seen here.
    """

    recipe: str
    model: str
    backend: str
    run_folder: str
    n_steps: int
    step: int = 0
    phase: str = "starting"
    memory_label: str = "VRAM"
    clock: Callable[[], float] = time.monotonic
    history: dict[str, list[float]] = field(default_factory=dict)
    n_recorded: int = field(default=0, init=False)
    started_s: float = field(init=False)
    recorded_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.recorded_s = self.clock()

    def record(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Append the metrics of one finished optimizer step; `step` counts from 1 and becomes the current one."""
        for key in metrics:
            self.history.setdefault(key, [NAN] * self.n_recorded)
        for key, values in self.history.items():
            value = metrics.get(key)
            values.append(NAN if value is None else float(value))
        self.n_recorded += 1
        self.step, self.recorded_s = step, self.clock()

    def latest(self, key: str) -> float:
        """The value at the last recorded step, or NaN."""
        return self.history[key][-1] if self.history.get(key) else NAN

    def recent(self, key: str) -> list[float]:
        """The finite values of the last recorded steps, at most `RECENT_STEPS`."""
        return _finite(self.history.get(key, [])[-RECENT_STEPS:])

    def mean(self, key: str) -> float:
        """Mean of `recent`, or NaN."""
        return statistics.fmean(self.recent(key) or [NAN])

    @property
    def rewards(self) -> dict[str, str]:
        """Name of each reward function -> the key of its mean."""
        parts = {key: key.split("/") for key in self.history}
        return {part[1]: key for key, part in parts.items() if len(part) == 3 and part[::2] == ["rewards", "mean"]}

    @property
    def elapsed_s(self) -> float:
        """Seconds since this process began the run."""
        return self.clock() - self.started_s

    @property
    def step_s(self) -> float:
        """Median of the recent step times in seconds, or NaN."""
        return statistics.median(self.recent("time/step_s") or [NAN])

    @property
    def eta_s(self) -> float:
        """Seconds to the last optimizer step: `step_s` x steps left, counted down within a step; or NaN."""
        n_left = self.n_steps - self.step
        if n_left <= 0:
            return 0.0
        return self.step_s * (n_left - 1) + max(0.0, self.step_s - (self.clock() - self.recorded_s))


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw a series with eight block characters, lowest value `▁`, highest `█`, a space where it is not finite.

    Longer than `width`, neighbours are averaged; shorter, the line is as long as the series. A constant series is
    drawn at half height, and a series of zeros at the bottom.
    """
    n = min(len(values), max(0, width))
    edges = [i * len(values) // n for i in range(n + 1)] if n else []
    buckets = [_finite(values[a:b]) for a, b in itertools.pairwise(edges)]
    means = [sum(bucket) / len(bucket) if bucket else NAN for bucket in buckets]
    low, high = min(_finite(means), default=0.0), max(_finite(means), default=0.0)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return " "
        if not 0 < high - low < math.inf:
            return BLOCKS[3] if high else BLOCKS[0]
        return BLOCKS[min(len(BLOCKS) - 1, int((value - low) / (high - low) * len(BLOCKS)))]

    return "".join(map(block, means))


def time_shares(state: RunState) -> dict[str, float]:
    """Shares of the recent steps' wall time by phase, summing to 1; empty when no phase was timed.

    What the phases leave of `time/step_s` is `other`.
    """
    spent = {name: state.mean(f"time/{name}_s") for name in ("rollout", "reward", "update")}
    spent = {name: seconds for name, seconds in spent.items() if seconds >= 0}
    total_s = max([sum(spent.values()), *_finite([state.mean("time/step_s")])])
    if not spent or total_s <= 0:
        return {}
    spent["other"] = total_s - sum(spent.values())
    return {name: seconds / total_s for name, seconds in spent.items()}


def step_line(state: RunState) -> str:
    """The last recorded step as one plain line of at most 120 characters; rewards that do not fit are counted."""
    head = f"step {state.step}/{state.n_steps}  reward {_show(state.latest('reward'))}"
    rewards = [f"{name} {_show(state.latest(key))}" for name, key in state.rewards.items()]
    tail = (
        f"length {_show(state.latest('completions/mean_length'), '.0f')}"
        f"  cut {_show(state.latest(CUT_KEY), '.0%')}"
        f"  {_show(state.latest('rollout/tokens_per_s'), '.0f')} tok/s"
        f"  {_seconds(state.latest('time/step_s'))}/step  eta {_seconds(state.eta_s)}"
    )
    line = "  ".join([head, *rewards, tail])
    for n_left_out in range(1, len(rewards) + 1):
        if len(line) <= LINE_WIDTH:
            break
        line = "  ".join([head, *rewards[:-n_left_out], f"+{n_left_out} more", tail])
    return line[:LINE_WIDTH]


def render(state: RunState, width: int) -> RenderableType:
    """The panel of a run, `width` columns wide (at least `MIN_WIDTH`); its height changes only with the metrics."""
    width = max(width, MIN_WIDTH)
    inner = width - 4  # border and padding
    body: list[RenderableType] = [_progress(state), _clocks(state)]
    if state.n_recorded:
        body += ["", _curves(state, inner), "", _time_bar(state, inner), _facts(state)]
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
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    n_steps = max(1, state.n_steps)
    done = Text(f"{state.step}/{state.n_steps}  {state.step / n_steps:.0%}")
    bar = ProgressBar(total=n_steps, completed=state.step, complete_style="cyan", finished_style="green")
    grid.add_row(Text(state.phase, "bold"), bar, done)
    return grid


def _clocks(state: RunState) -> Text:
    parts = [f"elapsed {_seconds(state.elapsed_s)}"]
    if state.n_recorded:
        parts += [f"eta {_seconds(state.eta_s)}", f"{_seconds(state.step_s)}/step"]
    return Text("   ".join(parts), "dim", no_wrap=True, overflow="ellipsis")


def _curves(state: RunState, inner: int) -> RenderableType:
    """One row a metric: now, mean of the recent steps, its course since the process began.

    No loss: at num_iterations 1 and beta 0 GRPO's is 0 by construction, whatever is learned.
    """
    rows = [("reward", "reward", ""), *((f"  {name}", key, "") for name, key in state.rewards.items())]
    rows += [
        ("length, tokens", "completions/mean_length", ".0f"),
        ("cut off", CUT_KEY, ".0%"),
        ("no-signal groups", "groups/zero_std_frac", ".0%"),
        ("grad norm", "grad_norm", ""),
        *((key, key, "") for key in ("entropy", "kl") if key in state.history),
    ]
    name_width = min(24, max(len(name) for name, _, _ in rows))
    spark_width = inner - name_width - 2 * 8 - 3 * 2
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=8, justify="right", no_wrap=True)
    grid.add_column(width=8, justify="right", no_wrap=True)
    grid.add_column(width=spark_width, no_wrap=True)
    grid.add_row("", *(Text(title, "dim") for title in ("now", f"last {RECENT_STEPS}", "trend")))
    for name, key, spec in rows:
        style = "bold" if key == "reward" else _cut_style(state.latest(key)) if key == CUT_KEY else ""
        now, mean = _show(state.latest(key), spec), _show(state.mean(key), spec)
        curve = Text(sparkline(state.history.get(key, []), spark_width), "cyan")
        grid.add_row(Text(name, style), Text(now, style), mean, curve)
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
    peak_gib = state.latest("memory/peak_gib")
    peak = format_gib(peak_gib) if math.isfinite(peak_gib) else "-"
    rate, speed = _show(state.latest("learning_rate"), ".1e"), _show(state.latest("rollout/tokens_per_s"), ".0f")
    line = f"{speed} tok/s   peak {state.memory_label} {peak}   learning rate {rate}"
    return Text(line, no_wrap=True, overflow="ellipsis")


def summary_table(summary: Mapping[str, Any]) -> RenderableType:
    """The end of a run: pass@1 before and after with 95% intervals, the gain, and what it took.

    Reads `before` and `after` (`pass_at_1`, `interval`, `n`; shares from 0 to 1), `difference` (`value`, `interval`),
    `wall_s`, `steps`, `model`, `backend`, `seed`, `run_folder`; what an interrupted run lacks is shown as `-`.
    """
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("pass@1", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("problems", justify="right", no_wrap=True)
    for name in ("before", "after"):
        side = summary.get(name) or {}
        value = Text(_show(side.get("pass_at_1"), ".1%"), "bold")
        table.add_row(name, value, _interval(side.get("interval"), ".1f", "%"), str(side.get("n", "-")))
    gain = summary.get("difference") or {}
    low, high = gain.get("interval") or (NAN, NAN)
    style = "bold green" if low > 0 else "bold red" if high < 0 else "bold"
    value = Text(_show(gain.get("value"), "+.1%").removesuffix("%"), style)
    unsure = Text("includes 0", "dim") if low <= 0 <= high else ""
    table.add_row("gain", value, _interval(gain.get("interval"), "+.1f", " points"), unsure)
    facts = (
        f"{summary.get('steps', '-')} steps in {_seconds(summary.get('wall_s'))}",
        f"{summary.get('model', '-')} on {summary.get('backend', '-')}, seed {summary.get('seed', '-')}",
        str(summary.get("run_folder", "-")),
    )
    body = Group(table, "", *(Text(fact, overflow="fold") for fact in facts))
    return Panel(body, title=Text("result", "bold"), title_align="left", border_style="cyan")


def say(text: str) -> None:
    """Print one plain line by this project, as it is: no markup, no wrapping."""
    console.print(Text(text), soft_wrap=True)


def fail(text: str) -> None:
    """Print one red line to standard error; line breaks in it become spaces, and it is never wrapped."""
    _errors.print(Text(" ".join(text.split()), "red"), soft_wrap=True)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _show(value: float | None, spec: str = "") -> str:
    """A number by its format spec, or `-`. Without a spec: two decimals, unless they would say 0.00 or be too wide."""
    if value is None or not math.isfinite(value):
        return "-"
    return format(value, spec or (".2f" if value == 0 or 0.005 <= abs(value) < 10_000 else ".1e"))


def _seconds(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "-"
    return format_seconds(seconds) if seconds else "0s"


def _interval(interval: Sequence[float] | None, spec: str, unit: str) -> str:
    """`20.1 to 30.6%` of shares from 0 to 1."""
    return " to ".join(format(100 * bound, spec) for bound in interval) + unit if interval else "-"


def _cut_style(frac: float) -> str:
    return "bold red" if frac > RED_CUT_FRAC else "yellow" if frac > AMBER_CUT_FRAC else ""


def _tail(text: str, width: int) -> str:
    """The end of a path or model id, which says more than its beginning."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
