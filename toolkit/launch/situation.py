"""Where a run finds itself: what decides its environment, whether it needs a network, which cards stay idle."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.backends.base import has_vllm_inside
from toolkit.compat import environment
from toolkit.data import ARITHMETIC
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.models import embedded
from toolkit.settings import GrpoSettings

if TYPE_CHECKING:
    from toolkit.backends.base import Backend


def unused_cards(gpus: Sequence[Gpu]) -> list[str]:
    """How to use all cards, where several are visible to the one process of a run."""
    n = len(gpus)
    if n < 2 or processes.world_size() > 1:
        return []
    for_all = f"accelerate launch --num_processes {n} {shlex.quote(sys.argv[0])}"
    another = f"CUDA_VISIBLE_DEVICES={gpus[1].visible_as} takes the {gpus[1].name}"
    return [f"{gpus[0].name} is used, one of {n} visible cards; {another}; for all, without Unsloth: {for_all}"]


def of(settings: GrpoSettings, backend: Backend, gpus: Sequence[Gpu], offline: bool) -> environment.Situation:
    """What of this run decides which environment variables matter."""
    return environment.Situation(
        on_gpu=backend.on_gpu,
        unsloth=backend.name == "unsloth",
        vllm=has_vllm_inside(backend, settings.model),
        standby=settings.model.standby,
        card=gpus[0].visible_as if backend.on_gpu and processes.world_size() == 1 else None,
        offline=offline,
        pushes=settings.record.push_to_hub is not None,
        debug=settings.record.debug,
    )


def needs_no_network(settings: GrpoSettings) -> bool:
    """Whether model and data lie on this machine, and nothing is uploaded."""
    local_data = settings.data.dataset == ARITHMETIC or os.path.exists(settings.data.dataset)
    local_model = settings.model.model == embedded.NAME or os.path.exists(settings.model.model)
    return local_data and local_model and settings.record.push_to_hub is None
