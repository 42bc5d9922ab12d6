"""Peak memory of one training update on the card, term by term, without touching one.

Letters: B sequences of S = P + C tokens (prompt and completion), T = B S, N = B C scored tokens; H hidden size,
I intermediate, L layers, V vocabulary, r LoRA rank. Results are bytes. The terms stand for the tensors that are alive
in a simulated step (see `toolkit.vram.simulation`); benchmarks/planner_accuracy.py holds the two against each other.
Not in here: CUDA context, kernel workspaces, the allocator's fragmentation, and vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from toolkit.vram.formula import heads, layers
from toolkit.vram.formula.update import Optim, Update

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

NF4_BLOCK = 64  # weights that share one absmax
DOUBLE_QUANT_BLOCK = 256  # absmax values that share one second-level constant
ADAM_8BIT_BLOCK = 256


@dataclass(frozen=True)
class Stage:
    """Memory at one stage of the update, beside what is always there. Bytes."""

    name: Literal["head", "layer, first", "layer, last", "embedding", "optimizer"]
    activations: float
    logits: float = 0.0
    gradients: float = 0.0

    @property
    def total(self) -> float:
        return self.activations + self.logits + self.gradients


@dataclass(frozen=True)
class Peak:
    """The stage of an update that takes most, with its parts in bytes."""

    weights: float
    """The model's, and those of a reference copy where there is one."""
    lora: float
    optimizer: float
    stage: Stage
    mask: float
    """An attention mask that all layers share; 0 without padding."""
    fragmentation: float
    """Freed blocks that the allocator cannot reuse; see `_fragmentation`. Not part of the total."""

    @property
    def fixed(self) -> float:
        """What stays from step to step: weights, adapters and the optimizer's state."""
        return self.weights + self.lora + self.optimizer

    @property
    def total(self) -> float:
        return self.fixed + self.mask + self.stage.total


def nf4_bytes(n: int, *, double_quant: bool = True) -> float:
    """Bytes of `n` weights in NF4: half a byte each, and an absmax for every 64 (QLoRA, arXiv:2305.14314, section 3).

    The absmax is float32; with double quantisation it is one byte and, for every 256 of them, a float32.
    """
    per_block = 1 + 4 / DOUBLE_QUANT_BLOCK if double_quant else 4.0
    return n / 2 + n / NF4_BLOCK * per_block


def weight_bytes(shape: Shape, update: Update) -> float:
    """The base: projections in NF4 or `dtype`; embedding, head, norms and biases in `dtype`, or upcast to float32."""
    linear, each = shape.linear_parameters(), update.weight_bytes_each
    in_4_bit = update.quantization == "nf4"
    projections = nf4_bytes(linear, double_quant=update.double_quant) if in_4_bit else each * linear
    rest = 4 if update.upcast_embeddings else each
    return projections + rest * (shape.embedding_parameters() + shape.other_parameters())


def optimizer_bytes(n: int, bytes_each: int, optim: Optim, *, spared: int = 0) -> float:
    """Adam's two moments for `n` trained weights.

    PyTorch keeps them in the weights' own type; in 8 bit they are one byte each, and a float32 for every 256. The paged
    form may move to the host under pressure; it is counted as if it stayed, which is what a plan can promise. `spared`
    are the weights of a trained embedding, whose moments transformers' Trainer keeps in float32.
    """
    if optim == "none":
        return 0.0
    if optim in ("adamw_torch", "adamw_torch_fused"):
        return 2 * n * bytes_each
    return 2 * (n - spared) * (1 + 4 / ADAM_8BIT_BLOCK) + 2 * 4 * spared


def trained(shape: Shape, update: Update) -> tuple[int, int]:
    """(how many weights are trained, bytes of each)."""
    if update.method == "full":
        return shape.parameters(), update.weight_bytes_each
    return shape.lora_parameters(update.rank, update.targets), update.lora_bytes


def peak(shape: Shape, update: Update) -> Peak:
    """The peak of one update: what is always there, and the largest of its stages."""
    n, each = trained(shape, update)
    full = update.method == "full"
    weights = weight_bytes(shape, update) * (2 if full and update.reference_copy else 1)
    stages = _stages(shape, update)
    return Peak(
        weights=weights,
        lora=0.0 if full else each * n,
        optimizer=optimizer_bytes(n, each, update.optim, spared=shape.vocab * shape.hidden if full else 0),
        stage=max(stages.values(), key=lambda stage: stage.total),
        mask=layers.mask_bytes(shape, update.tokens, update.attention, update.regime),
        fragmentation=_fragmentation(shape, update, stages),
    )


def _fragmentation(shape: Shape, update: Update, stages: dict[str, Stage]) -> float:
    """Freed blocks that the largest stage cannot use, because the blocks that it needs are larger.

    A head that makes all logits at once comes after the layers' forward passes. Their blocks are too small for it and
    lie idle, as far as head and layers do not overlap. A head that works in tiles has room in them; there the layer's
    own work leaves the gaps. In full fine-tuning all that a pass held does, since gradients and the optimizer follow.
    """
    head = stages["head"].logits
    if update.method == "full" and update.head != "cross_entropy":
        return stages["head"].activations + head
    work = stages["layer, first"].total - stages["head"].activations
    if update.head not in ("cross_entropy", "unsloth"):
        return max(head, work)
    passing = _passing(shape, update, update.tokens.length)
    if head >= work or update.method == "full":
        return passing
    if update.attention != "eager":
        return max(0.0, passing + head - work)
    return max(_idle_beside_scores(shape, update), passing + 2 * (head - work))


def _idle_beside_scores(shape: Shape, update: Update) -> float:
    """The blocks of a layer's forward pass that lie idle when eager attention's score matrices lead: about half.

    In a 16-bit training loop all of them lie idle while a float32 score matrix is larger than the logits, which leave
    it no room, but less than half as large again. Read off 60 replays of the allocator and rows 24, 70 and 71 of
    tests/golden/published_vram.json.
    """
    length = update.tokens.length
    half = _passing(shape, update, length) / 2
    as_large = shape.vocab / shape.n_heads  # tokens at which a score matrix has the logits' size
    if update.regime != "loop16" or length <= as_large:
        return half
    return max(half, _passing(shape, update, min(length, int(1.5 * as_large))))


def _passing(shape: Shape, update: Update, length: int) -> float:
    tokens = replace(update.tokens, length=length)
    return layers.passing_layer(shape, tokens, update.attention, update.regime, update.dequantised_bytes)


def _layers(shape: Shape, update: Update) -> tuple[float, float, float]:
    """What all layers keep without checkpointing; what the largest layer keeps; what that one holds at work."""
    kinds = []
    for count, tokens in layers.kinds_of(shape, update.tokens):
        common = (shape, tokens, update.attention, update.regime, update.adapters)
        work = layers.working_layer(*common, update.dequantised_bytes, update.eager_score_bytes)
        kinds.append((work, layers.saved_layer(*common), count))
    work, saved, _ = max(kinds)
    return sum(count * each for _, each, count in kinds), saved, work


def _stages(shape: Shape, update: Update) -> dict[str, Stage]:
    """The stages that may take most, by name.

    - head: with all layers' checkpoints, or without checkpointing all that the layers keep.
    - layer, first: the first layer in the backward pass, which is the model's last; everything kept is still there.
    - layer, last: nothing is kept any more, and all gradients are there.
    - embedding: its gradient, where all weights are trained.
    - optimizer: all gradients, and a root of a moment for every weight in the weights' type (`torch._foreach_sqrt` in
      AdamW; the fused and the 8-bit kernels work in place).
    """
    regime, tokens = update.regime, update.tokens
    n, each = trained(shape, update)
    stream = layers.stream_bytes(regime) * tokens.total * shape.hidden
    all_saved, saved, work = _layers(shape, update)
    head = heads.head_bytes(shape, update.head, regime, tokens, update.batch * update.completion, update.chunks)
    if update.checkpointing == "none":
        casts = 2 * n if regime in ("adapters32", "upcast") else 0  # autocast's copies, kept by the graph
        kept, first, last = all_saved + casts, all_saved - saved + work + casts, work + casts
    else:
        casts = 2 * n / shape.n_layers if regime in ("adapters32", "upcast") else 0
        kept = stream * (shape.n_layers if update.checkpointing == "hf" else 1)
        frame = 2 * stream if update.checkpointing == "unsloth" else 0  # the layer's output and its gradient
        first, last = kept + frame + work + casts, min(kept, stream) + frame + work + casts
    temporary = each * n if update.optim == "adamw_torch" else 0
    whole_head = each * shape.vocab * shape.hidden if update.method == "full" else 0
    held = heads.held_bytes(shape, update.head, regime, tokens)
    before = each * n if update.accumulates else 0
    at_head = whole_head if update.head in ("chunked", "unsloth") else 0  # else it comes when most logits are gone
    # A tied matrix has the head's gradient and the embedding's at once; after a plain product their sum as well
    n_more = (2 if update.head in ("logits", "cross_entropy") else 1) if shape.tied else 0
    summed = whole_head * (n_more + update.accumulates)
    stages = (
        Stage("head", kept, logits=head + held, gradients=before + at_head),
        Stage("layer, first", first, logits=held, gradients=before + whole_head),
        Stage("layer, last", last, logits=held, gradients=each * n + (whole_head if update.accumulates else 0)),
        Stage("embedding", 0.0, logits=held, gradients=each * n + summed),
        Stage("optimizer", temporary, logits=held, gradients=each * n),
    )
    return {stage.name: stage for stage in stages}
