"""A rating on the disk: what was compared, every choice, and the preference pairs that they make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolkit import data
from toolkit.data import prompts
from toolkit.data.schema import Messages
from toolkit.errors import RunFolderError, SettingsError
from toolkit.evaluation.kept import Kept
from toolkit.evaluation.rating import CHOICES, Pairing, Rating, pair, shuffled
from toolkit.files import replace_file, write_json
from toolkit.runs.names import SETTINGS
from toolkit.runs.reader import read_json, requested_settings
from toolkit.settings import DataSettings

STATE, PREFERENCES, LOCK = "rating.json", "preferences.jsonl", ".lock"


@dataclass(frozen=True)
class Place:
    """Where a rating of `a` and `b` is kept, and what it is about."""

    folder: Path
    a: Kept
    b: Kept
    pairing: Pairing
    seed: int
    rating: Rating
    """As it was found: new, or with the choices of before."""

    def save(self, rating: Rating) -> None:
        """Write the choices, in one move; a RunFolderError where the folder cannot be written."""
        sides = {name: {"path": str(side.path), "sha256": side.sha256} for name, side in self._sides()}
        with _written(self.folder):
            write_json(self.folder / STATE, {"format": 1, **sides, "seed": self.seed, "choices": rating.choices})

    def save_preferences(self, rating: Rating) -> tuple[Path | None, int, str]:
        """Write the pairs for DPO; where they are, how many, and what is to be said of their prompts.

        No file is left where no choice has made a pair. The dataset is loaded where a
        run took its examples from the rows; see `data.load` for what that raises.
        """
        front, note = _front([side for _, side in self._sides()])
        rows = rating.preferences(front)
        path = self.folder / PREFERENCES
        if not rows:
            path.unlink(missing_ok=True)
            return None, 0, ""
        with _written(self.folder):
            replace_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return path, len(rows), note

    def _sides(self) -> tuple[tuple[str, Kept], tuple[str, Kept]]:
        return ("a", self.a), ("b", self.b)


@contextmanager
def opened(folder: Path, a: Kept, b: Kept, seed: int | None) -> Iterator[Place]:
    """Begin a rating, or go on with the one that the folder holds, and keep others out of it meanwhile.

    Raises:
        DataError: there is nothing to compare; see `rating.pair`.
        RunFolderError: it holds something else or a rating of other completions, is in use, or cannot be written.
        SettingsError: the rating was begun with another seed.
    """
    pairing = pair(a.rows, b.rows)
    if folder.exists() and not (folder / STATE).exists() and (not folder.is_dir() or _others(folder)):
        raise RunFolderError(f"--output {folder} holds something else", "a new folder, or one of a rating")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(f"{folder} is being rated by another process", "one rater a folder") from error
    except OSError as error:
        raise RunFolderError(f"--output {folder} cannot be written ({error.strerror})", "a writable folder") from error
    try:
        kept = read_json(folder / STATE) if (folder / STATE).exists() else {}
        found = _checked(kept, folder, a, b, seed)
        pairs = shuffled(pairing.pairs, found)
        choices = tuple(kept.get("choices", ()))
        if len(choices) > len(pairs) or not set(choices) <= set(CHOICES):
            raise RunFolderError(f"{folder / STATE} has choices that no rating makes", "the file as it was written")
        yield Place(folder, a, b, pairing, found, Rating(pairs, choices))
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # nothing was chosen, so nothing is left behind
            for path in made:
                path.rmdir()


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written ({error.strerror})", "a writable folder with room") from error


def _others(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK]


def _checked(kept: dict[str, Any], folder: Path, a: Kept, b: Kept, seed: int | None) -> int:
    """The seed of the rating, new or kept."""
    if not kept:
        return 0 if seed is None else seed
    for name, side in (("a", a), ("b", b)):
        before = kept.get(name) or {}
        if before.get("sha256") != side.sha256:
            found = f"{folder} was begun with other completions of {name.upper()} than {side.path}"
            raise RunFolderError(found, f"those of {before.get('path')}", "or another --output")
    begun = kept.get("seed")
    if not isinstance(begun, int):
        raise RunFolderError(f"{folder / STATE} has no seed", "the file as it was written", "or another --output")
    if seed not in (None, begun):
        raise SettingsError(f"--seed {seed}, and {folder} was begun with {begun}", "the same seed", "or drop --seed")
    return begun


def _front(sides: Sequence[Kept]) -> tuple[Messages, str]:
    """The messages that both sides had before each question, and a line where they had none, or not the same."""
    fronts = [front_of(side.folder) for side in sides]
    if all(front is not None and front == fronts[0] for front in fronts):
        return fronts[0] or [], ""
    why = "A and B were asked in different ways" if None not in fronts else "no settings say how both were asked"
    return [], f"prompts are the questions alone, since {why}"


def front_of(folder: Path) -> Messages | None:
    """The messages before each question of a run; None where no settings say."""
    if not (folder / SETTINGS).exists():
        return None
    asked = requested_settings(folder)
    given = {f.name: asked[f.name] for f in fields(DataSettings) if asked.get(f.name) is not None}
    settings = DataSettings(**given)
    takes_rows = settings.examples is not None and settings.examples.isdecimal()
    shown = data.load(settings, asked.get("seed", 0)).examples if takes_rows else None
    return prompts.prompt_for("", settings, shown)[:-1]
