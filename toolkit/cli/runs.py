"""`toolkit runs ...`: the flags of its sub-verbs. They read what runs have left, and none loads torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from toolkit.errors import SettingsError
from toolkit.units import plural

N_ON_A_SCREEN = 10
MAX_CHARACTERS = 2000
_Run = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
_Runs = Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
_Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")]


@dataclass(frozen=True)
class Ls:
    """The runs in a folder: how each ended, its steps, its reward, accuracy before and after."""

    folder: _Folder = Path("runs")
    """A folder of runs; without it runs/ here."""
    json: bool = False
    """Print one JSON array."""

    def run(self) -> int:
        from toolkit.runs.record import find_runs, read_record

        listed = [read_record(path).summary() for path in find_runs(self.folder.expanduser())]
        if self.json:
            return _print_json(listed)
        from toolkit.display.runs import listing

        return _print(listing(listed, self.folder))


@dataclass(frozen=True)
class Show:
    """One run: how it ended, accuracy before and after, the course of its metrics, what to do next."""

    folder: _Run = None
    """A run folder; a run that was stopped or killed is shown as far as it came."""
    json: bool = False
    """Print one JSON object: what `ls` says, figures, settings asked and in effect, environment."""

    def run(self) -> int:
        from toolkit.runs.next_steps import next_steps
        from toolkit.runs.record import read_record

        record = read_record(_given(self.folder))
        if self.json:
            return _print_json(record.as_json())
        from toolkit.cli.dispatch import VERBS
        from toolkit.display.runs import shown

        return _print(shown(record, next_steps(record, VERBS)))


@dataclass(frozen=True)
class Compare:
    """Runs side by side: settings that differ, figures, gains on the same held-out problems, curves."""

    folders: _Runs = ()
    """Two run folders or more; gains are over the first."""
    html: Path | None = None
    """Write the runs as one page to this file, such as runs.html."""
    json: bool = False
    """Print one JSON object: {"runs", "settings", "environment", "figures", "paired", "curves"}."""

    def run(self) -> int:
        from toolkit.runs.record import read_record

        if len(self.folders) < 2:
            raise SettingsError(f"{plural(len(self.folders), 'run folder')} given", "two or more to compare")
        records = [read_record(folder.expanduser()) for folder in self.folders]
        if self.html is not None:
            from toolkit.report import write_several

            _check_page(self.html)
            written = write_several(records, self.html.expanduser())
            return _print_json({"report": str(written)}) if self.json else _say(f"wrote {written}")
        if self.json:
            from toolkit.runs.compare import compare

            return _print_json(compare(records))
        from toolkit.display.compared import compared

        return _print(compared(records))


@dataclass(frozen=True)
class Report:
    """A run's page, report.html: one file that works offline; every run writes it at its end."""

    folder: _Run = None
    """A run folder; a run that goes on or was killed is drawn as far as it came."""
    output: Path | None = None
    """File to write; without it report.html in the run's folder."""
    png: bool = False
    """Write reward, completions, policy and cost as PNG beside the page, too."""
    json: bool = False
    """Print one JSON object: {"report", "png"}."""

    def run(self) -> int:
        from toolkit.cli.dispatch import VERBS
        from toolkit.report import write_pictures, write_report
        from toolkit.runs.next_steps import next_steps
        from toolkit.runs.record import read_record

        record = read_record(_given(self.folder))
        if self.output is not None:
            _check_page(self.output)
        output = self.output.expanduser() if self.output else None
        page = write_report(record, next_steps(record, VERBS), output)
        pictures = write_pictures(record, page.parent) if self.png else []
        if self.json:
            return _print_json({"report": str(page), "png": list(map(str, pictures))})
        for path in (page, *pictures):
            _say(f"wrote {path}")
        return 0


@dataclass(frozen=True)
class Completions:
    """What the model wrote, filtered by step, reward and text; control characters are shown as \\x1b."""

    folder: _Run = None
    """A run folder."""
    step: str = "training"
    """12, 10:20, training for all steps, before or after."""
    reward: str = ""
    """The reward function that the bounds are about; without it the total."""
    min_reward: float | None = None
    """Only completions that earned at least this."""
    max_reward: float | None = None
    """Only completions that earned at most this."""
    text: str = ""
    """Only those that have this in prompt or completion, in any case of letters."""
    n: int | None = None
    """How many, from the first; without it 10 on a screen, and all with --json."""
    full: bool = False
    """Show long texts whole."""
    json: bool = False
    """Print one JSON array."""

    def run(self) -> int:
        from toolkit.runs.record import read_record
        from toolkit.runs.selection import Selection, select

        if self.n is not None and self.n < 1:
            raise SettingsError(f"--n is {self.n}", "at least 1")
        bounds = (self.min_reward, self.max_reward)
        if self.reward and bounds == (None, None):
            raise SettingsError(f"--reward {self.reward} without a bound", "--min_reward or --max_reward beside it")
        wanted = Selection(self.step, self.reward, *bounds, self.text)
        found = list(select(read_record(_given(self.folder)), wanted))
        rows = [(name, row) for name, row in found if not isinstance(row, str)]
        faults = [fault for _, fault in found if isinstance(fault, str)]
        if self.json:
            return _print_json([row for _, row in rows[: self.n]], faults)
        from toolkit.display.console import console, say
        from toolkit.display.runs import completion

        kept = rows[: self.n or N_ON_A_SCREEN]
        for name, row in kept:
            console.print(completion(row, name, None if self.full else MAX_CHARACTERS))
        more = "" if len(kept) == len(rows) else f", the first {len(kept)} shown: --n shows more"
        say(f"{len(rows):,} found{more}")
        _warn(faults)
        return 0


@dataclass(frozen=True)
class Diagnose:
    """What the health rules find in a run, during or after it; in any Hugging Face trainer's log, too."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """A run folder, metrics.jsonl, a trainer_state.json, or the folder with its checkpoints."""
    json: bool = False
    """Print one JSON object: level, and verdicts with rule, level, steps, found, wanted, next."""

    def run(self) -> int:
        from toolkit.runs.diagnosis import diagnose

        diagnosis = diagnose(_given(self.path))
        if self.json:
            return _print_json(diagnosis.as_json(), diagnosis.log.warnings)
        from toolkit.display.console import console, say
        from toolkit.display.findings import Findings

        _warn(diagnosis.log.warnings)
        say(diagnosis.words())
        if diagnosis.findings:
            console.print(Findings(diagnosis.findings), crop=False)
        return 0


def _given(folder: Path | None) -> Path:
    if folder is None:
        raise SettingsError("no RUN given", "a run folder", "toolkit runs ls lists those of runs/")
    return folder.expanduser()


def _check_page(path: Path) -> None:
    if path.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{path} is no name of a page", "a name that ends in .html")


def _say(line: str) -> int:
    from toolkit.display.console import say

    say(line)
    return 0


def _print(what: Any) -> int:
    from toolkit.display.console import console

    console.print(what)
    return 0


def _print_json(value: Any, faults: Sequence[str] = ()) -> int:
    """In ASCII: what a model wrote may hold anything, and an escape in JSON moves no cursor."""
    from toolkit.files import finite

    print(json.dumps(finite(value), indent=2))
    _warn(faults)
    return 0


def _warn(faults: Sequence[str]) -> None:
    """On standard error, beside the answer."""
    from toolkit.display.console import fail

    for fault in faults:
        fail(fault)


RUNS_VERBS = {
    "ls": Ls,
    "show": Show,
    "compare": Compare,
    "diagnose": Diagnose,
    "report": Report,
    "completions": Completions,
}
