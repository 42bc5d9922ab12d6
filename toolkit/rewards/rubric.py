"""A rubric of keywords: what a reply must say, must not say, in which order and at what length.

`rubric_file` reads one from YAML. Phrases are literal text, compared without case, so none is a slow pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.rewards.base import RewardFunction


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
    """The elements, and their weight in the whole."""

    elements: tuple[Element, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Forbidden:
    """Phrases that cost `penalty` each, once each."""

    phrases: tuple[str, ...]
    penalty: float = 0.25


@dataclass(frozen=True)
class Structure:
    """The shape of the reply: each of these that is set counts equally."""

    order: tuple[str, ...] = ()
    """Names of required elements, in the order in which they must first stand."""
    ends_with_any: tuple[str, ...] = ()
    """Ends of the reply, of which one must be there; closing space does not count."""
    max_paragraph_characters: int = 0
    """No paragraph longer than this; 0 for no limit."""
    weight: float = 1.0


@dataclass(frozen=True)
class Length:
    """From `low` to `high` characters without spaces: 1; outside it falls linearly to 0 at none and at twice `high`."""

    low: float
    high: float
    weight: float = 1.0

    def share(self, n: int) -> float:
        return n / self.low if n < self.low else max(0.0, min(1.0, 2 - n / self.high))


@dataclass(frozen=True)
class Rubric(RewardFunction):
    """The weighted mean of required elements, structure and length, 0 to 1, less `penalty` for each forbidden phrase.

    At least -1 where phrases are forbidden, else at least 0; a blank reply scores 0. Without a weighted part only the
    penalties count.
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
        return -1.0 if self.forbidden.phrases else 0.0, 1.0

    def judge(self, text: str, **_: Any) -> float | None:
        if not text.strip():
            return 0.0
        folded = text.casefold()
        parts = [(share, weight) for _name, share, weight in self._parts(text, folded)]
        total = sum(weight for _share, weight in parts)
        score = sum(share * weight for share, weight in parts) / total if total else 0.0
        return max(-1.0, score - self.forbidden.penalty * len(self._said(folded)))

    def _parts(self, text: str, folded: str) -> Iterable[tuple[str, float, float]]:
        """Name, share and weight of each part that the rubric has."""
        places = {element.name: element.place(folded) for element in self.required.elements}
        if self.required.elements:
            said = sum(element.weight for element in self.required.elements if places[element.name] >= 0)
            yield "required", said / sum(e.weight for e in self.required.elements), self.required.weight
        if checks := self._structure_checks(folded, places):
            yield "structure", sum(checks.values()) / len(checks), self.structure.weight
        if self.length:
            yield "length", self.length.share(_n_characters(text)), self.length.weight

    def _structure_checks(self, folded: str, places: Mapping[str, int]) -> dict[str, bool]:
        shape, checks = self.structure, {}
        if shape.order:
            order = [places[name] for name in shape.order]
            checks["order"] = min(order) >= 0 and order == sorted(order)
        if shape.ends_with_any:
            checks["ends_with_any"] = folded.rstrip().endswith(shape.ends_with_any)
        if limit := shape.max_paragraph_characters:
            checks["max_paragraph_characters"] = max(map(len, folded.split("\n"))) <= limit
        return checks

    def _said(self, folded: str) -> list[str]:
        return [phrase for phrase in self.forbidden.phrases if phrase in folded]

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        if not text.strip():
            return "a blank reply"
        folded = text.casefold()
        missing = [element.name for element in self.required.elements if element.place(folded) < 0]
        places = {element.name: element.place(folded) for element in self.required.elements}
        failed = [name for name, holds in self._structure_checks(folded, places).items() if not holds]
        notes = [f"{name} {share:.2f}" for name, share, _weight in self._parts(text, folded)]
        for label, names in (("missing", missing), ("forbidden", self._said(folded)), ("structure fails", failed)):
            notes += [f"{label}: {', '.join(names)}"] if names else []
        return "; ".join(notes) or "the rubric asks for nothing"


def _n_characters(text: str) -> int:
    return sum(map(len, text.split()))
