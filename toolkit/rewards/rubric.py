"""A rubric of keywords: what a reply must say, must not say, in which order, how it is laid out and at what length.

Phrases are literal text, compared without case, so none is a slow pattern. `rubrics/sales_zh.yaml` is a worked example
of a rubric's file, with a comment at each key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.files import read_yaml
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.length import band
from toolkit.rewards.table_file import Reader

SALES_ZH = Path(__file__).parent / "rubrics" / "sales_zh.yaml"
SALES_ZH_HYBRID = SALES_ZH.with_name("sales_zh_hybrid.yaml")
_LIST = re.compile(r"^[ \t]*(?:[-*+•·]|[0-9]{1,3}[.)、]|[（(][0-9]{1,3}[)）])[ \t]*\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]{1,200}(?<=\S)\*\*|__(?=\S)[^_\n]{1,200}(?<=\S)__|<(b|strong)>[^<\n]{1,200}</\1>")


@dataclass(frozen=True)
class Element:
    """Something that a reply must contain: any of some phrases."""

    name: str
    any_of: tuple[str, ...]
    weight: float = 1.0

    def place(self, text: str) -> int:
        """Where the first of its phrases stands in a casefolded text; -1 when none does."""
        return min((at for phrase in self.any_of if (at := text.find(phrase)) >= 0), default=-1)


@dataclass(frozen=True)
class Required:
    elements: tuple[Element, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Forbidden:
    """Phrases that cost `penalty` each, once each: of the whole score, or with a `weight` of a part of their own.

    That part, safety, is 1 without any and at least 0.
    """

    phrases: tuple[str, ...]
    penalty: float = 0.25
    weight: float = 0.0


@dataclass(frozen=True)
class Structure:
    """The shape of the reply: each of these that is set counts equally."""

    order: tuple[str, ...] = ()
    """Names of required elements, in the order in which they must first stand."""
    ends_with_any: tuple[str, ...] = ()
    """Ends of the reply, of which one must be there; closing space does not count."""
    max_paragraph_characters: int = 0
    """No paragraph longer than this; 0 for no limit."""
    min_list_items: int = 0
    """Lines that begin with `-`, `*`, `•`, `1.`, `1)`, `1、` or `（1）`; 0 asks for none."""
    min_bold: int = 0
    """Passages in `**bold**`, `__bold__` or `<b>`."""
    min_line_breaks: int = 0
    """Line ends between two lines that are not blank; blank lines between them count as one."""
    weight: float = 1.0


@dataclass(frozen=True)
class Tier:
    """A length from `low` to `high` characters without spaces earns `score`."""

    low: float
    high: float
    score: float


@dataclass(frozen=True)
class Length:
    """From `low` to `high` characters without spaces: 1; outside it falls linearly to 0 at none and at twice `high`.

    With `tiers` the first one that holds the length decides instead, and a length in none of them earns 0.
    """

    low: float = 0.0
    high: float = 0.0
    weight: float = 1.0
    tiers: tuple[Tier, ...] = ()

    def share(self, n_characters: int) -> float:
        if not self.tiers:
            return band(n_characters, self.low, self.high)
        return next((tier.score for tier in self.tiers if tier.low <= n_characters <= tier.high), 0.0)


@dataclass(frozen=True)
class Rubric(RewardFunction):
    """The weighted mean of required elements, structure, length and safety, less `penalty` for each forbidden phrase.

    Safety is a part where `forbidden` has a weight, and then nothing is taken off. 0 to 1, or at least -1 where phrases
    cost a penalty; a blank reply scores 0. Without a weighted part only the penalties count. Weights are relative.
    """

    name = "rubric"
    purpose = "Replies that must contain, avoid and order certain things, such as sales dialogue."
    weakness = "Keywords strung together; a rubric sees words, not sense, so pair it with a judge."
    known_exploits = ("stock_phrases",)

    required: Required = Required(())
    forbidden: Forbidden = Forbidden(())
    structure: Structure = Structure()
    length: Length | None = None

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return -1.0 if self.forbidden.phrases and not self.forbidden.weight else 0.0, 1.0

    def judge(self, text: str, **_: Any) -> float | None:
        if not text.strip():
            return 0.0
        folded = text.casefold()
        parts = [(share, weight) for _name, share, weight in self._parts(text, folded)]
        total = sum(weight for _share, weight in parts)
        score = sum(share * weight for share, weight in parts) / total if total else 0.0
        if self.forbidden.weight:
            return score
        return max(-1.0, score - self.forbidden.penalty * len(self._said(folded)))

    def _parts(self, text: str, folded: str) -> Iterable[tuple[str, float, float]]:
        """Name, share and weight of each part that the rubric has."""
        places = self._places(folded)
        if self.required.elements:
            said = sum(element.weight for element in self.required.elements if places[element.name] >= 0)
            yield "required", said / sum(e.weight for e in self.required.elements), self.required.weight
        if checks := self._structure_checks(folded, places):
            yield "structure", sum(checks.values()) / len(checks), self.structure.weight
        if self.length:
            yield "length", self.length.share(sum(map(len, text.split()))), self.length.weight
        if self.forbidden.weight:
            safety = 1.0 - self.forbidden.penalty * len(self._said(folded))
            yield "safety", max(0.0, safety), self.forbidden.weight

    def _structure_checks(self, folded: str, places: Mapping[str, int]) -> dict[str, bool]:
        shape, checks = self.structure, {}
        if shape.order:
            order = [places[name] for name in shape.order]
            checks["order"] = min(order) >= 0 and order == sorted(order)
        if shape.ends_with_any:
            checks["ends_with_any"] = folded.rstrip().endswith(shape.ends_with_any)
        if limit := shape.max_paragraph_characters:
            checks["max_paragraph_characters"] = max(map(len, folded.split("\n"))) <= limit
        if shape.min_list_items:
            checks["min_list_items"] = len(_LIST.findall(folded)) >= shape.min_list_items
        if shape.min_bold:
            checks["min_bold"] = len(_BOLD.findall(folded)) >= shape.min_bold
        if shape.min_line_breaks:
            checks["min_line_breaks"] = len([*filter(str.strip, folded.split("\n"))]) > shape.min_line_breaks
        return checks

    def _places(self, folded: str) -> dict[str, int]:
        return {element.name: element.place(folded) for element in self.required.elements}

    def _said(self, folded: str) -> list[str]:
        return [phrase for phrase in self.forbidden.phrases if phrase in folded]

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        if not text.strip():
            return "a blank reply"
        folded = text.casefold()
        places = self._places(folded)
        missing = [name for name, place in places.items() if place < 0]
        failed = [name for name, holds in self._structure_checks(folded, places).items() if not holds]
        notes = [f"{name} {share:.2f}" for name, share, _weight in self._parts(text, folded)]
        for label, names in (("missing", missing), ("forbidden", self._said(folded)), ("structure fails", failed)):
            notes += [f"{label}: {', '.join(names)}"] if names else []
        return "; ".join(notes) or "the rubric asks for nothing"


def load_rubric(path: str | Path) -> Rubric:
    """Read a rubric from a YAML file. Its `name` becomes the reward's `title`.

    Raises:
        RewardError: no such file, no YAML, an unknown key (with the nearest), a value of the wrong kind, a weight
            below 0, an order that names no required element.
    """
    source = f"rubric {path}"
    table = read_yaml(Path(path).expanduser(), source, "a YAML file of keys and values", RewardError)
    return _Reader(source).rubric(table)


class _Reader(Reader):
    def rubric(self, table: Any) -> Rubric:
        keys = self.keys(table, "", {"name", "required", "forbidden", "structure", "length"}, {"name"})
        required = self._required(keys.get("required", {}))
        names = [element.name for element in required.elements]
        forbidden = self.keys(keys.get("forbidden", {}), "forbidden", {"phrases", "penalty", "weight"})
        return Rubric(
            title=self.text(keys["name"], "name"),
            required=required,
            forbidden=Forbidden(
                self._phrases(forbidden.get("phrases", []), "forbidden.phrases"),
                self._number(forbidden.get("penalty", Forbidden.penalty), "forbidden.penalty"),
                self._number(forbidden.get("weight", 0), "forbidden.weight"),
            ),
            structure=self._structure(keys.get("structure", {}), names),
            length=self._length(keys["length"]) if "length" in keys else None,
        )

    def _length(self, table: Any) -> Length:
        if isinstance(table, dict) and "tiers" in table:
            keys = self.keys(table, "length", {"tiers", "weight"})
            tiers = self.checked(keys["tiers"], isinstance(keys["tiers"], list), "length.tiers", "a list")
            read = tuple(self._tier(tier, f"length.tiers[{i}]") for i, tier in enumerate(tiers, start=1))
            return Length(weight=self._number(keys.get("weight", 1), "length.weight"), tiers=read)
        keys = self.keys(table, "length", {"low", "high", "weight", "tiers"}, {"low", "high"})
        low, high = self._number(keys["low"], "length.low"), self._number(keys["high"], "length.high")
        if not 0 < low <= high:
            self.fail(f"length is {low:g} to {high:g}", "0 < low <= high")
        return Length(low, high, self._number(keys.get("weight", 1), "length.weight"))

    def _tier(self, table: Any, where: str) -> Tier:
        keys = self.keys(table, where, {"low", "high", "score"}, {"low", "high", "score"})
        tier = Tier(*(self._number(keys[name], f"{where}.{name}") for name in ("low", "high", "score")))
        if not tier.low <= tier.high:
            self.fail(f"{where} is {tier.low:g} to {tier.high:g}", "low <= high")
        self.checked(tier.score, tier.score <= 1, f"{where}.score", "a number, 0 to 1")
        return tier

    def _required(self, table: Any) -> Required:
        keys = self.keys(table, "required", {"elements", "weight"})
        elements = keys.get("elements", [])
        read = []
        for i, element in enumerate(
            self.checked(elements, isinstance(elements, list), "required.elements", "a list"), 1
        ):
            where = f"required.elements[{i}]"
            e = self.keys(element, where, {"name", "any_of", "weight"}, {"name", "any_of"})
            phrases = self._phrases(e["any_of"], f"{where}.any_of")
            if not phrases:
                self.fail(f"{where}.any_of is empty", "at least one phrase")
            weight = self._number(e.get("weight", 1), f"{where}.weight")
            read.append(Element(self.text(e["name"], f"{where}.name"), phrases, weight))
        names = [element.name for element in read]
        for name in names:
            if names.count(name) > 1:
                self.fail(f"required.elements has {name!r} twice", "one element a name")
        if read and not any(element.weight for element in read):
            self.fail("required: every weight is 0", "one above 0")
        return Required(tuple(read), self._number(keys.get("weight", 1), "required.weight"))

    def _structure(self, table: Any, names: list[str]) -> Structure:
        keys = self.keys(table, "structure", {field.name for field in fields(Structure)})
        order = keys.get("order", [])
        for name in order if isinstance(order, list) else [order]:
            if name not in names:
                known = f"one of {', '.join(names)}" if names else "names of required elements"
                found = f"structure.order names {name!r}, which is no required element"
                self.fail(found, did_you_mean(str(name), names) or known)
        counts = [
            int(self._number(keys.get(name, 0), f"structure.{name}"))
            for name in ("max_paragraph_characters", "min_list_items", "min_bold", "min_line_breaks")
        ]
        return Structure(
            tuple(order),
            self._phrases(keys.get("ends_with_any", []), "structure.ends_with_any"),
            *counts,
            weight=self._number(keys.get("weight", 1), "structure.weight"),
        )

    def _phrases(self, value: Any, where: str) -> tuple[str, ...]:
        self.checked(value, isinstance(value, list), where, "a list of phrases")
        return tuple(self.text(phrase, f"{where}[{i}]").casefold() for i, phrase in enumerate(value, start=1))

    def _number(self, value: Any, where: str) -> float:
        is_right = type(value) in (int, float) and 0 <= value < float("inf")
        return self.checked(value, is_right, where, "a number, 0 or more")


rubric_sales_zh = load_rubric(SALES_ZH)
rubric_sales_zh_hybrid = load_rubric(SALES_ZH_HYBRID)
