"""Environment variables that other packages read once, at import: set here, before any of them loads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit.compat.versions import find_package
from toolkit.errors import ContractError

MUST_COME_FIRST = ("torch", "transformers", "trl", "peft", "unsloth", "vllm")


def set_before_imports(*, offline: bool, gpu: str | None, standby: bool) -> dict[str, str]:
    """Set what must stand before the first heavy import, and return it for the records.

    `gpu` names the card to use for `CUDA_VISIBLE_DEVICES`, None on a CPU. A variable that the user has set is kept,
    but for the card: with several visible, transformers would wrap the model in DataParallel.

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
        "UNSLOTH_COMPILE_LOCATION": str(compile_folder()),
    }
    if offline:
        wanted |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if gpu is not None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the driver's order; CUDA's own is fastest first
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        # Standby must be known before `import unsloth`: it decides about expandable segments, which sleep cannot use.
        # Without the second, a job whose torch sees no device trains on the CPU and says so in one line only.
        wanted |= {"UNSLOTH_VLLM_STANDBY": "1" if standby else "0", "UNSLOTH_DISABLE_CPU_FALLBACK": "1"}
    else:
        # Two OpenMP threads that spin run four times slower beside any other busy process
        wanted |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    return {name: os.environ[name] for name in wanted}


def compile_folder() -> Path:
    """Where Unsloth keeps the trainers it generates: a folder for each set of versions.

    A cache made by other versions is the cause of half the "worked yesterday" reports.
    """
    packages = ("unsloth", "unsloth_zoo", "trl", "transformers", "torch")
    found = (find_package(name) for name in packages)
    stamp = "-".join((package.version if package else None) or "none" for package in found)
    return Path.home() / ".cache" / "grpo-toolkit" / "unsloth_compiled_cache" / stamp
