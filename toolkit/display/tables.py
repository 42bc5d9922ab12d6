"""One table, drawn in a terminal, as Markdown, as CSV or as HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.table import Table as RichTable
from rich.text import Text

MIN_REST = 20
"""Characters that a column of `rest` has at least."""
Cell = str | Text
"""What stands in a field: text, or text with a style, which only a terminal shows."""


@dataclass(frozen=True)
class Column:
    """A column by its heading. A number stands at the right; words may take several lines, all else stays on one."""

    name: str
    is_number: bool = False
    is_words: bool = False
    is_rest: bool = False
    """Takes the width that the others leave; what does not fit into it ends in an ellipsis."""
    style: str = ""


def number(name: str) -> Column:
    """A column of figures."""
    return Column(name, is_number=True)


def words(name: str = "") -> Column:
    """A column of sentences, paths and other text of any length."""
    return Column(name, is_words=True)


def rest(name: str) -> Column:
    """A column of texts of which a beginning is enough."""
    return Column(name, is_rest=True)


@dataclass
class Table:
    """Rows of cells, as many in each as there are columns; a plain string names a column of short text."""

    columns: Sequence[Column | str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    has_header: bool = True

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def rich(self, gap: int = 2) -> RichTable:
        """For a terminal, with `gap` blanks between columns."""
        columns = self._columns()
        table = RichTable(
            box=None,
            pad_edge=False,
            padding=(0, gap, 0, 0),
            header_style="dim",
            show_header=self.has_header,
            expand=any(column.is_rest for column in columns),
        )
        for column in columns:
            table.add_column(
                Text(column.name),
                justify="right" if column.is_number else "left",
                no_wrap=not column.is_words,
                overflow="fold" if column.is_words else "ellipsis",
                style=column.style,
                ratio=1 if column.is_rest else None,
                min_width=MIN_REST if column.is_rest else max(map(len, column.name.split()), default=None),
            )
        for row in self.rows:
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))  # `[x]` is no markup here
        return table

    def markdown(self) -> str:
        """A pipe table as GitHub reads it, ending in a line break."""
        columns = self._columns()
        lines = [
            [column.name for column in columns],
            ["---:" if column.is_number else "---" for column in columns],
            *self._plain(),
        ]
        return "".join("| " + " | ".join(_piped(cell) for cell in line) + " |\n" for line in lines)

    def csv(self) -> str:
        """Comma-separated, with the headings in the first line."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([[column.name for column in self._columns()], *self._plain()])
        return out.getvalue()

    def latex(self) -> str:
        """A `tabular` of the booktabs package."""
        columns = self._columns()
        lines = [" & ".join(map(_in_latex, line)) + r" \\" for line in ([c.name for c in columns], *self._plain())]
        kinds = "".join("r" if column.is_number else "l" for column in columns)
        body = "\n".join(lines[1:])
        return (
            f"\\begin{{tabular}}{{{kinds}}}\n\\toprule\n{lines[0]}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        )

    def html(self) -> str:
        """A `<table>` with every text escaped; cells of figures have the class `number`, those that wrap `words`."""
        kinds = [_html_class(column) for column in self._columns()]

        def line(tag: str, cells: Iterable[str]) -> str:
            fields = (f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
            return f"<tr>{''.join(fields)}</tr>"

        head = f"<thead>{line('th', (column.name for column in self._columns()))}</thead>" if self.has_header else ""
        body = "\n".join(line("td", row) for row in self._plain())
        return f"<table>{head}<tbody>\n{body}\n</tbody></table>"

    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]

    def _plain(self) -> list[list[str]]:
        return [[cell.plain if isinstance(cell, Text) else cell for cell in row] for row in self.rows]


def facts(rows: Iterable[tuple[Cell, Cell]]) -> RichTable:
    """A line each: a dim label, and what there is to say, which may wrap beside it."""
    return Table([Column("", style="dim"), words()], list(rows), has_header=False).rich()


def _html_class(column: Column) -> str:
    if column.is_number:
        return ' class="number"'
    return ' class="words"' if column.is_words or column.is_rest else ""


def _in_latex(cell: str) -> str:
    """With what LaTeX reads as commands escaped."""
    return "".join(_LATEX.get(character, character) for character in cell)


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def _piped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
