"""A reward by name, wherever it comes from: the library, a file, a server, or a function of the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards import registry, spec
from toolkit.rewards.base import PASSED_BY_TRL, RewardFunction
from toolkit.rewards.completions import FINISH_REASON, one_line
from toolkit.rewards.passing import declared_range

FORMS = "a name of `toolkit reward list`, rubric:FILE.yaml, MODULE:FUNCTION, FILE.py:FUNCTION or a server's address"


_OF_A_RUN = (*PASSED_BY_TRL, FINISH_REASON)
"""What every reward gets without the dataset having it."""


@dataclass(frozen=True)
class Target:
    """A reward function and what it declares."""

    name: str
    """As it was asked for, without what an address has of secrets."""
    function: Callable[..., Any]

    @property
    def declared(self) -> RewardFunction | None:
        """The function, where it is a reward of this library's kind, which says what it needs and gives."""
        return self.function if isinstance(self.function, RewardFunction) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Dataset columns that it cannot do without: declared, or parameters without a default."""
        if self.declared is not None:
            return tuple(name for name in self.declared.columns if name not in _OF_A_RUN)
        return tuple(p.name for p in self._named() if p.default is p.empty and p.name not in _OF_A_RUN)

    @property
    def takes(self) -> frozenset[str]:
        """Every column that it names, needed or not."""
        if self.declared is not None:
            return frozenset((*self.declared.columns, *self.declared.optional_columns))
        return frozenset(p.name for p in self._named())

    @property
    def takes_anything(self) -> bool:
        """Whether it has `**kwargs`, without which TRL's own arguments end a run with a TypeError."""
        return self.declared is not None or any(p.kind is p.VAR_KEYWORD for p in self._parameters())

    @property
    def range(self) -> tuple[float, float] | None:
        return declared_range(self.function)

    @property
    def short_name(self) -> str:
        """What a run calls it: its own name where it is of this library's kind, else what it is called where it is."""
        return self.declared.__name__ if self.declared is not None else self.name.rpartition(":")[2]

    @property
    def source(self) -> Path | None:
        """The file that it is written in, where that is the user's own."""
        if spec.is_address(self.name) or self.name in registry.REWARDS:
            return None
        module = None if self.name.startswith(registry.PREFIXES) else sys.modules.get(self.name.rpartition(":")[0])
        place = getattr(module, "__file__", None) or spec.place_of(self.name)
        path = Path(place).expanduser()
        return path.resolve() if place and path.is_file() else None

    def _parameters(self) -> Sequence[inspect.Parameter]:
        try:
            return list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # a callable written in C has no signature
            return []

    def _named(self) -> list[inspect.Parameter]:
        return [p for p in self._parameters() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def find(name: str, *, allow_unsafe_code: bool = False) -> Target:
    """The reward that `name` means, in one of `FORMS`.

    Modules are found from the working directory. The code of a file or module runs when it is imported.
    `allow_unsafe_code`: see `sandbox.choose_level`; for a reward that has this setting.

    Raises:
        RewardError: there is no such reward, file, module or function, or importing it fails.
    """
    function: Any = _function(name)
    if allow_unsafe_code and hasattr(function, "allow_unsafe_code"):
        function = replace(function, allow_unsafe_code=True)
    return Target(spec.shown(name), function)


def _function(name: str) -> Callable[..., Any]:
    if not name:
        raise RewardError("no reward given", FORMS)
    if spec.is_address(name):
        from toolkit.rewards.learned.http import HttpReward

        return HttpReward(url=name)
    if name in registry.REWARDS or name.startswith(registry.PREFIXES):
        return registry.get(name)
    place, colon, attribute = name.rpartition(":")
    if not colon:
        if name.endswith(".py"):
            raise RewardError(f"{name} names no function", "FILE.py:FUNCTION")
        hint = did_you_mean(name, registry.REWARDS) or FORMS
        raise RewardError(f"there is no reward {name!r}", hint, "list them: toolkit reward list")
    if place.endswith(".py"):
        return _callable(_from_file(Path(place).expanduser()), attribute, name)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _callable(_imported(f"module {place!r}", lambda: importlib.import_module(place)), attribute, name)


def find_all(names: str, *, allow_unsafe_code: bool = False) -> list[Target]:
    """Several, separated by commas, each once; see `find`."""
    listed = spec.parts_of(names)
    for name in listed:
        if listed.count(name) > 1:
            raise RewardError(f"--reward has {spec.shown(name)!r} twice", "each once")
    return [find(name, allow_unsafe_code=allow_unsafe_code) for name in listed or [""]]


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RewardError(f"there is no file {path}", FORMS)
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # so that it finds its neighbours, and a spawned process finds it
        sys.path.insert(0, folder)
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path.resolve()):
        return loaded
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise RewardError(f"{path} cannot be imported", "a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # pickle looks there; a package of the same name stays what it is
    return _imported(str(path), lambda: spec.loader.exec_module(module) or module)  # type: ignore[union-attr]


def _imported(what: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:  # whatever the user's own code does when it is imported
        detail = f"{type(error).__name__}: {one_line(str(error), 160)}"
        wanted = "a module that imports, or a reward's name"
        raise RewardError(f"{what} cannot be imported ({detail})", wanted) from error


def _callable(module: ModuleType, attribute: str, name: str) -> Callable[..., Any]:
    found = getattr(module, attribute, None)
    own = {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}
    # what a module imports is not its reward; an object made in it has the module of its class
    functions = [key for key, value in own.items() if getattr(value, "__module__", "") == module.__name__]
    if found is None:
        known = f"one of {', '.join(functions[:8])}" if functions else "a function"
        raise RewardError(f"{name}: there is no {attribute!r}", did_you_mean(attribute, functions) or known)
    if inspect.isclass(found):
        raise RewardError(f"{name} is a class", "an instance of it", f"for example: my_reward = {attribute}()")
    if not callable(found):
        raise RewardError(f"{name} is a {type(found).__name__}", "a function in TRL's convention")
    return found
