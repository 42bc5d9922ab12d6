"""Records of a sweep as they may be sent in: what was measured, without host, user, path, address or text of a prompt.

Numbers stay. A text stays only under a name that is listed here, and what stays is cleaned: of a path its last part,
of a Hub id its owner only where everybody knows it, of a reason its kind. Any other text becomes a mark.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import getpass
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import errors
from toolkit.bench.store import Record
from toolkit.rewards import spec as reward_spec
from toolkit.vram.configs import tables

HIDDEN = reward_spec.HIDDEN
ABSOLUTE_PATH = re.compile(r"""(?<![\w./~-])(?:~|[A-Za-z]:)?[\\/](?:[^\\/\s'":,;()]+[\\/])+(?=[^\\/\s'":,;()])""")
"""All of a path but its last part."""
LEFT_OUT = (
    *("output_dir", "config", "resume", "push_to_hub", "argv", "variables", "platform", "host", "hostname", "node"),
    *("user", "uuid", "serial", "pid", "run", "log", "others"),
)
"""Keys that say where something ran, or who ran it."""
KEYS = (
    *("id", "date", "spec", "point", "repeat", "status", "why", "wall_s", "measured", "predicted", "machine", "about"),
    *("seed", "settings", "import_s", "overhead_s"),
)
"""What a record keeps."""
WORDS = (
    *("date", "spec", "status", "engine", "recipe", "python", "git_commit", "card", "cap", "weights", "why"),
    *("planner", "peak_phase", "fit", "cpu", "threads", "driver", "backend", "target_modules"),
    *("gradient_checkpointing", "vllm_mode", "prompt_style", "parity", "lr_scheduler_type", "optim", "save"),
    *("save_strategy", "loss_type", "attn_implementation", "scale_rewards", "importance_sampling_level"),
    *("dataset_config", "dataset_train_split", "dataset_test_split", "question_column", "answer_column"),
)
"""Names whose text is a word of this project, of a release or of a card."""
KINDS = re.compile(
    r"stopped after \d+ s|exit code -?\d+"
    r"|ended with (?:exit code \d+|signal \d+, as when host memory runs out) and left no result"
    r"|no step beyond the \d+ of the warm-up|no published rates of a CPU|the run timed no phases"
)
"""Reasons that stay whole; of an error its class stays, and of all else nothing: it may be a line of a log."""
PLACES = ("model", "dataset", "examples")
"""Settings that may be a file, a folder or a Hub id."""
MIN_WORD = 2
"""Characters of a name from which on it is looked for: one letter stands everywhere."""
_ROOT = re.compile(r"(?<![\w./~:-])(?:~|[A-Za-z]:)?[\\/]{1,2}(?=[\w.])")
_RELATIVE = re.compile(r"(?<![\w./~-])(?:[\w.~-]+[\\/])+(?=[\w.-]*\.[A-Za-z]\w{0,8}\b|[\w.-]+[\\/])")
_ADDRESS = re.compile(r"\b(\w+)://[^\s,'\"]+")
_TOKEN = re.compile(r"\bhf_\w+")
_MAIL_OR_IP = re.compile(r"[^\s,]+@[^\s,]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_ERROR = re.compile(r"(?:[\w.]+\.)?(\w+)(?=:|$)")
_WORD = re.compile(r"[\w .,:;+()/*-]{0,80}")
_NAME = re.compile(r"[\w .+-]{1,60}")
_MARK = re.compile(rf"{re.escape(HIDDEN)}(?: \d+)?")


def shared(records: Sequence[Record]) -> list[Record]:
    """The records with everything private taken out; a second time changes nothing."""
    clean = Clean()
    found = []
    for record in records:
        kept = _of("", {name: record[name] for name in KEYS if name in record}, clean)
        told = json.dumps([kept.get(name) for name in ("point", "repeat", "about")], sort_keys=True)
        found.append(
            kept | {"id": hashlib.sha256(told.encode()).hexdigest()[:12]}
        )  # the old one was made of paths, too
    return found


def as_lines(records: Sequence[Record]) -> str:
    """The content of a file that `toolkit bench table` and `compare` read like any other."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def name_of(records: Sequence[Record]) -> str:
    """How a file of `benchmarks/baselines` is called: the card and the spec, `rtx_4090_24gb.jsonl`."""
    cards = [name for record in records[:1] for name in (record.get("about") or {}).get("card") or ["cpu"]]
    words = re.sub(r"nvidia|geforce", "", f"{cards[0]} {records[0].get('spec', '')}".lower())
    return "_".join(re.findall(r"[a-z0-9]+", words)) + ".jsonl"


def private_words() -> list[str]:
    """Names of this machine, its user and their folders, the longest first."""
    words = {str(Path.home()), os.getcwd(), tempfile.gettempdir(), Path.home().name, socket.gethostname()}
    words.add(socket.gethostname().partition(".")[0])
    words |= {os.environ[name] for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME") if os.environ.get(name)}
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without an entry, as in a container
        words.add(getpass.getuser())
    return sorted((word for word in words if len(word) >= MIN_WORD), key=len, reverse=True)


class Clean:
    """What any text of one set of records is put through."""

    def __init__(self) -> None:
        words = private_words()
        self._folders = [word for word in words if "/" in word or "\\" in word]
        names = "|".join(re.escape(word) for word in words if word not in self._folders)
        named = rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])"
        self._named = re.compile(named, re.IGNORECASE) if names else None
        self._marks: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if text in _known():
            return text
        text = _TOKEN.sub(f"hf_{HIDDEN}", _ADDRESS.sub(rf"\1://{HIDDEN}", text))
        text = _MAIL_OR_IP.sub(HIDDEN, text)
        for folder in self._folders:  # one may have a blank, at which a path ends to an expression
            text = text.replace(f"{folder}{os.sep}", "/x/")
        text = _RELATIVE.sub("", _ROOT.sub("", ABSOLUTE_PATH.sub("", text)))
        return self._named.sub(HIDDEN, text) if self._named else text

    def mark(self, text: str) -> str:
        """What stands for a text: another mark for another text, so that cells stay apart."""
        return self._marks.setdefault(text, f"{HIDDEN} {len(self._marks) + 1}" if self._marks else HIDDEN)


@functools.cache
def _known() -> frozenset[str]:
    """Hub ids that say nothing of who used them: those of the planner's table, and the recipes' data."""
    ids = (name for model in tables()["models"] for name in model["ids"])
    return frozenset([*ids, "openai/gsm8k"])


def _of(name: str, value: Any, clean: Clean) -> Any:
    """A value as it may be sent, by the name that it stands under."""
    if isinstance(value, Mapping):
        names = {key: "python" if name == "versions" else key for key in value}  # a release is a word, as Python's is
        return {
            key if key in _known() else clean(key): _of(names[key], one, clean)
            for key, one in value.items()
            if not (key in LEFT_OUT and one is not None) and _NAME.fullmatch(key)
        }
    if isinstance(value, (list, tuple)):
        return [_of(name, one, clean) for one in value]
    if not isinstance(value, str) or _MARK.fullmatch(value):
        return value
    if name == "why":
        return kind_of(value)
    if name in PLACES:
        return clean(value if value in _known() else _last_part(value))
    if name == "reward":
        return clean(",".join(map(_reward, reward_spec.parts_of(value))))
    return clean(value) if name in WORDS and _WORD.fullmatch(value) else clean.mark(value)


def kind_of(why: str) -> str:
    """A reason without what a person or a log may have put into it; empty where its kind is not known."""
    if KINDS.fullmatch(why):
        return why
    found = _ERROR.match(why)
    kind = getattr(builtins, found[1], None) or getattr(errors, found[1], None) if found else None
    is_error = isinstance(kind, type) and issubclass(kind, BaseException)
    return found[1] if found and (is_error or found[1] == "OutOfMemoryError") else ""


def _last_part(place: str) -> str:
    return re.split(r"[\\/]+", place.rstrip("\\/"))[-1]


def _reward(part: str) -> str:
    """One reward of a list, a file by its last part."""
    place = reward_spec.place_of(reward_spec.divided(part)[0])
    return part.replace(place, _last_part(place), 1) if place else part
