"""True shapes, random weights: a checkpoint that loads, trains and weighs as the real model does, made offline.

The layer sizes are the model's own and every loader takes the folder as it takes a download: `config.json`, safetensors
in shards, and on request NF4 with double quantisation in the layout that bitsandbytes writes (the `-bnb-4bit` copies on
the Hub). Weights repeat a random block, which costs memory and time nothing and keeps logits finite. `random_cache`
keeps what was written.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from toolkit.backends.shared import dtype_name
from toolkit.machine.devices import Gpu
from toolkit.models.stand_in_tokenizer import write_tokenizer
from toolkit.vram.shapes import Shape

if TYPE_CHECKING:
    import torch

Dtype = Literal["bfloat16", "float16", "float32"]

SHARD_BYTES = 2 << 30  # held in host memory at a time
BLOCK = 1 << 22  # weights drawn; they repeat after that many
STD = 0.02  # initializer_range of Qwen2.5
ABSMAX_BLOCK = 64  # weights that share one absmax
NESTED_BLOCK = 256  # absmax values that share one second-level constant


def write_checkpoint(shape: Shape, folder: Path, *, dtype: Dtype, in_4bit: bool) -> None:
    """Write a model of this shape to a new folder; `config.json` is written last, so that it marks a whole one.

    `dtype` is that of the weights, in 4 bit of those that stay unquantised (embedding, head, norms, biases) and of the
    computation. Needs one shard of host memory and, in 4 bit, bitsandbytes.

    Raises:
        OSError: the disk is full, or the folder exists.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    folder.mkdir(parents=True)
    config = AutoConfig.for_model(**shape.config)
    config.dtype, config.eos_token_id, config.pad_token_id = dtype, 2, 0  # <|im_end|> and <|endoftext|>
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if in_4bit:
        config.quantization_config = _quantization(dtype)
    weights = _Weights(getattr(torch, dtype))
    shards = _Shards(folder)
    quantised = _quantised(model) if in_4bit else frozenset()
    for name, parameter in model.named_parameters():  # a tied head is not among them
        if name in quantised:
            shards.add(weights.nf4(name, parameter.shape))
        else:
            shards.add({name: weights.ones(parameter.shape) if "norm" in name else weights.normal(parameter.shape)})
    shards.close()
    write_tokenizer(folder, shape.vocab)
    GenerationConfig(eos_token_id=2, pad_token_id=0).save_pretrained(folder)
    config.save_pretrained(folder)


def checkpoint_dtype(gpu: Gpu | None) -> Dtype:
    """What a checkpoint's weights are in: the type that the backends compute in."""
    names: dict[str, Dtype] = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
    return names[dtype_name(gpu)]


def _quantised(model: Any) -> frozenset[str]:
    """Names of the weights that bitsandbytes quantises: every linear layer but the head."""
    import torch

    head = model.get_output_embeddings()
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return frozenset(f"{name}.weight" for name, module in linears if module is not head)


def _quantization(dtype: str) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
    return BitsAndBytesConfig(load_in_4bit=True, **nf4).to_dict()


class _Weights:
    """Tensors of any shape out of one random block."""

    def __init__(self, dtype: torch.dtype) -> None:
        import torch

        self._dtype = dtype
        self._generator = torch.Generator().manual_seed(0)
        self._block = (STD * torch.randn(BLOCK, generator=self._generator)).to(dtype)
        self._packed: torch.Tensor | None = None
        self._state: Any = None

    def ones(self, shape: torch.Size) -> torch.Tensor:
        import torch

        return torch.ones(shape, dtype=self._dtype)

    def normal(self, shape: torch.Size) -> torch.Tensor:
        return _tile(self._block, shape.numel(), self._start(1)).view(shape)

    def nf4(self, name: str, shape: torch.Size) -> dict[str, torch.Tensor]:
        """A weight of this shape as bitsandbytes stores it: two to a byte, and the state to unpack them."""
        from bitsandbytes.functional import QuantState, quantize_4bit

        if self._packed is None:
            self._packed, self._state = quantize_4bit(self._block, quant_type="nf4", compress_statistics=True)
        n, start = shape.numel(), self._start(ABSMAX_BLOCK * NESTED_BLOCK)
        n_absmax, like, second = math.ceil(n / ABSMAX_BLOCK), self._state, self._state.state2
        nested = QuantState(
            absmax=_tile(second.absmax, math.ceil(n_absmax / NESTED_BLOCK), start // ABSMAX_BLOCK // NESTED_BLOCK),
            code=second.code.clone(),
            blocksize=NESTED_BLOCK,
            dtype=second.dtype,
        )
        state = QuantState(
            absmax=_tile(like.absmax, n_absmax, start // ABSMAX_BLOCK),
            shape=shape,
            code=like.code.clone(),
            blocksize=ABSMAX_BLOCK,
            quant_type="nf4",
            dtype=self._dtype,
            offset=like.offset,
            state2=nested,
        )
        packed = {f"{name}.{key}": tensor for key, tensor in state.as_dict(packed=True).items()}
        return packed | {name: _tile(self._packed.flatten(), n // 2, start // 2).view(-1, 1)}

    def _start(self, multiple: int) -> int:
        """Where in the block a tensor begins, so that no two layers are alike."""
        import torch

        return int(torch.randint(BLOCK // multiple, (), generator=self._generator)) * multiple


def _tile(block: torch.Tensor, n: int, start: int) -> torch.Tensor:
    """A copy of its own: safetensors refuses tensors that share memory."""
    if start + n <= len(block):
        return block[start : start + n].clone()
    return block.repeat(math.ceil((start + n) / len(block)))[start : start + n]


class _Shards:
    """Tensors to safetensors files of at most SHARD_BYTES, or one tensor, and their index."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._held, self._n_bytes = folder, {}, 0
        self._files: dict[str, str] = {}
        self._total = 0

    def add(self, tensors: dict[str, Any]) -> None:
        size = sum(tensor.nbytes for tensor in tensors.values())
        if self._held and self._n_bytes + size > SHARD_BYTES:
            self._flush()
        self._held |= tensors
        self._n_bytes += size
        self._total += size

    def close(self) -> None:
        self._flush()
        index = {"metadata": {"total_size": self._total}, "weight_map": self._files}
        (self._folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    def _flush(self) -> None:
        from safetensors.torch import save_file

        file = f"model-{len(set(self._files.values())) + 1:05d}.safetensors"
        save_file(self._held, self._folder / file, metadata={"format": "pt"})
        self._files |= dict.fromkeys(self._held, file)
        self._held, self._n_bytes = {}, 0
