"""From facts to findings: pure, so that a machine nobody here owns can be checked from a description of it.

`fail` means that the main job, the recipe as it starts without flags, cannot run; `warn` that it runs otherwise than
it should or may; `info` is nothing to mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from toolkit.compat.versions import Package, meets, pip_line
from toolkit.devices import Gpu
from toolkit.doctor.facts import ALLOCATOR_VARIABLES, COMPILED_CACHE, STANDBY_VARIABLE, Disk, Facts
from toolkit.units import format_gib

BNB_PLUGIN = "vllm-bnb-plugin"
GPU_LINE = 'pip install -e ".[gpu]"'
ROOM_FOR_3B_GIB = 20.0  # base, its 16-bit merge, checkpoints
MIN_FREE_GIB = 0.5
SMALLEST_PRESET_GIB = 11.0  # what a card sold with 12 GB counts
N_BASE_SHOWN = 7  # the pinned ones; the ranges after them are only counted

Status = Literal["ok", "warn", "fail", "info"]


@dataclass(frozen=True)
class Check:
    """One finding. `wanted` and `remedy` are empty where there is nothing to want or to do."""

    name: str
    status: Status
    found: str
    wanted: str = ""
    remedy: str = ""
    """A command where one helps."""


def run_checks(facts: Facts) -> list[Check]:
    """Judge a machine; findings come in the order in which a person would mend them."""
    parts = (_python, _platform, _gpu, _precision, _driver, _torch_build, _triton, _packages, _conflicts)
    parts += (_torchvision, _bnb_plugin, _compiled_cache, _allocator, _disks, _network, _token)
    return [check for part in parts for check in part(facts)]


def _python(facts: Facts) -> Iterator[Check]:
    found = ".".join(map(str, facts.python))
    if facts.tested.python.contains(found):
        yield Check("Python", "ok", found)
    else:
        wanted = str(facts.tested.python)
        yield Check("Python", "fail", found, wanted, "install a newer Python and make a new environment with it")


def _platform(facts: Facts) -> Iterator[Check]:
    if facts.system == "Windows":
        wanted = "Linux or WSL: vLLM has no Windows build, so completions come from transformers, many times slower"
        yield Check("platform", "warn", "Windows", wanted, "wsl --install")
    elif facts.system == "Darwin":
        yield Check("platform", "warn", "macOS", "Linux: not tested here, and the CPU is all that is used")
    else:
        yield Check("platform", "ok", "Linux under WSL" if facts.wsl else facts.system)


def _gpu(facts: Facts) -> Iterator[Check]:
    if not facts.gpus:
        # A card whose driver is half installed is a fault; no driver at all, or a hidden card, is not
        broken = any(word in facts.why_no_gpu for word in ("mismatch", "not loaded", "nvidia-ml-py", "unknown error"))
        remedy = "reboot, or install the NVIDIA driver again" if "nvidia-ml-py" not in facts.why_no_gpu else ""
        yield Check("GPU", "warn" if broken else "info", facts.why_no_gpu, remedy=remedy if broken else "")
        return
    gpu = facts.gpus[0]
    if len(facts.gpus) > 1:
        found = f"{len(facts.gpus)} visible: {', '.join(gpu.name for gpu in facts.gpus)}"
        # Without an order CUDA counts the fastest card first and the driver the first slot
        remedy = _set(facts, CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=str(gpu.index))
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
        return Check("kernels", "fail", found, "7.0 or newer for Triton", _hide_the_card(facts))
    if facts.torch is None or facts.torch.cuda is None:
        return None
    built = "torch built for CUDA {}.{}".format(*facts.torch.cuda)
    if (major, minor) < (7, 5) and facts.torch.cuda >= (12, 8):
        remedy = "install the CUDA 12.6 build of torch: https://pytorch.org/get-started"
        return Check("kernels", "fail", f"{found}, {built}", "CUDA 12.6, the last with kernels for Volta", remedy)
    if major >= 10 and facts.torch.cuda < (12, 8):
        return Check("kernels", "fail", f"{found}, {built}", "CUDA 12.8 or newer for Blackwell", _cuda_torch(facts))
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
        yield Check("torch build", "fail", found, "a CUDA build", _cuda_torch(facts))


def _triton(facts: Facts) -> Iterator[Check]:
    """TRL's log-probabilities are a Triton kernel on a GPU, and `None` where triton is missing (TRL 1.15)."""
    if facts.gpus and facts.torch and facts.torch.cuda and not facts.has("triton"):
        remedy = f"pip install triton{'-windows' if facts.system == 'Windows' else ''}"
        yield Check("triton", "fail", "not installed", "triton, for TRL's kernels on a GPU", remedy)


def _packages(facts: Facts) -> Iterator[Check]:
    off = [check for r in facts.tested.base if (check := _package(facts, r, "fail"))]
    if not off:
        names = [r.name for r in facts.tested.base]
        shown = [f"{name} {facts.packages[name].version}" for name in names[:N_BASE_SHOWN]]
        found = ", ".join(shown) + f" and {len(names) - len(shown)} more" * (len(names) > len(shown))
        yield Check("base packages", "ok", found)
    yield from off
    yield from _gpu_packages(facts)


def _gpu_packages(facts: Facts) -> Iterator[Check]:
    names = [r.name for r in facts.tested.gpu]
    present = [name for name in names if name in facts.packages]
    listed = ", ".join(f"{name} {facts.packages[name].version}" for name in present)
    if not facts.gpus:
        yield Check("GPU packages", "info", f"{listed or 'none'}: not used without a GPU")
    elif facts.system == "Windows" and "unsloth" not in present:
        yield Check("GPU packages", "info", "none", "unsloth, in WSL", f"in WSL: {GPU_LINE}")
    elif not present:
        wanted = "unsloth and vllm: without them a step takes many times longer"
        yield Check("GPU packages", "warn", "none", wanted, GPU_LINE)
    else:
        # The plugin has a check of its own, and vLLM is not to be had on Windows
        apart = {BNB_PLUGIN} - set(present) | ({"vllm"} - set(present) if facts.system == "Windows" else set())
        asked = [r for r in facts.tested.gpu if r.name not in apart]
        off = [check for r in asked if (check := _package(facts, r, "warn"))]
        yield from off or [Check("GPU packages", "ok", listed)]


def _package(facts: Facts, wanted: Requirement, when_missing: Status) -> Check | None:
    """None when the package is there in a tested version."""
    specifier, line = str(wanted.specifier), pip_line(wanted)
    if wanted.name == "torch" and facts.gpus and facts.system == "Windows":
        line = _cuda_torch(facts)
    match facts.packages.get(wanted.name):
        case None:
            return Check(wanted.name, when_missing, "not installed", specifier, line)
        case Package(version=None):
            return Check(wanted.name, "warn", "a module without metadata", specifier, line)
        case Package(has_module=False, version=version):
            again = line.replace("install", "install --force-reinstall --no-deps", 1)
            return Check(wanted.name, when_missing, f"{version}, but its module is gone", specifier, again)
        case Package(version=str(version)) if not meets(wanted, version):
            return Check(wanted.name, "warn", version, specifier, line)
    return None


def _conflicts(facts: Facts) -> Iterator[Check]:
    base = {canonicalize_name(r.name) for r in facts.tested.base}
    declared = base | {canonicalize_name(r.name) for r in facts.tested.gpu}
    for conflict in facts.conflicts:
        wanted = conflict.requirement
        if canonicalize_name(wanted.name) in declared:
            continue  # reported against the tested set
        # transformers compares versions when it is imported and stops (its dependency_versions_check)
        stops = conflict.owner == "transformers" or (conflict.found is None and conflict.owner in base)
        found = conflict.found or "not installed"
        specifier = f"{wanted.specifier or 'any version'}, by {conflict.owner}"
        yield Check(wanted.name, "fail" if stops else "warn", found, specifier, pip_line(wanted))


def _torchvision(facts: Facts) -> Iterator[Check]:
    """Its operators load only beside the torch build that they were made with; the recipes need no torchvision.

    Transformers and TRL import without touching it; Unsloth does not (`torchvision::nms does not exist`).
    """
    torch, vision = facts.torch, facts.torchvision
    if torch is None or vision is None or torch.cuda == vision.cuda:
        return
    found = f"{vision.version} beside torch {torch.version}"
    line = "pip uninstall -y torchvision"
    if facts.gpus:  # where unsloth lists it as a requirement
        line += f' && pip install torchvision "torch=={torch.version.partition("+")[0]}"'
    stops = bool(facts.gpus) and facts.has("unsloth")
    yield Check("torchvision", "fail" if stops else "warn", found, "one build: unsloth does not import", line)


def _bnb_plugin(facts: Facts) -> Iterator[Check]:
    """vLLM 0.28 moved bitsandbytes to a plugin that nothing pulls in: https://github.com/vllm-project/vllm/pull/43529."""
    vllm = facts.packages.get("vllm")
    if vllm is None or facts.has(BNB_PLUGIN) or (vllm.version and meets(Requirement("vllm<0.28"), vllm.version)):
        return
    line = next((pip_line(r) for r in facts.tested.gpu if r.name == BNB_PLUGIN), f"pip install {BNB_PLUGIN}")
    stops = bool(facts.gpus) and facts.has("unsloth")
    wanted = f"installed: vllm {vllm.version} loads no 4-bit model without it"
    yield Check(BNB_PLUGIN, "fail" if stops else "warn", "not installed", wanted, line)


def _compiled_cache(facts: Facts) -> Iterator[Check]:
    made, now = facts.compiled_by, facts.packages
    moved = {n: v for n, v in made.items() if n not in now or now[n].version != v}
    if moved:
        found = f"{COMPILED_CACHE}, made with {', '.join(f'{n} {v}' for n, v in moved.items())}"
        line = f"{'rmdir /s' if facts.system == 'Windows' else 'rm -r'} {COMPILED_CACHE}"
        yield Check("compiled cache", "warn", found, "none from other versions", line)


def _allocator(facts: Facts) -> Iterator[Check]:
    """Standby cannot sleep over expandable segments; the recipes turn it on where there is a GPU and vLLM."""
    standby = facts.variables.get(STANDBY_VARIABLE, "1" if facts.gpus and facts.has("vllm") else "0") == "1"
    for name in ALLOCATOR_VARIABLES:
        value = facts.variables.get(name, "")
        if standby and re.search(r"expandable_segments\s*:\s*true", value, re.IGNORECASE):
            line = f"set {name}=" if facts.system == "Windows" else f"unset {name}"
            yield Check("allocator", "warn", f"{name}={value}", "no expandable segments under vLLM's standby", line)


def _disks(facts: Facts) -> Iterator[Check]:
    on_gpu = bool(facts.gpus)
    yield _disk("disk, runs", facts.work, on_gpu, "fail", "make room, or --output_dir FOLDER")
    # The embedded model is not cached
    move = _set(facts, HF_HOME="FOLDER")
    yield _disk("disk, models", facts.model_cache, on_gpu, "fail" if on_gpu else "warn", f"make room, or {move}")


def _disk(name: str, disk: Disk, on_gpu: bool, when_full: Status, remedy: str) -> Check:
    if disk.free_gib is None:
        return Check(name, "warn", f"{disk.folder} cannot be asked", "its free space")
    found = f"{format_gib(disk.free_gib)} free in {disk.folder}"
    if not disk.writable:
        return Check(name, when_full, f"{disk.folder} is read-only", "a writable folder", remedy)
    if disk.free_gib < MIN_FREE_GIB:
        return Check(name, when_full, found, f"at least {format_gib(MIN_FREE_GIB)}", remedy)
    if on_gpu and disk.free_gib < ROOM_FOR_3B_GIB:
        return Check(name, "warn", found, f"{format_gib(ROOM_FOR_3B_GIB)} for a 3B model and its merge", remedy)
    return Check(name, "ok", found)


def _network(facts: Facts) -> Iterator[Check]:
    hub = facts.hub
    if hub.reachable is None:
        yield Check("network", "info", f"not asked: {hub.why}")
    elif hub.reachable:
        yield Check("network", "ok", hub.host)
    else:
        found = f"{hub.host}: {hub.why}" if hub.host else hub.why
        others = "that are not cached" if facts.gpus else "other than the embedded one"
        yield Check("network", "warn", found, f"a connection, for models {others}", "--model FOLDER" * bool(facts.gpus))


def _token(facts: Facts) -> Iterator[Check]:
    if facts.token_from:
        yield Check("Hub token", "ok", f"there, from {facts.token_from}")
    else:
        yield Check("Hub token", "info", "none: only gated models and uploads need one", remedy="hf auth login")


def _cuda_torch(facts: Facts) -> str:
    """Uninstall first: to pip 2.13.0+cpu meets torch==2.13.0, and nothing would change."""
    wanted = next((r for r in facts.tested.base if r.name == "torch"), Requirement("torch"))
    if facts.system == "Windows":  # where the index has CPU builds only
        return "pip uninstall -y torch, then the CUDA 13 build: https://pytorch.org/get-started"
    return f"pip uninstall -y torch && {pip_line(wanted)}"


def _hide_the_card(facts: Facts) -> str:
    return _set(facts, CUDA_VISIBLE_DEVICES="-1")


def _set(facts: Facts, **variables: str) -> str:
    """A shell line that sets environment variables."""
    pairs: Sequence[str] = [f"{name}={value}" for name, value in variables.items()]
    return " & ".join(f"set {pair}" for pair in pairs) if facts.system == "Windows" else f"export {' '.join(pairs)}"
