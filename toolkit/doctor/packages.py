"""The installed packages against the tested set and against one another."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from toolkit.compat.versions import GPU_LINE, Package, meets, pip_line
from toolkit.doctor.facts import COMPILED_CACHE, Facts
from toolkit.doctor.finding import Check, Status, install_cuda_torch

BNB_PLUGIN = "vllm-bnb-plugin"
N_BASE_SHOWN = 7  # the pinned ones; the ranges after them are only counted


def check_packages(facts: Facts) -> Iterator[Check]:
    """Base and GPU packages (one line when in order, else one a package), then known bad company."""
    for part in (_base_packages, _gpu_packages, _conflicts, _torchvision, _bnb_plugin, _compiled_cache):
        yield from part(facts)


def _base_packages(facts: Facts) -> Iterator[Check]:
    off = [check for r in facts.tested.base if (check := _package(facts, r, "fail"))]
    if not off:
        names = [r.name for r in facts.tested.base]
        shown = [f"{name} {facts.packages[name].version}" for name in names[:N_BASE_SHOWN]]
        found = ", ".join(shown) + f" and {len(names) - len(shown)} more" * (len(names) > len(shown))
        yield Check("base packages", "ok", found)
    yield from off


def _gpu_packages(facts: Facts) -> Iterator[Check]:
    names = [r.name for r in facts.tested.gpu]
    present = [name for name in names if name in facts.packages]
    listed = ", ".join(f"{name} {facts.packages[name].version}" for name in present)
    if not facts.gpus:
        yield Check("GPU packages", "info", f"{listed or 'none'}: not needed without a GPU")
    elif facts.system == "Windows" and "unsloth" not in present:
        yield Check("GPU packages", "info", "none", "unsloth, in WSL", f"in WSL: {GPU_LINE}")
    elif not present:
        wanted = "unsloth and vllm, which the GPU presets are made for"
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
        line = install_cuda_torch(facts)
    match facts.packages.get(wanted.name):
        case None:
            return Check(wanted.name, when_missing, "not installed", specifier, line)
        case Package(version=None):
            return Check(wanted.name, "warn", "a module without metadata", specifier, line)
        case Package(has_module=False, version=version):
            again = line.replace("pip install", "pip install --force-reinstall --no-deps")
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
    if facts.gpus and torch.cuda is None:
        return  # a CUDA build of torch, which is asked for elsewhere, mends this too
    found = f"{vision.version} beside torch {torch.version}"
    line = "pip uninstall -y torchvision"
    if facts.gpus:  # where unsloth lists it as a requirement
        line += f' && pip install torchvision "torch=={torch.version.partition("+")[0]}"'
    stops = bool(facts.gpus) and facts.has("unsloth")
    yield Check(
        "torchvision", "fail" if stops else "warn", found, "one build of both, or unsloth does not import", line
    )


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
