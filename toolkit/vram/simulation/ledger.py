"""Which bytes are in use, to what part of the step they belong, and how many it were at most in each phase."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from toolkit.vram.simulation.allocator import Block, CachingAllocator, rounded

PARTS = ("weights", "lora", "optimizer", "gradients", "inputs", "rest")


@dataclass
class Peak:
    """The most bytes that one phase had in use, and how they divide over the parts."""

    total_bytes: int = 0
    by_part: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SimulatedPeak:
    """The peak of the second step, when Adam's moments are there; all figures in bytes."""

    peak_bytes: int
    load_bytes: int
    """Weights, adapters and buffers once loaded, before the first step."""
    by_part: dict[str, int]
    """What was in use at the peak; sums to `peak_bytes`. Keys: `PARTS`; `rest` is activations and workspaces."""
    seconds: float
    """Wall time of the answer."""
    phase: str
    """Where the peak fell: forward, backward or optimizer; which of the layers' backward passes."""
    reserved_bytes: int | None = None
    """What PyTorch's caching allocator would hold (`allocator.py`); None where the depth was extrapolated."""
    depths: tuple[int, ...] = ()
    """Layers of the simulated models: all of them, or the two depths from which the rest was extended."""


class Ledger:
    """Books allocations under the current `phase`; knows nothing of tensors.

    `peaks` holds the peak of every phase in which something was allocated. With an `allocator` every entry also takes a
    block of it.
    """

    def __init__(self, phase: str, allocator: CachingAllocator | None = None) -> None:
        self.phase = phase
        self.allocator = allocator
        self._blocks: dict[int, Block] = {}
        self.peaks: dict[str, Peak] = {}
        self._alive: dict[int, tuple[int, str]] = {}
        self._by_part: Counter[str] = Counter()
        self.total_bytes = 0
        self._next_entry = 0

    def open(self, nbytes: int, part: str = "rest") -> int:
        """Book `nbytes`, rounded up, and return the entry's number."""
        self._next_entry += 1
        size = rounded(nbytes)
        self._alive[self._next_entry] = (size, part)
        self._by_part[part] += size
        self.total_bytes += size
        self._note_peak()
        if self.allocator is not None:
            self._blocks[self._next_entry] = self.allocator.take(nbytes)
        return self._next_entry

    def move(self, entry: int, part: str) -> None:
        """Book an entry to another part: a tensor of the backward pass turns out to be a gradient."""
        size, old = self._alive[entry]
        self._alive[entry] = (size, part)
        self._by_part[old] -= size
        self._by_part[part] += size

    def close(self, entry: int) -> None:
        size, part = self._alive.pop(entry)
        self._by_part[part] -= size
        self.total_bytes -= size
        if self.allocator is not None:
            self.allocator.give_back(self._blocks.pop(entry))

    def spike(self, nbytes: int) -> None:
        """Book a workspace that lives inside one kernel call."""
        if nbytes > 0:
            self.close(self.open(nbytes))

    def enter(self, phase: str) -> None:
        """Start a phase; what is in use already counts in it."""
        self.phase = phase
        self._note_peak()

    def _note_peak(self) -> None:
        peak = self.peaks.setdefault(self.phase, Peak())
        if self.total_bytes > peak.total_bytes:
            peak.total_bytes = self.total_bytes
            peak.by_part = {part: self._by_part[part] for part in PARTS}
