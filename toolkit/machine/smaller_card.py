"""Make a process believe in a card with less memory than it has. Its speed is not emulated."""

from __future__ import annotations

from typing import Any

from toolkit.machine.devices import Gpu, ask_for_this_process
from toolkit.units import gib


def apply(gpu: Gpu) -> None:
    """Where `gpu` stands for a smaller card, limit this process to it; torch is loaded, and a model not yet.

    It has not run on a card yet.
    """
    if not gpu.withheld_gib:
        return
    import torch

    torch.zeros(1, device="cuda")  # makes the context, which the card has to hold, too
    held = ask_for_this_process(gpu)()
    context_gib = max(0.0, held.gib - gib(torch.cuda.memory_reserved())) if held else 0.0
    limit_card(gpu.total_gib, context_gib)


def limit_card(usable_gib: float, context_gib: float) -> dict[str, float]:
    """Limit torch's allocator to `usable_gib` less the context of this process.

    The driver goes on telling the real card's memory, by which Unsloth sizes the pieces of its loss and vLLM its share,
    so that `torch.cuda.mem_get_info` is answered for the smaller one. vLLM's pool under standby is not torch's: only
    its share holds it.
    """
    import torch

    limit_gib = usable_gib - context_gib
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit_gib / gib(total))

    def answer(device: Any = None) -> tuple[int, int]:
        usable = int(usable_gib * 2**30)
        return max(0, int(limit_gib * 2**30) - torch.cuda.memory_reserved(device)), usable

    torch.cuda.mem_get_info = answer
    return {"usable_gib": usable_gib, "context_gib": round(context_gib, 3), "limit_gib": round(limit_gib, 3)}
