"""A table of plans as a file: Markdown, CSV, or a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from toolkit.errors import SettingsError
from toolkit.files import replace_file
from toolkit.vram.views.sheet import Sheet


def markdown(sheet: Sheet) -> str:
    """A heading, the settings, a table with one line a row, and the notes."""
    kinds = ["checkpointing"] if len(sheet.panels) > 1 else []
    head = [*kinds, f"{sheet.row_name} \\ {sheet.column_name}", *sheet.columns]
    lines = [f"### {sheet.title}: {sheet.measure}", "", sheet.settings, "", _line(head)]
    lines.append(_line([*("---" for _ in range(len(kinds) + 1)), *("---:" for _ in sheet.columns)]))
    for panel in sheet.panels:
        for label, cells in panel.rows:
            kind = [panel.heading.rpartition(" ")[2]] if kinds else []
            lines.append(_line([*kind, label, *(cell.marked for cell in cells)]))
    lines += ["", "; ".join(sheet.legend()), ""] if sheet.legend() else [""]
    return "\n".join([*lines, *sheet.notes]) + "\n"


def comma_separated(sheet: Sheet) -> str:
    """One line a cell, under the names that the JSON has."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(sheet.records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sheet.records)
    return text.getvalue()


def _picture(sheet: Sheet) -> bytes:
    from toolkit.vram.views.heat_map import draw  # matplotlib

    return draw(sheet)


WRITERS: dict[str, Callable[[Sheet], bytes]] = {
    ".md": lambda sheet: markdown(sheet).encode(),
    ".csv": lambda sheet: comma_separated(sheet).encode(),
    ".png": _picture,
}


def check_suffix(path: Path) -> None:
    """Refuse a file of another kind before anything is computed.

    Raises:
        SettingsError: names the kinds there are.
    """
    if path.suffix.lower() not in WRITERS:
        raise SettingsError(f"--output {path} is no kind of table", f"a name that ends in {', '.join(WRITERS)}")


def write(sheet: Sheet, path: Path) -> None:
    """Write the sheet in the form that the file's name asks for, whole or not at all.

    Raises:
        SettingsError: another kind of file, or one that cannot be written.
    """
    check_suffix(path)
    save(path, WRITERS[path.suffix.lower()](sheet))


def save(path: Path, content: bytes) -> None:
    """Put what `--output` asks for at its place.

    Raises:
        SettingsError: the folder is missing or cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise SettingsError(
            f"--output {path} cannot be written ({error.strerror})", "a file name in a writable folder"
        ) from error


def _line(fields: list[str]) -> str:
    return f"| {' | '.join(fields)} |"
