"""How a session begins: the engine that is chosen, and everything that is checked before it is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from toolkit import backends, doctor
from toolkit.backends import vllm_server
from toolkit.compat import environment
from toolkit.launch import situation
from toolkit.launch.session import Session
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.machine.hub import ask_hub, go_offline
from toolkit.settings import GrpoSettings
from toolkit.settings.batch import check_save_steps
from toolkit.settings.resolved import Resolved

S = TypeVar("S", bound=GrpoSettings)


def start(recipe: str, resolved: Resolved[S], gpus: list[Gpu], why_no_gpu: str, argv: Sequence[str]) -> Session[S]:
    """Choose the engine and check everything that needs no import of it.

    Raises:
        SettingsError: checkpoints that could not be resumed.
        BackendError: see `backends.choose`, `doctor.check_before_loading`, `backends.check_sharding` and
            `vllm_server.check`.
    """
    settings = resolved.settings
    check_save_steps(resolved.batch, settings.record.save_steps, settings.grpo.get("num_iterations", 1))
    choice = backends.choose(settings.model, gpus, why_no_gpu)
    if choice.backend.on_gpu and settings.record.check_machine:
        doctor.check_before_loading(gpus)
    backends.check_sharding(settings.model, on_gpu=choice.backend.on_gpu)
    vllm_server.check(settings.model, settings.lengths, settings.grpo, gpus[0] if choice.backend.on_gpu else None)
    reasons = [f"{settings.model.model} on the {choice.backend.name} backend", resolved.why]
    if choice.why not in resolved.why:
        reasons.append(choice.why)
    if processes.world_size() > 1:
        reasons.append(f"{processes.world_size()} processes")
    session = Session(recipe, resolved, choice.backend, "; ".join(filter(None, reasons)), gpus, argv)
    offline = situation.needs_no_network(settings)
    circumstances = situation.of(settings, choice.backend, gpus, offline)
    session.environment, session.introduction = environment.set_before_imports(circumstances)
    if choice.backend.on_gpu:
        session.introduction += situation.unused_cards(gpus)
    if not offline and ask_hub().reachable is False:
        go_offline()  # what is in the local cache still works, and what is not fails at once
    return session
