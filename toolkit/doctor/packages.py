"""The installed packages against the tested set and against one another."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from toolkit.compat.versions import Package, meets, pip_line
from toolkit.doctor.facts import COMPILED_CACHE, Facts
from toolkit.doctor.remedies import remove_folder
from toolkit.findings import Finding, Level
from toolkit.units import and_more

BNB_PLUGIN = "vllm-bnb-plugin"
VLLM = {"vllm", BNB_PLUGIN}
N_BASE_SHOWN = 7  # the pinned ones; the ranges after them are only counted


def check_packages(facts: Facts) -> Iterator[Finding]:
    """The nearest known set, base and GPU packages (one line when in order, else one a package), known bad company."""
    for part in (_tested_set, _base_packages, _gpu_packages, _conflicts, _bnb_plugin, _calls, _compiled_cache):
        yield from part(facts)


def _tested_set(facts: Facts) -> Iterator[Finding]:
    """Other releases may well run: it is said which, and each package's own finding says how to get the tested one."""
    if facts.machine_set.impossible:
        return
    near = facts.nearest
    if near.differing:
        yield Finding("tested set", "info", f"nearest: {near.name}, which has another {', '.join(near.differing)}")
    else:
        yield Finding("tested set", "green", f"{near.name}: {near.ran}")


def _base_packages(facts: Facts) -> Iterator[Finding]:
    off = [finding for r in facts.tested.base if (finding := _package(facts, r, "red"))]
    if not off:
        names = [r.name for r in facts.tested.base]
        shown = [f"{name} {facts.packages[name].version}" for name in names[:N_BASE_SHOWN]]
        yield Finding("base packages", "green", and_more(shown, len(names) - len(shown)))
    yield from off


def _gpu_packages(facts: Facts) -> Iterator[Finding]:
    row = facts.machine_set
    apart = VLLM if row.without_vllm else set()  # which has a check of its own
    present = [r.name for r in facts.tested.gpu if r.name in facts.packages and r.name not in apart]
    listed = ", ".join(f"{name} {facts.packages[name].version or 'without metadata'}" for name in present)
    if not facts.gpus or row.impossible:
        yield Finding("GPU packages", "info", f"{listed or 'none'}: not needed without a GPU")
    elif not {"unsloth", "vllm"} & set(present):
        wanted = f"unsloth{'' if row.without_vllm else ' and vllm'}, which the GPU presets are made for"
        yield Finding("GPU packages", "amber", "none", wanted, row.install_line(facts.tested))
    else:
        apart = apart | {BNB_PLUGIN, "triton-windows"} - set(present)  # and so have these
        off = [f for r in facts.tested.gpu if r.name not in apart and (f := _package(facts, r, "amber"))]
        yield from off or [Finding("GPU packages", "green", listed)]


def _package(facts: Facts, wanted: Requirement, when_missing: Level) -> Finding | None:
    """None when the package is there in a tested version."""
    specifier, line = str(wanted.specifier), pip_line(wanted)
    if wanted.name == "torch" and (facts.gpus or facts.torch is None or facts.torch.cuda is None):
        line = facts.machine_set.torch_line(facts.tested, facts.system)
    match facts.packages.get(wanted.name):
        case None:
            return Finding(wanted.name, when_missing, "not installed", specifier, line)
        case Package(version=None):
            return Finding(wanted.name, "amber", "a module without metadata", specifier, line)
        case Package(has_module=False, version=version):
            again = line.replace("pip install", "pip install --force-reinstall --no-deps")
            return Finding(wanted.name, when_missing, f"{version}, but its module is gone", specifier, again)
        case Package(version=str(version)) if not meets(wanted, version):
            return Finding(wanted.name, "amber", version, specifier, line)
    return None


def _conflicts(facts: Facts) -> Iterator[Finding]:
    base = {canonicalize_name(r.name) for r in facts.tested.base}
    declared = base | {canonicalize_name(r.name) for r in facts.tested.gpu} | {"triton"}
    for conflict in facts.conflicts:
        wanted = conflict.requirement
        if canonicalize_name(wanted.name) in declared:
            continue  # has a finding of its own
        # transformers compares versions when it is imported and stops (its dependency_versions_check)
        stops = conflict.owner == "transformers" or (conflict.found is None and conflict.owner in base)
        found = conflict.found or "not installed"
        specifier = f"{wanted.specifier or 'any version'}, by {conflict.owner}"
        yield Finding(wanted.name, "red" if stops else "amber", found, specifier, pip_line(wanted))


def _bnb_plugin(facts: Facts) -> Iterator[Finding]:
    """vLLM 0.28 moved bitsandbytes to a plugin that nothing pulls in: https://github.com/vllm-project/vllm/pull/43529."""
    vllm = facts.packages.get("vllm")
    if not facts.gpus or facts.machine_set.without_vllm or vllm is None or facts.has(BNB_PLUGIN):
        return
    if vllm.version and meets(Requirement("vllm<0.28"), vllm.version):
        return
    line = next((pip_line(r) for r in facts.tested.gpu if r.name == BNB_PLUGIN), f"pip install {BNB_PLUGIN}")
    wanted = f"with vllm {vllm.version or 'of any release'}, which loads no 4-bit model without it"
    yield Finding(BNB_PLUGIN, "red" if facts.has("unsloth") else "amber", "not installed", wanted, line)


def _calls(facts: Facts) -> Iterator[Finding]:
    """A run on a card with Unsloth stops at the first of them (`compat.unsloth.check_before_loading`)."""
    stops = bool(facts.gpus) and facts.has("unsloth")
    for sentence in facts.broken_calls:
        found, _, next_step = sentence.rpartition("; ")
        yield Finding("Unsloth calls", "red" if stops else "info", found, next_step=next_step)


def _compiled_cache(facts: Facts) -> Iterator[Finding]:
    """Runs of this project keep theirs elsewhere, one a set of versions (`compat.compiled_cache`)."""
    made, now = facts.compiled_by, facts.packages
    moved = {n: v for n, v in made.items() if n not in now or now[n].version != v}
    if moved:
        found = f"{COMPILED_CACHE}, made with {', '.join(f'{n} {v}' for n, v in moved.items())}"
        wanted = "none from other versions, where Unsloth is used outside these recipes"
        yield Finding("compiled cache", "info", found, wanted, remove_folder(facts, COMPILED_CACHE))
