"""The processes of one run: how many there are, which one this is, and what they tell one another.

`accelerate launch` and `torchrun` start one process a card and say so in the environment. Every process runs the whole
recipe on its share of each batch; the first (rank 0) alone writes the run folder, prints and uploads. Reading the
environment needs no torch; `join` connects the processes, over NCCL on cards and gloo on CPUs, and from then on
`gather` and `on_main` are collective: every process must call them, in the same order.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from toolkit.compat.accelerate import name_cpu
from toolkit.errors import ToolkitError

T = TypeVar("T")


class Sharding(StrEnum):
    """How a launcher's configuration splits what training holds over the processes."""

    NONE = ""
    FSDP_1 = "FSDP 1"
    FSDP_2 = "FSDP 2"
    ZERO_2 = "ZeRO-2"
    ZERO_3 = "ZeRO-3"

    @property
    def splits_weights(self) -> bool:
        """Whether no process holds a whole layer; ZeRO-2 splits gradients and the optimizer's state alone."""
        return self in (Sharding.FSDP_1, Sharding.FSDP_2, Sharding.ZERO_3)


TIMEOUT_S = 1800  # transformers' `ddp_timeout`: how long a process waits for one that hangs
LAST_WORDS_S = 5  # how long a process waits for another's error to be printed before it ends


def world_size() -> int:
    """Processes of this run; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process among all of the run, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def local_rank() -> int:
    """This process among those of its machine, from 0: the place of its card among the visible ones."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process writes, prints and uploads for all."""
    return rank() == 0


def sharding() -> Sharding:
    """How the launcher's configuration splits what training holds; empty where every process holds all of it."""
    if world_size() == 1:
        return Sharding.NONE
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return Sharding.FSDP_1 if os.environ.get("FSDP_VERSION", "1") == "1" else Sharding.FSDP_2
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        return Sharding.ZERO_3 if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" else Sharding.ZERO_2
    return Sharding.NONE


def join(*, on_gpu: bool, timeout_s: float = TIMEOUT_S) -> None:
    """Connect this process with the others; returns when all are there. Does nothing in a run of one.

    `timeout_s`: how long any collective call waits for a process that neither answers nor ends.
    """
    if world_size() == 1:
        return
    if not on_gpu:
        name_cpu()
    from accelerate import PartialState

    PartialState(cpu=not on_gpu, timeout=timedelta(seconds=timeout_s))


def leave() -> None:
    """Disconnect this process: what others still do needs it no more.

    vLLM's own end wants the group that it found, and leaves it afterwards.
    """
    if world_size() > 1 and "vllm" not in sys.modules:
        from accelerate import PartialState

        PartialState().destroy_process_group()


def gather(value: T) -> list[T]:
    """Every process's value, in the order of ranks. Collective; values are pickled."""
    if world_size() == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])


def on_main(action: Callable[[], T]) -> T:
    """What `action` returns in the first process, which alone runs it; what it cannot do it says in all of them.

    Collective; the value is pickled.

    Raises:
        ToolkitError: the one that `action` raised there, in every process.
    """
    answer: T | ToolkitError | None = None
    if is_main():
        try:
            answer = action()
        except ToolkitError as error:
            answer = error
    answer = gather(answer)[0]
    if isinstance(answer, ToolkitError):
        raise answer
    return answer  # type: ignore[return-value] # the first process has run it


@contextlib.contextmanager
def word(environment: Mapping[str, str] = os.environ) -> Iterator[bool]:
    """Yield whether this process may tell its error: one does for the whole run, the first that fails.

    The end of one ends the others, with errors that are only consequences. A process that may not speak waits until
    the other has, since the launcher kills all when one ends. The processes agree over the launcher's own store, which
    needs no connection among them; under a launcher without one each tells its own.
    """
    store = _launchers_store(environment)
    name = f"toolkit/error/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    is_first = store is None or store.add(name, 1) == 1
    try:
        yield is_first
    finally:
        if store is not None and is_first:
            store.set(f"{name}/told", "1")
        elif store is not None:
            with contextlib.suppress(RuntimeError):  # it was killed before it could speak, or the store is gone
                store.wait([f"{name}/told"], timedelta(seconds=LAST_WORDS_S))


def _launchers_store(environment: Mapping[str, str]) -> Any | None:
    """The key-value store of torchrun's agent, or None: a run of one, another launcher, or no answer."""
    if world_size() == 1 or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    try:
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=LAST_WORDS_S))
    except (RuntimeError, KeyError, ValueError):  # torch's own kinds of a store that cannot be reached are RuntimeError
        return None
