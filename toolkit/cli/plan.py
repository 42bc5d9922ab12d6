"""`toolkit plan`: its flags, and what it prints and writes. Each answer is made by a function of toolkit/vram/views."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from toolkit.errors import SettingsError
from toolkit.files import save
from toolkit.vram.request import Request, check

if TYPE_CHECKING:
    from rich.console import RenderableType

    from toolkit.vram.cards import Card
    from toolkit.vram.shapes import Shape

ALL_CARDS = "all"


class Answer(Protocol):
    """What a view hands over."""

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        ...

    def render(self) -> RenderableType:
        """For a person."""
        ...


@dataclass(frozen=True)
class Plan(Request):
    """Will it fit? Plans the memory of a run on one card, without torch and without the card."""

    table: bool = False
    """The plan over num_generations x completion length x checkpointing; `--gpu all` for the common cards."""
    fit: bool = False
    """The largest completion length, batch and num_generations that fit, and the Pareto list between them."""
    simulate: bool = False
    """The same step on fake tensors beside the formula (loads torch), from two shallow depths."""
    full: bool = False
    """With --simulate: all layers instead of two depths."""
    calibrate: Path | None = None
    """A finished run's folder: learn the constants of this card from its measured peaks."""
    output: Path | None = None
    """File to write: .md, .csv or .png for --table, .yaml (a preset for the recipes) for --fit."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        """0 whatever the answer is: a plan that does not fit is an answer, not a failure.

        Raises:
            SettingsError: contradictory flags, an unknown card, a file that cannot be written, a run that cannot teach.
            ModelError: an unknown model or architecture.
            BackendError: --simulate without the training stack.
        """
        asked = self._asked()
        request = Request(**{f.name: getattr(self, f.name) for f in fields(Request)})
        check(request)
        ANSWERS[asked](self, request)
        return 0

    def _asked(self) -> str:
        """Which of the answers, once no flag contradicts another."""
        asked = [name for name in ("table", "fit", "simulate", "calibrate") if getattr(self, name)]
        if len(asked) > 1:
            raise SettingsError(f"--{asked[0]} with --{asked[1]}", "one of them", "run toolkit plan twice")
        if self.full and not self.simulate:
            raise SettingsError("--full without --simulate", "both", "add --simulate")
        if self.output is not None and not (self.table or self.fit):
            raise SettingsError("--output without --table or --fit", "one of them", "add --table or --fit")
        if self.gpu == ALL_CARDS and not self.table:
            raise SettingsError("--gpu all without --table", "one card", "add --table, or name a card")
        return asked[0] if asked else "plan"


def _plan(flags: Plan, request: Request) -> None:
    from toolkit.vram.views.advice import advise

    _give(flags, advise(request, *_subject(request)))


def _table(flags: Plan, request: Request) -> None:
    from toolkit.display.console import console, say
    from toolkit.vram.views import sheet, table

    if flags.output is not None:
        sheet.check_suffix(flags.output)
    shape, card = _subject(request)
    found = table.over_lengths(request, shape, card) if card else table.over_cards(request, shape)
    if flags.output is not None:
        save(flags.output, found.as_file(flags.output.suffix))
    if flags.json or (flags.output is None and console.is_terminal):
        _give(flags, found, output=flags.output)
    elif flags.output is not None:
        say(f"wrote {flags.output}")
    else:
        print(found.markdown(), end="")


def _fit(flags: Plan, request: Request) -> None:
    from toolkit.vram.views import growth, preset

    shape, card = _subject(request)
    if card is None:
        hint = "for example --gpu 4090, or --table for the common cards"
        raise SettingsError("--fit without --gpu", "one card", hint)
    if flags.output is not None:
        preset.check_preset(flags.output, request, shape, card)
    found, wrote = growth.grow(request, shape, card), ""
    if flags.output is not None:
        save(flags.output, preset.as_yaml(found.best()).encode())
        wrote = f"\nwrote {flags.output}: python recipes/gsm8k_r1.py --config {shlex.quote(str(flags.output))}"
    _give(flags, found, wrote, output=flags.output)


def _simulate(flags: Plan, request: Request) -> None:
    from rich.console import Console

    from toolkit.vram.views.simulated import compare

    shape, card = _subject(request)
    with Console(stderr=True).status(f"loading torch to simulate {shape.name}"):
        found = compare(request, shape, card, full=flags.full)
    _give(flags, found)


def _calibrate(flags: Plan, request: Request) -> None:
    from toolkit.vram.views.calibration import calibrate

    if flags.calibrate is not None:
        found = calibrate(flags.calibrate)
        _give(flags, found, found.kept())


ANSWERS = {"plan": _plan, "table": _table, "fit": _fit, "simulate": _simulate, "calibrate": _calibrate}


def _subject(request: Request) -> tuple[Shape, Card | None]:
    """The model and the card that are asked about."""
    from toolkit.vram.cards import find_card
    from toolkit.vram.catalog import find

    return find(request.model), None if request.gpu in (None, ALL_CARDS) else find_card(request.gpu)


def _give(flags: Plan, answer: Answer, closing: str = "", **more: Path | None) -> None:
    """Print an answer, as JSON with `more` paths in it, or for a person with a closing line."""
    if flags.json:
        paths = {name: path and str(path) for name, path in more.items()}
        print(json.dumps(answer.as_json() | paths, indent=2))
        return
    from toolkit.display.console import console, say  # with rich a fifth of the whole plan, which --json can do without

    console.print(answer.render())
    if closing:
        say(closing)
