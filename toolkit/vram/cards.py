"""Graphics cards: the memory that a process really gets, and the rates that bound a step's time.

The table is cards.json, which says where each number comes from. Memory is what a CUDA process sees, not what is on the
box: a "24 GB" RTX 4090 gives 23.5 GiB, a "16 GB" T4 14.6.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from toolkit.errors import SettingsError

DRIVER_KEEPS_GIB = 0.45
"""What the driver keeps of its own total, for cards whose usable memory was found in no log. On the table's GeForce
cards where both numbers are known it is 0.30 to 0.50, so an estimate may be wrong by 0.15 GiB."""
AMPERE = 8.0  # compute capability
MAX_GIB = 1024  # above it a number is a mistyped card, not its memory

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gib|gb|g)?")
_MEMORY = re.compile(r"(?<![\d.])(\d+)\s*gi?b\b")
_NOISE = re.compile(r"nvidia|geforce|quadro|tesla|rtx|generation|gpu|[^a-z0-9.]")


@dataclass(frozen=True)
class Card:
    """One card. Rates are None for a card that is only a number of GiB."""

    name: str
    label_gib: float
    """The size on the box."""
    usable_gib: float
    """What `torch.cuda.mem_get_info` gives as total on Linux; Windows shows a little more and pages behind it."""
    bandwidth_gbs: float | None
    """Memory bandwidth in GB/s (10**9)."""
    bf16_tflops: float | None
    """Tensor cores, dense, float32 accumulation; None where the card has no bfloat16 (before compute capability 8)."""
    fp16_tflops: float | None
    compute_capability: str | None
    source: str
    """Where the rates come from."""
    usable_is_estimated: bool = False
    """`usable_gib` is the driver's total less `DRIVER_KEEPS_GIB`, not a figure that somebody saw."""

    @property
    def is_ampere(self) -> bool:
        """Ampere or later, with bfloat16 and flash attention; assumed where the compute capability is not known."""
        return self.compute_capability is None or float(self.compute_capability) >= AMPERE


def find_card(text: str) -> Card:
    """Return the card that `text` names, or a nameless one of so many GiB.

    Case, spaces, hyphens and the maker's words (NVIDIA GeForce RTX, Tesla) do not matter, and the memory size may be
    left out where there is only one: `4090`, `rtx4090`, `NVIDIA A100-SXM4-80GB`, `4060 ti 16gb`. A number up to 1024
    that is no card (`24`, `24gb`, `11.5`) is its usable GiB.

    Raises:
        SettingsError: an unknown card (nearest names), one of several sizes (all of them), or an impossible number.
    """
    found = _index().get(_key(text), ())
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(card.name for card in found)
        raise SettingsError(f"--gpu {text} comes in {len(found)} sizes", names)
    number = _NUMBER.fullmatch(text.strip().lower())
    if number and 0 < float(number[1]) <= MAX_GIB:
        return _of_size(float(number[1]))
    near = difflib.get_close_matches(_key(text), _index(), n=3, cutoff=0.6)
    names = dict.fromkeys(card.name for key in near for card in _index()[key])
    wanted = f"did you mean {', '.join(list(names)[:3])}?" if names else "a card such as RTX 4090, or its memory in GiB"
    raise SettingsError(f"unknown card --gpu {text!r}", wanted, "or give its memory in GiB: --gpu 24" if names else "")


def _of_size(gib: float) -> Card:
    return Card(f"{gib:g} GiB", gib, gib, None, None, None, None, source="memory given by the user")


def _key(text: str) -> str:
    """`NVIDIA A100 80GB PCIe` -> `a100pcie80`: lower case, no maker's words, the memory size last."""
    lower = re.sub(r"[-_]", " ", text.lower())
    memory = _MEMORY.search(lower)
    if memory:
        lower = f"{lower[: memory.start()]} {lower[memory.end() :]} {memory[1]}"
    return _NOISE.sub("", lower)


@lru_cache(maxsize=1)
def _index() -> dict[str, tuple[Card, ...]]:
    """Key of each spelling, with and without the memory size -> the cards that it may mean."""
    index: dict[str, tuple[Card, ...]] = {}
    for card, aliases in _table():
        names = (_MEMORY.sub("", card.name.lower()), *aliases)
        spellings = {_key(spelling) for name in names for spelling in (name, f"{name} {card.label_gib:g}GB")}
        for key in spellings:
            index[key] = (*index.get(key, ()), card)
    return index


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[Card, tuple[str, ...]], ...]:
    rows = json.loads(files("toolkit.vram").joinpath("cards.json").read_text(encoding="utf-8"))["cards"]
    return tuple((_read(row), tuple(row["aliases"])) for row in rows)


def _read(row: dict[str, Any]) -> Card:
    seen = row["torch_gib"]
    return Card(
        name=row["name"],
        label_gib=row["label_gib"],
        usable_gib=seen or round(row["driver_mib"] / 1024 - DRIVER_KEEPS_GIB, 2),
        bandwidth_gbs=row["bandwidth_gbs"],
        bf16_tflops=row["bf16_tflops"],
        fp16_tflops=row["fp16_tflops"],
        compute_capability=row["compute_capability"],
        source=row["source"],
        usable_is_estimated=seen is None,
    )
