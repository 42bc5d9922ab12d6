"""The card: whether there is one, who else is on it, what it computes in, and its driver."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.compat.tested_sets import pins
from toolkit.doctor.facts import Facts
from toolkit.doctor.remedies import set_variables
from toolkit.findings import Finding
from toolkit.machine.devices import CardProcess
from toolkit.units import and_more, format_gib

SMALLEST_PRESET_GIB = 11.0  # what a card sold with 12 GB counts
N_PROCESSES_SHOWN = 3
DRIVERS = "https://www.nvidia.com/drivers"


def check_card(facts: Facts) -> Iterator[Finding]:
    """GPU, memory and its other holders, dtype and kernels, driver; without a card, GPU and dtype."""
    if facts.gpus:
        for part in (_gpu, _memory, _precision, _driver):
            yield from part(facts)
    else:
        yield _no_gpu(facts)
        yield Finding("dtype", "green", "float32 on the CPU")


def _no_gpu(facts: Facts) -> Finding:
    why = facts.why_no_gpu
    if "hides" in why:  # on purpose
        return Finding("GPU", "info", why)
    if any(word in why for word in ("mismatch", "not loaded", "unknown error")):
        # The loaded driver is older than the files of a newer one
        next_step = "in Windows: wsl --shutdown" if facts.wsl else f"reboot, or install the driver again: {DRIVERS}"
        return Finding("GPU", "amber", why, "a driver that answers", next_step)
    if "NVIDIA" in facts.vendors:
        next_step = f"{DRIVERS}, or in a container: docker run --gpus all"
        return Finding("GPU", "amber", f"an NVIDIA card that cannot be asked: {why}", "its driver", next_step)
    if facts.wsl:
        return Finding(
            "GPU", "info", why, "", f"with an NVIDIA card: install its driver in Windows, not in WSL: {DRIVERS}"
        )
    if facts.vendors:
        why += f"; {' and '.join(facts.vendors)} graphics are not used, only CUDA cards are"
    return Finding("GPU", "info", why)


def _gpu(facts: Facts) -> Iterator[Finding]:
    gpu = facts.gpus[0]
    if len(facts.gpus) == 1:
        yield Finding("GPU", "green", f"{gpu.name}, a MIG slice" if gpu.is_slice else gpu.name)
        return
    found = f"{len(facts.gpus)} visible: {', '.join(gpu.name for gpu in facts.gpus)}"
    # Without an order CUDA counts the fastest card first and the driver the first slot
    next_step = set_variables(facts, CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=gpu.visible_as)
    yield Finding("GPU", "amber", found, f"one: a run takes the {gpu.name}", next_step)


def _memory(facts: Facts) -> Iterator[Finding]:
    gpu = facts.gpus[0]
    found = f"{format_gib(gpu.total_gib)}, {format_gib(gpu.free_gib)} free"
    if gpu.is_slice:
        found = f"{format_gib(gpu.total_gib)} the whole card; what the slice has is not asked"
        yield Finding(
            "GPU memory", "info", found, next_step="toolkit plan --gpu GIB, with the slice's size from nvidia-smi -L"
        )
        return
    if facts.processes:
        found += f"; on it: {_listed(facts.processes)}"
    if gpu.total_gib < SMALLEST_PRESET_GIB:
        wanted = f"{format_gib(SMALLEST_PRESET_GIB)} for the smallest preset"
        yield Finding("GPU memory", "amber", found, wanted, "--model Qwen/Qwen2.5-0.5B-Instruct")
    elif gpu.free_gib < 0.8 * gpu.total_gib:
        # vLLM takes what grows or ends beside it for its own, and stops or takes too much
        yield Finding("GPU memory", "amber", found, "a card to itself", _end(facts))
    else:
        yield Finding("GPU memory", "green", found)


def _listed(processes: tuple[CardProcess, ...]) -> str:
    shown = []
    for process in processes[:N_PROCESSES_SHOWN]:
        gib = "" if process.gib is None else f" {format_gib(process.gib)}"
        shown.append(f"{process.name or 'unknown'} (pid {process.pid}){gib}")
    return and_more(shown, len(processes) - len(shown))


def _end(facts: Facts) -> str:
    """What frees the card. Processes without a name belong to another container or to the host."""
    named = [str(process.pid) for process in facts.processes if process.name]
    if named and facts.system == "Linux":
        return f"end those that are yours: kill {' '.join(named[:N_PROCESSES_SHOWN])}"
    if facts.processes and facts.system == "Linux":
        return "end them where they run: nvidia-smi on the host lists them"
    return "end what nvidia-smi lists"


def _precision(facts: Facts) -> Iterator[Finding]:
    """Compute capability: the dtype that follows from it, and whether torch's build has kernels for it."""
    gpu, row = facts.gpus[0], facts.machine_set
    capability = "compute capability {}.{}".format(*gpu.compute_capability)
    if row.impossible:
        next_step = set_variables(facts, CUDA_VISIBLE_DEVICES="-1")
        yield Finding("kernels", "red", f"{gpu.name}, {capability}", row.impossible, next_step)
    elif lacks_kernels(facts):
        built_for = facts.torch.cuda if facts.torch and facts.torch.cuda else (0, 0)
        found = "{}, {}, torch built for CUDA {}.{}".format(gpu.name, capability, *built_for)
        yield Finding("kernels", "red", found, *_build_with_kernels(facts))
    else:
        found = f"{row.dtype}, {capability}{': bfloat16 needs 8.0' if row.dtype == 'float16' else ''}"
        yield Finding("dtype", "green" if gpu.has_bf16 else "info", f"{found}; attention: {row.attention}")


def lacks_kernels(facts: Facts) -> bool:
    """Say whether the installed build of torch is known to have no kernels for the card."""
    if not facts.gpus or facts.torch is None or facts.torch.cuda is None:
        return False
    build = facts.sets.build_of(facts.torch.cuda, facts.torch.version)
    return build is not None and not build.has_kernels_for(facts.gpus[0].compute_capability)


def _build_with_kernels(facts: Facts) -> tuple[str, str]:
    """What is wanted and the line that installs it: the build of this card's set, unless the card is newer than all."""
    row = facts.machine_set
    own = facts.sets.build_of(row.cuda, pins(facts.tested).get("torch", "0")) if row.cuda else None
    if row.cuda and own and own.has_kernels_for(facts.gpus[0].compute_capability):
        return "CUDA {}.{}, which has kernels for it".format(*row.cuda), row.torch_line(facts.tested, facts.system)
    return "a build with kernels for it", "install a newer torch: https://pytorch.org/get-started"


def _driver(facts: Facts) -> Iterator[Finding]:
    """Against the build of torch that is here, or that this card's set would bring in its place."""
    found = facts.gpus[0].driver_version
    if facts.driver_cuda:
        found += ", up to CUDA {}.{}".format(*facts.driver_cuda)
    stays = facts.torch is not None and facts.torch.cuda is not None and not lacks_kernels(facts)
    needed = facts.torch.cuda if facts.torch and stays else facts.machine_set.cuda
    # Within a major release any driver will do: docs.nvidia.com/deploy/cuda-compatibility
    if needed and facts.driver_cuda and facts.driver_cuda[0] < needed[0]:
        build = facts.sets.build_of(needed, facts.torch.version if facts.torch else "0")
        least = build.driver.get(facts.system, "") if build else ""
        wanted = "CUDA {}.{} for torch".format(*needed) + (f": driver {least} or newer" if least else "")
        where = "in Windows, never in WSL" if facts.wsl else "and reboot"
        yield Finding("driver", "red", found, wanted, f"update the NVIDIA driver {where}: {DRIVERS}")
    else:
        yield Finding("driver", "green", found)
