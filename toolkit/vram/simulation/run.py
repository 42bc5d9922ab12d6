"""A step simulated at full depth, or at two small depths from which the rest follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from toolkit.errors import SettingsError
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation.allocator import CachingAllocator
from toolkit.vram.simulation.card import fake_card, highest
from toolkit.vram.simulation.ledger import Peak, SimulatedPeak
from toolkit.vram.simulation.model import load_config
from toolkit.vram.simulation.step import Step


def simulate(config: Mapping[str, Any], update: Update, *, layers: int | None = None) -> SimulatedPeak:
    """Return the peak of an update with all layers of a model, or with its first `layers`.

    `config` is the content of a config.json, of which only `model_type` is required. Takes 4 to 8 s of CPU for a 7B
    model; see `extrapolate` for an answer while somebody waits.

    Raises:
        SettingsError: `layers` below one, no `model_type`, or no prompt for a head that scores completions alone.
        ModelError: an architecture that transformers does not know.
        ContractError: a private name or a kernel that the simulation stands on is gone.
    """
    started = time.perf_counter()
    if layers is not None and layers < 1:
        raise SettingsError(f"layers {layers}", "a whole number from 1")
    allocator = CachingAllocator()
    load_bytes, peaks = peaks_by_phase(config, update, layers, allocator=allocator)
    peak = highest(load_bytes, peaks, time.perf_counter() - started)
    depth = load_config(config, layers).num_hidden_layers
    return replace(peak, reserved_bytes=allocator.peak_reserved, depths=(depth,))


def extrapolate(config: Mapping[str, Any], update: Update) -> SimulatedPeak:
    """Return the peak at full depth from two shallow simulations, in one to two seconds.

    Every phase's peak is linear in the number of layers, while the peak of all is not: the phase that leads may change
    with depth (the head leads in a shallow model, gradients gather in a deep one). So each phase is extended by itself
    and the highest taken. `_depths` says which depths are simulated.

    Raises:
        As `simulate`.
    """
    started = time.perf_counter()
    built = load_config(config)
    depth = built.num_hidden_layers
    near, far = _depths(depth, _period(getattr(built, "layer_types", None) or []))
    if depth <= far:
        return simulate(config, update)
    near_load, near_peaks = peaks_by_phase(config, update, near)
    far_load, far_peaks = peaks_by_phase(config, update, far)

    def extend(at_near: int, at_far: int) -> int:
        return at_near + (at_far - at_near) * (depth - near) // (far - near)

    peaks = {}
    for phase in near_peaks.keys() & far_peaks.keys():  # two layers have none in the middle, which never leads
        low, high = near_peaks[phase].by_part, far_peaks[phase].by_part
        by_part = {part: extend(low[part], high[part]) for part in low}
        peaks[phase] = Peak(sum(by_part.values()), by_part)
    peak = highest(extend(near_load, far_load), peaks, time.perf_counter() - started)
    return replace(peak, depths=(near, far))


def peaks_by_phase(
    config: Mapping[str, Any],
    update: Update,
    layers: int | None = None,
    attention_kind: str | None = None,
    allocator: CachingAllocator | None = None,
) -> tuple[int, dict[str, Peak]]:
    """Run the second step on a fake card; return the bytes after loading and the peak of every phase."""
    with fake_card(config, update, layers, attention_kind, allocator) as card:
        step = Step(update, card.model, card.enter)
        step.prime_optimizer()
        card.book("optimizer", step.moments)
        card.book("inputs", step.inputs)
        card.book_gradients()
        with card.watch.mode():
            step.run()
    return card.load_bytes, card.peaks()


def _depths(depth: int, period: int) -> tuple[int, int]:
    """Two depths whose difference is whole periods of the kinds of layers: 2 and 4 where all are of one kind.

    Else both end with the kind of layer that the whole model ends with, and every kind comes between the first layer
    and the last: a mask is kept only as long as a layer of its kind is to come.
    """
    if period == 1:
        return 2, 4
    near = period + 2 + (depth - period - 2) % period
    return near, near + period


def _period(kinds: Sequence[str]) -> int:
    """Length of the shortest pattern that repeats through `kinds`; 1 when all are of one kind, or none is named."""
    for length in range(1, len(kinds) + 1):
        if all(kind == kinds[i % length] for i, kind in enumerate(kinds)):
            return length
    return 1
