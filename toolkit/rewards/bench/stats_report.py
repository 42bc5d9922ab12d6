"""`toolkit reward stats`: the figures as tables, and the histogram as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.tables import Table, facts, number, words
from toolkit.errors import DataError
from toolkit.files import replace_file
from toolkit.rewards.bench.score import shown
from toolkit.rewards.bench.stats import LOOP_RATIO, Lengths, Part, Stats, examine, scored_rows
from toolkit.runs.groups import KINDS
from toolkit.units import format_frac, plural

N_BINS = 20
INK, GREY, BLUE, GREEN = "#222222", "#767676", "#4DA8E6", "#009E73"


def give(path: Path, png: Path | None) -> RenderableType:
    """Examine a file or run folder, write its histogram, and return what is to be shown.

    Raises:
        DataError: the file cannot be read or has no scores, or the PNG cannot be written.
    """
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
    yield Text()
    if stats.groups:
        yield _groups(stats)
        yield Text(
            "all wrong: too hard, or not in the format yet; all right: too easy; neither teaches anything", "dim"
        )
    else:
        yield Text("no groups: rows need a `group`, or equal prompts side by side", "dim")
    if stats.lengths:
        yield Text()
        yield facts(_lengths(stats.lengths))


def _parts(parts: Sequence[Part]) -> RenderableType:
    table = Table([words("part"), *map(number, ("mean", "std", "lowest", "highest", "null")), words()])
    for part in parts:
        n_null = len(part.values) - len(part.judged)
        table.add(Text(part.name, "bold"), *map(shown, part.summary), f"{n_null:,}", Text(part.remark, "yellow"))
    return table.rich()


def _groups(stats: Stats) -> RenderableType:
    table = Table([words("groups"), *map(number, KINDS)])
    for name in (*(part.name for part in stats.parts), ""):
        shares = [format_frac(stats.groups[name][kind] / stats.n_groups) for kind in KINDS]
        table.add(Text(name or "all parts together", "bold"), *shares)
    return table.rich()


def _lengths(found: Lengths) -> Iterator[tuple[str, str]]:
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
        figure = Figure(
            figsize=(1 + 3.2 * n_columns, 0.8 + 2.5 * n_rows), dpi=160, facecolor="white", layout="constrained"
        )
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
