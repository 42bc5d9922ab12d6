"""A step simulated on a card of fake tensors: at full depth, or at two small depths from which the rest follows."""

from __future__ import annotations

import re
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from toolkit.compat import fake_tensors
from toolkit.errors import ContractError, SettingsError
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import attention
from toolkit.vram.simulation.allocator import CachingAllocator
from toolkit.vram.simulation.ledger import Ledger, Peak, SimulatedPeak
from toolkit.vram.simulation.model import build_on_meta, load_config, materialise, set_checkpointing, tensors_by_part
from toolkit.vram.simulation.step import Step
from toolkit.vram.simulation.watch import GEMM_4BIT, StorageWatch

LOAD = "load"
LAYER_OF = re.compile(r"\.layers\.(\d+)\.")


def simulate(config: Mapping[str, Any], update: Update, *, layers: int | None = None) -> SimulatedPeak:
    """Return the peak of an update with all layers of a model, or with its first `layers`; 4 to 8 s for a 7B model.

    `config` is the content of a config.json.

    Raises:
        SettingsError: no prompt for a head that scores completions alone.
        ModelError: an architecture that transformers does not know.
        ContractError: a private name or a kernel that the simulation stands on is gone.
    """
    started = time.perf_counter()
    allocator = CachingAllocator()
    load_bytes, peaks = peaks_by_phase(config, update, layers, allocator=allocator)
    peak = highest(load_bytes, peaks, time.perf_counter() - started)
    depth = load_config(config, layers).num_hidden_layers
    return replace(peak, reserved_bytes=allocator.peak_reserved, depths=(depth,))


def extrapolate(config: Mapping[str, Any], update: Update) -> SimulatedPeak:
    """Return the peak at full depth from two shallow simulations, in one to two seconds.

    Every phase's peak is linear in the number of layers, while the peak of all is not: the phase that leads may change
    with depth (the head leads in a shallow model, gradients gather in a deep one). So each phase is extended by itself
    and the highest taken. `_depths` says which depths are simulated. Errors are those of `simulate`.
    """
    started = time.perf_counter()
    built = load_config(config)
    depth = built.num_hidden_layers
    near, far = _depths(depth, _period(getattr(built, "layer_types", None) or []))
    if depth <= far:
        return simulate(config, update)
    near_load, near_peaks = peaks_by_phase(config, update, near)
    far_load, far_peaks = peaks_by_phase(config, update, far)

    def extend(at_near: int, at_far: int) -> int:
        return at_near + (at_far - at_near) * (depth - near) // (far - near)

    peaks = {}
    for phase in near_peaks.keys() & far_peaks.keys():  # two layers have none in the middle, which never leads
        low, high = near_peaks[phase].by_part, far_peaks[phase].by_part
        by_part = {part: extend(low[part], high[part]) for part in low}
        peaks[phase] = Peak(sum(by_part.values()), by_part)
    peak = highest(extend(near_load, far_load), peaks, time.perf_counter() - started)
    return replace(peak, depths=(near, far))


def peaks_by_phase(
    config: Mapping[str, Any],
    update: Update,
    layers: int | None = None,
    attention_kind: str | None = None,
    allocator: CachingAllocator | None = None,
) -> tuple[int, dict[str, Peak]]:
    """Run the second step on a fake card; return the bytes after loading and the peak of every phase."""
    with fake_card(config, update, layers, attention_kind, allocator) as card:
        step = Step(update, card.model, card.enter)
        step.prime_optimizer()
        card.book("optimizer", step.moments)
        card.book("inputs", step.inputs)
        card.book_gradients()
        with card.watch.mode():
            step.run()
    return card.load_bytes, card.peaks()


def _depths(depth: int, period: int) -> tuple[int, int]:
    """Two depths whose difference is whole periods of the kinds of layers: 2 and 4 where all are of one kind.

    Else both end with the kind of layer that the whole model ends with, and every kind comes between the first layer
    and the last: a mask is kept only as long as a layer of its kind is to come.
    """
    if period == 1:
        return 2, 4
    near = period + 2 + (depth - period - 2) % period
    return near, near + period


def _period(kinds: Sequence[str]) -> int:
    """Length of the shortest pattern that repeats through `kinds`; 1 when all are of one kind, or none is named."""
    for length in range(1, len(kinds) + 1):
        if all(kind == kinds[i % length] for i, kind in enumerate(kinds)):
            return length
    return 1


@dataclass(frozen=True)
class FakeCard:
    """A loaded model, and what watches the card's memory."""

    update: Update
    model: Any
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
        waiting: Counter[int | None] = Counter()

        def completed(parameter: Any, layer: int | None) -> None:
            self.watch.follow(parameter.grad, "gradients")
            waiting[layer] -= 1
            if layer is not None and waiting[layer] == 0:
                place = {0: "embeddings", 1: "first layer"}.get(layer, "middle layers")
                self.enter(f"backward of the {place}")

        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                found = LAYER_OF.search(name)
                layer = int(found[1]) if found else None
                waiting[layer] += 1
                parameter.register_post_accumulate_grad_hook(partial(completed, layer=layer))

    def peaks(self) -> dict[str, Peak]:
        """The peak of each phase of the step."""
        return {phase: peak for phase, peak in self.watch.ledger.peaks.items() if phase != LOAD}

    def check_kernels(self) -> None:
        """Refuse a step whose attention or 4-bit products took other kernels than CUDA would have used."""
        n_layers = self.model.config.num_hidden_layers
        wanted = [attention.expected_kernels(self.update, self.model.config)]
        if self.update.quantization == "nf4":
            wanted.append((GEMM_4BIT,))
        for names in filter(None, wanted):
            seen = sum(count for name, count in self.watch.calls.items() if name.rpartition(".")[0] in names)
            if seen < n_layers:
                found = f"{' or '.join(names)} ran {seen} times in {n_layers} layers"
                raise ContractError(found, "one call a layer at least", "run: toolkit doctor")


@contextmanager
def fake_card(
    config: Mapping[str, Any],
    update: Update,
    layers: int | None = None,
    attention_kind: str | None = None,
    allocator: CachingAllocator | None = None,
) -> Iterator[FakeCard]:
    """Load the model that `config` describes, with its first `layers` or all.

    Inside, new tensors are fake: fake `cpu` stands for the card and fake `meta` for the host. Kernels are checked on
    leaving, unless `attention_kind` asks for another `attn_implementation`, to compare with what a CPU allocates.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    if update.prompt < 1 and update.head in ("logits", "unsloth"):
        raise SettingsError(f"prompt {update.prompt} with head {update.head}", "a whole number from 1")
    attention.register_cuda_attention()
    kind = attention_kind or attention.IMPLEMENTATIONS[update.attention]
    model = build_on_meta(update, load_config(config, layers), kind)
    n_scored = update.batch * update.completion
    watch = StorageWatch(Ledger(LOAD, allocator), mask_is_full=not update.padded, n_selected=n_scored)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of modules that look for a GPU
        stack.enter_context(fake_tensors.are_not_tracing())
        if update.head == "chunked":
            stack.enter_context(fake_tensors.trl_head_without_triton())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        materialise(model, lambda meta: torch.empty(meta.shape, dtype=meta.dtype))
        for part, tensor in tensors_by_part(model):
            watch.follow(tensor, part)
        set_checkpointing(model, update.checkpointing)
        card = FakeCard(update, model, watch, watch.ledger.total_bytes)
        yield card
    if attention_kind is None:
        card.check_kernels()


def highest(load_bytes: int, peaks: dict[str, Peak], seconds: float) -> SimulatedPeak:
    """Return the phase that leads."""
    phase = max(peaks, key=lambda name: peaks[name].total_bytes)
    return SimulatedPeak(peaks[phase].total_bytes, load_bytes, peaks[phase].by_part, seconds, phase)
