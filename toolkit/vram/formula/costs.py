"""Peak memory of one training update on the card, term by term, without touching one.

Letters: B sequences of S = P + C tokens (prompt and completion), T = B S, N = B C scored tokens; H hidden size,
I intermediate, L layers, V vocabulary, r LoRA rank. Results are bytes. The terms stand for the tensors that are alive
in a simulated step (see `toolkit.vram.simulation`); benchmarks/planner_accuracy.py holds the two against each other.
Not in here: CUDA context, kernel workspaces, the allocator's fragmentation, and vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from toolkit.vram.formula import layers

if TYPE_CHECKING:
    from toolkit.vram.formula.update import Update
    from toolkit.vram.shapes import Shape

NF4_BLOCK = 64  # weights that share one absmax
DOUBLE_QUANT_BLOCK = 256  # absmax values that share one second-level constant
ADAM_8BIT_BLOCK = 256
TILE_TOKENS, TILE_VOCAB = 4096, 32768  # TRL 1.15's fused head works in tiles of so many logits


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
    each = update.weight_bytes_each
    n_nf4 = shape.linear_parameters() - shape.n_unquantised if update.quantization == "nf4" else 0
    n_whole = shape.linear_parameters() - n_nf4
    projections = nf4_bytes(n_nf4, double_quant=update.double_quant) + each * n_whole
    rest = 4 if update.upcast_embeddings else each
    return projections + rest * (shape.embedding_parameters() + shape.other_parameters())


def optimizer_bytes(n: int, bytes_each: int, optim: str, *, spared: int = 0) -> float:
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
        mask=layers.mask_bytes(shape, update),
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
    passing = layers.passing_layer(shape, update, update.tokens)
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
    tokens = update.tokens
    half = layers.passing_layer(shape, update, tokens) / 2
    as_large = shape.vocab / shape.n_heads  # tokens at which a score matrix has the logits' size
    if update.regime != "loop16" or tokens.length <= as_large:
        return half
    at_most = replace(tokens, length=min(tokens.length, int(1.5 * as_large)))
    return max(half, layers.passing_layer(shape, update, at_most))


def head_bytes(shape: Shape, update: Update) -> float:
    """Memory of the head at its largest, beside the layers' checkpoints. T tokens, N of them scored.

    - chunked (TRL 1.15, for GRPO and supervised training): one tile of 4096 tokens x 32768 logits, the tile of a
      float32 head cast to 16 bit, and N H in several types for the gradient. The gradient of a trained head is summed
      in float32, 4 V H.
    - logits: all N positions at once, 4 N V in 16 bit (the logits and their log-softmax), 12 N V in float32. Sequences
      are taken one by one, so the gradient of a batch of one is as large as its logits: 2 N V more.
    - unsloth: float32 logits of one chunk with their gradient and copies, 16 ceil(N / chunks) V. An upper bound: the
      compiled kernels hold fewer copies, and where Triton runs unsloth_zoo 2026.10.9 takes tiles of 256 MiB at most
      (fused_losses/fused_linear.py), which nobody has measured yet.
    - cross_entropy: transformers' own loss over T positions, 12 T V: float32 log-probabilities, their gradient, and the
      gradient before it. The logits come on top (`held_bytes`).
    """
    c, h, v = update.compute_bytes, shape.hidden, shape.vocab
    t, n = update.tokens.total, update.batch * update.completion
    capped = update.stream_bytes * v if shape.logit_softcap else 0  # tanh keeps its result
    around = (4 + update.stream_bytes) * t * h  # the final norm's float32 input, and its output
    match update.head:
        case "chunked":
            cast = c * min(v, TILE_VOCAB) * h if update.regime == "upcast" else 0
            gathered = 4 * v * h if update.regime == "full" else 0
            return c * min(n, TILE_TOKENS) * TILE_VOCAB + cast + gathered + 4 * c * n * h + around
        case "logits":
            single = c if update.batch == 1 else 0
            return ((4 if c == 2 else 12) + single + capped / v) * n * v + around
        case "unsloth":
            return 16 * -(-n // update.chunks) * v + 2 * c * n * h + around + c * t * h
        case "cross_entropy":
            return (12 * v + capped) * t + 4 * t * h


def held_bytes(shape: Shape, update: Update) -> float:
    """Logits that outlive the head: a hand-written training loop holds the model's output through the backward pass."""
    return update.stream_bytes * update.tokens.total * shape.vocab if update.head == "cross_entropy" else 0.0


def _stages(shape: Shape, update: Update) -> dict[str, Stage]:
    """The stages that may take most, by name.

    - head: with all layers' checkpoints, or without checkpointing all that the layers keep.
    - layer, first: the first layer in the backward pass, which is the model's last; everything kept is still there.
    - layer, last: nothing is kept any more, and all gradients are there.
    - embedding: its gradient, where all weights are trained.
    - optimizer: all gradients, and a root of a moment for every weight in the weights' type (`torch._foreach_sqrt` in
      AdamW; the fused and the 8-bit kernels work in place).
    """
    n, each = trained(shape, update)
    stream = update.stream_bytes * update.tokens.total * shape.hidden
    kinds = [  # (bytes at work, bytes kept without checkpointing, number of such layers)
        (layers.working_layer(shape, update, tokens), layers.saved_layer(shape, update, tokens), count)
        for count, tokens in layers.kinds_of(shape, update.tokens)
    ]
    work, saved, _ = max(kinds)
    casts = 2 * n if update.regime in ("adapters32", "upcast") else 0  # autocast's copies, kept by the graph
    if update.checkpointing == "none":
        all_saved = sum(count * each_saved for _, each_saved, count in kinds)
        kept, first, last = all_saved + casts, all_saved - saved + work + casts, work + casts
    else:
        casts /= shape.n_layers
        kept = stream * (shape.n_layers if update.checkpointing == "hf" else 1)
        frame = 2 * stream if update.checkpointing == "unsloth" else 0  # the layer's output and its gradient
        first, last = kept + frame + work + casts, min(kept, stream) + frame + work + casts
    temporary = each * n if update.optim == "adamw_torch" else 0
    whole_head = each * shape.vocab * shape.hidden if update.method == "full" else 0
    held = held_bytes(shape, update)
    before = each * n if update.accumulates else 0
    at_head = whole_head if update.head in ("chunked", "unsloth") else 0  # else it comes when most logits are gone
    # A tied matrix has the head's gradient and the embedding's at once; after a plain product their sum as well
    n_more = (2 if update.head in ("logits", "cross_entropy") else 1) if shape.tied else 0
    summed = whole_head * (n_more + update.accumulates)
    stages = (
        Stage("head", kept, logits=head_bytes(shape, update) + held, gradients=before + at_head),
        Stage("layer, first", first, logits=held, gradients=before + whole_head),
        Stage("layer, last", last, logits=held, gradients=each * n + (whole_head if update.accumulates else 0)),
        Stage("embedding", 0.0, logits=held, gradients=each * n + summed),
        Stage("optimizer", temporary, logits=held, gradients=each * n),
    )
    return {stage.name: stage for stage in stages}
