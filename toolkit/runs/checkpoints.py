"""Checkpoints as transformers writes them: which are whole, and of which step."""

from __future__ import annotations

import json
from pathlib import Path

OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "global_step*")  # in a checkpoint: of one card or DDP, FSDP, DeepSpeed


def is_complete(checkpoint: Path, n_processes: int = 1) -> bool:
    """Say whether a checkpoint was written to its end: transformers writes trainer_state.json last.

    Each of several processes writes its own random state, and they do not wait for one another.
    """
    random_states = [f"rng_state_{i}.pth" for i in range(n_processes)] if n_processes > 1 else ["rng_state.pth"]
    parts = ("scheduler.pt", "trainer_state.json", *random_states)
    if not all((checkpoint / part).exists() for part in parts) or not list(checkpoint.glob("*.safetensors")):
        return False
    if not any(path for name in OPTIMIZERS for path in checkpoint.glob(name)):
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def checkpoint_step(checkpoint: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))
