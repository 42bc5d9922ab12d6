"""`toolkit eval rate A B`: a person compares completions blind, pair by pair, in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from toolkit.display.keys import END
from toolkit.errors import EXIT_INTERRUPTED, RunFolderError, SettingsError
from toolkit.units import plural

if TYPE_CHECKING:
    from toolkit.evaluation.rating import Choice, Rating
    from toolkit.evaluation.rating_folder import Place

_Side = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(help_behavior_hint="")]
RATINGS = Path("ratings")
KEYS: dict[str, Choice] = {"l": "left", "left": "left", "r": "right", "right": "right", "t": "tie", "s": "skip"}
UNDO, STOPS = "u", ("q", END)


@dataclass(frozen=True)
class Rate:
    """Compare completions blind, pair by pair; stop and go on later. Gives a win rate, and preference pairs for DPO."""

    a: _Side = None
    """A run folder, a folder of toolkit eval, or a file of their completions/."""
    b: _Side = None
    """The same of what A is compared with; the win rate is B's."""
    output: Path | None = None
    """Folder of the rating; without it ratings/A-vs-B here. One that holds this rating is continued."""
    n_pairs: int | None = None
    """Stop behind so many pairs; without it all prompts that both have answered differently."""
    seed: int | None = None
    """Decides the order of the pairs and which side is whose; without it 0, or what the rating was begun with."""
    result: bool = False
    """Show what the choices so far come to, and ask nothing. This ends the blindness."""
    json: bool = False
    """Print the same as one JSON object."""

    def run(self) -> int:
        from toolkit.evaluation import kept, rating_folder

        if self.a is None or self.b is None:
            raise SettingsError("no A and B given" if self.a is None else "no B given", f"two of {kept.WANTED}")
        if self.n_pairs is not None and self.n_pairs < 1:
            raise SettingsError(f"--n_pairs is {self.n_pairs}", "at least 1")
        a, b = kept.read(self.a), kept.read(self.b)
        names = "-vs-".join(side.name.replace("/", "-") for side in (a, b))
        folder = (self.output or RATINGS / names).expanduser()
        with rating_folder.opened(folder, a, b, self.seed) as place:
            if not (self.result or self.json):
                return self._rate(place)
            if not place.rating.choices:
                raise RunFolderError(
                    f"{folder} has no choice yet", "a rating that was begun", "drop --result and --json"
                )
            self._tell(place, place.rating)
            return 0

    def _rate(self, place: Place) -> int:
        """Ask until all is chosen or the person stops; the choices are on the disk after each."""
        from toolkit.display.console import say
        from toolkit.display.keys import read_key

        asked = place.rating.first(self.n_pairs)
        for line in _introduction(place, len(asked.pairs)):
            say(line)
        rating, interrupted = ask_all(asked, _show, read_key, place.save)
        if rating.current is not None:
            say(f"{len(rating.choices)} of {len(rating.pairs)} pairs done; the same command goes on")
        if rating.choices:
            self._tell(place, replace(place.rating, choices=rating.choices), is_over=rating.current is None)
        return EXIT_INTERRUPTED if interrupted else 0

    def _tell(self, place: Place, rating: Rating, *, is_over: bool = True) -> None:
        """Write the preference pairs, and show the result where it may be seen."""
        path, n, note = place.save_preferences(rating)
        if self.json:
            sides = {"a": str(place.a.path), "b": str(place.b.path), "seed": place.seed}
            pairs = {"n_same": place.pairing.n_same, "preferences": path and str(path), "n_preferences": n}
            print(json.dumps({**sides, **rating.result(), **pairs}, indent=2, ensure_ascii=False))
            return
        from toolkit.display.console import console, say
        from toolkit.display.ratings import result_table

        if is_over:
            console.print(result_table(place.a.name, place.b.name, rating.result()))
        written = f"{plural(n, 'preference pair')} for DPO in {path}" if path else "no preference pair to write"
        say("; ".join(filter(None, (written, note))))


def ask_all(
    rating: Rating, show: Callable[[Rating], None], key: Callable[[], str], save: Callable[[Rating], None]
) -> tuple[Rating, bool]:
    """Show a pair, take a key, save what it makes, until no pair is left or the person stops.

    Returns what was saved last, and whether Ctrl-C ended it.
    """
    try:
        while rating.current is not None:
            show(rating)
            while (pressed := key()) not in KEYS and pressed not in STOPS and pressed != UNDO:
                pass
            if pressed in STOPS:
                break
            changed = rating.undo() if pressed == UNDO else rating.choose(KEYS[pressed])
            save(changed)
            rating = changed
    except KeyboardInterrupt:
        return rating, True
    return rating, False


def _introduction(place: Place, n_pairs: int) -> list[str]:
    """What is compared, and what is left out."""
    lines = [f"{plural(n_pairs, 'pair')} of completions; which is whose is hidden until the end"]
    if place.rating.choices:
        lines.append(f"{len(place.rating.choices)} of them were chosen before, in {place.folder}")
    if place.pairing.n_same:
        lines.append(f"{plural(place.pairing.n_same, 'prompt')} left out: both wrote the same text")
    if place.pairing.n_alone:
        lines.append(f"{plural(place.pairing.n_alone, 'completion')} left out: the other has none for the prompt")
    return lines


def _show(rating: Rating) -> None:
    from toolkit.display.console import console
    from toolkit.display.ratings import pair_view
    from toolkit.rewards.completions import prompt_text

    pair = rating.current
    if pair is not None:
        place = f"pair {len(rating.choices) + 1} of {len(rating.pairs)}"
        sides = [(side.text, side.is_truncated) for side in (pair.left, pair.right)]
        console.print(pair_view(place, prompt_text(pair.prompt), pair.gold, sides[0], sides[1], console.width))
