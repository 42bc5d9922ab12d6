"""Environment variables that other packages read once, at import: one table, set before any of them loads, and checked.

`VARIABLES` is what a run sets, `TRAPS` what a user may have set that breaks it. Only the standard library is needed, so
that `toolkit doctor` judges a machine by the same two tables (`check`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

from toolkit.compat.compiled_cache import folder_for_these_versions
from toolkit.errors import ContractError, SettingsError

MUST_COME_FIRST = ("torch", "transformers", "trl", "peft", "unsloth", "vllm")
"""Packages that read the environment, or bind one another's names, when they are imported."""


@dataclass(frozen=True)
class Situation:
    """What of a run decides which variables matter."""

    on_gpu: bool = False
    unsloth: bool = False
    vllm: bool = False
    """vLLM samples the completions, in this process."""
    standby: bool = False
    """vLLM's memory is to be freed during the update, where that is possible."""
    card: str | None = None
    """What `CUDA_VISIBLE_DEVICES` must say; None leaves it alone, as more than one process needs it."""
    offline: bool = False
    """Model and data are here, so that nothing has to ask the network."""
    pushes: bool = False
    """The result is to be uploaded."""
    debug: bool = False
    """All that the engines say is to be seen."""

    @property
    def sleeps(self) -> bool:
        """Whether Unsloth's standby is on: it exists for vLLM on a card only."""
        return self.on_gpu and self.unsloth and self.vllm and self.standby


@dataclass(frozen=True)
class Variable:
    """One variable that a run sets, with the module that reads it at import."""

    name: str
    read_by: str
    value: Callable[[Situation], str | None]
    """None where it does not apply."""
    why: str
    overrules: bool = False
    """Set over what the user has set; every other one is only a default."""


def _when(applies: Callable[[Situation], bool], value: str = "1") -> Callable[[Situation], str | None]:
    return lambda run: value if applies(run) else None


VARIABLES = (
    Variable("HF_HUB_DISABLE_TELEMETRY", "huggingface_hub.constants", _when(lambda run: True), "nothing is sent home"),
    Variable(
        "TOKENIZERS_PARALLELISM", "transformers", _when(lambda run: True, "false"),
        "forked reward workers deadlock with the tokenizer's threads",
    ),
    Variable(
        "HF_HUB_OFFLINE", "huggingface_hub.constants", _when(lambda run: run.offline),
        "model and data are here; asking the Hub costs seconds, or minutes without a network",
    ),
    Variable("HF_DATASETS_OFFLINE", "datasets", _when(lambda run: run.offline), "as HF_HUB_OFFLINE"),
    Variable(
        "CUDA_DEVICE_ORDER", "torch", _when(lambda run: run.on_gpu, "PCI_BUS_ID"),
        "the card was chosen in the driver's order; CUDA's own is fastest first", overrules=True,
    ),
    Variable(
        "CUDA_VISIBLE_DEVICES", "torch", lambda run: run.card,
        "with several cards in sight transformers wraps the model in DataParallel", overrules=True,
    ),
    # Two OpenMP threads that spin run four times slower beside any other busy process
    Variable("OMP_WAIT_POLICY", "torch", _when(lambda run: not run.on_gpu, "PASSIVE"), "waiting threads do not spin"),
    Variable("GOMP_SPINCOUNT", "torch", _when(lambda run: not run.on_gpu, "0"), "waiting threads do not spin"),
    Variable(
        "UNSLOTH_DISABLE_STATISTICS", "unsloth", _when(lambda run: run.unsloth),
        "Unsloth downloads a counter at every load",
    ),
    Variable(
        "UNSLOTH_COMPILE_LOCATION", "unsloth_zoo",
        lambda run: str(folder_for_these_versions()) if run.unsloth else None,
        "Unsloth generates code into the working directory otherwise, where other versions find it",
    ),
    Variable(
        "UNSLOTH_VLLM_STANDBY", "unsloth_zoo",
        lambda run: ("1" if run.sleeps else "0") if run.on_gpu and run.unsloth else None,
        "--standby decides", overrules=True,
    ),
    Variable(
        "UNSLOTH_DISABLE_CPU_FALLBACK", "unsloth_zoo", _when(lambda run: run.on_gpu and run.unsloth),
        "a run whose torch sees no card trains on the CPU otherwise, and says so in one line",
    ),
    # Where nvcc and ninja are there Unsloth asks for its sampler, which vLLM 0.31 refuses on compute capability 7.5
    Variable(
        "UNSLOTH_VLLM_NO_FLASHINFER", "unsloth_zoo", _when(lambda run: run.on_gpu and run.unsloth and run.vllm),
        "untruncated sampling never uses FlashInfer's sampler, and building it takes minutes",
    ),
    Variable(
        "VLLM_LOGGING_LEVEL", "vllm", _when(lambda run: run.vllm and not run.debug, "ERROR"),
        "each rollout wakes an engine that is awake, and vLLM warns of it",
    ),
    Variable("VLLM_NO_USAGE_STATS", "vllm", _when(lambda run: run.vllm), "vLLM sends home what it runs on"),
)  # fmt: skip


@dataclass(frozen=True)
class Trap:
    """A value that a user may have set, and under which a run does not do what it says."""

    name: str
    bites: Callable[[str, Situation], bool]
    what: str
    stops: bool = True
    """Whether the run cannot do what was asked; else it goes on, and one line says what happens."""


def _is_one(value: str) -> bool:
    return value == "1"  # as Unsloth compares


def _is_true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")  # as huggingface_hub does


def _has_expandable_segments(value: str) -> bool:
    return re.search(r"expandable_segments\s*:\s*true", value, re.IGNORECASE) is not None


_NO_UPLOAD = "the Hub is not asked, so nothing can be uploaded"
_NO_SEGMENTS = "vLLM's standby cannot sleep over expandable segments, so Unsloth takes them out"

TRAPS = (
    Trap("HF_HUB_OFFLINE", lambda v, run: run.pushes and _is_true(v), _NO_UPLOAD),
    Trap("TRANSFORMERS_OFFLINE", lambda v, run: run.pushes and _is_true(v), _NO_UPLOAD),
    # unsloth_zoo/__init__.py sets all three when it finds one of them
    Trap("HF_DATASETS_OFFLINE", lambda v, run: run.pushes and run.unsloth and _is_true(v), _NO_UPLOAD),
    Trap("PYTORCH_CUDA_ALLOC_CONF", lambda v, run: run.sleeps and _has_expandable_segments(v), _NO_SEGMENTS, False),
    Trap("PYTORCH_ALLOC_CONF", lambda v, run: run.sleeps and _has_expandable_segments(v), _NO_SEGMENTS, False),
    Trap(
        "UNSLOTH_FORCE_CPU", lambda v, run: run.unsloth and run.on_gpu and _is_one(v),
        "Unsloth trains on the CPU beside a card that this run plans for",
    ),
    Trap(
        "UNSLOTH_ZOO_DISABLE_GPU_INIT", lambda v, run: run.unsloth and run.on_gpu and _is_one(v),
        "Unsloth leaves the card alone that this run plans for",
    ),
    Trap(
        "UNSLOTH_ALLOW_CPU", lambda v, run: run.unsloth and _is_one(v),
        "a switch of Unsloth's own tests: 4-bit becomes float32, and its trainer is left out",
    ),
    Trap(
        "UNSLOTH_DISABLE_CPU_FALLBACK", lambda v, run: run.unsloth and not run.on_gpu and _is_one(v),
        "Unsloth refuses its CPU mode, which this run is to use",
    ),
    Trap("VLLM_USE_V1", lambda v, run: run.vllm, "vLLM 0.31 has one engine and does not read it", False),
)  # fmt: skip

WATCHED = tuple(dict.fromkeys([trap.name for trap in TRAPS] + [v.name for v in VARIABLES if v.overrules]))
"""Every variable that `check` looks at."""


@dataclass(frozen=True)
class Problem:
    """A variable that is set to something this run cannot use."""

    name: str
    value: str
    what: str
    stops: bool

    def __str__(self) -> str:
        return f"{self.name}={self.value}: {self.what}"


def check(variables: Mapping[str, str], run: Situation) -> list[Problem]:
    """Hold the variables that a user has set against what a run needs; pure."""
    found = [
        Problem(trap.name, variables[trap.name], trap.what, trap.stops)
        for trap in TRAPS
        if trap.name in variables and trap.bites(variables[trap.name], run)
    ]
    for variable in VARIABLES:
        wanted, given = variable.value(run), variables.get(variable.name)
        if variable.overrules and wanted is not None and given not in (None, wanted):
            found.append(Problem(variable.name, str(given), f"becomes {wanted}, because {variable.why}", False))
    return found


_is_set = False
"""Whether this process was prepared: then a second policy may be opened, and what differs is said to come late."""


def set_before_imports(
    run: Situation, environ: MutableMapping[str, str] = os.environ
) -> tuple[dict[str, str], list[str]]:
    """Set what must stand before the first heavy import.

    Returns the variables that apply with the values in force, for the records, and a line for each thing that the user
    has set and that acts otherwise than it says.

    Raises:
        SettingsError: a variable under which the run cannot do what was asked.
        ContractError: one of the packages was imported already, so the variables would come too late.
    """
    global _is_set
    early = [name for name in MUST_COME_FIRST if name in sys.modules]
    if early and not _is_set:
        raise ContractError(f"{early[0]} was imported before the environment was set", "toolkit first, then the rest")
    problems = check(environ, run)
    for problem in problems:
        if problem.stops:
            raise SettingsError(f"the environment has {problem}", next_step=f"unset {problem.name}")
    lines = [f"environment: {problem}" for problem in problems]
    in_force: dict[str, str] = {}
    for variable in VARIABLES:
        value = variable.value(run)
        if value is None:
            continue
        if variable.read_by in sys.modules and environ.get(variable.name) != value:
            lines.append(f"environment: {variable.name}={value} comes late, {variable.read_by} is imported already")
        if variable.overrules:
            environ[variable.name] = value
        in_force[variable.name] = environ.setdefault(variable.name, value)
    _is_set = _is_set or environ is os.environ
    return in_force, lines
