"""Findings on a screen: one line each, then what to do about them, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from toolkit.display.tables import Table, words
from toolkit.findings import LEVELS, Finding, Level

WORDS: dict[Level, str] = {"green": "ok", "info": "info", "amber": "warn", "red": "fail"}
STYLES: dict[Level, str] = {"green": "green", "info": "dim", "amber": "yellow", "red": "bold red"}
MARKS: dict[Level, tuple[str, str]] = {"green": ("✓", "+"), "info": ("·", "."), "amber": ("!", "!"), "red": ("✗", "x")}


class Findings:
    """To be printed with `crop=False`: a next step is a line of its own and never wrapped here.

    Where a terminal wraps it, it still copies as one.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = options.ascii_only
        table = Table(["check", "status", words("found")])
        for finding in self._findings:
            status = Text(f"{MARKS[finding.level][plain]} {WORDS[finding.level]}", STYLES[finding.level])
            found = Text(finding.found)
            if finding.wanted and finding.level != "green":
                found.append(f"; wanted {finding.wanted}", "dim")
            table.add(finding.name, status, found)
        yield table.rich()
        yield from self._next_steps("->" if plain else "→")

    def _next_steps(self, arrow: str) -> Iterator[RenderableType]:
        to_do = sorted((f for f in self._findings if f.next_step), key=lambda f: LEVELS.index(f.level), reverse=True)
        width = max((len(finding.name) for finding in to_do), default=0)
        if to_do:
            yield Text()
        for finding in to_do:
            name = (f"{finding.name:<{width}} ", STYLES[finding.level])
            yield Text.assemble(name, f"{arrow} ", (finding.next_step, "cyan"), no_wrap=True, overflow="ignore")
