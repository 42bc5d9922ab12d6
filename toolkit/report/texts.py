"""What the model wrote: the same problems before and after, and the best and the worst of some steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from toolkit.display import charts, page
from toolkit.display.page import Passage
from toolkit.findings import Level
from toolkit.runs.completions import step_files
from toolkit.runs.names import AFTER, BEFORE, step_name
from toolkit.runs.record import Record
from toolkit.units import plural

MOST_CHARACTERS = 6_000
"""Of a text on the page; `toolkit runs completions --full` shows the rest."""
MOST_IN_A_LINE = 160
MOST_PAIRS, MOST_BYTES = 60, 900_000
N_STEPS_SHOWN, N_STEPS_COUNTED = 5, 16
Row = Mapping[str, Any]
_CHOOSER = """<div class="filter" hidden>
<select id="kind" aria-label="kind of problem"><option value="">all kinds</option>{}</select>
<input type="search" id="words" placeholder="search" aria-label="search problems">
<span class="note" id="n-pairs" role="status"></span>
</div>"""
KINDS = ("lost", "gained", "wrong twice", "right twice", "not judged")
"""From what a person should look at first."""


@dataclass(frozen=True)
class Pair:
    """A held-out problem with its completion before and after."""

    before: Row
    after: Row

    @property
    def kind(self) -> str:
        was, now = self.before.get("correct"), self.after.get("correct")
        if was is None or now is None:
            return "not judged"
        if was == now:
            return "right twice" if now else "wrong twice"
        return "gained" if now else "lost"


def pairs_of(record: Record) -> tuple[list[Pair], list[str]]:
    """The problems that were measured before and after, in their order; and what could not be read."""
    (before, fault), (after, other) = (record.completions(when) for when in (BEFORE, AFTER))
    faults = [said for said in (fault, other) if said]
    if len(before) != len(after) or any(a.get("prompt") != b.get("prompt") for a, b in zip(before, after, strict=True)):
        return [], faults
    return [Pair(a, b) for a, b in zip(before, after, strict=True)], faults


def before_and_after(pairs: Sequence[Pair]) -> list[Markup]:
    """Problems to open, with a choice of kind and a search; as many as the page has room for, of each kind some."""
    chosen = _chosen(pairs)
    counts = {kind: sum(pair.kind == kind for pair in pairs) for kind in KINDS}
    options = Markup("").join(
        Markup('<option value="{}">{}, {}</option>').format(kind, kind, n) for kind, n in counts.items() if n
    )
    chooser = Markup(_CHOOSER).format(options)  # noqa: S704  # written below; `format` escapes what it is given
    items = Markup("").join(_pair(pair, i == 0) for i, pair in enumerate(chosen))
    told = f"{len(chosen)} of {plural(len(pairs), 'problem')}; toolkit runs completions RUN --step after shows all."
    return [chooser, Markup('<div id="pairs">{}</div>').format(items), page.note(told)]


def _chosen(pairs: Sequence[Pair]) -> list[Pair]:
    """In turn one of each kind, until the page has enough."""
    waiting = [[pair for pair in pairs if pair.kind == kind] for kind in KINDS]
    found: list[Pair] = []
    n_bytes = 0
    while any(waiting) and len(found) < MOST_PAIRS and n_bytes < MOST_BYTES:
        for of_kind in waiting:
            if of_kind:
                found.append(of_kind.pop(0))
                n_bytes += sum(min(len(_text(row)), MOST_CHARACTERS) * 4 for row in (found[-1].before, found[-1].after))
    return sorted(found[:MOST_PAIRS], key=lambda pair: KINDS.index(pair.kind))


def _pair(pair: Pair, is_open: bool) -> Markup:
    asked = " ".join(str(pair.after.get("prompt") or "").split())
    passages = [passage(row, heading) for heading, row in (("before", pair.before), ("after", pair.after))]
    blocks = [page.text(cut(asked))] if len(asked) > MOST_IN_A_LINE else []
    if pair.after.get("answer") is not None:
        blocks.append(page.note(f"answer: {cut(str(pair.after['answer']))}"))
    heading = f"{pair.kind}: {asked[:MOST_IN_A_LINE]}"
    body = page.details(heading, *blocks, page.side_by_side(passages), is_open=is_open)
    return Markup('<div class="pair" data-kind="{}">{}</div>').format(pair.kind, body)


def passage(row: Row, heading: str) -> Passage:
    levels: dict[Any, Level | None] = {True: "green", False: "red"}
    return Passage(heading, cut(_text(row)), _scores(row), levels.get(row.get("correct")))


def _scores(row: Row) -> str:
    """`reward 1.25, correct 1, format 1, advantage +0.35, 35 tokens, stop`."""
    said = [f"{name} {row[name]:.3g}" for name in ("reward", "score") if isinstance(row.get(name), (int, float))]
    parts = row.get("rewards")
    for name, value in parts.items() if isinstance(parts, Mapping) else ():
        said.append(f"{name} {'not judged' if value is None else format(value, '.3g')}")
    if isinstance(row.get("advantage"), (int, float)):
        said.append(f"advantage {row['advantage']:+.2f}")
    if row.get("n_tokens") is not None:
        said.append(f"{row['n_tokens']} tokens, {row.get('finish_reason') or '-'}")
    return ", ".join(said)


def during(record: Record) -> list[Markup]:
    """The best and the worst completion of a few steps, from the first to the last."""
    steps = _spread(list(step_files(record.folder)), N_STEPS_SHOWN)
    found = []
    for step in steps:
        rows = [row for row in record.completions(step_name(step))[0] if row.get("reward") is not None]
        if rows:
            best, worst = max(rows, key=lambda row: row["reward"]), min(rows, key=lambda row: row["reward"])
            chosen = [passage(best, "best")] + ([passage(worst, "worst")] if worst is not best else [])
            asked = cut(str(best.get("prompt") or ""), 600)
            found.append(
                page.details(f"step {step}", page.note(asked), page.side_by_side(chosen), is_open=step == steps[-1])
            )
    return found


def distribution(record: Record) -> list[Markup]:
    """How the reward is distributed over completions: of the first steps, and of the last."""
    steps = list(step_files(record.folder))
    half = min(N_STEPS_COUNTED // 2, max(1, len(steps) // 2))
    sides = {"first": steps[:half], "last": steps[-half:]} if len(steps) > 1 else {"first": steps}
    samples: dict[str, list[float | None]] = {}
    for when, some in sides.items():
        rows = [row for step in some for row in record.completions(step_name(step))[0]]
        name = f"{when} {plural(len(some), 'step')}, {plural(len(rows), 'completion')}"
        samples[name] = [row.get("reward") for row in rows]
    if not any(value is not None for values in samples.values() for value in values):
        return []
    return [charts.histogram("Reward of a completion", samples, "weighted sum of the rewards")]


def cut(text: str, limit: int = MOST_CHARACTERS) -> str:
    """The text, or its beginning and a word on the rest."""
    return text if len(text) <= limit else f"{text[:limit]}\n[{len(text) - limit:,} characters more]"


def _text(row: Row) -> str:
    return str(row.get("completion") or "")


def _spread(steps: Sequence[int], n: int) -> list[int]:
    """`n` of them, evenly from the first to the last."""
    if len(steps) <= n:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (n - 1))] for i in range(n)]
