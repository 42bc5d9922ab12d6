"""A card made of fake tensors: a model loaded on it, and a ledger of every storage."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from toolkit.compat import fake_tensors
from toolkit.errors import ContractError, SettingsError
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import attention, kernels
from toolkit.vram.simulation.allocator import CachingAllocator
from toolkit.vram.simulation.checkpointing import set_checkpointing
from toolkit.vram.simulation.ledger import Ledger, Peak, SimulatedPeak
from toolkit.vram.simulation.model import build_on_meta, load_config, materialise, tensors_by_part
from toolkit.vram.simulation.step import on_gradient
from toolkit.vram.simulation.watch import StorageWatch

LOAD = "load"


@dataclass(frozen=True)
class FakeCard:
    """A loaded model, and what watches the card's memory."""

    update: Update
    model: Any
    n_layers: int
    watch: StorageWatch
    load_bytes: int

    def enter(self, phase: str) -> None:
        self.watch.ledger.enter(phase)

    def book(self, part: str, tensors: Iterable[Any]) -> None:
        """Book tensors that exist before the step: inputs, Adam's moments."""
        for tensor in tensors:
            self.watch.follow(tensor, part)

    def book_gradients(self) -> None:
        """Book every gradient as it comes, and split the backward pass where layers end."""

        def enter_next(layer: int) -> None:
            place = {0: "embeddings", 1: "first layer"}.get(layer, "middle layers")
            self.enter(f"backward of the {place}")

        on_gradient(self.model, lambda gradient: self.watch.follow(gradient, "gradients"), enter_next)

    def peaks(self) -> dict[str, Peak]:
        """The peak of each phase of the step."""
        return {phase: peak for phase, peak in self.watch.ledger.peaks.items() if phase != LOAD}

    def check_kernels(self) -> None:
        """Refuse a run that took other kernels than CUDA would have used.

        Raises:
            ContractError: attention or the 4-bit products took another path, so the peak would be another step's.
        """
        wanted = [attention.expected_kernels(self.update, self.model.config)]
        if self.update.quantization == "nf4":
            wanted.append((kernels.GEMM_4BIT,))
        for names in filter(None, wanted):
            seen = sum(count for name, count in self.watch.calls.items() if name.rpartition(".")[0] in names)
            if seen < self.n_layers:
                found = f"{' or '.join(names)} ran {seen} times in {self.n_layers} layers"
                raise ContractError(found, "one call a layer at least", "run: toolkit doctor")


@contextmanager
def fake_card(
    config: Mapping[str, Any],
    update: Update,
    layers: int | None = None,
    attention_kind: str | None = None,
    allocator: CachingAllocator | None = None,
) -> Iterator[FakeCard]:
    """Load the model that `config` (the content of a config.json) describes, with its first `layers` or all.

    Inside, new tensors are fake: fake `cpu` stands for the card and fake `meta` for the host. Kernels are checked on
    leaving, unless `attention_kind` asks for another `attn_implementation`: that is for comparing with what a CPU
    allocates.

    Raises:
        SettingsError: a head that scores the completions alone, without a prompt token before them.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    if update.prompt < 1 and update.head in ("logits", "unsloth"):
        raise SettingsError(f"prompt {update.prompt} with head {update.head}", "a whole number from 1")
    attention.register_cuda_attention()
    built = load_config(config, layers)
    model = build_on_meta(update, built, attention_kind or attention.IMPLEMENTATIONS[update.attention])
    n_scored = update.batch * update.completion
    watch = StorageWatch(Ledger(LOAD, allocator), mask_is_full=not update.padded, n_selected=n_scored)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of modules that look for a GPU
        stack.enter_context(fake_tensors.are_not_tracing())
        if update.head == "chunked":
            stack.enter_context(fake_tensors.trl_head_without_triton())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        _load(model, watch)
        set_checkpointing(model, update.checkpointing)
        card = FakeCard(update, model, built.num_hidden_layers, watch, watch.ledger.total_bytes)
        yield card
    if attention_kind is None:
        card.check_kernels()


def _load(model: Any, watch: StorageWatch) -> None:
    import torch

    materialise(model, lambda meta: torch.empty(meta.shape, dtype=meta.dtype))
    for part, tensor in tensors_by_part(model):
        watch.follow(tensor, part)


def highest(load_bytes: int, peaks: dict[str, Peak], seconds: float) -> SimulatedPeak:
    """Return the phase that leads."""
    phase = max(peaks, key=lambda name: peaks[name].total_bytes)
    return SimulatedPeak(peaks[phase].total_bytes, load_bytes, peaks[phase].by_part, seconds, phase)
