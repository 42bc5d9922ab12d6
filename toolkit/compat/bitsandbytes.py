"""bitsandbytes 0.50: a fast path on CPUs that cuts the gradient; a ContractError where its switch is gone."""

from __future__ import annotations

from typing import Any

from toolkit.compat.contracts import require

FAST_PATH = "support_avx512bf16_for_cpu"


def keep_gradients_on_cpu(model: Any) -> None:
    """Keep 4-bit layers out of the packed layout for AVX512-BF16 processors.

    - Symptom: on such a CPU, after one forward in eval mode (every measurement, every `generate`), training goes on
      with a finite loss and next to no gradient: only adapters that write straight to the residual stream (o_proj,
      down_proj) still learn. One warning tells: `bitsandbytes::gemv_4bit: an autograd kernel was not registered`.
    - Cause: `Linear4bit.forward` packs the weight for inference, and `matmul_4bit` then takes a kernel without a
      backward for ever after (0.50.2, nn/modules.py and autograd/_functions.py).
    - Remove when `matmul_4bit` checks `requires_grad` before it takes the packed kernel.
    """
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            require(layer, FAST_PATH, "bitsandbytes 0.50")
            setattr(layer, FAST_PATH, False)
