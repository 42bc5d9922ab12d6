"""Does the card compute what it should: 16 bit against float32, NF4 against its definition, the fused head against a
plain one. Runs in a cell's process. Each check is a difference with its bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Policy
from toolkit.backends.shared import in_eval_mode
from toolkit.machine.devices import Gpu

if TYPE_CHECKING:
    import torch

N_SEQUENCES, N_TOKENS, N_SCORED = 2, 48, 32
N_GATE_PROMPTS = 4
FIRST_ID, LAST_ID = 4, 470  # of the embedded tokenizer, special tokens left out

# Bounds on natural-log probabilities. On a CPU, 16 bit differs from float32 by 0.008 on average and 0.026 at most in a
# random Qwen2.5-0.5B; another order of summation, as a card has, may double that. A defect changes whole units.
MEAN_16_BIT, MAX_16_BIT = 0.03, 0.15
MEAN_HEAD, MAX_HEAD = 0.01, 0.05
MAX_UNPACKED = 2**-8  # of the largest weight: one rounding to bfloat16
MAX_PRODUCT = 0.01  # relative, by norm


def probe_logps(policy: Policy, gpu: Gpu | None) -> list[float]:
    """Log-probabilities of fixed random tokens, to compare engines by: (N_SEQUENCES * (N_TOKENS - 1),) floats."""
    with in_eval_mode(policy.model):
        return [round(value, 5) for value in token_logps(policy.model, _ids(policy.model), gpu).flatten().tolist()]


def token_logps(model: Any, ids: torch.Tensor, gpu: Gpu | None) -> torch.Tensor:
    """log p of each token after the first, by a plain log-softmax in float32. `ids` (B, S) -> (B, S - 1)."""
    import torch

    with torch.no_grad(), autocast(gpu):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return _gathered(logits[:, :-1], ids[:, 1:])


def autocast(gpu: Gpu | None) -> AbstractContextManager[Any]:
    """Mixed precision as the trainer has it on this card."""
    import torch

    if gpu is None:
        return nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16 if gpu.has_bf16 else torch.float16)


def compare_precisions(policy: Policy, gpu: Gpu | None) -> Iterator[dict[str, Any]]:
    """A 16-bit model against the same weights in float32."""
    import torch

    half = torch.float16 if gpu and not gpu.has_bf16 else torch.bfloat16
    with in_eval_mode(policy.model):
        rounded = token_logps(policy.model.to(half), _ids(policy.model), None)
        exact = token_logps(policy.model.float(), _ids(policy.model), None)
    yield from _logp_checks(
        f"{str(half).removeprefix('torch.')} against float32", rounded, exact, MEAN_16_BIT, MAX_16_BIT
    )


def compare_nf4(policy: Policy) -> Iterator[dict[str, Any]]:
    """The seven 4-bit projections of the first layer, unpacked and multiplied, against NF4's definition in float32."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    layers: list[Any] = [module for module in policy.model.modules() if isinstance(module, Linear4bit)][:7]
    unpacked_error, product_error, own_error = 0.0, 0.0, 0.0
    for layer in layers:
        weight, state = layer.weight.data, layer.weight.quant_state
        exact = unpack_nf4(weight, state)
        found = dequantize_4bit(weight, state).float()
        scale = float(exact.abs().max())
        unpacked_error = max(unpacked_error, float((found - exact).abs().max()) / scale)
        own = _unpacked_on_the_cpu(layer)
        own_error = max(own_error, float((found.cpu() - own).abs().max()) / scale)
        x = torch.randn(64, exact.shape[1], device=exact.device, dtype=state.dtype)
        with torch.no_grad():
            product = layer(x).float()
            wanted = x.float() @ exact.T + (0 if layer.bias is None else layer.bias.float())
        product_error = max(product_error, float((product - wanted).norm() / wanted.norm()))
    yield _check("NF4 unpacked, by its definition", "share of the largest", unpacked_error, MAX_UNPACKED)
    yield _check("NF4 unpacked, by bitsandbytes on the CPU", "share of the largest", own_error, MAX_UNPACKED)
    yield _check("NF4 layer's product, by float32", "relative norm", product_error, MAX_PRODUCT)


def unpack_nf4(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """NF4 with double quantisation by its definition (arXiv:2305.14314), in float32; shape of the layer's weight.

    Two 4-bit codes to a byte, the first in the high half. A weight is its code's value times its block's absmax, which
    is itself a code's value times a second-level constant, plus their mean.
    """
    import torch

    codes = torch.stack((packed.flatten() >> 4, packed.flatten() & 15), dim=1).flatten().long()
    absmax = state.absmax
    if state.nested:
        second = state.state2.absmax.repeat_interleave(state.state2.blocksize)[: absmax.numel()]
        absmax = state.state2.code[absmax.long()] * second + state.offset
    weights = state.code[codes] * absmax.float().repeat_interleave(state.blocksize)[: codes.numel()]
    return weights.view(state.shape)


def plain_logps(policy: Policy, gpu: Gpu | None) -> torch.Tensor:
    """What `compare_heads` holds a trainer's head against: (N_SEQUENCES, N_SCORED), from all logits in float32.

    To be asked before the trainer is built, since Unsloth's makes the model return hidden states in place of logits.
    """
    with in_eval_mode(policy.model):
        return token_logps(policy.model, _ids(policy.model), gpu)[:, -N_SCORED:]


def compare_heads(trainer: Any, plain: torch.Tensor) -> Iterator[dict[str, Any]]:
    """The trainer's own log-probabilities, from its fused head, against plain ones."""
    import torch

    ids = _ids(trainer.model)
    with in_eval_mode(trainer.model):
        fused = trainer._get_per_token_logps_and_entropies(trainer.model, ids, torch.ones_like(ids), N_SCORED)[0]
    yield from _logp_checks("fused log-probabilities against plain", fused.float(), plain, MEAN_HEAD, MAX_HEAD)


def pass_the_gate(trainer: Any) -> Iterator[dict[str, Any]]:
    """The runs' own parity gate on this trainer and its sampler; its finding decides both figures."""
    from toolkit.training.parity import check_parity

    found = check_parity(trainer, trainer.train_dataset[:N_GATE_PROMPTS]["prompt"], every_part=False)
    finding, as_it_is, moved = found.finding, found.probes[0], found.probes[-1]
    passes = finding.level == "green"
    decided = {"bound": None, "passes": passes, "why": "" if passes else f"{finding.level}: {finding.found}"}
    what = f"parity gate on {found.situation.sampler}"
    yield {"check": f"{what}, sampler against trainer", "unit": "nats", "found": as_it_is.noise_mean, **decided}
    yield {"check": f"{what}, share that arrives", "unit": "share", "found": moved.applied, **decided}


def adapter_is_back(
    kept: Mapping[str, torch.Tensor], now: Iterable[tuple[str, torch.Tensor]]
) -> Iterator[dict[str, Any]]:
    """The adapter that was loaded from its file against the one that was saved, bit for bit."""
    differ = sum(not kept[name].equal(parameter.detach().cpu()) for name, parameter in now)
    yield _check("adapter after reloading, tensors that differ", "tensors", differ, 0)


def compare_engines(one: list[float], other: list[float], what: str) -> Iterator[dict[str, Any]]:
    """Log-probabilities of the same tokens under the same weights, from two engines."""
    differences = [abs(a - b) for a, b in zip(one, other, strict=True)]
    mean = sum(differences) / len(differences)
    yield _check(f"{what}, mean", "nats", mean, MEAN_16_BIT)
    yield _check(f"{what}, largest", "nats", max(differences), MAX_16_BIT)


def _logp_checks(
    what: str, found: torch.Tensor, wanted: torch.Tensor, mean: float, largest: float
) -> Iterator[dict[str, Any]]:
    difference = (found - wanted).abs()
    yield _check(f"{what}, mean", "nats", float(difference.mean()), mean)
    yield _check(f"{what}, largest", "nats", float(difference.max()), largest)


def _check(name: str, unit: str, found: float, bound: float) -> dict[str, Any]:
    return {"check": name, "unit": unit, "found": float(f"{found:.3g}"), "bound": bound, "passes": found <= bound}


def _gathered(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)


def _unpacked_on_the_cpu(layer: Any) -> torch.Tensor:
    """bitsandbytes' CPU code on a copy of a layer's weight."""
    import copy

    from bitsandbytes.functional import dequantize_4bit

    state = copy.deepcopy(layer.weight.quant_state)
    state.to("cpu")
    return dequantize_4bit(layer.weight.data.cpu(), state).float()


def _ids(model: Any) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(FIRST_ID, LAST_ID, (N_SEQUENCES, N_TOKENS), generator=generator)
    return ids.to(next(model.parameters()).device)
