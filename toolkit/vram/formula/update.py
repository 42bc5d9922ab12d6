"""One training update, which the formula counts and the simulation runs; and which one a request makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from toolkit.vram.formula.layers import Adapters, Regime, Tokens
from toolkit.vram.shapes import parse_targets

if TYPE_CHECKING:
    from toolkit.vram.cards import Card
    from toolkit.vram.request import Request
    from toolkit.vram.shapes import Shape

Attention = Literal["flash", "efficient", "eager"]
Dtype = Literal["bf16", "fp16", "fp32"]
UNSLOTH_MIN_CHUNKS = 4  # `max(4, S // 4096)` in its GRPO loss (unsloth_zoo 2026.10.9, rl_replacements.py)


@dataclass(frozen=True)
class Update:
    """The forward and backward passes of one optimizer step: as TRL 1.15 drives GRPO on one card, or as a hand-written
    training loop drives transformers."""

    quantization: Literal["nf4", "none"]
    """`nf4`: every linear layer but the head in 4 bit; `none`: all in `dtype`."""
    batch: int
    """Sequences in one pass: per_device_train_batch_size."""
    prompt: int
    """Prompt tokens a sequence; 0 in supervised training, where every token is scored."""
    completion: int
    """Completion tokens a sequence; only these are scored."""
    rank: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Module names of the adapted layers."""
    method: Literal["lora", "full"] = "lora"
    """`full`: every weight is trained, in `dtype`; rank and targets are not read."""
    checkpointing: Literal["none", "hf", "unsloth"] = "hf"
    """`hf`: layer inputs stay on the card; `unsloth`: they wait on the host."""
    head: Literal["chunked", "logits", "unsloth", "cross_entropy"] = "chunked"
    attention: Attention = "flash"
    """`flash`: what SDPA takes on a card, which is the memory-efficient kernel where there is a mask; `efficient`: that
    kernel throughout, as on cards before Ampere; `eager`: transformers' own, with all scores."""
    padded: bool = False
    """Sequences of different length: attention then takes a mask."""
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "none"] = "adamw_torch"
    """transformers' names. Fused has no temporaries of `torch._foreach`; `none` leaves the optimizer out."""
    dtype: Dtype = "bf16"
    double_quant: bool = True
    """Quantise the constants of NF4, too."""
    upcast_embeddings: bool = False
    """What `prepare_model_for_kbit_training` does: everything that is not in 4 bit becomes float32."""
    lora_float32: bool = False
    """Adapters over 4 bit in float32, as PEFT makes them and Unsloth keeps them; TRL casts them to bfloat16."""
    autocast: bool = True
    """Mixed precision, as a trainer has it; a hand-written training loop does without."""
    reference_copy: bool = False
    """A second copy of all weights for the KL term, without which full fine-tuning has no reference. With adapters the
    reference is the base with the adapter off: a pass without a graph, in the same pieces, that stays below the update.
    Not simulated.
    """
    accumulates: bool = False
    """Gradients of an earlier pass are there when this one starts."""
    chunks: int = 8
    """Pieces that Unsloth's head computes the logits in."""

    @cached_property
    def regime(self) -> Regime:
        """Which types the layers' tensors have."""
        if self.dtype == "fp32" or (self.upcast_embeddings and not self.autocast):
            return "float32"
        if self.method == "full":
            return "full"
        if not self.autocast:
            return "loop16"
        if self.upcast_embeddings:
            return "upcast"
        return "adapters16" if self.lora_bytes == 2 else "adapters32"

    @property
    def compute_bytes(self) -> int:
        """Bytes an element where matrices are multiplied."""
        return 4 if self.regime == "float32" else 2

    @property
    def stream_bytes(self) -> int:
        """Bytes an element of the residual stream, and so of a checkpoint."""
        return 4 if self.regime in ("float32", "upcast") else 2

    @property
    def weight_bytes_each(self) -> int:
        """Bytes of a weight that is not in 4 bit."""
        return 4 if self.dtype == "fp32" else 2

    @property
    def lora_bytes(self) -> int:
        """Bytes of a trained LoRA weight: TRL casts it to bfloat16 over 4 bit; otherwise PEFT keeps float32."""
        return 2 if self.quantization == "nf4" and not self.lora_float32 else 4

    @property
    def dequantised_bytes(self) -> int:
        """Bytes an element of a matrix that is unpacked from 4 bit to be multiplied; 0 where none is."""
        return self.weight_bytes_each if self.quantization == "nf4" else 0

    @property
    def eager_score_bytes(self) -> int:
        """Bytes an entry of the four score matrices that eager attention holds together. CUDA's softmax reads float16
        as it is, so its result is in 16 bit; bfloat16 is copied to float32 first."""
        return 14 if self.dtype == "fp16" and self.compute_bytes == 2 else 16

    @cached_property
    def tokens(self) -> Tokens:
        masked = self.padded or self.attention == "eager"
        return Tokens(self.batch, self.prompt + self.completion, masked)

    @cached_property
    def adapters(self) -> Adapters:
        return Adapters.of(self.targets)


def update_of(request: Request, shape: Shape, card: Card | None) -> Update:
    """The update that a request makes.

    - GRPO pads to the longest sequence of a round of rollouts, so every pass has a mask, unless flash attention is
      asked for, which packs. Supervised sequences are all equally long.
    - A hand-written training loop (`Request.is_plain_loop`) has PEFT's float32 adapters and no autocast.
    - Unsloth halves the sequences in a chunk of its loss until it fits; one sequence a chunk is planned.
    """
    sft = request.task == "sft"
    length = request.max_model_len
    return Update(
        quantization="nf4" if request.method == "qlora" else "none",
        method="full" if request.method == "full" else "lora",
        batch=request.per_device_train_batch_size,
        prompt=0 if sft else request.max_prompt_length,
        completion=length if sft else request.max_completion_length,
        rank=request.lora_rank,
        targets=parse_targets(request.lora_targets, shape),
        checkpointing=request.checkpointing,
        head="cross_entropy" if request.is_plain_loop else request.head,
        attention=_attention(request, card),
        padded=request.attention == "sdpa" and not sft,
        optim=request.optim,
        dtype="fp16" if request.dtype == "bf16" and card and not card.is_ampere else request.dtype,
        double_quant=request.bnb_4bit_use_double_quant,
        upcast_embeddings=_upcast(request),
        lora_float32=request.is_plain_loop or request.framework == "unsloth",
        autocast=not request.is_plain_loop,
        reference_copy=request.beta > 0,
        accumulates=request.gradient_accumulation_steps > 1,
        chunks=max(request.per_device_train_batch_size, UNSLOTH_MIN_CHUNKS, length // 4096),
    )


def warnings(request: Request, shape: Shape, card: Card | None) -> tuple[str, ...]:
    """What has no effect in a request, or goes beyond the model or the card; a line each."""
    found = []
    if request.attention == "flash" and card and not card.is_ampere:
        found.append(f"{card.name} has no flash attention: planned with SDPA's memory-efficient kernel")
    if request.upcast_embeddings and not _upcast(request):
        found.append(f"--upcast_embeddings has no effect with --method {request.method}: nothing is in 4 bit")
    if request.max_model_len > shape.max_position_embeddings:
        found.append(f"{request.max_model_len:,} tokens; the model knows {shape.max_position_embeddings:,} positions")
    return tuple(found)


def _upcast(request: Request) -> bool:
    return request.upcast_embeddings and request.method == "qlora"


def _attention(request: Request, card: Card | None) -> Attention:
    """SDPA has flash attention for 16-bit types from Ampere on, and the memory-efficient kernel elsewhere."""
    if request.attention == "eager":
        return "eager"
    if request.dtype == "fp32" or (card and not card.is_ampere):
        return "efficient"
    return "efficient" if request.attention == "sdpa" and _upcast(request) else "flash"
