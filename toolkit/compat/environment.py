"""Environment variables that other packages read once, at import: set here, before any of them loads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit.errors import ContractError

MUST_COME_FIRST = ("torch", "transformers", "trl", "peft", "unsloth", "vllm")


def set_before_imports(*, offline: bool, on_gpu: bool, standby: bool, compile_folder: Path) -> dict[str, str]:
    """Set what must stand before the first heavy import, and return it for the records.

    A variable that the user has set is kept.

    Raises:
        ContractError: one of the packages was imported already, so the variables would come too late.
    """
    early = [name for name in MUST_COME_FIRST if name in sys.modules]
    if early:
        raise ContractError(f"{early[0]} was imported before the environment was set", "toolkit first, then the rest")
    wanted = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",  # forked reward workers deadlock otherwise
        # Unsloth phones home at load unless told not to
        "UNSLOTH_DISABLE_STATISTICS": "1",
        # Written to the working directory otherwise, and reused by a run with other versions
        "UNSLOTH_COMPILE_LOCATION": str(compile_folder),
    }
    if offline:
        wanted |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if on_gpu:
        # Standby must be known before `import unsloth`: it decides about expandable segments, which sleep cannot use.
        # Without the second, a job whose torch sees no device trains on the CPU and says so in one line only.
        wanted |= {"UNSLOTH_VLLM_STANDBY": "1" if standby else "0", "UNSLOTH_DISABLE_CPU_FALLBACK": "1"}
    else:
        # Two OpenMP threads that spin run four times slower beside any other busy process
        wanted |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    return {name: os.environ[name] for name in wanted}
