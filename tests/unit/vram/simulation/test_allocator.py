"""The caching allocator's rules, by hand from c10/cuda/CUDACachingAllocator.cpp, and what follows from any of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.vram.simulation.allocator import Block, CachingAllocator

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(
    ("request_bytes", "block_bytes", "segment_bytes"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),  # 1 MiB is left, which is too little to split off
        (11 * MIB - 512, 11 * MIB - 512, 12 * MIB),
        (21 * MIB, 22 * MIB, 22 * MIB),
    ],
)
def test_segments_and_splits(request_bytes: int, block_bytes: int, segment_bytes: int) -> None:
    allocator = CachingAllocator()
    block = allocator.take(request_bytes)
    assert (block.size, allocator.allocated, allocator.reserved) == (block_bytes, block_bytes, segment_bytes)


def test_the_smallest_free_block_that_holds_it_serves() -> None:
    allocator = CachingAllocator()
    large, small = allocator.take(40 * MIB), allocator.take(30 * MIB)
    allocator.give_back(large)
    allocator.give_back(small)
    assert allocator.take(20 * MIB) is small
    assert allocator.take(40 * MIB) is large
    assert allocator.take(10 * MIB - 512).before is small  # what the split left
    assert allocator.reserved == 70 * MIB


def test_small_and_large_requests_do_not_share_segments() -> None:
    allocator = CachingAllocator()
    allocator.give_back(allocator.take(30 * MIB))
    allocator.take(MIB)
    assert allocator.reserved == 32 * MIB


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_freed_neighbours_merge(order: tuple[int, int, int]) -> None:
    allocator = CachingAllocator()
    parts = [allocator.take(6 * MIB) for _ in range(3)]  # 2 MiB of the segment are left
    for number in order:
        allocator.give_back(parts[number])
    assert allocator.take(20 * MIB).size == 20 * MIB
    assert allocator.reserved == 20 * MIB


def test_a_hole_does_not_serve_what_is_larger() -> None:
    allocator = CachingAllocator()
    blocks = [allocator.take(6 * MIB) for _ in range(3)]
    allocator.give_back(blocks[0])
    allocator.give_back(blocks[2])
    assert allocator.take(9 * MIB).size == 9 * MIB  # 6 and 8 MiB are free, apart
    assert (allocator.reserved, allocator.peak_allocated) == (40 * MIB, 18 * MIB)


sizes = st.one_of(st.integers(1, 2 * MIB), st.integers(MIB, 48 * MIB), st.sampled_from([512, MIB, 10 * MIB, 20 * MIB]))
# Each step takes a block of a size, or gives back the n-th of those that are alive
steps = st.lists(st.one_of(sizes.map(lambda size: ("take", size)), st.integers(0, 30).map(lambda n: ("free", n))))


@given(steps)
def test_what_holds_after_any_sequence(sequence: list[tuple[str, int]]) -> None:
    allocator, alive = CachingAllocator(), []
    reserved = 0
    for action, number in sequence:
        if action == "take":
            alive.append(allocator.take(number))
            assert number <= alive[-1].size < number + 512 + MIB
        elif alive:
            allocator.give_back(alive.pop(number % len(alive)))
        assert allocator.allocated == sum(block.size for block in alive) <= allocator.reserved
        assert allocator.reserved >= reserved, "segments stay"
        reserved = allocator.reserved
        assert all(is_linked(block) for block in alive)
    for block in alive:
        allocator.give_back(block)
    assert (allocator.allocated, allocator.reserved, allocator.peak_reserved) == (0, reserved, reserved)
    assert_whole_segments(allocator)


@given(st.lists(sizes))
def test_from_large_to_small_a_second_time_reserves_nothing_new(wanted: list[int]) -> None:
    allocator, reserved = CachingAllocator(), []
    for _ in range(2):
        for block in [allocator.take(size) for size in sorted(wanted, reverse=True)]:
            allocator.give_back(block)
        reserved.append(allocator.reserved)
    assert reserved[0] == reserved[1]


def test_in_another_order_a_second_time_may_reserve_more() -> None:
    allocator, reserved = CachingAllocator(), []
    for _ in range(2):
        for block in [allocator.take(size * MIB) for size in (5, 14, 18)]:  # 5 goes into the 18 that is free by then
            allocator.give_back(block)
        reserved.append(allocator.reserved)
    assert reserved == [38 * MIB, 56 * MIB]


def is_linked(block: Block) -> bool:
    """Neighbours know each other, and no two free ones touch."""
    before, after = block.before, block.after
    return (before is None or before.after is block) and (after is None or after.before is block)


def assert_whole_segments(allocator: CachingAllocator) -> None:
    """Every free block is a whole segment again: together they can be taken without reserving more."""
    blocks = [block for pool in allocator._free.values() for _, _, block in pool]
    assert all(block.before is block.after is None for block in blocks)
    assert sum(block.size for block in blocks) == allocator.reserved
    for pool in allocator._free.values():
        assert all(a[:2] < b[:2] for a, b in pairwise(pool))
