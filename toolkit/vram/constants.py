"""What no formula gives: the constants of constants.toml, and what this user's own runs taught about a card.

constants.toml says the source of each. `toolkit plan --calibrate` writes another file, one for each user:
`TOOLKIT_CALIBRATION`, else `$XDG_DATA_HOME/grpo-toolkit/calibration.json`.
"""

from __future__ import annotations

import functools
import json
import math
import os
import statistics
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import SettingsError

if TYPE_CHECKING:
    from toolkit.vram.cards import Card
    from toolkit.vram.request import Request

VARIABLE = "TOOLKIT_CALIBRATION"
FORMAT = 1

# 95 % quantile of Student's t by degrees of freedom from 1: both tails together 10 %. Any table of the distribution.
T_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753)
T_95_MORE = 1.746  # at 16 degrees; it falls to 1.645, so the interval of more runs is a little too wide


@dataclass(frozen=True)
class Learned:
    """What runs on one card taught, in place of the shipped constants."""

    n_runs: int
    context_gib: float | None = None
    """None: no run has shown it; it takes one without vLLM in its process."""
    slack: dict[str, float] = field(default_factory=dict)
    """Slack kind (see `slack_kind`) -> factor on the shipped figures."""
    residuals_gib: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Engine kind (see `engine_kind`) -> (residual, plan) for each group of runs with the same settings: the process's
    measured peak less the planned one, and the planned one with the constants above."""


@functools.cache
def shipped() -> dict[str, Any]:
    """constants.toml: the additive and relative constants. Not to be changed: every caller gets the same mapping."""
    return tomllib.loads((Path(__file__).parent / "constants.toml").read_text(encoding="utf-8"))


def constants_for(card: Card | None = None, request: Request | None = None) -> dict[str, Any]:
    """The constants to plan `request` on `card` with: the shipped ones, or those that runs on this card taught.

    Raises:
        SettingsError: the calibration file is broken.
    """
    constants = for_capability(shipped(), card.compute_capability if card else None)
    if card is None or request is None:
        return constants
    learned = learned_about(card.name)
    return constants if learned is None else corrected(constants, learned, card.name, request)


def for_capability(constants: dict[str, Any], capability: str | None) -> dict[str, Any]:
    """The constants with the figures of one compute capability in place of the general ones, where there are some."""
    own = {
        name: table["capability"][capability]
        for name, table in constants.items()
        if isinstance(table, dict) and capability in table.get("capability", {})
    }
    return constants | {name: constants[name] | figures for name, figures in own.items()}


def corrected(constants: dict[str, Any], learned: Learned, card_name: str, request: Request) -> dict[str, Any]:
    """The constants with what was learned in their place; `calibration` and `residuals_gib` are added."""
    kind, slack = slack_kind(request), constants["slack"]
    factor = learned.slack.get(kind, 1.0)
    context = {} if learned.context_gib is None else {"gib": learned.context_gib}
    own = {name: factor * value for name, value in slack[kind].items()}
    return constants | {
        "context": constants["context"] | context,
        "slack": slack | {"static": factor * slack["static"], kind: own},
        "residuals_gib": learned.residuals_gib.get(engine_kind(request), []),
        "calibration": {"card": card_name, "n_runs": learned.n_runs},
    }


def slack_kind(request: Request) -> str:
    """The table of [slack] that the allocator of a request behaves like."""
    if request.is_plain_loop:
        return "cross_entropy"
    if request.method == "full":
        return "full"
    return "none" if request.checkpointing == "none" else request.head


def engine_kind(request: Request) -> str:
    """`vllm` where it works in the training process, else `torch`: their residuals cannot be compared."""
    return "vllm" if request.rolls_out_with_vllm else "torch"


def narrowed(
    bounds: tuple[float, float], peak_gib: float, formula_gib: float, residuals_gib: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The interval of a planned peak, narrower where runs on this card agree. GiB.

    `bounds` comes from the shipped extremes, `formula_gib` is the formula's own error at this peak, `residuals_gib` is
    as in `Learned`. For a larger plan a residual is scaled up in proportion; for a smaller one it is taken as it is,
    since nobody measured that it shrinks. From two residuals on, the prediction interval for one more takes the place
    of a wider bound: m -+ t s sqrt(1 + 1/n) with 5 % outside at each end (Student's; Meeker, Hahn, Escobar, Statistical
    Intervals, 2nd edition, 2017). The interval always holds the plan, the formula's error and every run that was seen.
    """
    if not residuals_gib:
        return bounds
    seen = [residual * max(1.0, peak_gib / planned) for residual, planned in residuals_gib]
    low, high, n = bounds[0] - peak_gib, bounds[1] - peak_gib, len(seen)
    if n > 1:
        t = T_95[n - 2] if n - 2 < len(T_95) else T_95_MORE
        mean, half = statistics.fmean(seen), t * statistics.stdev(seen) * math.sqrt(1 + 1 / n)
        low, high = max(low, mean - half), min(high, mean + half)
    low, high = min(low, -formula_gib, *seen), max(high, formula_gib, *seen)
    return peak_gib + low, peak_gib + high


def calibration_file() -> Path:
    """Where this user's calibration is kept; it need not exist."""
    if os.environ.get(VARIABLE):
        return Path(os.path.expanduser(os.environ[VARIABLE]))  # Path's own raises for an unknown user
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "grpo-toolkit" / "calibration.json"


def learned_about(card_name: str) -> Learned | None:
    """What runs on the card of this name taught; None when there was none. Errors are those of `read_calibration`."""
    path = calibration_file()
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size).get(card_name)


def read_calibration(path: Path) -> dict[str, Any]:
    """The calibration file, `format` and `cards`; empty when there is none yet, a SettingsError where it is broken."""
    if not path.exists():
        return {"format": FORMAT, "cards": {}}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        for card in content["cards"].values():
            _learned(card)
            card["runs"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"{path} is not a calibration ({type(error).__name__}: {error})"
        wanted = f"what toolkit plan --calibrate writes, format {FORMAT}"
        raise SettingsError(found, wanted, f"delete it, or set {VARIABLE} to another file") from error
    return content


@functools.lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> dict[str, Learned]:
    """What was learned by card; `mtime_ns` and `size` tell a changed file from the one that was read."""
    return {name: _learned(card) for name, card in read_calibration(path)["cards"].items()}


def _learned(card: dict[str, Any]) -> Learned:
    learned = Learned(n_runs=len(card["runs"]), **card["learned"])
    pairs = [pair for kind in learned.residuals_gib.values() for pair in kind]
    numbers = [*learned.slack.values(), *(number for pair in pairs for number in pair)]
    if learned.context_gib is not None:
        numbers.append(learned.context_gib)
    possible = all(planned > 0 for _, planned in pairs) and all(factor >= 0 for factor in learned.slack.values())
    if not possible or not all(math.isfinite(number) for number in numbers):
        raise ValueError("an impossible constant")
    return learned
