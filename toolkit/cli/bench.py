"""`toolkit bench ...`: the flags of its sub-verbs. Only a cell's own process loads torch."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from toolkit.cli.reward import EXIT_FAILED, given_path
from toolkit.errors import SettingsError
from toolkit.files import save
from toolkit.units import plural

_Results = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RESULTS", help_behavior_hint="")]


@dataclass(frozen=True)
class Run:
    """Run a grid of settings, each cell in a process of its own. Run it again to go on where it was stopped."""

    spec: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="SPEC.yaml", help_behavior_hint="")] = None
    """Recipe, settings and grid; benchmarks/specs/embedded.yaml is an example."""
    output: Path | None = None
    """Folder of the results; without it results/SPEC here."""
    retry: bool = False
    """Run cells again that were refused, failed or timed out; else they keep their result."""
    dry_run: bool = False
    """List the cells with what the planner expects of them, and run none."""
    plan_only: bool = False
    """Write the same as a table, plan.md and plan.csv beside where the results would be, and run none."""
    weights: Literal["pretrained", "random"] | None = None
    """`random`: of the model's true shape and vocabulary, made here without a download; else what SPEC says."""
    json: bool = False
    """Print the records as one JSON array."""

    def run(self) -> int:
        from toolkit.bench import spec as specs
        from toolkit.bench import sweep
        from toolkit.bench.tables import table_of
        from toolkit.display.console import say

        path = given_path(self.spec, "SPEC.yaml", "a grid, such as benchmarks/specs/embedded.yaml")
        spec, cells = specs.load(path, self.weights)
        folder = self.output or Path("results") / spec.name
        if self.dry_run or self.plan_only:
            planned = sweep.listed(spec, cells)
            wrote = self._write_plan(spec.name, planned, folder) if self.plan_only else ""
            self._give(planned, table_of(planned, on_screen=True))
            if wrote and not self.json:
                say(wrote)
            return 0
        told = (lambda line: None) if self.json else say
        records = sweep.run(spec, cells, folder, told, on_screen=not self.json, retry=self.retry)
        self._give(records, table_of(records, on_screen=True))
        if not self.json:
            say(f"{folder}: toolkit bench table {folder}")
        return 0

    def _write_plan(self, name: str, planned: list[dict[str, Any]], folder: Path) -> str:
        """Leave the planning table in a folder; which files that were."""
        from toolkit.bench.planning import cells_markdown, cells_table

        contents = {".md": cells_markdown(name, planned), ".csv": cells_table(planned).csv()}
        with contextlib.suppress(OSError):  # `save` says what is amiss with it
            folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"plan{suffix}" for suffix in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            save(path, content.encode())
        return f"wrote {' and '.join(map(str, paths))}: predicted, nothing has run"

    def _give(self, records: list[dict[str, Any]], table: Any) -> None:
        if self.json:
            print(json.dumps(records, indent=2))
            return
        from toolkit.display.console import console

        console.print(table.rich(gap=1))


@dataclass(frozen=True)
class Tune:
    """Search the lists of a spec for the fastest settings, by short runs, and write them as a preset."""

    spec: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="SPEC.yaml", help_behavior_hint="")] = None
    """As for `run`; the first value of each list is the start."""
    trials: int = 12
    """Runs at most; what the plan rules out takes none."""
    probe_steps: int = 8
    """Optimizer steps of a run, the spec's warm-up included."""
    confirm: bool = False
    """Run the start and what was found at full length, as often as the spec repeats."""
    preset: Path | None = None
    """File for the preset, .yaml; without it preset.yaml beside the results."""
    output: Path | None = None
    """Folder of the results; without it results/SPEC here."""
    json: bool = False
    """Print what was found as one JSON object."""

    def run(self) -> int:
        from toolkit.bench import preset, trials, tune
        from toolkit.bench import spec as specs
        from toolkit.display.console import console, say
        from toolkit.files import write_json

        if self.trials < 1:
            raise SettingsError(f"--trials is {self.trials}", "at least 1")
        spec, _ = specs.load(
            given_path(self.spec, "SPEC.yaml", "lists of values, such as benchmarks/specs/embedded_tune.yaml")
        )
        folder = self.output or Path("results") / spec.name
        path = self.preset or folder / "preset.yaml"
        preset.check_path(path, folder)
        tell = (lambda line: None) if self.json else say
        found = tune.run(spec, folder, self.trials, self.probe_steps, tell, confirm=self.confirm)
        write_json(folder / "tune.json", found.as_json())
        save(path, preset.as_yaml(spec, found).encode())
        if self.json:
            print(json.dumps({**found.as_json(), "preset": str(path)}, indent=2))
            return 0
        console.print(trials.table_of(found).rich(gap=1))
        command = shlex.join(["python", os.path.relpath(spec.recipe_path), "--config", str(path)])
        say(f"wrote {path}: {command}")
        return 0


@dataclass(frozen=True)
class Table:
    """The cells of a sweep side by side: peak memory, tokens/s, and the change from the first."""

    results: _Results = None
    """A folder of results, or its cells.jsonl."""
    format: Literal["screen", "markdown", "csv", "latex"] = "screen"
    """How it is written: in a pipe `screen` is Markdown; csv has all figures."""

    def run(self) -> int:
        from toolkit.bench.store import read_finished
        from toolkit.bench.tables import figures_of, notes, reasons_of, table_of
        from toolkit.display.console import console

        records = read_finished(given_path(self.results, "RESULTS", "a folder that toolkit bench run wrote"))
        table = table_of(records)
        forms = {"markdown": table.markdown, "csv": figures_of(records).csv, "latex": table.latex}
        if self.format == "screen" and console.is_terminal:
            console.print(table_of(records, on_screen=True).rich(gap=1))
            console.print("\n".join(reasons_of(records)), markup=False)
        else:
            print(forms.get(self.format, table.markdown)(), end="")
        for line in notes(records) if self.format in ("screen", "markdown") else ():
            print(f"\n{line}")
        return 0


@dataclass(frozen=True)
class Share:
    """What a sweep measured as a file to send in: without host, user, path, address or prompt."""

    results: _Results = None
    """A folder of results, or its cells.jsonl."""
    output: Path | None = None
    """File to write, .jsonl; without it CARD_SPEC.jsonl beside the results."""

    def run(self) -> int:
        from toolkit.bench import share
        from toolkit.bench.store import read_finished
        from toolkit.display.console import say

        results = given_path(self.results, "RESULTS", "a folder that toolkit bench run wrote")
        records = share.shared(read_finished(results))
        output = self.output or (results if results.is_dir() else results.parent) / share.name_of(records)
        if output.suffix != ".jsonl":
            raise SettingsError(f"--output {output} is no file of records", "a name that ends in .jsonl")
        if output.exists() and results.exists() and output.samefile(results):
            raise SettingsError(f"--output {output} is what is shared", "another name", "it would be overwritten")
        save(output, share.as_lines(records).encode())
        say(f"wrote {output}: {len(records)} cells. Read it before you send it; benchmarks/README.md says where to.")
        return 0


@dataclass(frozen=True)
class Plot:
    """The cells of a sweep as a picture: tokens/s against memory, and how both grow with each setting."""

    results: _Results = None
    """A folder of results, or its cells.jsonl."""
    output: Path | None = None
    """File to write, .png or .svg; without it plot.png beside the results."""

    def run(self) -> int:
        from toolkit.bench.plots import SUFFIXES, draw
        from toolkit.bench.store import read_finished
        from toolkit.display.console import say

        results = given_path(self.results, "RESULTS", "a folder that toolkit bench run wrote")
        output = self.output or (results if results.is_dir() else results.parent) / "plot.png"
        if output.suffix not in SUFFIXES:
            wanted = f"a name that ends in {', '.join(SUFFIXES)}"
            raise SettingsError(f"--output {output} is no kind of picture", wanted)
        save(output, draw(read_finished(results), output.suffix))
        say(f"wrote {output}")
        return 0


@dataclass(frozen=True)
class Page:
    """One offline page: the cells of a sweep, and what fits on which card, predicted, to choose from."""

    results: _Results = None
    """A folder of results, or its cells.jsonl; without one the page has the planning tables alone."""
    output: Path | None = None
    """File to write; without it page.html beside the results, or here."""
    gpus: tuple[str, ...] = ()
    """Cards to plan for, by name or GiB; without them eight common ones, and those of the sweep."""
    models: tuple[str, ...] = ()
    """Models to plan, as in toolkit plan --model; without them Qwen2.5 and Qwen3 up to 14B, and those of the sweep."""

    def run(self) -> int:
        from toolkit.bench import explorer, page
        from toolkit.bench.store import read_finished
        from toolkit.display.console import say

        results = self.results.expanduser() if self.results else None
        records = read_finished(results) if results else []
        place = results if results is None or results.is_dir() else results.parent
        output = self.output or (place or Path()) / "page.html"
        if not output.parent.is_dir():  # said before some seconds of planning
            raise SettingsError(f"there is no folder {output.parent} for --output", "a file name in a writable folder")
        gpus, models = explorer.choices(records, self.gpus, self.models)
        say(f"planning {plural(len(models), 'model')} on {plural(len(gpus), 'card')}")
        html = page.write(records, explorer.grid(gpus, models)).encode()
        save(output, html)
        say(f"wrote {output}, {len(html) / 1e6:.1f} MB, for any browser")
        return 0


@dataclass(frozen=True)
class Compare:
    """Two results of the same spec: exit code 1 where the second is slower or larger beyond its tolerance."""

    first: _Results = None
    """The results to hold against, such as a file of benchmarks/baselines."""
    second: _Results = None
    """The results in question."""

    def run(self) -> int:
        from toolkit.bench.compare import compare, lost, table_of, warnings
        from toolkit.bench.store import read_finished
        from toolkit.display.console import console, say

        wanted = "two folders that toolkit bench run wrote"
        first, second = (read_finished(given_path(path, "RESULTS", wanted)) for path in (self.first, self.second))
        ratios, gone = compare(first, second), lost(first, second)
        if not ratios:
            say("no cell has finished in both")
        elif console.is_terminal:
            console.print(table_of(ratios, on_screen=True).rich(gap=1))
        else:
            print(table_of(ratios).markdown(), end="")
        for line in warnings(first, second):
            say(line)
        for line in gone:
            say(f"finished before, and now {line}")
        return EXIT_FAILED if gone or any(ratio.is_regression for ratio in ratios) else 0


BENCH_VERBS = {
    **{"run": Run, "tune": Tune, "table": Table, "plot": Plot, "page": Page},
    **{"compare": Compare, "share": Share},
}
