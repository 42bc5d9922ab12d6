"""From an argument list to settings: presets, `--grpo.*`, did-you-mean, and errors of one line.

YAML files and saved settings take the same road as flags: they become arguments in front of the user's own,
so one parser checks every value, and the user's flags win.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from toolkit.compat.trl_fields import grpo_fields
from toolkit.errors import SettingsError, did_you_mean

S = TypeVar("S")
GRPO_PREFIX = "--grpo."
MAX_SHOWN = 60  # characters of a user's value in an error
_PYTHON_SPELLING = {"true": "True", "false": "False"}  # YAML's words in tyro's spelling


def parse(cls: type[S], argv: Sequence[str], presets: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> S:
    """Fill the settings dataclass `cls` from `presets` (name, mapping; later wins) and then `argv`.

    `--help` shows the presets' values as defaults, since they are what a run without flags would use.

    Raises:
        SettingsError: unknown name (with the nearest known), or a value of the wrong type.
        SystemExit: code 0 after `--help`.
    """
    settings = cls()
    known = _declared_types(cls)
    for source, mapping in presets:
        settings = _fill(settings, _mapping_to_args(mapping, known, source), known, source)
    return _fill(settings, _normalise(argv, known), known)


def _fill(settings: S, args: Sequence[str], known: Mapping[str, Any], source: str = "") -> S:
    own, grpo = _split_grpo(args)
    with _blaming(source):
        filled, rest = _run_tyro(settings, own)
        if rest:
            raise _unknown(rest[0], known)
        if grpo and "grpo" not in known:
            raise _unknown(grpo[0], known)
        if grpo:
            merged = {**vars(filled).get("grpo", {}), **_parse_grpo(grpo, known)}
            filled = replace(filled, grpo=merged)  # type: ignore[type-var] # every settings class is a dataclass
    return filled


@contextlib.contextmanager
def _blaming(source: str) -> Iterator[None]:
    """Put the file's name, if there is one, in front of a SettingsError."""
    try:
        yield
    except SettingsError as error:
        if source:
            raise SettingsError(f"{source}: {error.found}", error.wanted, error.next_step) from None
        raise


def _declared_types(cls: type) -> dict[str, Any]:
    """Name and declared type of every flag, in declaration order, as `flatten` names them."""
    hints = get_type_hints(cls)
    types: dict[str, Any] = {}
    for f in fields(cls):
        types |= _declared_types(hints[f.name]) if is_dataclass(hints[f.name]) else {f.name: hints[f.name]}
    return types


def _kinds(declared: Any) -> set[Any]:
    """The plain classes of a declared type: `list[str] | None` gives `{list, NoneType}`."""
    origin = get_origin(declared)
    if origin in (list, tuple, dict):
        return {origin}
    if origin is Literal:
        return {type(choice) for choice in get_args(declared)}
    return {kind for part in get_args(declared) for kind in _kinds(part)} if origin else {declared}


def given_names(argv: Sequence[str]) -> set[str]:
    """The flags a user typed, by name: `{"seed", "grpo.beta"}`."""
    return {_name(token) for token in argv if token.startswith("--")}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file: one flat mapping, with `grpo:` for GRPOConfig fields; a null value is a name not set.

    Raises:
        SettingsError: missing file, not UTF-8, broken YAML (with the line), or not a mapping.
    """
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {path} cannot be read ({error.strerror})", "a YAML file of settings") from error
    except UnicodeDecodeError as error:
        found = f"--config {path} is not UTF-8 at byte {error.start}"
        raise SettingsError(found, "`name: value` lines in UTF-8", "save the file as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML lets a date such as 2024-99-99 through
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise SettingsError(f"--config {path} is not YAML{line}", "`name: value` lines", "mend the file") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"--config {path} holds {type(loaded).__name__}", "`name: value` lines", "mend the file")
    return _without_nulls(loaded)


def _without_nulls(loaded: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in loaded.items() if value is not None}
    if isinstance(given.get("grpo"), dict):
        given["grpo"] = {name: value for name, value in given["grpo"].items() if value is not None}
    return given


def _name(token: str) -> str:
    return token.removeprefix("--").partition("=")[0].replace("-", "_")


def _mapping_to_args(mapping: Mapping[str, Any], known: Mapping[str, Any], source: str) -> list[str]:
    args: list[str] = []
    for name, value in mapping.items():
        if name == "grpo" and "grpo" in known:
            args += _grpo_to_args({} if value is None else value, known, source)
        elif not isinstance(name, str) or name not in known:
            raise SettingsError(
                f"{source} sets {name!r}", "the name of a setting", did_you_mean(str(name), known) or "see --help"
            )
        elif value is not None:
            words = _words(value, known[name], f"{source}: {name}")
            with _blaming(source):
                args += _normalise([f"--{name}", *words], known)
    return args


def _grpo_to_args(mapping: Any, known: Mapping[str, Any], source: str) -> list[str]:
    if not isinstance(mapping, dict):
        raise SettingsError(f"{source}: grpo is {_shape(mapping)}", "`name: value` lines below grpo", "mend the file")
    declared = grpo_fields() if mapping else {}
    args: list[str] = []
    for name, value in mapping.items():
        with _blaming(source):
            _check_grpo_name(str(name), declared, known)
        # None stays a word: in saved settings it was asked for, and another value may be the field's default
        args += [GRPO_PREFIX + name, *_words(value, declared[name], f"{source}: grpo.{name}")]
    return args


def _words(value: Any, declared: Any, where: str) -> list[str]:
    """A YAML or JSON value as what a user would type; `where` names the file and the key in errors.

    Raises:
        SettingsError: a list or a mapping where the declared type has none.
    """
    kinds = _kinds(declared)
    if dict in kinds and isinstance(value, dict):
        try:
            return [json.dumps(value)]
        except (TypeError, ValueError, RecursionError) as error:
            raise SettingsError(f"{where} cannot be said in JSON ({error})", "numbers, words and lists") from error
    if isinstance(value, (list, tuple)) and kinds & {list, tuple}:
        odd = [v for v in value if v is None or isinstance(v, (list, tuple, dict))]
        if odd:
            raise SettingsError(f"{where} holds {_shape(odd[0])} in a list", "a list of single values", "mend the file")
        return [str(v) for v in value]
    if isinstance(value, (list, tuple, dict)):
        wanted = "a mapping" if dict in kinds else "a list" if kinds & {list, tuple} else "one value"
        raise SettingsError(f"{where} is {_shape(value)}", wanted, "mend the file")
    return [str(value)]


def _shape(value: Any) -> str:
    """What a value is, without the value: it may be a secret or a page long."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else "nothing" if value is None else "one value"


def _normalise(argv: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Spell flags with underscores, `--use_vllm true` with Python's `True`, and `--standby false` as `--no-standby`."""
    args: list[str] = []
    tokens = list(argv)
    name = ""
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            args.append(_spelled(token, known.get(name)))
            continue
        name, equals, value = _name(token), "=" in token, token.partition("=")[2]
        if name in ("grpo", "grpo.") and "grpo" in known:
            form = f"{GRPO_PREFIX}NAME VALUE"
            raise SettingsError(f"{token.partition('=')[0]} names no field", form, "for example --grpo.top_p 0.9")
        if known.get(name) is bool:
            if not equals and tokens and not tokens[0].startswith("--"):
                equals, value = True, tokens.pop(0)
            if equals:
                if value.lower() not in _PYTHON_SPELLING:
                    raise SettingsError(f"--{name} is {value!r}", "true or false")
                args.append(f"--{name}" if value.lower() == "true" else f"--no-{name}")
                continue
        if equals:
            args.append(f"--{name}={_spelled(value, known.get(name))}")
        else:
            args.append(f"--{name}" if not name.startswith("no_") else token)
    return args


def _spelled(word: str, declared: Any) -> str:
    """`true` as `True` where the type has a bool, so that a folder or a repository may be called `true`."""
    return _PYTHON_SPELLING.get(word.lower(), word) if bool in _kinds(declared) else word


def _split_grpo(args: Sequence[str]) -> tuple[list[str], list[str]]:
    own: list[str] = []
    grpo: list[str] = []
    target = own
    for token in args:
        if token.startswith("--"):
            target = grpo if token.startswith(GRPO_PREFIX) else own
        target.append(token)
    return own, grpo


def _run_tyro(settings: S, args: Sequence[str]) -> tuple[S, list[str]]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                type(settings), default=settings, args=list(args), return_unknown_args=True, use_underscores=True
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _from_tyro(printed.getvalue(), "see --help") from None


def _one_line(box: str) -> str:
    """The first paragraph of tyro's error box, without the box."""
    lines = [line.strip(" │╭╮╰╯") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    body = [line for line in lines[1:] if line]
    for i, line in enumerate(body):
        if set(line) <= {"─"}:
            body = body[:i]
            break
    return " ".join(body).replace("`", "'")


# How tyro (Python, in truth) words a value of the wrong type, and how a person would
_WORDINGS = (
    (r"Error parsing (--\S+): invalid literal for int\(\) with base 10: (.+)", "a whole number"),
    (r"Error parsing (--\S+): could not convert string to float: (.+)", "a number"),
)


def _from_tyro(box: str, next_step: str) -> SettingsError:
    line = _one_line(box)
    for pattern, wanted in _WORDINGS:
        if match := re.fullmatch(pattern, line):
            return SettingsError(f"{match[1]} is {match[2]}", wanted, next_step)
    if match := re.fullmatch(r"invalid choice (.+) for argument '(--\S+)'\. Expected one of \((.+)\)\.?", line):
        choices = [choice.strip(" '") for choice in match[3].split(",")]
        near = did_you_mean(match[1].strip("'"), choices)
        return SettingsError(f"{match[2]} is {match[1]}", near or f"one of {', '.join(choices)}", next_step)
    return SettingsError(line, next_step=next_step)


def _unknown(token: str, known: Iterable[str]) -> SettingsError:
    if not token.startswith("--"):
        return SettingsError(f"unexpected argument {token!r}", "flags of the form --name value", "see --help")
    hint = did_you_mean(_name(token), known)
    return SettingsError(
        f"unknown flag --{_name(token)}", hint.replace("mean ", "mean --") or "a flag of this command", "see --help"
    )


def _parse_grpo(args: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    declared = grpo_fields()
    given: dict[str, list[str]] = {}
    name = ""
    for token in args:
        if not token.startswith(GRPO_PREFIX):
            given[name].append(token)
            continue
        name = _name(token).removeprefix("grpo.")
        _check_grpo_name(name, declared, known)
        given[name] = [token.partition("=")[2]] if "=" in token else []
    parsed: dict[str, Any] = {}
    own_args: list[str] = []
    for name, words in given.items():
        kinds = _kinds(declared[name])
        if dict in kinds:
            parsed[name] = _json_mapping(name, words)
            continue
        words = [_spelled(word, declared[name]) for word in words]
        if not words and bool in kinds and str not in kinds:
            words = ["True"]
        own_args += [f"--{name}={words[0]}"] if len(words) == 1 else [f"--{name}", *words]
    names = [name for name in given if name not in parsed]
    if not names:
        return parsed
    cls = make_dataclass("grpo", [(name, declared[name]) for name in names])
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            value = tyro.cli(cls, args=own_args, use_underscores=True, config=(tyro.conf.FlagConversionOff,))
    except SystemExit:
        raise _from_tyro(printed.getvalue().replace("--", GRPO_PREFIX), "see TRL's GRPOConfig") from None
    return parsed | {name: getattr(value, name) for name in names}


def _check_grpo_name(name: str, declared: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise SettingsError, without the value, for a field that the recipe owns or GRPOConfig does not have."""
    if name in _OWNED or (name in known and name in declared):
        own = _OWNED.get(name, f"--{name}")
        raise SettingsError(f"--grpo.{name} names a setting that the recipe owns", own, "leave it out, or use that")
    if name not in declared:
        hint = did_you_mean(name, declared) or "a GRPOConfig field"
        raise SettingsError(f"unknown GRPOConfig field {name!r}", hint, "the fields are those of TRL's GRPOConfig")


def _json_mapping(name: str, words: Sequence[str]) -> dict[str, Any] | None:
    wanted = "one JSON object"
    next_step = f"""for example {GRPO_PREFIX}{name} '{{"name": 1}}'"""
    if len(words) != 1:
        shown = " ".join(words)[:MAX_SHOWN] or "nothing"
        raise SettingsError(f"{GRPO_PREFIX}{name} is {shown}", wanted, next_step)
    if words[0] in ("None", "null"):
        return None
    try:
        value = json.loads(words[0])
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{GRPO_PREFIX}{name} is {words[0][:MAX_SHOWN]}", wanted, next_step) from error
    if not isinstance(value, dict):
        raise SettingsError(f"{GRPO_PREFIX}{name} is {words[0][:MAX_SHOWN]}", wanted, next_step)
    return value


# GRPOConfig fields that the recipe fills itself, with what to use instead: another flag has them under another name,
# or a run's records and `--resume` stand on their value. Some are gone from newer TRL and still in people's notes.
_OWNED = {
    "bf16": "the dtype that the backend chooses",
    "fp16": "the dtype that the backend chooses",
    "use_cpu": "--require_gpu or a machine without a CUDA device",
    "resume_from_checkpoint": "--resume",
    "vllm_gpu_memory_utilization": "--gpu_memory_utilization",
    "vllm_enable_sleep_mode": "--standby",
    "hub_model_id": "--push_to_hub",
    "hub_private_repo": "--public",
    "hub_token": "the environment variable HF_TOKEN",
    "push_to_hub_token": "the environment variable HF_TOKEN",
    "push_to_hub": "--push_to_hub",
    "hub_strategy": "--push_to_hub, which uploads once, at the end",
    "reward_weights": "the weights in the recipe",
    "model_init_kwargs": "the model settings",
    "trust_remote_code": "nothing: remote code is never run",
    "save_only_model": "nothing: --resume needs the optimizer that it would leave out",
    "save_strategy": "--save_steps",
    "save_total_limit": "nothing: the last two checkpoints are kept",
    "ignore_data_skip": "nothing: a resumed run needs its data order",
    "logging_steps": "nothing: every step is recorded in metrics.jsonl",
    "logging_strategy": "nothing: every step is recorded in metrics.jsonl",
    "logging_first_step": "nothing: every step is recorded in metrics.jsonl",
    "logging_dir": "--output_dir",
    "log_completions": "nothing: completions/ in the run folder holds them",
    "disable_tqdm": "nothing: the run has its own view of progress",
    "generation_batch_size": "--per_device_train_batch_size and --steps_per_generation",
    "auto_find_batch_size": "--per_device_train_batch_size",
    "num_train_epochs": "--max_steps",
    "overwrite_output_dir": "--output_dir with a new folder, or --resume",
}
