"""What a sweep runs: a YAML file of settings and a grid over them, expanded into cells.

recipe: ../../recipes/gsm8k_r1.py         # beside this file; what every cell runs
settings: {model: embedded, max_steps: 6} # of all cells, by the recipe's names
grid:                                     # every combination
  engine: [toolkit, trl]
  num_generations: [4, 8]
pairs:                                    # values that change together, combined with the grid
  - {max_prompt_length: 128, max_completion_length: 64}
exclude:                                  # combinations that are left out; a list means any of its values
  - {engine: trl, num_generations: 4}
when:                                     # settings that follow from others
  - {if: {num_generations: 8}, set: {per_device_train_batch_size: 16}}
repeats: 3
warmup_steps: 1
limit_s: 300
cap: 12                                   # GiB, or a card by name, that this machine's card is to be like
weights: random                           # of the true shape, made here; `pretrained` without this line
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from toolkit import files
from toolkit.bench import recipe
from toolkit.errors import SettingsError, did_you_mean
from toolkit.launch.presets import choose_presets, presets_of
from toolkit.settings import GrpoSettings, check, flatten
from toolkit.settings.batch import solve
from toolkit.settings.parse import as_args, parse
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find

ENGINES = ("toolkit", "trl", "unsloth")
"""`toolkit` runs the recipe; the others the script that their documentation shows, with the same settings."""
WEIGHTS = ("pretrained", "random")
WANTED = "a YAML file with recipe, settings and grid; see toolkit bench run --help"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    engine: str
    settings: Mapping[str, Any]
    """By the recipe's names; what is not here has the recipe's default."""
    repeat: int
    """From 0."""

    @property
    def point(self) -> dict[str, Any]:
        """Engine and settings: what the repeats of a cell share."""
        return {"engine": self.engine, **self.settings}

    def id(self, about: Mapping[str, Any]) -> str:
        """12 hex digits of the cell and of `about`: what else decides its figures, such as versions."""
        text = json.dumps([self.point, self.repeat, about], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Spec:
    """A sweep as its file says it."""

    path: Path
    recipe: str
    """Path from the folder of the file."""
    settings: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    pairs: Sequence[Mapping[str, Any]]
    exclude: Sequence[Mapping[str, Any]]
    when: Sequence[Mapping[str, Mapping[str, Any]]]
    repeats: int = 1
    warmup_steps: int = 1
    """Steps at the start of each cell that are not counted."""
    limit_s: float = 600.0
    """Seconds that a cell may take, imports included."""
    card: str | None = None
    """Card by name, for the plan's prediction; without one it is this machine's."""
    cap: str | None = None
    """A smaller card, by name or as GiB, whose memory the allocator is limited to."""
    weights: str = WEIGHTS[0]
    """`random`: of the model's true shape and vocabulary, for memory and speed without a download."""
    _resolved: dict[str, GrpoSettings] = field(default_factory=dict, init=False, repr=False, compare=False)
    _presets: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def recipe_path(self) -> Path:
        return (self.path.parent / Path(self.recipe).expanduser()).resolve()

    @cached_property
    def settings_class(self) -> type[GrpoSettings]:
        """The `Settings` of the recipe; see `recipe.load` for what it raises."""
        return recipe.load(self.recipe_path).Settings

    def resolved(self, cell: Cell) -> GrpoSettings:
        """The settings that a cell runs with on a machine without a card, over the preset that it names."""
        key = json.dumps(cell.settings, sort_keys=True, default=str)
        if key not in self._resolved:
            merged = {**self._preset(cell), **cell.settings}
            self._resolved[key] = parse(self.settings_class, [], [(str(self.path), merged)])
        return self._resolved[key]

    def _preset(self, cell: Cell) -> dict[str, Any]:
        """What lies below the settings of a cell."""
        chosen = {name: cell.settings[name] for name in ("config", "model") if name in cell.settings}
        key = json.dumps(chosen)
        if key not in self._presets:
            first = parse(self.settings_class, [], [(str(self.path), chosen)])
            presets, _ = choose_presets(first, set(chosen), [], "", presets_of(self.recipe_path))
            self._presets[key] = {name: value for _, preset in presets for name, value in preset.items()}
        return self._presets[key]

    @property
    def cap_gib(self) -> float | None:
        """What a process gets of the smaller card."""
        return find_card(self.cap).usable_gib if self.cap is not None else None

    def command(self, cell: Cell, model: Path | None = None) -> list[str]:
        """The flags that a cell's run is started with; `model` is a folder to load in place of the model it names.

        That one's preset, such as the embedded model's, is then said in flags: a folder has none.
        """
        own = {**self._preset(cell), **cell.settings, "model": str(model)} if model else cell.settings
        return as_args(self.settings_class, own, str(self.path))


def load(path: Path, weights: str | None = None) -> tuple[Spec, list[Cell]]:
    """Read a spec and expand it; every cell's settings are checked as a run's are. `weights` overrules the file's.

    Raises:
        SettingsError: an unreadable file, an unknown key or setting (with the nearest), values that no run can use, or
            no cell at all.
        ModelError: random weights of a model whose shape is not known.
    """
    loaded = files.read_yaml(path, str(path), WANTED, SettingsError)
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path} holds a {type(loaded).__name__}", WANTED)
    known = [f.name for f in fields(Spec) if f.init and f.name != "path"]
    for name in loaded:
        if name not in known:
            raise SettingsError(f"{path} has {name!r}", did_you_mean(str(name), known) or f"one of {', '.join(known)}")
    given = {name: value for name, value in loaded.items() if value is not None}
    for name, kind, noun in _KINDS:
        if name in given and (not isinstance(given[name], kind) or isinstance(given[name], bool)):
            raise SettingsError(f"{path}: {name} is {given[name]!r}", noun)
    if "recipe" not in given:
        raise SettingsError(f"{path} names no recipe", "recipe: PATH, from the folder of this file")
    empty: dict[str, Any] = {"settings": {}, "grid": {}, "pairs": [], "exclude": [], "when": []}
    given |= {name: str(given[name]) for name in ("card", "cap") if name in given}
    if weights is not None:
        given["weights"] = weights
    spec = Spec(path, **empty | given)
    _check_values(spec)
    cells = expand(spec)
    if not cells:
        raise SettingsError(f"{path} comes to no cell", "a combination that `exclude` leaves")
    for cell in cells[:: spec.repeats]:
        settings = spec.resolved(cell)
        check(settings)
        solve(settings.rollout)
        if spec.weights == "random":
            if "model" not in cell.settings and "config" not in cell.settings:
                raise SettingsError(f"{path}: weights is random, and no model is named", "model: a Hub id, in settings")
            find(settings.model.model)
    return spec, cells


def expand(spec: Spec) -> list[Cell]:
    """The cells in the order of the file, the last name of the grid changing fastest; repeats stand together."""
    cells = []
    for values in product(*spec.grid.values()):
        for together in spec.pairs or [{}]:
            point = {**spec.settings, **dict(zip(spec.grid, values, strict=True)), **together}
            for rule in spec.when:
                if matches(point, rule["if"]):
                    point |= rule["set"]
            if any(matches(point, excluded) for excluded in spec.exclude):
                continue
            engine = point.pop("engine", ENGINES[0])
            cells += [Cell(engine, point, repeat) for repeat in range(spec.repeats)]
    return cells


def matches(point: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    """Whether a cell has every value of the pattern; a list in it stands for any of its values."""
    return all(point.get(name) in (value if isinstance(value, list) else [value]) for name, value in pattern.items())


def _check_values(spec: Spec) -> None:
    """What the types of the keys do not say."""
    for name, values in spec.grid.items():
        if not isinstance(values, list) or not values:
            raise SettingsError(f"{spec.path}: grid has {name}: {values!r}", "a list of values")
        if len(set(map(repr, values))) < len(values):
            raise SettingsError(
                f"{spec.path}: grid has {name}: {values!r}", "each value once; repeats: N runs all again"
            )
    for rule in spec.when:
        if set(rule) != {"if", "set"} or not all(isinstance(part, dict) for part in rule.values()):
            raise SettingsError(f"{spec.path}: when has {dict(rule)}", "if: {...} and set: {...}")
    for name, low in (("repeats", 1), ("warmup_steps", 0), ("limit_s", 1)):
        if getattr(spec, name) < low:
            raise SettingsError(f"{spec.path}: {name} is {getattr(spec, name)}", f"at least {low}")
    for card in (spec.card, spec.cap):
        if card is not None:
            find_card(card)
    if spec.weights not in WEIGHTS:
        hint = did_you_mean(spec.weights, WEIGHTS) or f"one of {', '.join(WEIGHTS)}"
        raise SettingsError(f"{spec.path}: weights is {spec.weights!r}", hint)
    known = ["engine", *flatten(spec.settings_class())]
    for name in _names(spec):
        if name not in known:
            hint = did_you_mean(name, known) or "a setting of the recipe"
            raise SettingsError(f"{spec.path} has the setting {name!r}", hint, f"see python {spec.recipe} --help")
    engines = [spec.settings.get("engine", ENGINES[0]), *spec.grid.get("engine", [])]
    engines += [row["engine"] for row in (*spec.pairs, *(rule["set"] for rule in spec.when)) if "engine" in row]
    for engine in engines:
        if engine not in ENGINES:
            hint = did_you_mean(str(engine), ENGINES) or f"one of {', '.join(ENGINES)}"
            raise SettingsError(f"{spec.path}: engine is {engine!r}", hint)


def _names(spec: Spec) -> Iterator[str]:
    yield from (*spec.settings, *spec.grid)
    for row in (*spec.pairs, *spec.exclude, *(part for rule in spec.when for part in rule.values())):
        if not isinstance(row, dict):
            raise SettingsError(f"{spec.path} has {row!r} among pairs, exclude or when", "NAME: VALUE pairs")
        yield from row


_KINDS = (
    ("recipe", str, "a path"),
    ("settings", dict, "NAME: VALUE pairs"),
    ("grid", dict, "NAME: [VALUE, ...] pairs"),
    ("pairs", list, "a list of NAME: VALUE pairs"),
    ("exclude", list, "a list of NAME: VALUE pairs"),
    ("when", list, "a list of if and set"),
    ("repeats", int, "a whole number"),
    ("warmup_steps", int, "a whole number"),
    ("limit_s", (int, float), "a number of seconds"),
    ("card", (str, int), "the name of a card"),  # YAML reads 4090 as a number
    ("cap", (str, int, float), "GiB, or the name of a card"),
    ("weights", str, f"one of {', '.join(WEIGHTS)}"),
)
