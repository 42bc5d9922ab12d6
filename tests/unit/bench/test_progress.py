"""What is left of a sweep."""

from __future__ import annotations

from toolkit.bench.progress import Progress


def test_what_is_left_counts_down_within_a_cell_and_leaves_out_what_was_kept() -> None:
    now = 0.0
    progress = Progress(n_cells=5, n_kept=1, clock=lambda: now)
    progress.begin("g=4")
    assert progress.left() == "", "nothing is known before one is done"
    now = 60.0
    progress.end()
    assert (progress.n_done, progress.left_s) == (2, 180.0)
    progress.begin("g=8")
    now = 80.0
    assert progress.left_s == 160.0
    now = 200.0  # longer than the first: at least the other two are to come
    assert progress.left_s == 120.0
    assert progress.__rich__().plain == "[3/5] g=8: 2m 20s; about 2m 00s left"
