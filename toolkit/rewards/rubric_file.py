"""Reads a rubric from a YAML file, checked whole before anything is scored.

`rubrics/sales_zh.yaml` is a worked example, with a comment at each key.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.files import read_yaml
from toolkit.rewards.completions import one_line
from toolkit.rewards.rubric import Element, Forbidden, Length, Required, Rubric, Structure
from toolkit.rewards.table_file import Reader

SALES_ZH = Path(__file__).parent / "rubrics" / "sales_zh.yaml"


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
    """Turns the file's tables into dataclasses."""

    def rubric(self, table: Any) -> Rubric:
        keys = self.keys(table, "", {"name", "required", "forbidden", "structure", "length"}, {"name"})
        required = self._required(keys.get("required", {}))
        names = [element.name for element in required.elements]
        structure = self._structure(keys.get("structure", {}), names)
        forbidden = self.keys(keys.get("forbidden", {}), "forbidden", {"phrases", "penalty"})
        return Rubric(
            title=self.text(keys["name"], "name"),
            required=required,
            forbidden=Forbidden(
                self._phrases(forbidden.get("phrases", []), "forbidden.phrases"),
                self._number(forbidden.get("penalty", Forbidden.penalty), "forbidden.penalty"),
            ),
            structure=structure,
            length=self._length(keys["length"]) if "length" in keys else None,
        )

    def _length(self, table: Any) -> Length:
        keys = self.keys(table, "length", {"low", "high", "weight"}, {"low", "high"})
        low, high = self._number(keys["low"], "length.low"), self._number(keys["high"], "length.high")
        if not 0 < low <= high:
            self.fail(f"length is {low:g} to {high:g}", "0 < low <= high")
        return Length(low, high, self._number(keys.get("weight", 1), "length.weight"))

    def _required(self, table: Any) -> Required:
        keys = self.keys(table, "required", {"elements", "weight"})
        elements = keys.get("elements", [])
        if not isinstance(elements, list):
            self.fail(f"required.elements is {elements!r}", "a list")
        read = []
        for i, element in enumerate(elements, start=1):
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
        return Structure(
            tuple(order),
            self._phrases(keys.get("ends_with_any", []), "structure.ends_with_any"),
            int(self._number(keys.get("max_paragraph_characters", 0), "structure.max_paragraph_characters")),
            self._number(keys.get("weight", 1), "structure.weight"),
        )

    def _phrases(self, value: Any, where: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            self.fail(f"{where} is {one_line(repr(value), 40)}", "a list of phrases")
        return tuple(self.text(phrase, f"{where}[{i}]").casefold() for i, phrase in enumerate(value, start=1))

    def _number(self, value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            self.fail(f"{where} is {one_line(repr(value), 40)}", "a number, 0 or more")
        return value


rubric_sales_zh = load_rubric(SALES_ZH)
