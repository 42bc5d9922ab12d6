"""What this project calls of Unsloth on a card, as data, and whether the installed release still takes it.

The calls cannot run without a card, so they are held against the installed sources, which are read and not imported:
importing Unsloth takes half a minute and patches what it finds. `tests/unit/compat/test_unsloth.py` holds the backend's
own calls against the same data, so that neither can drift.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from toolkit.compat.environment import TRAPS, VARIABLES
from toolkit.compat.versions import pip_line, tested_set, version_of
from toolkit.errors import ContractError, StandbyError, ToolkitError

Need = Literal["run", "standby", "record"]
"""Every run; those with standby (`compat.standby`); or what is only shown and kept (`compat.attention`)."""


@dataclass(frozen=True)
class Call:
    """A function of another package with the arguments that are passed to it."""

    name: str
    """As it is written where it is called; `model` is the policy's."""
    package: str
    file: str
    function: str
    """`name`, or `Class.name` for a method, whose `self` does not count."""
    keywords: tuple[str, ...]
    positional: tuple[str, ...] = ()
    by_us: bool = True
    """False: called not by this project, but by Unsloth with what we pass."""
    needed_by: Need = "run"


@dataclass(frozen=True)
class Names:
    """Names that a part of a file must still declare or read."""

    what: str
    package: str
    files: tuple[str, ...]
    names: tuple[str, ...]
    pattern: str
    """Regular expression of a declaration, with `{name}` for the name."""
    after: str = ""
    """Text that the part begins with; empty for the whole file."""
    needed_by: Need = "run"


MAX_HEADER = 10_000  # characters; the longest here, of load_vllm, has 1700
OF_LOADING = ("model_name", "max_seq_length", "dtype", "load_in_4bit", "trust_remote_code")
OF_VLLM = ("fast_inference", "max_lora_rank", "gpu_memory_utilization", "disable_log_stats")

CALLS = (
    Call(
        "FastLanguageModel.from_pretrained", "unsloth", "models/loader.py", "FastLanguageModel.from_pretrained",
        (*OF_LOADING, *OF_VLLM),
    ),
    # FastLanguageModel's own takes *args and **kwargs and hands them on to this one
    Call(
        "FastLanguageModel.get_peft_model", "unsloth", "models/llama.py", "FastLlamaModel.get_peft_model",
        ("r", "lora_alpha", "lora_dropout", "target_modules", "use_gradient_checkpointing", "random_state"), ("model",),
    ),
    Call(
        "FastLanguageModel.for_inference", "unsloth", "models/loader.py", "FastLanguageModel.for_inference", (),
        ("model",),
    ),
    Call(
        "FastLanguageModel.for_training", "unsloth", "models/loader.py", "FastLanguageModel.for_training", (),
        ("model",),
    ),
    Call(
        "model.save_pretrained_merged", "unsloth", "save.py", "unsloth_generic_save_pretrained_merged",
        ("save_method", "safe_serialization"), ("save_directory", "tokenizer"),
    ),
    Call(
        "model.load_lora", "unsloth_zoo", "vllm_utils.py", "load_lora", ("load_tensors",), ("model", "save_directory"),
    ),
    Call(
        "model.fast_generate", "vllm", "entrypoints/llm.py", "LLM.generate",
        ("sampling_params", "lora_request", "use_tqdm"), ("prompts",),
    ),
    Call(
        "load_vllm", "unsloth_zoo", "vllm_utils.py", "load_vllm",
        (
            *("max_seq_length", "gpu_memory_utilization", "max_lora_rank", "disable_log_stats"),
            *("unsloth_vllm_standby", "max_num_seqs", "enforce_eager", "conservativeness"),
        ), by_us=False,
    ),
    Call("LLM.sleep", "vllm", "entrypoints/llm.py", "LLM.sleep", ("level",), by_us=False, needed_by="standby"),
    Call("LLM.wake_up", "vllm", "entrypoints/llm.py", "LLM.wake_up", ("tags",), by_us=False, needed_by="standby"),
)  # fmt: skip

SWITCHES = tuple(
    dict.fromkeys(item.name for table in (VARIABLES, TRAPS) for item in table if item.name.startswith("UNSLOTH_"))
)
READ_ELSEWHERE = {
    "UNSLOTH_DISABLE_STATISTICS": ("unsloth", "models/_utils.py"),
    "UNSLOTH_VLLM_NO_FLASHINFER": ("unsloth_zoo", "vllm_utils.py"),
}
NAMES = (
    Names(
        "the model that fast_inference loads", "unsloth", ("models/llama.py", "models/_utils.py"),
        ("vllm_engine", "fast_generate", "load_lora"), r"model\.{name}\s*=",
    ),
    Names(
        "its generated GRPOConfig", "unsloth", ("models/rl.py",),
        ("vllm_sampling_params", "unsloth_grpo_mini_batch", "unsloth_logit_chunk_multiplier"),
        r"\n    {name}\s*:", after="class Unsloth{RLConfig_name}",
    ),
    Names(
        "vLLM's SamplingParams", "vllm", ("sampling_params.py",),
        ("temperature", "stop", "include_stop_str_in_output", "max_tokens", "seed"), r"\n    {name}\s*:",
        after="class SamplingParams",
    ),
    Names("its switches", "unsloth_zoo", ("__init__.py", "compiler.py", "device_type.py"),
          tuple(n for n in SWITCHES if n not in READ_ELSEWHERE), "{name}"),
    *(Names("its switches", package, (file,), (name,), "{name}") for name, (package, file) in READ_ELSEWHERE.items()),
    Names(
        "vLLM's allocator, in which Unsloth replaces three methods,", "vllm", ("device_allocator/cumem.py",),
        (
            *("pointer_to_data", "current_tag", "allocator_and_pools"),
            *("python_malloc_callback", "python_free_callback"),
        ), r"\n        self\.{name}\b", after="class CuMemAllocator", needed_by="standby",
    ),
    Names(
        "what Unsloth imports of vLLM for standby", "vllm",
        ("device_allocator/__init__.py", "device_allocator/cumem.py", "utils/platform_utils.py"),
        ("AllocationData", "create_and_map", "unmap_and_release", "is_pin_memory_available"),
        r"\n(?:def|class) {name}\b", needed_by="standby",
    ),
    Names(
        "vLLM's executor, which alone keeps memory from being unmapped twice,", "vllm", ("v1/executor/abstract.py",),
        ('if "weights" in self.sleeping_tags', "if not self.is_sleeping", "self.sleeping_tags.clear"), r"{name}\b",
        after="def sleep(", needed_by="standby",
    ),
    Names(
        "vLLM's engine, which schedules again only once nothing sleeps,", "vllm", ("v1/engine/core.py",),
        ("fully_awake = not self.model_executor.is_sleeping",), "{name}", after="def wake_up(", needed_by="standby",
    ),
    Names(
        "Unsloth's allocator, which leaves the weights where they are,", "unsloth_zoo", ("vllm_utils.py",),
        ("data.tag == .weights.", "MemAllocator.sleep = sleep", "MemAllocator.wake_up = wake_up"), "{name}",
        after="def patch_vllm_enable_sleep_mode", needed_by="standby",
    ),
    Names(
        "Unsloth's sync_weights, which wakes the whole engine,", "unsloth", ("models/rl_replacements.py",),
        ("_llm_weights_sleeping", r"self\.llm\.wake_up\(\)"), "{name}", after="def patch_sync_weights",
        needed_by="standby",
    ),
    Names(
        "Unsloth's choice of attention", "unsloth", ("utils/attention_dispatch.py",), ("select_attention_backend",),
        r"\ndef {name}\(", needed_by="record",
    ),
    Names(
        "vLLM's choice of attention", "vllm",
        ("config/compilation.py", "model_executor/layers/attention_layer_base.py", "v1/attention/backend.py"),
        ("static_forward_context: dict", "def get_attn_backend", "def get_name"), r"\n    {name}\b", needed_by="record",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """The parameters of a function as its source declares them."""

    positional: tuple[str, ...]
    keywords: frozenset[str]
    """Every parameter that can be passed by name."""


def differences(folders: Mapping[str, Path] | None = None, *, needed_by: Need | None = None) -> list[str]:
    """What the installed releases do not take as this project passes it, a sentence each; about 20 ms.

    Of packages that are not installed nothing is said. `folders` gives the folder of each package; None looks the
    installed ones up. `needed_by`: only what that needs; None: all.
    """
    if folders is None:
        folders = {name: folder for name in ("unsloth", "unsloth_zoo", "vllm") if (folder := folder_of(name))}
    calls = [call for call in CALLS if call.package in folders and needed_by in (None, call.needed_by)]
    names = [row for row in NAMES if row.package in folders and needed_by in (None, row.needed_by)]
    found = [line for call in calls for line in _of_call(call, folders[call.package])]
    found += [line for row in names for line in _of_names(row, folders)]
    _text.cache_clear()
    return found


def check_before_loading(*, standby: bool) -> None:
    """Raise ContractError for the first of `differences`, before the minute that a run takes to find it out.

    With `standby` a difference that only standby minds is a StandbyError.
    """
    _raise_first(ContractError, differences(needed_by="run"))
    if standby:
        _raise_first(StandbyError, differences(needed_by="standby"))


def _raise_first(kind: type[ToolkitError], found: list[str]) -> None:
    if found:
        more = f" (and {len(found) - 1} more: toolkit doctor)" if len(found) > 1 else ""
        raise kind(found[0].rstrip(".") + more)


def _of_call(call: Call, folder: Path) -> Iterator[str]:
    signature = read_signature(folder / call.file, call.function)
    remedy = _remedy(call.package)
    if signature is None:
        yield f"{call.name} is called, and {_release(call.package)} has no {call.function} in {call.file}; {remedy}"
        return
    missing = [name for name in call.keywords if name not in signature.keywords]
    if missing:
        yield f"{call.name} is called with {', '.join(missing)}, which {_release(call.package)} does not take; {remedy}"
    if signature.positional[: len(call.positional)] != call.positional:
        takes = ", ".join(signature.positional[: len(call.positional)]) or "none"
        given = ", ".join(call.positional)
        yield f"{call.name} is called with {given} by position, and {_release(call.package)} takes {takes}; {remedy}"


def _of_names(names: Names, folders: Mapping[str, Path]) -> Iterator[str]:
    paths = [folders[names.package] / file for file in names.files]
    text = "\n".join(_text(path).partition(names.after)[2] if names.after else _text(path) for path in paths)
    missing = [name for name in names.names if not re.search(names.pattern.format(name=name), text)]
    if missing:
        what = f"{names.what} should have {', '.join(missing)}"
        yield f"{what}, and {_release(names.package)} has not; {_remedy(names.package)}"


def read_signature(path: Path, function: str) -> Signature | None:
    """The parameters of `name` or `Class.name` in a source file; None when it is not there.

    Only the header is parsed: the files have up to 12000 lines, which `ast` takes a fifth of a second for.
    """
    text = _text(path)
    owner, _, name = function.rpartition(".")
    if owner:
        start = re.search(rf"\nclass {owner}\b", text)
        if start is None:
            return None
        end = re.compile(r"\n[^\s#)]").search(text, start.end())
        text = text[start.end() : end.start() if end else len(text)]
    header = _header(text, name, indent="    " if owner else "")
    if header is None:
        return None
    arguments = header.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if positional[:1] == ["self"]:
        positional = positional[1:]
    return Signature(tuple(positional), frozenset(a.arg for a in (*arguments.args, *arguments.kwonlyargs)))


def _header(text: str, name: str, indent: str) -> ast.FunctionDef | None:
    """The function's `def` line, or lines, parsed without its body."""
    start = text.find(f"\n{indent}def {name}(") + 1
    if start == 0:
        return None
    header = ""
    for line in text[start : start + MAX_HEADER].splitlines():
        header += line.removeprefix(indent) + "\n"
        with contextlib.suppress(SyntaxError):  # until its last line is there
            parsed = ast.parse(header + "    pass\n" * line.rstrip().endswith(":")).body[0]
            return parsed if isinstance(parsed, ast.FunctionDef) else None
    return None


@lru_cache(maxsize=16)
def _text(path: Path) -> str:
    """A source file, kept for the other calls that are declared in it; empty when it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def folder_of(package: str) -> Path | None:
    """Where a package's sources are; None where it is not installed."""
    spec = importlib.util.find_spec(package)  # of a top-level name, so nothing is imported
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def _release(package: str) -> str:
    version = version_of(package)
    return f"{package} {version}" if version else f"the installed {package}"


@cache
def _remedy(package: str) -> str:
    """What to do: the tested releases of Unsloth's two packages go together."""
    wanted = ("unsloth", "unsloth_zoo") if package.startswith("unsloth") else (package,)
    return "for the tested release: " + pip_line(*(r for r in tested_set().gpu if r.name in wanted))
