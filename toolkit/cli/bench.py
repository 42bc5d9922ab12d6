"""`toolkit bench ...`: the flags of its sub-verbs. Only a cell's own process loads torch."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from toolkit.cli.reward import EXIT_FAILED
from toolkit.errors import SettingsError
from toolkit.files import save

_Results = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RESULTS", help_behavior_hint="")]


@dataclass(frozen=True)
class Run:
    """Run a grid of settings, each cell in a process of its own. Run it again to go on where it was stopped."""

    spec: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="SPEC.yaml", help_behavior_hint="")] = None
    """Recipe, settings and grid; benchmarks/specs/embedded.yaml is an example."""
    output: Path | None = None
    """Folder of the results; without it results/SPEC here."""
    dry_run: bool = False
    """List the cells with what the planner expects of them, and run none."""
    plan_only: bool = False
    """Write the same as a table, plan.md and plan.csv beside where the results would be, and run none."""
    json: bool = False
    """Print the records as one JSON array."""

    def run(self) -> int:
        from toolkit.bench import spec as specs
        from toolkit.bench import sweep
        from toolkit.bench.tables import table_of
        from toolkit.display.console import say

        spec, cells = specs.load(_given(self.spec, "SPEC.yaml", "a grid, such as benchmarks/specs/embedded.yaml"))
        folder = self.output or Path("results") / spec.name
        if self.dry_run or self.plan_only:
            planned = sweep.listed(spec, cells)
            wrote = self._write_plan(spec.name, planned, folder) if self.plan_only else ""
            self._give(planned, table_of(planned, on_screen=True))
            if wrote and not self.json:
                say(wrote)
            return 0
        records = sweep.run(spec, cells, folder, (lambda line: None) if self.json else say)
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
class Table:
    """The cells of a sweep side by side: peak memory, tokens/s, and the change from the first."""

    results: _Results = None
    """A folder of results, or its cells.jsonl."""
    format: Literal["screen", "markdown", "csv", "latex"] = "screen"
    """How it is written; a pipe gets Markdown unless another is named."""

    def run(self) -> int:
        from toolkit.bench.store import read_finished
        from toolkit.bench.tables import table_of
        from toolkit.display.console import console

        records = read_finished(_given(self.results, "RESULTS", "a folder that toolkit bench run wrote"))
        table = table_of(records)
        forms = {"markdown": table.markdown, "csv": table.csv, "latex": table.latex}
        if self.format == "screen" and console.is_terminal:
            console.print(table_of(records, on_screen=True).rich(gap=1))
        else:
            print(forms.get(self.format, table.markdown)(), end="")
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

        results = _given(self.results, "RESULTS", "a folder that toolkit bench run wrote")
        output = self.output or (results if results.is_dir() else results.parent) / "plot.png"
        if output.suffix not in SUFFIXES:
            wanted = f"a name that ends in {', '.join(SUFFIXES)}"
            raise SettingsError(f"--output {output} is no kind of picture", wanted)
        save(output, draw(read_finished(results), output.suffix))
        say(f"wrote {output}")
        return 0


@dataclass(frozen=True)
class Compare:
    """Two results of the same spec: exit code 1 where the second is slower or larger beyond its tolerance."""

    first: _Results = None
    """The results to hold against, such as a file of benchmarks/baselines."""
    second: _Results = None
    """The results in question."""

    def run(self) -> int:
        from toolkit.bench.compare import compare, lost, table_of
        from toolkit.bench.store import read_finished
        from toolkit.display.console import console, say

        wanted = "two folders that toolkit bench run wrote"
        first, second = (read_finished(_given(path, "RESULTS", wanted)) for path in (self.first, self.second))
        ratios, gone = compare(first, second), lost(first, second)
        console.print(table_of(ratios).rich())
        for line in gone:
            say(f"finished before, and now {line}")
        return EXIT_FAILED if gone or any(ratio.is_regression for ratio in ratios) else 0


def _given(value: Path | None, name: str, wanted: str) -> Path:
    if value is None:
        raise SettingsError(f"no {name} given", wanted)
    return value.expanduser()


BENCH_VERBS = {"run": Run, "table": Table, "plot": Plot, "compare": Compare}
