"""Messages of other packages that say nothing a user can act on, each with its reason.

Downloads keep their progress bars: those are worth watching.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any


def hush_bitsandbytes() -> None:
    """`Failed to load CPU gemm_4bit_forward from kernels-community: No module named 'kernels'`, at every import.

    An optional fast path for 4-bit on CPUs that nothing here needs. Call before peft or bitsandbytes is imported.
    Remove when bitsandbytes logs it at debug level.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def hush_vllm_imports() -> None:
    """Two notes about triton and a deprecated name, which `import trl.trainer` brings up where vLLM is installed.

    They are about vLLM's own sources and a CPU without triton. Call before trl is imported.
    Remove when vLLM no longer touches `torch.distributed.reduce_op` while it looks for kernels.
    """
    warnings.filterwarnings("ignore", "`torch.distributed.reduce_op` is deprecated", FutureWarning)
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # "Triton not available"


def hush_weight_bars(told: Callable[[int, int], None] | None = None) -> None:
    """`Loading weights: 100%` of transformers: the phase is shown anyway.

    `told` is given what the bar would show, tensors done and of how many, whenever weights are loaded from now on.
    """
    from transformers.utils import logging as transformers_logging

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if told is None or not args or kwargs.get("desc") != "Loading weights":
            return factory(*args, **kwargs)
        return _counted(args[0], told)

    transformers_logging.disable_progress_bar()
    transformers_logging.set_tqdm_hook(hook)


def _counted(items: Collection[Any], told: Callable[[int, int], None]) -> Iterator[Any]:
    for done, item in enumerate(items, start=1):
        yield item
        told(done, len(items))


def hush_table_bars() -> None:
    """`Generating train split` of datasets, which also stands before an error about the table."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # it logs a read error, and raises it too


def hush_checkpoint_times() -> None:
    """`mtime may not be reliable on this filesystem, falling back to numerical ordering` of transformers.

    The order by number is the right one anyway.
    """
    logger = logging.getLogger("transformers.trainer_utils")
    logger.addFilter(lambda record: "mtime may not be reliable" not in record.getMessage())
