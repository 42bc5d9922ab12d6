"""Peak memory of one GRPO step, from the real code on fake tensors: no card, no weights, seconds of CPU.

transformers, PEFT, bitsandbytes and TRL run as they are, over tensors that have a shape and no data, and a ledger
keeps when each storage is made and freed. Where CUDA differs from a CPU (attention kernels, fused heads, 4-bit matrix
products), tensors of the shapes that its kernels make take their place, in one function for each difference.

Counted: weights, adapters, Adam's moments, gradients, activations, inputs and kernels' workspaces, each rounded to the
512 bytes that PyTorch's CUDA allocator hands out. The figure is that of `torch.cuda.max_memory_allocated`. Not counted:
the CUDA context, cuBLAS workspaces, fragmentation (`reserved`), vLLM, generation.

Nothing heavy is imported until one of the functions is called.
"""

from toolkit.vram.simulation.ledger import SimulatedPeak
from toolkit.vram.simulation.run import extrapolate, simulate

__all__ = ["SimulatedPeak", "extrapolate", "simulate"]
