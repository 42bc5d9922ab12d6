"""The curves of a run as PNG, for a talk or a thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.display.palette import COLOURS, LIGHT
from toolkit.errors import RunFolderError
from toolkit.files import replace_file
from toolkit.report import curves
from toolkit.runs.record import Record

KINDS = {
    "reward": curves.reward_charts,
    "completions": curves.completion_charts,
    "policy": curves.policy_charts,
    "cost": curves.cost_charts,
}


def write_pictures(record: Record, folder: Path) -> list[Path]:
    """`reward.png`, `completions.png`, `policy.png` and `cost.png` in `folder`, those that have a value.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    written = []
    for name, charts_of in KINDS.items():
        given = curves.with_values(charts_of(record))
        if not given:
            continue
        path = folder / f"{name}.png"
        try:
            replace_file(path, _png(given))
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written ({error.strerror})", "a writable folder") from error
        written.append(path)
    return written


def _png(given: Sequence[curves.Chart]) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    style: dict[Any, Any] = {"font.family": "DejaVu Sans", "text.color": LIGHT["ink"], "text.parse_math": False}
    with rc_context(style):
        figure = Figure(figsize=(5.2 * len(given), 3.2), dpi=160, facecolor="white", layout="constrained")
        for axes, chart in zip(figure.subplots(1, len(given), squeeze=False)[0], given, strict=True):
            for i, one in enumerate(chart.lines):
                colour = COLOURS[i % len(COLOURS)]
                if one.low is not None and one.high is not None:
                    low, high = ([float("nan") if v is None else v for v in ends] for ends in (one.low, one.high))
                    axes.fill_between(one.x, low, high, color=colour, alpha=0.18, linewidth=0)
                axes.plot(one.x, [float("nan") if v is None else v for v in one.y], color=colour, label=one.name)
            axes.set_title(chart.title, size=10)
            axes.set(xlabel=curves.STEP, ylabel=chart.unit)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color=LIGHT["line"])
            if len(chart.lines) > 1:
                axes.legend(frameon=False, fontsize=8)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
