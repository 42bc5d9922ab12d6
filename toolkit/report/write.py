"""Pages of runs as files, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from toolkit.display import page
from toolkit.errors import RunFolderError
from toolkit.files import replace_file
from toolkit.report.run_page import page_of
from toolkit.runs.names import REPORT
from toolkit.runs.record import Record


def write_report(record: Record, next_steps: Iterable[tuple[str, str]], output: Path | None = None) -> Path:
    """Write a run's page, into its folder unless `output` names a file; return where it is.

    Raises:
        RunFolderError: the file cannot be written.
    """
    return _write(output or record.folder / REPORT, page.render(page_of(record, next_steps)))


def write_several(records: Sequence[Record], output: Path) -> Path:
    """Write one page of several runs, each beside the first; RunFolderError where it cannot be written."""
    from toolkit.report.runs_page import page_of_several

    return _write(output, page.render(page_of_several(records)))


def _write(path: Path, html: str) -> Path:
    try:
        replace_file(path, html.encode())
    except OSError as error:
        wanted = "a file name in a writable folder"
        raise RunFolderError(f"{path} cannot be written ({error.strerror})", wanted, "--output FILE") from error
    return path
