"""A checkpoint out of turn, where a run is about to stop."""

from __future__ import annotations

from typing import Any

from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.machine import processes
from toolkit.runs import Run


def save_steps_done(trainer: Any, run: Run, n_done: int) -> None:
    """Keep the steps done, which the next checkpoint would have kept. Every process of a run takes part."""
    folder = run.checkpoints / f"checkpoint-{n_done}"
    if n_done > 0 and not processes.on_main(folder.exists):
        require(trainer, trl_compat.SAVE_CHECKPOINT, trl_compat.RELEASE)(trainer.model, trial=None)
