"""How long a step takes, from the card's published rates: an estimate with an interval, not a measurement.

Rolling out is bound by memory bandwidth: every decoded token reads all weights once, and the keys and values of each
sequence that runs. The update is bound by arithmetic. What share of its rates a card reaches, and what a layer costs
beside them, stands in constants.toml, [time], with its sources; each bound of an interval takes all of them at one end.
Every completion is taken to be max_completion_length long, so a run whose completions end earlier is faster. Rewards,
loading and logging are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from toolkit.vram.constants import shipped
from toolkit.vram.formula.rollout import kv_layout

if TYPE_CHECKING:
    from toolkit.vram.cards import Card
    from toolkit.vram.formula.rollout import Engine
    from toolkit.vram.request import Request
    from toolkit.vram.shapes import Shape

RUN_STEPS = 500  # of the run whose hours are estimated: a request does not say how many it will make
NF4_TRAFFIC = 2.5  # bytes a weight to unpack NF4 into 16 bit: half a byte read, two written
EAGER_TRAFFIC = 25  # bytes a score and pass: kept in 16 bit, softmax in float32; rows 22 to 73 of step_times
# Tensor over float32 rate, by compute capability (the datasheets that cards.json names); half of it on GeForce
TENSOR_TO_FLOAT32 = {"7.0": 8, "7.5": 8, "8.0": 16, "8.6": 4, "8.9": 4, "9.0": 15, "12.0": 4}
HALF_TENSOR_RATE = re.compile(r"RTX [2-5]0\d0|A10G")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Speed of one run. A step is an optimizer step with the rollouts that feed it."""

    rollout_tokens_per_s: Estimate | None
    """Generated tokens of all sequences together; None without rollouts (sft)."""
    update_tokens_per_s: Estimate
    """Tokens of the sequences that are trained on, prompts included."""
    rollout_s: Estimate | None
    update_s: Estimate
    step_s: Estimate
    hours_per_500_steps: Estimate

    def as_json(self) -> dict[str, list[float] | None]:
        """Each figure as `[low, mid, high]`, to four digits."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {
            name: None if value is None else [float(f"{number:.4g}") for number in (value.low, value.mid, value.high)]
            for name, value in named
        }


@dataclass(frozen=True)
class Rates:
    """What a card reaches in practice."""

    bytes_per_s: float
    flops: float
    """Operations a second of the tensor cores."""
    float32_flops: float
    unpacking_s: float
    """Seconds to unpack one weight from NF4: arithmetic on the CUDA cores, or NF4_TRAFFIC where that takes longer."""
    vllm_layer_s: float
    """What one layer of a decoding step costs beside its reads."""
    torch_layer_s: float
    """What Python takes to launch one layer's forward pass; the card works meanwhile."""


def estimate(
    request: Request, shape: Shape, card: Card | None, engine: Engine | None, shares: Mapping[str, Any] | None = None
) -> Timing | None:
    """The speed of `request` on `card`. `engine` is vLLM's, None where transformers generates.

    None where no rate is known (a card that is a number of GiB, float32), or vLLM does not start. `shares` stands in
    for the table [time] of constants.toml.
    """
    if card is None or card.bandwidth_gbs is None or request.dtype == "fp32" or (engine and not engine.longest):
        return None
    slow, mid, fast = (_rates(card, shares or shipped()["time"], side) for side in ("slow", "mid", "fast"))

    def over(figure: Callable[[Rates], float]) -> Estimate:
        low, high = sorted((figure(slow), figure(fast)))
        return Estimate(low, figure(mid), high)

    def rollout(rates: Rates) -> float:
        return rollout_s(request, shape, engine, rates)

    def update(rates: Rates) -> float:
        return update_s(request, shape, rates)

    def step(rates: Rates) -> float:
        return update(rates) + (rollout(rates) if rolls_out else 0.0)

    rolls_out = request.task == "grpo"
    sequences = request.per_device_train_batch_size * request.gradient_accumulation_steps
    return Timing(
        over(lambda rates: sequences * request.max_completion_length / rollout(rates)) if rolls_out else None,
        over(lambda rates: sequences * request.max_model_len / update(rates)),
        over(rollout) if rolls_out else None,
        over(update),
        over(step),
        over(lambda rates: RUN_STEPS * step(rates) / 3600),
    )


def _rates(card: Card, shares: Mapping[str, Any], side: str) -> Rates:
    tensor = 1e12 * (card.bf16_tflops or card.fp16_tflops or 0.0)
    ratio = TENSOR_TO_FLOAT32.get(card.compute_capability or "", 4)
    float32 = tensor / (ratio / 2 if HALF_TENSOR_RATE.match(card.name) else ratio)
    bytes_per_s = 1e9 * (card.bandwidth_gbs or 0.0) * shares["bandwidth"][side]
    return Rates(
        bytes_per_s=bytes_per_s,
        flops=tensor * shares["flops"][side],
        float32_flops=float32 * shares["float32_flops"][side],
        unpacking_s=max(shares["nf4_operations"][side] / float32, NF4_TRAFFIC / bytes_per_s),
        vllm_layer_s=1e-3 * shares["vllm_layer_ms"][side],
        torch_layer_s=1e-3 * shares["torch_layer_ms"][side],
    )


def rollout_s(request: Request, shape: Shape, engine: Engine | None, rates: Rates) -> float:
    """Seconds of rollouts for one optimizer step.

    vLLM runs as many sequences as its cache holds at full length, in waves, and reads the prompt of a group once;
    transformers runs the whole round at once until its longest completion ends.
    """
    n, vllm = request.batch.generation_batch_size, engine is not None
    at_once = max(1, min(n, engine.n_concurrent(engine.longest))) if engine else n
    full, rest = divmod(n, at_once)
    step_s = full * decode_s(request, shape, at_once, rates, vllm=vllm)
    step_s += decode_s(request, shape, rest, rates, vllm=vllm) if rest else 0.0
    n_prompts = n / request.num_generations if engine else n
    prefill_s = 2 * n_prompts * request.max_prompt_length * shape.linear_parameters() / rates.flops
    rounds = request.gradient_accumulation_steps / request.batch.steps_per_generation
    return rounds * (request.max_completion_length * step_s + prefill_s)


def decode_s(request: Request, shape: Shape, n: int, rates: Rates, *, vllm: bool) -> float:
    """Seconds to decode one token of each of `n` sequences, halfway through their completions.

    The card reads the head, the projections in 16 bit or unpacked from NF4, and keys and values. Launching a layer adds
    to that under vLLM, whose CUDA graphs leave little of it; in transformers the longer of the two counts.
    """
    linear, head = shape.linear_parameters(), shape.vocab * shape.hidden
    context = request.max_prompt_length + request.max_completion_length // 2
    kv_bytes = n * kv_layout(shape, request.kv_cache_dtype if vllm else "auto").sequence_bytes(context)
    in_4bit = request.method == "qlora"
    moving_s = (2 * head + (0 if in_4bit else 2 * linear) + kv_bytes) / rates.bytes_per_s
    moving_s += linear * rates.unpacking_s if in_4bit else 0.0
    work_s = max(moving_s, 2 * n * (linear + head) / rates.flops)
    return work_s + shape.n_layers * rates.vllm_layer_s if vllm else max(work_s, shape.n_layers * rates.torch_layer_s)


def update_s(request: Request, shape: Shape, rates: Rates) -> float:
    """Seconds of the forward and backward passes of one optimizer step, and of the passes that only score.

    A pass over T tokens takes 2 N T for the projections, 4 S Q T a layer for attention (half with the flash kernel,
    which skips what is masked), 2 V H a scored token for the head. The backward pass takes as much again for
    activations alone (LoRA), and twice as much with weights (full). Checkpointing and the chunked heads compute the
    forward pass once more. NF4 weights are unpacked in every pass.
    """
    batch, length = request.per_device_train_batch_size, request.max_model_len
    scored = length if request.task == "sft" else request.max_completion_length
    linear = 2 * shape.linear_parameters() * batch * length
    attention = 4 * shape.n_layers * shape.q_dim * batch * length**2 / (2 if request.attention == "flash" else 1)
    head = 2 * shape.vocab * shape.hidden * batch * scored
    again, backward = int(request.checkpointing != "none"), 2 if request.method == "full" else 1
    forward = 1 + again + scoring_passes(request)
    head_s = head / (rates.float32_flops if request.upcast_embeddings else rates.flops)
    passes_s = (linear * (forward + backward) + attention * (forward + 2)) / rates.flops
    passes_s += head_s * (1 + scoring_passes(request) + backward + int(request.head != "logits"))
    if request.attention == "eager":
        scores = shape.n_layers * shape.n_heads * batch * length**2
        passes_s += EAGER_TRAFFIC * scores * (forward + 1) / rates.bytes_per_s
    if request.method == "qlora":
        passes_s += shape.linear_parameters() * (forward + 1) * rates.unpacking_s
    passes_s = max(passes_s, (forward + 1) * shape.n_layers * rates.torch_layer_s)
    # Adam moves seven values a weight: the weight, its gradient and two moments read, all but the gradient written
    optimizer_s = 7 * 2 * shape.parameters() / rates.bytes_per_s if request.method == "full" else 0.0
    return request.gradient_accumulation_steps * passes_s + optimizer_s


def scoring_passes(request: Request) -> int:
    """Forward passes without a backward pass over every sequence (TRL 1.15, grpo_trainer.py).

    One by the reference where beta is above 0. One by the policy that rolled out: TRL makes it after vLLM's rollouts,
    to correct for vLLM's kernels, which Unsloth does not; both make it where rollouts outlive an optimizer step.
    """
    if request.task == "sft":
        return 0
    corrects = request.framework == "trl" and request.generation == "vllm"
    outlived = request.gradient_accumulation_steps % request.batch.steps_per_generation != 0
    return int(request.beta > 0) + int(corrects or outlived)
