"""4-bit layers on a CPU keep their gradient after a measurement."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, has_avx512bf16
from bitsandbytes.nn.modules import Linear4bit

from toolkit.compat.bitsandbytes import keep_gradients_on_cpu


def layer_after_a_measurement(*, with_fix: bool) -> tuple[Linear4bit, torch.Tensor]:
    torch.manual_seed(0)
    layer = Linear4bit(128, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer = layer.to("cpu")  # quantises
    weight = dequantize_4bit(layer.weight.data, vars(layer.weight)["quant_state"]).float()
    if with_fix:
        keep_gradients_on_cpu(torch.nn.Sequential(layer))
    layer.eval()
    with torch.no_grad():
        layer(torch.randn(2, 128))
    layer.train()
    return layer, weight


def gradient(layer: Linear4bit) -> torch.Tensor | None:
    x = torch.ones(3, 128, requires_grad=True)
    y = layer(x)
    if y.requires_grad:
        y.sum().backward()
    return x.grad


def test_the_gradient_is_the_dequantised_weights() -> None:
    layer, weight = layer_after_a_measurement(with_fix=True)
    torch.testing.assert_close(gradient(layer), weight.sum(0).expand(3, 128))


@pytest.mark.skipif(not has_avx512bf16(), reason="only CPUs with AVX512-BF16 take the path that cuts the gradient")
@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit")
def test_bitsandbytes_still_needs_the_fix() -> None:
    layer, weight = layer_after_a_measurement(with_fix=False)
    lost = gradient(layer)
    assert lost is None or not torch.allclose(lost, weight.sum(0).expand(3, 128)), "remove compat/bitsandbytes.py"
