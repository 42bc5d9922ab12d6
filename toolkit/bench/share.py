"""Records of a sweep as they may be sent in: what was measured, without host, user, path, address or text of a prompt.

What stays of a path is its last part, and of a Hub id its owner only where everybody knows it. The rules hold for every
text at any depth, so that a figure which a later release records is shared, and a path in it is not.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
TEXTS = ("system_prompt",)
"""Settings that may be a text of one's own."""
PLACES = ("model", "dataset", "examples")
"""Settings that may be a file, a folder or a Hub id."""
MIN_WORD = 2
"""Characters of a name from which on it is looked for: one letter stands everywhere."""
_ROOT = re.compile(r"(?<![\w./~:-])(?:~|[A-Za-z]:)?[\\/]{1,2}(?=[\w.])")
_RELATIVE = re.compile(r"(?<![\w./~-])(?:[\w.~-]+[\\/])+(?=[\w.-]*\.[A-Za-z]\w{0,8}\b|[\w.-]+[\\/])")
_ADDRESS = re.compile(r"\b(\w+)://[^\s,'\"]+")
_TOKEN = re.compile(r"\bhf_\w+")


def shared(records: Sequence[Record]) -> list[Record]:
    """The records with everything private taken out; a second time changes nothing."""
    clean = _cleaner()
    found = []
    for record in records:
        kept = _of_mapping(record, clean)
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


Clean = Callable[[str], str]


def private_words() -> list[str]:
    """Names of this machine, its user and their folders, the longest first."""
    words = {str(Path.home()), os.getcwd(), tempfile.gettempdir(), Path.home().name, socket.gethostname()}
    words.add(socket.gethostname().partition(".")[0])
    words |= {os.environ[name] for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME") if os.environ.get(name)}
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without an entry, as in a container
        words.add(getpass.getuser())
    return sorted((word for word in words if len(word) >= MIN_WORD), key=len, reverse=True)


def _cleaner() -> Clean:
    """What any text is put through."""
    words = private_words()
    folders = [word for word in words if "/" in word or "\\" in word]
    names = [re.escape(word) for word in words if word not in folders]
    named = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(names)})(?![A-Za-z0-9])", re.IGNORECASE) if names else None

    def clean(text: str) -> str:
        if text in _known():
            return text
        text = _TOKEN.sub(f"hf_{HIDDEN}", _ADDRESS.sub(rf"\1://{HIDDEN}", text))
        for folder in folders:  # one may have a blank, at which a path ends to an expression
            text = text.replace(f"{folder}{os.sep}", "/x/")
        text = _RELATIVE.sub("", _ROOT.sub("", ABSOLUTE_PATH.sub("", text)))
        return named.sub(HIDDEN, text) if named else text

    return clean


@functools.cache
def _known() -> frozenset[str]:
    """Hub ids that say nothing of who used them: those of the planner's table, and the recipes' data."""
    ids = (name for model in tables()["models"] for name in model["ids"])
    return frozenset([*ids, "openai/gsm8k"])


def _of(value: Any, clean: Clean) -> Any:
    if isinstance(value, Mapping):
        return _of_mapping(value, clean)
    if isinstance(value, (list, tuple)):
        return [_of(one, clean) for one in value]
    return clean(value) if isinstance(value, str) else value


def _of_mapping(mapping: Mapping[str, Any], clean: Clean) -> dict[str, Any]:
    kept = {}
    for name, value in mapping.items():
        if name in LEFT_OUT and value is not None:
            continue
        if isinstance(value, str) and name in TEXTS:
            kept[name] = HIDDEN
        elif isinstance(value, str) and name in PLACES:
            kept[name] = clean(value if value in _known() else _last_part(value))
        elif isinstance(value, str) and name == "reward":
            kept[name] = clean(",".join(map(_reward, reward_spec.parts_of(value))))
        else:
            kept[clean(name)] = _of(value, clean)
    return kept


def _last_part(place: str) -> str:
    return re.split(r"[\\/]+", place.rstrip("\\/"))[-1]


def _reward(part: str) -> str:
    """One reward of a list, a file by its last part."""
    place = reward_spec.place_of(reward_spec.divided(part)[0])
    return part.replace(place, _last_part(place), 1) if place else part
