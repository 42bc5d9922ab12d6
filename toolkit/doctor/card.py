"""The card, its driver, and whether this torch has kernels for it."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.devices import Gpu
from toolkit.doctor.facts import Facts
from toolkit.doctor.finding import Check, install_cuda_torch, set_variables
from toolkit.units import format_gib

SMALLEST_PRESET_GIB = 11.0  # what a card sold with 12 GB counts


def check_card(facts: Facts) -> Iterator[Check]:
    """GPU, memory, dtype and kernels, driver, torch's build, triton; without a card, the first and the dtype."""
    for part in (_gpu, _precision, _driver, _torch_build, _triton):
        yield from part(facts)


def _gpu(facts: Facts) -> Iterator[Check]:
    if not facts.gpus:
        # A card whose driver is half installed is a fault; no driver at all, or a hidden card, is not
        if any(word in facts.why_no_gpu for word in ("mismatch", "not loaded", "unknown error")):
            remedy = "reboot, or install the NVIDIA driver again"
            yield Check("GPU", "warn", facts.why_no_gpu, "a driver that answers", remedy)
        else:
            yield Check("GPU", "info", facts.why_no_gpu)
        return
    gpu = facts.gpus[0]
    if len(facts.gpus) > 1:
        found = f"{len(facts.gpus)} visible: {', '.join(gpu.name for gpu in facts.gpus)}"
        # Without an order CUDA counts the fastest card first and the driver the first slot
        remedy = set_variables(facts, CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=str(gpu.index))
        yield Check("GPU", "warn", found, "one: a run uses a single card", remedy)
    else:
        yield Check("GPU", "ok", gpu.name)
    found = f"{format_gib(gpu.total_gib)}, {format_gib(gpu.free_gib)} free"
    if gpu.total_gib < SMALLEST_PRESET_GIB:
        wanted = f"{format_gib(SMALLEST_PRESET_GIB)} for the smallest preset"
        yield Check("GPU memory", "warn", found, wanted, "--model Qwen/Qwen2.5-0.5B-Instruct")
    elif gpu.free_gib < 0.8 * gpu.total_gib:
        yield Check("GPU memory", "warn", found, "a card to itself", "end the processes that nvidia-smi lists")
    else:
        yield Check("GPU memory", "ok", found)


def _precision(facts: Facts) -> Iterator[Check]:
    """Compute capability: the dtype that follows from it, and whether torch's build has kernels for it."""
    if not facts.gpus:
        yield Check("dtype", "ok", "float32 on the CPU")
        return
    gpu = facts.gpus[0]
    capability = "compute capability {}.{}".format(*gpu.compute_capability)
    problem = _without_kernels(facts, gpu)
    if problem:
        yield problem
    elif gpu.has_bf16:
        yield Check("dtype", "ok", f"bfloat16, {capability}")
    else:
        yield Check("dtype", "info", f"float16, {capability}: bfloat16 needs 8.0")


def _without_kernels(facts: Facts, gpu: Gpu) -> Check | None:
    """The architectures in torch's wheels by CUDA release: https://github.com/pytorch/pytorch/issues/172352."""
    major, minor = gpu.compute_capability
    found = f"{gpu.name}, compute capability {major}.{minor}"
    if (major, minor) < (7, 0):
        remedy = set_variables(facts, CUDA_VISIBLE_DEVICES="-1")
        return Check("kernels", "fail", found, "7.0 or newer for Triton", remedy)
    if facts.torch is None or facts.torch.cuda is None:
        return None
    found += ", torch built for CUDA {}.{}".format(*facts.torch.cuda)
    if (major, minor) < (7, 5) and facts.torch.cuda >= (12, 8):
        remedy = "install the CUDA 12.6 build of torch: https://pytorch.org/get-started"
        return Check("kernels", "fail", found, "CUDA 12.6, the last with kernels for Volta", remedy)
    if major >= 10 and facts.torch.cuda < (12, 8):
        return Check("kernels", "fail", found, "CUDA 12.8 or newer for Blackwell", install_cuda_torch(facts))
    return None


def _driver(facts: Facts) -> Iterator[Check]:
    if not facts.gpus:
        return
    found = facts.gpus[0].driver_version
    if facts.driver_cuda:
        found += ", up to CUDA {}.{}".format(*facts.driver_cuda)
    built_for = facts.torch.cuda if facts.torch else None
    # Within a major release any driver will do: docs.nvidia.com/deploy/cuda-compatibility
    if built_for and facts.driver_cuda and facts.driver_cuda[0] < built_for[0]:
        least = {12: "525", 13: "580"}.get(built_for[0], "")
        wanted = "CUDA {}.{} for this torch".format(*built_for) + (f": driver {least} or newer" if least else "")
        yield Check("driver", "fail", found, wanted, "update the NVIDIA driver: https://www.nvidia.com/drivers")
    else:
        yield Check("driver", "ok", found)


def _torch_build(facts: Facts) -> Iterator[Check]:
    if facts.gpus and facts.torch and facts.torch.cuda is None:
        found = f"{facts.torch.version}, a CPU build: it does not see the {facts.gpus[0].name}"
        yield Check("torch build", "fail", found, "a CUDA build", install_cuda_torch(facts))


def _triton(facts: Facts) -> Iterator[Check]:
    """TRL's log-probabilities are a Triton kernel on a GPU, and `None` where triton is missing (TRL 1.15)."""
    if facts.gpus and facts.torch and facts.torch.cuda and not facts.has("triton"):
        remedy = f"pip install triton{'-windows' if facts.system == 'Windows' else ''}"
        yield Check("triton", "fail", "not installed", "triton, for TRL's kernels on a GPU", remedy)
