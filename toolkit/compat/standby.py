"""Unsloth's standby over vLLM: what it stands on, and its failures told as such.

Asleep, the engine in this process has given up its KV cache; its weights stay, because the trainer computes with the
same tensors. For that unsloth_zoo replaces `__init__`, `sleep` and `wake_up` of vLLM's `CuMemAllocator`. What we rely
on, read in unsloth_zoo 2026.10.9, vLLM 0.31 and TRL 1.15 and held against the installed sources (`compat.unsloth`,
tests/engines/test_contracts.py), but not yet run on a card:

- vLLM fills two pools, tagged `weights` and `kv_cache`. Unsloth passes over the first, and unmaps and maps all else.
- vLLM marks what it unmapped with `is_asleep`; Unsloth neither sets nor reads the mark. So only the executor keeps
  memory from being unmapped or mapped twice: its `sleep` does nothing while `weights` is among `sleeping_tags`, its
  `wake_up` nothing while no tag is.
- `LLM.release_kv_cache_memory` and the allocator's `discard` read the mark, and would unmap again. Nobody calls them.
- Waking is whole, without tags: vLLM schedules nothing while a tag sleeps, and would wait for ever. Unsloth wakes so in
  TRL's `sync_weights` and before each `LLM.generate`. TRL sleeps at level 2 after each rollout.
- A failed engine is not tried again in its process: vLLM's allocator serves one, and keeps what the first one took.
  Unsloth says so, too (`_memory_profiling_race_message`), and has read its variables at import. So a run begins anew
  (`launch.again`).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolkit.compat.contracts import require
from toolkit.errors import StandbyError, first_line
from toolkit.units import gib

RELEASE = "vllm 0.31"
LEVEL = 2  # as TRL has it after each rollout
WITHOUT = "--standby false"
STARTS_ENGINE = ("unsloth_zoo", "vllm_utils.py")  # the file that patches vLLM and starts it


def could_not_start(error: BaseException) -> StandbyError | None:
    """The error of a load as one of standby, where it came from starting the engine; None where from anything else."""
    for link in _chain(error):
        if any(Path(frame.filename).parts[-2:] == STARTS_ENGINE for frame in traceback.extract_tb(link.__traceback__)):
            return StandbyError(f"vLLM does not start with standby ({first_line(error)})", next_step=WITHOUT)
    return None


def rehearse(engine: Any) -> str:
    """Put a new engine (`vllm.LLM`) to sleep and wake it, and from now on tell its failures to do so; one line.

    Raises:
        StandbyError: it did not fall asleep or wake.
        ContractError: it has no `sleep` or `wake_up`.
    """
    import torch

    engine.sleep = _told(require(engine, "sleep", RELEASE), "sleep", "fall asleep")
    engine.wake_up = _told(require(engine, "wake_up", RELEASE), "wake", "wake up")
    begin, free = time.perf_counter(), torch.cuda.mem_get_info()[0]
    engine.sleep(level=LEVEL)
    freed = torch.cuda.mem_get_info()[0] - free
    engine.wake_up()
    seconds = time.perf_counter() - begin
    return f"standby: vLLM fell asleep and woke in {seconds:.1f} s, which frees {gib(freed):.1f} GiB"


def failure_in(error: BaseException) -> StandbyError | None:
    """The failure of standby in an error, whatever it is wrapped in."""
    return next((link for link in _chain(error) if isinstance(link, StandbyError)), None)


def _told(method: Callable[..., Any], step: str, what: str) -> Callable[..., Any]:
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # vLLM asserts, its C extension and CUDA raise RuntimeError
            failure = StandbyError(f"vLLM could not {what} ({first_line(error)})", next_step=WITHOUT)
            failure.step = step
            raise failure from error

    return told


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
