"""A model with 4-bit layers and adapters in shape only: built on the meta device, then given tensors of some kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from toolkit.compat.contracts import require
from toolkit.errors import ContractError, ModelError
from toolkit.vram.formula.costs import DOUBLE_QUANT_BLOCK, NF4_BLOCK
from toolkit.vram.formula.update import Dtype, Update

if TYPE_CHECKING:
    import torch

BNB = "bitsandbytes 0.50"


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """`bf16` -> torch.bfloat16."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]


def load_config(config: Mapping[str, Any], layers: int | None = None) -> Any:
    """Return transformers' config of the content of a config.json, with its first `layers` when given."""
    import transformers

    plain = copy.deepcopy(dict(config))
    kind = plain.pop("model_type")
    plain.pop("quantization_config", None)  # what is quantised is the update's to say
    if layers is not None:
        plain["num_hidden_layers"] = layers
        if plain.get("layer_types"):
            plain["layer_types"] = plain["layer_types"][:layers]
    try:
        return transformers.AutoConfig.for_model(kind, **plain)
    except ValueError as error:
        raise ModelError(f"model_type {kind!r}", "an architecture that transformers knows", str(error)) from error


def build_on_meta(update: Update, config: Any, attention: str) -> Any:
    """Return the model to train, over a quantised base or not, all its tensors on the meta device.

    PEFT casts adapters over 16-bit weights to float32; over 4-bit ones TRL casts them to bfloat16, whatever the dtype.
    On meta, because `Module.to` and `Params4bit` fail on fake tensors.
    """
    import torch
    import transformers

    dtype = torch_dtype(update.dtype)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
        if update.quantization == "nf4":
            _quantise(model, update)
        if update.upcast_embeddings:
            from peft import prepare_model_for_kbit_training

            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return model if update.method == "full" else _with_adapters(model, update)


def _with_adapters(model: Any, update: Update) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    targets = list(update.targets)
    lora = LoraConfig(
        r=update.rank, lora_alpha=update.rank, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=targets
    )
    peft_model = get_peft_model(model, lora)
    if update.quantization == "nf4":
        dtype = torch.float32 if update.lora_float32 else torch.bfloat16
        for parameter in peft_model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
    return peft_model


def _quantise(model: Any, update: Update) -> None:
    """Replace every linear layer but the head by bitsandbytes' 4-bit layer, already quantised."""
    from torch.nn import Linear

    from toolkit.compat.bitsandbytes import keep_gradients_on_cpu

    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear) and layer is not head:
                setattr(parent, name, _quantised_layer(layer, update))
    keep_gradients_on_cpu(model)  # its packed kernel for CPUs would be no stand-in for CUDA's
    model.is_loaded_in_4bit = True


def _quantised_layer(layer: Any, update: Update) -> Any:
    import torch
    from bitsandbytes.nn import modules

    require(torch.ops.bitsandbytes, "gemm_4bit", BNB)
    params_4bit: Any = require(modules, "Params4bit", BNB)  # Any: its arguments are those of __new__
    dtype = torch_dtype(update.dtype)
    quantised: Any = modules.Linear4bit(
        layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=dtype, quant_type="nf4"
    )
    if layer.bias is not None:
        quantised.bias = layer.bias
    quantised.weight = params_4bit(
        torch.empty((layer.weight.numel() // 2, 1), dtype=torch.uint8),
        requires_grad=False,
        quant_state=_quant_state(layer, dtype, update.double_quant),
        blocksize=NF4_BLOCK,
        quant_type="nf4",
        bnb_quantized=True,
        module=quantised,
    )
    quantised.quant_state = quantised.weight.quant_state
    return quantised


def _quant_state(layer: Any, dtype: torch.dtype, double_quant: bool) -> Any:
    """A float32 scale for 64 weights; quantised again it is a byte, with a float32 for 256 of them and a code book."""
    import torch
    from bitsandbytes.functional import QuantState

    n_scales = -(-layer.weight.numel() // NF4_BLOCK)
    nested: dict[str, Any] = {}
    if double_quant:
        scales_of_scales = QuantState(
            absmax=torch.empty(-(-n_scales // DOUBLE_QUANT_BLOCK)),
            code=torch.empty(256),
            blocksize=DOUBLE_QUANT_BLOCK,
            dtype=torch.float32,
        )
        nested = {"offset": torch.empty(()), "state2": scales_of_scales}
    return QuantState(
        absmax=torch.empty(n_scales, dtype=torch.uint8 if double_quant else torch.float32),
        shape=layer.weight.shape,
        dtype=dtype,
        blocksize=NF4_BLOCK,
        code=torch.empty(16),
        quant_type="nf4",
        **nested,
    )


def materialise(model: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replace every tensor of a meta model by `make(tensor)`, once for each, so that ties stay ties.

    A `Params4bit` becomes a plain parameter that carries its `quant_state`: that is all `Linear4bit.forward` asks for.
    """
    from torch.nn import Parameter

    made: dict[int, tuple[Any, Any]] = {}  # with the original: the id of a dead object may be used again

    def once(tensor: Any, build: Callable[[Any], Any]) -> Any:
        if id(tensor) not in made:
            made[id(tensor)] = (tensor, build(tensor))
        return made[id(tensor)][1]

    def parameter(meta: Any) -> Any:
        new = Parameter(make(meta), requires_grad=meta.requires_grad)
        if (state := getattr(meta, "quant_state", None)) is not None:
            _fill(state, make)
            vars(new)["quant_state"] = state
        return new

    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                module._parameters[name] = once(old, parameter)
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = once(old, make)


def _fill(state: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for owner, name in _scales(state):
        setattr(owner, name, make(require(owner, name, BNB)))


def _scales(state: Any) -> list[tuple[Any, str]]:
    """Where a quantisation state keeps its tensors: (owner, attribute)."""
    own = [(state, "absmax"), (state, "code")]
    return [*own, (state, "offset"), (state.state2, "absmax"), (state.state2, "code")] if state.nested else own


def tensors_by_part(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Every tensor that loading leaves on the card, with its part: `lora`, or `weights` (with 4-bit scales)."""
    found: list[tuple[str, Any]] = []
    is_peft = hasattr(model, "peft_config")
    for tensor in model.parameters():
        found.append(("lora" if tensor.requires_grad and is_peft else "weights", tensor))
        if (state := getattr(tensor, "quant_state", None)) is not None:
            found += [("weights", getattr(owner, name)) for owner, name in _scales(state)]
    return found + [("weights", buffer) for buffer in model.buffers()]


def set_checkpointing(model: Any, kind: str) -> None:
    """Switch to TRL's non-reentrant checkpoints (`hf`) or to Unsloth's; a ContractError where no layer takes them."""
    if kind == "none":
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()  # the embeddings are frozen: without it nothing below the adapters has a graph
    layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    layers = [layer for layer in layers if hasattr(layer, "_gradient_checkpointing_func")]
    if not layers:
        raise ContractError("no layer took gradient checkpointing", "transformers 5.17", "run: toolkit doctor")
    if kind == "unsloth":
        for layer in layers:
            layer._gradient_checkpointing_func = _host_checkpoint().apply


@cache
def _host_checkpoint() -> Any:
    """As `Unsloth_Offloaded_Gradient_Checkpointer`: the input waits on the host and returns for the recompute.

    The recompute has the forward's autocast, by `custom_bwd`.
    """
    import torch
    from torch.amp.autocast_mode import custom_bwd, custom_fwd

    class HostCheckpoint(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu")
        def forward(ctx: Any, layer: Any, hidden: Any, *rest: Any) -> Any:
            ctx.save_for_backward(torch.empty(hidden.shape, dtype=hidden.dtype, device="meta"))  # meta is the host
            ctx.layer, ctx.rest = layer, rest
            with torch.no_grad():
                return layer(hidden, *rest)

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx: Any, *gradients: Any) -> Any:
            (saved,) = ctx.saved_tensors
            hidden = torch.empty(saved.shape, dtype=saved.dtype, device="cpu").requires_grad_(True)
            with torch.enable_grad():
                out = ctx.layer(hidden, *ctx.rest)
            torch.autograd.backward(out, gradients[0])
            return None, hidden.grad, *(None for _ in ctx.rest)

    return HostCheckpoint
