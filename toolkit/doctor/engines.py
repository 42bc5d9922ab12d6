"""What computes on the card: torch's build, triton and vLLM, each against the card's own set."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import Requirement

from toolkit.compat.versions import Package, meets, pip_line
from toolkit.doctor.card import lacks_kernels
from toolkit.doctor.facts import Facts
from toolkit.doctor.remedies import one_after_the_other
from toolkit.findings import Finding, Level


def check_engines(facts: Facts) -> Iterator[Finding]:
    """Nothing where all fits; vLLM also where the machine cannot have it."""
    for part in (_torch_build, _triton, _vllm, _torchvision):
        yield from part(facts)


def _torch_build(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or torch.cuda is not None:
        return
    line = facts.machine_set.torch_line(facts.tested, facts.system)
    if any(maker in torch.version for maker in ("+rocm", "+xpu")):
        yield Finding(
            "torch build", "amber", torch.version, "a CUDA or a CPU build: no other has been tried here", line
        )
    elif facts.gpus and not facts.machine_set.impossible:
        found = f"{torch.version}, a CPU build: it does not see the {facts.gpus[0].name}"
        yield Finding("torch build", "red", found, "a CUDA build", line)


def _triton(facts: Facts) -> Iterator[Finding]:
    """TRL's log-probabilities are a Triton kernel on a GPU, and `None` where triton is missing (TRL 1.15)."""
    if facts.gpus and facts.torch and facts.torch.cuda and not facts.has("triton"):
        name = "triton-windows" if facts.system == "Windows" else "triton"
        asked = [*facts.tested.gpu, *(conflict.requirement for conflict in facts.conflicts)]
        wanted = next((r for r in asked if r.name == name), Requirement(name))
        yield Finding("triton", "red", "not installed", "triton, for TRL's kernels on a GPU", pip_line(wanted))


def _vllm(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus or facts.machine_set.impossible:
        return
    vllm, row = facts.packages.get("vllm"), facts.machine_set
    if row.without_vllm and vllm is None:
        yield Finding("vllm", "info", row.without_vllm)
    elif row.without_vllm:
        # On Windows it is somebody's own build
        level: Level = "amber" if facts.system == "Windows" else "red"
        yield Finding("vllm", level, f"{_version(vllm)}, and {row.without_vllm}", "no vllm", "pip uninstall -y vllm")
    elif vllm and facts.torch and not lacks_kernels(facts) and _is_for_a_newer_cuda(facts, vllm):
        found = f"{_version(vllm)} beside torch {facts.torch.version}"
        line = row.torch_line(facts.tested, facts.system)
        yield Finding("vllm", "red", found, "CUDA 13 for both: vllm loads libcudart.so.13", line)


def _is_for_a_newer_cuda(facts: Facts, vllm: Package) -> bool:
    """The tested vLLM's wheel on PyPI is built for CUDA 13; those of GitHub for 12.9 say so in their version."""
    cuda = facts.torch.cuda if facts.torch else None
    pin = next((r for r in facts.tested.gpu if r.name == "vllm"), None)
    if cuda is None or pin is None or vllm.version is None:
        return False
    return cuda < (13, 0) and meets(pin, vllm.version) and "+cu12" not in vllm.version


def _torchvision(facts: Facts) -> Iterator[Finding]:
    """Its operators load only beside the torch build that they were made with; the recipes need no torchvision.

    Transformers and TRL import without touching it; Unsloth does not (`torchvision::nms does not exist`).
    """
    torch, vision = facts.torch, facts.torchvision
    if torch is None or vision is None or torch.cuda == vision.cuda:
        return
    if facts.gpus and torch.cuda is None:
        return  # a CUDA build of torch, which is asked for elsewhere, fixes this too
    found = f"{vision.version} beside torch {torch.version}"
    line = "pip uninstall -y torchvision"
    if torch.cuda and facts.gpus:  # where unsloth lists it as a requirement
        build = "cu{}{}".format(*torch.cuda)
        again = f'pip install torchvision "torch=={torch.version.partition("+")[0]}"'
        line = one_after_the_other(facts, line, f"{again} --extra-index-url https://download.pytorch.org/whl/{build}")
    stops = bool(facts.gpus) and facts.has("unsloth")
    wanted = "one build of both, or unsloth does not import"
    yield Finding("torchvision", "red" if stops else "amber", found, wanted, line)


def _version(package: Package | None) -> str:
    return (package.version if package else None) or "without metadata"
