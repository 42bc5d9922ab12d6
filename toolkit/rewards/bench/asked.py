"""Does a reward read the layout that the prompt asks for? Found by what it pays, whatever it declares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.data.prompts import STYLES
from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.rewards import registry
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.bench.calling import TOLERANCE, Sample
from toolkit.rewards.bench.layouts import MARKS, asked_by
from toolkit.rewards.bench.subject import LONG, Subject
from toolkit.rewards.completions import prompt_text
from toolkit.rewards.target import Target

N_ROWS = 4
SLOW_S = (
    1.0  # a function of a user's that takes longer for a handful may ask a model, and is not asked for every layout
)


def mismatch(function: Callable[..., Any], rows: Sequence[Row]) -> RewardError | None:
    """The one line that stops a run whose prompts ask for one layout while its reward pays another only.

    None where a right answer in the layout asked for earns something; where these rows ask for no layout, or not for
    the same; and where no layout is paid: then the reward looks at something else, or `check` finds what is wrong.
    """
    if isinstance(function, RewardFunction) and not function.best_layouts:
        return None  # ours say which layouts they read, and a model that judges reads any
    asked = {asked_by(row["prompt"]) for row in rows[:N_ROWS]}
    layouts = asked.pop() if len(asked) == 1 else ()
    started = time.perf_counter()
    if not layouts or any(_earned(function, rows, layout) is not None for layout in layouts):
        return None
    if time.perf_counter() - started > SLOW_S:
        return None
    layout = layouts[0]
    paid = [other for other in MARKS if _earned(function, rows, other) is not None]
    if not paid:
        return None
    text = prompt_text(rows[0]["prompt"])
    style = next((name for name, style in STYLES.items() if style.instruction and style.instruction in text), None)
    asking = f"--prompt_style {style} asks" if style else "the prompt asks"
    name = getattr(function, "__name__", type(function).__name__)
    found = f"reward {name!r} reads {MARKS[paid[0]]}, and {asking} for {MARKS[layout]}"
    remedies = [f"--prompt_style {name}" for other in paid for name, s in STYLES.items() if s.layout == other]
    if not style or not remedies:
        remedies = [f"let the prompt ask for {MARKS[paid[0]]}"]
    ways = " or ".join([remedies[0], *(f"--reward {name}" for name in _others(function, rows, layout)[:1])])
    return RewardError(found, "one layout in both", f"{ways}, or start anyway with --force")


def _earned(function: Callable[..., Any], rows: Sequence[Row], layout: str) -> float | None:
    """The most that a right answer in this layout earns, short or long; None where a blank text earns as much."""
    subject = Subject(Target("", function), rows[:N_ROWS])
    right = subject.rendered(subject.golds, layout)
    long = [Sample(sample.row, _lengthened(sample.text)) for sample in right]  # length alone makes no difference
    blank = [Sample(row, "") for row in subject.rows]
    scores, n = subject.score([*right, *long, *blank]).scores, len(subject.rows)
    pairs = zip(scores[: 2 * n], [*scores[2 * n :], *scores[2 * n :]], strict=True)
    more = [right for right, none in pairs if right is not None and none is not None and right > none + TOLERANCE]
    return max(more, default=None)


def _lengthened(text: str) -> str:
    """The same with more words before its own reasoning, inside the tag where that has one."""
    head, newline, rest = text.partition("\n") if text.startswith("<") else ("", "", text)
    return f"{head}{newline}{LONG}{rest}"


def _others(function: Callable[..., Any], rows: Sequence[Row], layout: str) -> list[str]:
    """Rewards of the same kind, by name, whose highest score a right answer in this layout earns."""
    if not isinstance(function, RewardFunction):
        return []
    module = type(function).__module__.rpartition(".")[2]
    alike = {name: registry.get(name) for name, of in registry.REWARDS.items() if of == module}
    return [name for name, other in alike.items() if _earned(other, rows, layout) == other.range[1]]
