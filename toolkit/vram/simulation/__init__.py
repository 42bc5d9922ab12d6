"""Peak memory of one GRPO step, from the real code on fake tensors: no card, no weights, seconds of CPU.

transformers, PEFT, bitsandbytes and TRL run as they are, over tensors that have a shape and no data, while every
storage's birth and death is booked. What CUDA does otherwise than a CPU (attention kernels, fused heads, 4-bit
matrix products) is replaced by the CUDA kernels' own shapes, one function a difference.

Counted: weights, adapters, Adam's moments, gradients, activations, inputs and kernels' workspaces, each rounded to the
512 bytes that PyTorch's CUDA allocator hands out. The figure stands for `torch.cuda.max_memory_allocated`. Not counted:
the CUDA context, cuBLAS workspaces, fragmentation (`reserved`), vLLM, generation.

Nothing heavy is imported until one of the functions is called.
"""

from toolkit.vram.simulation.ledger import SimulatedPeak
from toolkit.vram.simulation.run import extrapolate, simulate

__all__ = ["SimulatedPeak", "extrapolate", "simulate"]
