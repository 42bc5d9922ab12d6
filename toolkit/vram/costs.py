"""Peak memory of one GRPO update on the card, term by term, without touching one.

Letters: B sequences of S = P + C tokens (prompt and completion), T = B S, N = B C scored tokens; H hidden size,
I intermediate, L layers, V vocabulary, Q = heads x head_dim, K = kv_heads x head_dim, h heads, r LoRA rank. Results are
bytes. The terms were derived from the tensors that autograd keeps in a simulated step (see `toolkit.vram.simulation`)
and agree with it to 0.84 % at worst over 28 points (tests/golden/vram_update_peaks.json). Not in here: CUDA context,
kernel workspaces, the allocator's fragments, and vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

Checkpointing = Literal["none", "hf", "unsloth"]
Head = Literal["chunked", "logits", "unsloth"]
Optim = Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit"]

NF4_BLOCK = 64  # weights that share one absmax
DOUBLE_QUANT_BLOCK = 256  # absmax values that share one second-level constant
ADAM_8BIT_BLOCK = 256
TILE_TOKENS, TILE_VOCAB = 4096, 32768  # TRL 1.15's fused head works in tiles of so many logits


@dataclass(frozen=True)
class Update:
    """What one forward and backward pass consists of."""

    quantization: Literal["nf4", "none"]
    batch: int
    """Sequences in one pass: per_device_train_batch_size."""
    prompt: int
    completion: int
    rank: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    checkpointing: Checkpointing = "hf"
    head: Head = "chunked"
    padded: bool = False
    """Prompts of different length: attention then takes the kernel with a bias."""
    optim: Optim = "adamw_torch"
    double_quant: bool = True
    upcast_embeddings: bool = False
    """What `prepare_model_for_kbit_training` does: embedding and head in float32."""
    chunks: int = 8
    """Pieces that Unsloth's head computes the logits in."""

    @property
    def lora_bytes(self) -> int:
        """Bytes of a LoRA weight: TRL casts it to bfloat16 over 4-bit; over 16-bit PEFT keeps float32."""
        return 2 if self.quantization == "nf4" else 4


@dataclass(frozen=True)
class Moment:
    """Memory at one moment of the step beside what is always there. Bytes."""

    name: Literal["head", "layer, first", "layer, last"]
    activations: float
    logits: float = 0.0
    gradients: float = 0.0

    @property
    def total(self) -> float:
        return self.activations + self.logits + self.gradients


@dataclass(frozen=True)
class Peak:
    """The largest moment of an update, with its parts in bytes."""

    weights: float
    lora: float
    optimizer: float
    moment: Moment
    mask: float
    """A boolean attention mask that all layers share; 0 without padding."""

    @property
    def fixed(self) -> float:
        """What stands between steps: weights, adapters and the optimizer's state."""
        return self.weights + self.lora + self.optimizer

    @property
    def total(self) -> float:
        return self.fixed + self.mask + self.moment.total


def nf4_bytes(n: int, *, double_quant: bool = True) -> float:
    """Bytes of `n` weights in NF4: half a byte each, and an absmax for every 64 (QLoRA, arXiv:2305.14314, section 3).

    The absmax is float32; with double quantisation it is one byte and, for every 256 of them, a float32.
    """
    per_block = 1 + 4 / DOUBLE_QUANT_BLOCK if double_quant else 4.0
    return n / 2 + n / NF4_BLOCK * per_block


def weight_bytes(shape: Shape, update: Update) -> float:
    """The frozen base: the projections in NF4 or 16 bit; embedding, head, norms and biases in 16 bit."""
    linear = shape.linear_parameters()
    projections = nf4_bytes(linear, double_quant=update.double_quant) if update.quantization == "nf4" else 2 * linear
    embedding = (4 if update.upcast_embeddings else 2) * shape.embedding_parameters()
    return projections + embedding + 2 * shape.other_parameters()


def optimizer_bytes(n: int, bytes_each: int, optim: Optim) -> float:
    """Adam's two moments for `n` trained weights.

    In the weights' own type for adamw_torch; one byte each with a float32 for every 256 in 8 bit. The paged form may
    leave for the host under pressure; it is counted as if it stayed, which is what a plan can promise.
    """
    return 2 * n * (bytes_each if optim == "adamw_torch" else 1 + 4 / ADAM_8BIT_BLOCK)


def peak(shape: Shape, update: Update) -> Peak:
    """The peak of one update: what is always there plus the largest of three moments.

    With checkpointing: the head after all layers' checkpoints are stored; the first layer recomputed in the backward
    pass, when all checkpoints still stand; the last one, when the gradients do. Without: the same with every layer's
    saved tensors instead.
    """
    n_lora = shape.lora_parameters(update.rank, update.targets)
    tokens = update.batch * (update.prompt + update.completion)
    gradients = update.lora_bytes * n_lora
    head = head_bytes(shape, update)
    if update.checkpointing == "none":
        saved, extra = saved_per_layer(shape, update), beyond_saved(shape, update)
        casts = 0.0 if update.quantization == "nf4" else 2 * n_lora  # autocast's bf16 copies, kept by the graph
        moments = (
            Moment("head", shape.n_layers * saved + casts, logits=head),
            Moment("layer, first", shape.n_layers * saved + extra + casts),
            Moment("layer, last", saved + extra + casts, gradients=gradients),
        )
    else:
        checkpoints = checkpoint_bytes(shape, update, tokens)
        work = working_layer(shape, update)
        moments = (
            Moment("head", checkpoints, logits=head),
            Moment("layer, first", checkpoints + work),
            Moment("layer, last", min(checkpoints, 2 * tokens * shape.hidden) + work, gradients=gradients),
        )
    return Peak(
        weights=weight_bytes(shape, update),
        lora=update.lora_bytes * n_lora,
        optimizer=optimizer_bytes(n_lora, update.lora_bytes, update.optim),
        moment=max(moments, key=lambda moment: moment.total),
        mask=update.batch * (update.prompt + update.completion) ** 2 if update.padded else 0.0,
    )


def checkpoint_bytes(shape: Shape, update: Update, tokens: int) -> float:
    """Layer inputs kept for recomputation: 2 L T H; offloaded to the host but one: 2 T H."""
    kept = shape.n_layers if update.checkpointing == "hf" else 1
    return 2 * kept * tokens * shape.hidden


def attention_bytes(shape: Shape, update: Update) -> float:
    """What one layer's attention saves: q, out, k, v in 16 bit and the log-sum-exp, T (4 Q + 4 K + 4 h).

    With padding the keys and values are repeated to all heads and a 16-bit bias of B S^2 is added; q and k norms
    (Qwen3) keep float32 copies, 4 T (Q + K).
    """
    tokens = update.batch * (update.prompt + update.completion)
    q, k = shape.q_dim, shape.kv_dim
    saved = tokens * (4 * q + (4 * q if update.padded else 4 * k) + 4 * shape.n_heads)
    bias = 2 * update.batch * (update.prompt + update.completion) ** 2 if update.padded else 0
    norms = 4 * tokens * (q + k) if shape.qk_norm else 0
    return saved + bias + norms


def saved_per_layer(shape: Shape, update: Update) -> float:
    """What one layer keeps for its backward pass without checkpointing.

    Over NF4: T (8 I + 12 H + 2 r n + 8) + attention, n the number of adapted projections: gate, up, silu and their
    product in 16 bit; the norms' float32 inputs and the residual stream; each adapter's inner product. Over 16 bit,
    PEFT's autocast adds a copy of x for each adapter: 6 H + 2 Q more.
    """
    tokens = update.batch * (update.prompt + update.completion)
    h, i = shape.hidden, shape.intermediate
    adapters = 2 * update.rank * len(update.targets)
    copies = 0 if update.quantization == "nf4" else 6 * h + 2 * shape.q_dim
    return tokens * (8 * i + 12 * h + copies + adapters + 8) + attention_bytes(shape, update)


def working_layer(shape: Shape, update: Update) -> float:
    """One layer recomputed and in its backward pass, at its MLP, where it is largest.

    Over NF4: the larger of 10 T I with a dequantised matrix of 2 H I and 12 T I, with T (14 H + 12 r + 8) around it.
    Over 16 bit: T (14 I + 28 H + 2 Q + 14 r + 8) and this layer's adapters cast to 16 bit.
    """
    tokens = update.batch * (update.prompt + update.completion)
    h, i = shape.hidden, shape.intermediate
    attention = attention_bytes(shape, update)
    n = len(update.targets)
    if update.quantization == "nf4":
        mlp = max(10 * tokens * i + 2 * h * i, 12 * tokens * i)
        return mlp + tokens * (14 * h + 2 * update.rank * max(0, n - 1) + 8) + attention
    casts = 2 * shape.lora_parameters(update.rank, update.targets) / shape.n_layers
    return tokens * (14 * i + 28 * h + 2 * shape.q_dim + 2 * update.rank * n + 8) + attention + casts


def beyond_saved(shape: Shape, update: Update) -> float:
    """What the backward pass of a layer holds beyond what was saved, at its largest."""
    tokens = update.batch * (update.prompt + update.completion)
    h, i = shape.hidden, shape.intermediate
    if update.quantization == "nf4":
        return max(2 * tokens * i + 2 * h * i, 4 * tokens * i) + 2 * tokens * h
    return tokens * (6 * i + 2 * h)


def head_bytes(shape: Shape, update: Update) -> float:
    """Hidden states to log-probabilities.

    - chunked (TRL 1.15): tiles of 4096 tokens x 32768 logits in 16 bit, and N H (2 + 4 + 2) for the gradient.
    - logits: all C positions of B sequences, 4 B C V.
    - unsloth: float32 logits of one chunk with their gradient and copies, 16 ceil(N / chunks) V; an upper bound, since
      the compiled kernels hold fewer copies.
    """
    tokens = update.batch * (update.prompt + update.completion)
    scored = update.batch * update.completion
    h, v = shape.hidden, shape.vocab
    if update.head == "chunked":
        return 2 * min(scored, TILE_TOKENS) * TILE_VOCAB + 8 * scored * h + 6 * tokens * h
    if update.head == "logits":
        return 4 * scored * v + 6 * tokens * h
    return 16 * -(-scored // update.chunks) * v + 4 * scored * h + 8 * tokens * h
