"""`toolkit reward stats`: which parts of saved scores say something, which groups teach, how long the texts are.

A part is `constant` when all its scores are equal, `saturated` when more than 95 % of them are its highest or its
lowest, and two are `correlated` when they rise and fall together (Pearson's r of 0.95 or beyond): paying both pays
twice. GRPO learns from differences within a group alone; a group without signal has the same score, part by part, for
every completion.

A completion passes where it earns the maximum that the reward declares. One that declares none passes at 1.0 where that
is the best it gave and not all it gave; else nothing is known of a pass, and only means are shown.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import StatisticsError, correlation, fmean, pstdev

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.data.rows import place, read
from toolkit.data.schema import Row
from toolkit.display.tables import Table, facts, number, words
from toolkit.errors import DataError
from toolkit.files import replace_file
from toolkit.rewards import registry
from toolkit.rewards.bench.score import shown
from toolkit.rewards.completions import text_of
from toolkit.rewards.repetition import compression_ratio, distinct, tokens_of
from toolkit.runs.completions import step_files
from toolkit.runs.groups import KINDS, Kind, groups_of, kind_of
from toolkit.units import format_frac, plural

SATURATED_FRAC, CORRELATED = 0.95, 0.95
PASS = 1.0
"""What a completion earns that passes, by a reward that declares no maximum."""
N_BINS = 20
INK, GREY, BLUE, GREEN = "#222222", "#767676", "#4DA8E6", "#009E73"
LOOP_RATIO = 3.0
"""A text that zlib shrinks by more than this factor is taken for a loop; GSM8K's own solutions reach 3.2 at most."""
HEADINGS = ("mixed", "all right", "all wrong", "alike")
"""Of the kinds of groups, in their order; what is alike and neither right nor wrong goes under the last."""
SCORES = ("scores", "rewards")
"""Keys under which a row may have its scores: of `toolkit reward score --json`, and of a run's completions."""


@dataclass(frozen=True)
class Part:
    name: str
    values: list[float | None]
    bounds: tuple[float, float]
    """The score of a fail and of a pass; NaN where nothing says what they are."""

    @property
    def has_pass(self) -> bool:
        return not math.isnan(self.bounds[1])

    @property
    def judged(self) -> list[float]:
        return [value for value in self.values if value is not None]

    @property
    def summary(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Mean, standard deviation, lowest and highest; None each where nothing was judged."""
        judged = self.judged
        return (fmean(judged), pstdev(judged), min(judged), max(judged)) if judged else (None, None, None, None)

    @property
    def remark(self) -> str:
        """`constant`, `saturated`, or nothing."""
        judged = self.judged
        if not judged:
            return "never judged"
        if len(set(judged)) == 1:
            return "constant"
        for word, end in (("highest", max(judged)), ("lowest", min(judged))):
            frac = judged.count(end) / len(judged)
            if frac > SATURATED_FRAC:
                return f"saturated: {frac:.0%} at its {word}"
        return ""


@dataclass(frozen=True)
class Lengths:
    """How long the completions are, and how much of them repeats."""

    unit: str
    values: list[int]
    """In `unit`, sorted."""
    distinct_2: float
    """Mean share of pairs of words that differ."""
    loop_frac: float
    """Share that zlib shrinks more than `LOOP_RATIO` times."""
    blank_frac: float
    copy_frac: float | None
    """Share that another completion of the same group says word for word; None without groups."""

    def at(self, share: float) -> int:
        """The length below which this share of completions lies."""
        return self.values[min(len(self.values) - 1, int(share * len(self.values)))]


@dataclass(frozen=True)
class Stats:
    n_rows: int
    parts: list[Part]
    correlated: list[tuple[str, str, float]]
    groups: dict[str, Counter[Kind]]
    """How many groups are of which kind: see `_kinds`; empty without groups."""
    n_groups: int
    lengths: Lengths | None
    """None where the rows have no completions."""


def scored_rows(path: Path) -> list[Row]:
    """The rows of a file, or of all steps of a run folder in their order; a DataError where one has no scores."""
    files = [path]
    if path.is_dir():
        files = list(step_files(path).values())
        if not files:
            raise DataError(f"{path} has no completions of a step", "a run folder, or a file of rows")
    rows = []
    for file in files:
        for line, row in read(file):
            scores = next((row[key] for key in SCORES if isinstance(row.get(key), dict)), None)
            if not scores or not all(value is None or type(value) in (int, float) for value in scores.values()):
                next_step = "score it: toolkit reward score --reward NAME --input FILE --json"
                wanted = 'a key `scores` or `rewards`, {"NAME": 1.0}'
                raise DataError(f"{place(file, line)} has no scores", wanted, next_step)
            rows.append(row | {"scores": scores})
    return rows


def examine(rows: Sequence[Row]) -> Stats:
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    parts = [_part(name, [row["scores"].get(name) for row in rows]) for name in names]
    grouped = groups_of(rows)
    kinds = _kinds(grouped, parts) if grouped else {}
    return Stats(len(rows), parts, list(_correlated(parts)), kinds, len(grouped), _lengths(rows, grouped))


def _part(name: str, values: list[float | None]) -> Part:
    seen = [value for value in values if value is not None]
    if name in registry.REWARDS:
        return Part(name, values, registry.get(name).range)
    passes = len(set(seen)) > 1 and max(seen) == PASS
    return Part(name, values, (min(seen), PASS) if passes else (math.nan, math.nan))


def _kinds(grouped: Sequence[Sequence[Row]], parts: Sequence[Part]) -> dict[str, Counter[Kind]]:
    """By part, and under "" for all parts together."""
    names = [part.name for part in parts]
    bounds = {part.name: part.bounds for part in parts}
    counts: dict[str, Counter[Kind]] = {}
    for name, together in (*((name, [name]) for name in names), ("", names)):
        scores = ([[row["scores"].get(part) for part in together] for row in group] for group in grouped)
        counts[name] = Counter(kind_of(group, [bounds[part] for part in together]) for group in scores)
    return counts


def _correlated(parts: Sequence[Part]) -> Iterator[tuple[str, str, float]]:
    for a, b in combinations(parts, 2):
        pairs = [(x, y) for x, y in zip(a.values, b.values, strict=True) if x is not None and y is not None]
        try:
            r = correlation(*zip(*pairs, strict=True)) if len(pairs) > 2 else 0.0
        except StatisticsError:  # one of them is constant
            continue
        if abs(r) >= CORRELATED:
            yield a.name, b.name, r


def _lengths(rows: Sequence[Row], groups: Sequence[Sequence[Row]]) -> Lengths | None:
    if any("completion" not in row for row in rows):
        return None
    texts = [text_of(row["completion"]) for row in rows]
    in_tokens = all(isinstance(row.get("n_tokens"), int) for row in rows)
    values = [row["n_tokens"] for row in rows] if in_tokens else [len(text) for text in texts]
    shares = [share for text in texts if (share := distinct(tokens_of(text, None), 2)) is not None]
    copies = sum(n for group in groups for n in Counter(text_of(r["completion"]) for r in group).values() if n > 1)
    return Lengths(
        unit="tokens" if in_tokens else "characters",
        values=sorted(values),
        distinct_2=fmean(shares) if shares else 0.0,
        loop_frac=sum(compression_ratio(text) > LOOP_RATIO for text in texts) / len(texts),
        blank_frac=sum(not text.strip() for text in texts) / len(texts),
        copy_frac=copies / len(rows) if groups else None,
    )


def give(path: Path, png: Path | None) -> RenderableType:
    """Examine a file or run folder (see `scored_rows`), write its histogram, and return what is to be shown."""
    stats = examine(scored_rows(path))
    target = png or (path / "reward_stats.png" if path.is_dir() else path.with_suffix(".stats.png"))
    if target.suffix.lower() != ".png":
        raise DataError(f"--png {target} is no PNG", "a name that ends in .png")
    try:
        replace_file(target, draw(stats, path.name))
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror})", "a writable folder", "--png FILE") from error
    return Group(*_screen(stats), Text(), Text(f"histogram: {target}", "dim", overflow="fold"))


def _screen(stats: Stats) -> Iterator[RenderableType]:
    groups = f" in {plural(stats.n_groups, 'group')}" if stats.n_groups else ""
    yield Text(plural(stats.n_rows, "completion") + groups, "bold")
    yield Text()
    yield _parts(stats.parts)
    for a, b, r in stats.correlated:
        yield Text(f"{a} and {b} say the same (r = {r:.2f}): together they are paid twice", "yellow")
    yield from _advice(stats)
    yield Text()
    if stats.groups:
        yield from _groups(stats)
    else:
        yield Text("no groups: rows need a `group`, or equal prompts side by side", "dim")
    if stats.lengths:
        yield Text()
        yield facts(_length_facts(stats.lengths))


def _parts(parts: Sequence[Part]) -> RenderableType:
    table = Table([words("part"), *map(number, ("mean", "std", "lowest", "highest", "null")), words()])
    for part in parts:
        n_null = len(part.values) - len(part.judged)
        table.add(Text(part.name, "bold"), *map(shown, part.summary), f"{n_null:,}", Text(part.remark, "yellow"))
    return table.rich()


def _advice(stats: Stats) -> Iterator[RenderableType]:
    """What to do about parts that teach nothing, each for its own reason."""
    for part in stats.parts:
        if part.remark != "constant":
            continue
        score = part.judged[0]
        if part.has_pass and score >= part.bounds[1]:
            why = "every completion earns the most: nothing left to learn from it"
        else:
            why = f"every completion scores {shown(score)}: nothing to learn from; check the format, and the reward"
        yield Text(f"{part.name}: {why}", "yellow")
    unknown = [part.name for part in stats.parts if part.judged and not part.has_pass and part.remark != "constant"]
    if unknown:
        yield Text(f"{', '.join(unknown)}: no maximum is declared and none scores 1 at best, so means only", "dim")


def _groups(stats: Stats) -> Iterator[RenderableType]:
    """How many groups teach; right and wrong only where it is known what passes."""
    table = Table([words("groups"), *map(number, HEADINGS)])
    for name in (*(part.name for part in stats.parts), ""):
        parts = [part for part in stats.parts if name in ("", part.name)]
        counted = all(part.has_pass for part in parts)
        n_mixed, *alike = (stats.groups[name][kind] for kind in KINDS)
        known = [format_frac(n / stats.n_groups) if counted else "-" for n in alike[:2]]
        rest = alike[2] if counted else sum(alike)
        cells = (format_frac(n_mixed / stats.n_groups), *known, format_frac(rest / stats.n_groups))
        table.add(Text(name or "all parts together", "bold"), *cells)
    yield table.rich()
    meanings = ["mixed: teaches"]
    if any(part.has_pass for part in stats.parts):
        meanings += ["all wrong: too hard, or not in the format yet", "all right: too easy"]
    yield Text("; ".join([*meanings, "alike: the same score throughout, nothing to learn from"]), "dim")


def _length_facts(found: Lengths) -> Iterator[tuple[str, str]]:
    longest = found.values[-1]
    spread = f"median {found.at(0.5):,}, 95 % below {found.at(0.95):,}, longest {longest:,} {found.unit}"
    at_limit = found.values.count(longest) / len(found.values)
    if at_limit > 0.05:
        spread += f", which {format_frac(at_limit)} reach: truncated?"
    yield "length", spread
    yield "repetition", f"{format_frac(found.distinct_2)} of word pairs differ on average"
    yield "loops", f"{format_frac(found.loop_frac)} shrink more than {LOOP_RATIO:g} times"
    if found.copy_frac is not None:
        yield "copies", f"{format_frac(found.copy_frac)} are said word for word twice in their group"
    if found.blank_frac:
        yield "blank", format_frac(found.blank_frac)


def draw(stats: Stats, title: str) -> bytes:
    """One histogram a part, and one of the lengths, as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    panels = [(part.name, part.judged, BLUE) for part in stats.parts if part.judged]
    if stats.lengths:
        panels.append((f"length, {stats.lengths.unit}", [float(n) for n in stats.lengths.values], GREEN))
    n_columns = min(3, len(panels)) or 1
    n_rows = -(-len(panels) // n_columns) or 1
    with rc_context({"font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": GREY}):
        size = (1 + 3.2 * n_columns, 0.8 + 2.5 * n_rows)  # inches
        figure = Figure(figsize=size, dpi=160, facecolor="white", layout="constrained")
        figure.suptitle(f"{title}: {stats.n_rows:,} completions", size=12, weight="bold")
        for i, (name, values, colour) in enumerate(panels, start=1):
            axes = figure.add_subplot(n_rows, n_columns, i)
            axes.hist(values, bins=N_BINS, color=colour, edgecolor="white", linewidth=0.5)
            axes.set_title(name, size=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8, colors=GREY)
            axes.set_ylabel("completions" if i % n_columns == 1 or n_columns == 1 else "", size=8, color=GREY)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
