"""PyTorch's caching allocator for CUDA, as far as it decides how much memory a process reserves.

Rules of c10/cuda/CUDACachingAllocator.cpp (torch 2.13, default settings, no expandable segments): requests are rounded
to 512 bytes and served from the smallest free block that holds them. Up to 1 MiB they come from segments of 2 MiB,
below 10 MiB from segments of 20 MiB, above from segments of their own, in steps of 2 MiB. A block is split when what
remains can serve: at least 512 bytes in a small segment, more than 1 MiB in a large one. Freed neighbours merge,
segments stay.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

MIB = 2**20
ROUND_BYTES = 512  # kMinBlockSize of c10/cuda/CUDACachingAllocator.cpp
SMALL_REQUEST, SMALL_SEGMENT = MIB, 2 * MIB
MEDIUM_REQUEST, MEDIUM_SEGMENT = 10 * MIB, 20 * MIB
LARGE_STEP = 2 * MIB


def rounded(nbytes: int) -> int:
    """Bytes that PyTorch's CUDA allocator gives for a request of `nbytes`: whole blocks of 512."""
    return -(-nbytes // ROUND_BYTES) * ROUND_BYTES


@dataclass(eq=False)
class Block:
    """A stretch of one segment; `before` and `after` are its neighbours there."""

    number: int
    size: int
    small: bool
    free: bool = False
    before: Block | None = None
    after: Block | None = None


@dataclass
class CachingAllocator:
    """Serves requests and counts bytes: `allocated` in blocks that are in use, `reserved` in segments."""

    allocated: int = 0
    reserved: int = 0
    peak_allocated: int = 0
    peak_reserved: int = 0
    _next_number: int = 0
    _free: dict[bool, list[tuple[int, int, Block]]] = field(default_factory=lambda: {True: [], False: []})

    def take(self, nbytes: int) -> Block:
        """Return a block for a request of `nbytes`."""
        size = rounded(nbytes)
        small = size <= SMALL_REQUEST
        free = self._free[small]
        place = bisect.bisect_left(free, (size,))
        block = free.pop(place)[2] if place < len(free) else self._new_segment(size, small)
        remaining = block.size - size
        if remaining >= ROUND_BYTES if small else remaining > SMALL_REQUEST:
            self._split(block, size)
        block.free = False
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def give_back(self, block: Block) -> None:
        """Free a block, and merge it with free neighbours."""
        self.allocated -= block.size
        for other in (block.before, block.after):
            if other is not None and other.free:
                self._remove(other)
                self._absorb(block, other)
        self._insert(block)

    def _new_segment(self, size: int, small: bool) -> Block:
        if small:
            segment = SMALL_SEGMENT
        elif size < MEDIUM_REQUEST:
            segment = MEDIUM_SEGMENT
        else:
            segment = -(-size // LARGE_STEP) * LARGE_STEP
        self.reserved += segment
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return self._block(segment, small)

    def _block(self, size: int, small: bool) -> Block:
        self._next_number += 1
        return Block(self._next_number, size, small)

    def _split(self, block: Block, size: int) -> None:
        rest = self._block(block.size - size, block.small)
        rest.before, rest.after = block, block.after
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        self._insert(rest)

    def _absorb(self, block: Block, other: Block) -> None:
        block.size += other.size
        if other is block.before:
            block.before = other.before
            if block.before is not None:
                block.before.after = block
        else:
            block.after = other.after
            if block.after is not None:
                block.after.before = block

    def _insert(self, block: Block) -> None:
        block.free = True
        bisect.insort(self._free[block.small], (block.size, block.number, block))

    def _remove(self, block: Block) -> None:
        free = self._free[block.small]
        free.pop(bisect.bisect_left(free, (block.size, block.number)))
