"""What a run logged, wherever it stands: a run folder, a metrics file, a Hugging Face trainer_state.json.

A file that breaks off is read up to the break, with a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.control.history import Context
from toolkit.errors import RunFolderError
from toolkit.runs.names import ENVIRONMENT, SETTINGS, SUMMARY
from toolkit.runs.reader import rows_of
from toolkit.runs.record import Record, is_run, read_record

STATE, HISTORY = "trainer_state.json", "log_history"
WANTED = f"a run folder, metrics.jsonl, or {STATE}"
AT_THE_END = "train_runtime"
"""A key of the row that transformers logs last, which is about no step."""
_HISTORY_BEGINS = re.compile(rf'"{HISTORY}"\s*:\s*\[')
_MAX_STEPS = re.compile(r'"max_steps"\s*:\s*(\d+)')


@dataclass
class Log:
    """Rows in the order in which they were logged, and what else is known of the run."""

    source: Path
    rows: list[dict[str, Any]]
    context: Context = field(default_factory=Context)
    summary: Mapping[str, Any] = field(default_factory=dict)
    """summary.json, where there is one."""
    warnings: list[str] = field(default_factory=list)


def read_log(path: Path) -> Log:
    """Read what a run logged.

    Raises:
        RunFolderError: there is nothing at `path`, it cannot be read, or it holds no logged step.
    """
    try:
        log = _of_folder(path) if path.is_dir() else _of_file(path)
    except OSError as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", WANTED) from error
    if not log.rows:
        why = f" ({log.warnings[0]})" if log.warnings else ""
        raise RunFolderError(f"{log.source} holds no logged step{why}", WANTED)
    return log


def _of_folder(folder: Path) -> Log:
    """A run folder of this project, a checkpoint, or the output folder of another trainer with its checkpoints."""
    if is_run(folder):
        record = read_record(folder)
        if record.rows:
            return Log(folder, record.rows, _context(record), record.document(SUMMARY), record.warnings)
    states = [folder / STATE, *folder.glob(f"checkpoint-*/{STATE}"), *folder.glob(f"checkpoints/checkpoint-*/{STATE}")]
    there = [state for state in states if state.is_file()]
    if not there:
        raise RunFolderError(f"{folder} holds no logged step", WANTED)
    return _of_file(max(there, key=_place))


def _place(state: Path) -> tuple[bool, int]:
    """That of the folder itself comes after those of its checkpoints, and a later checkpoint after an earlier one."""
    number = re.fullmatch(r"checkpoint-(\d+)", state.parent.name)
    return number is None, int(number[1]) if number else 0


def _of_file(path: Path) -> Log:
    if not path.exists():
        raise RunFolderError(f"{path} does not exist", WANTED)
    if path.suffix == ".jsonl":
        rows, broken = rows_of(path)
        folder = path.parent
        if path.name == "metrics.jsonl" and (folder / SETTINGS).exists():
            record = read_record(folder)
            return Log(path, rows, _context(record), record.document(SUMMARY), record.warnings)
        return Log(path, rows, warnings=[broken] if broken else [])
    return _of_state(path)


def _of_state(path: Path) -> Log:
    text = path.read_bytes().decode("utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return _of_broken_state(path, text)
    history = content.get(HISTORY) if isinstance(content, Mapping) else content
    if not isinstance(history, list):
        raise RunFolderError(f"{path} has no {HISTORY}", WANTED)
    n_steps = content.get("max_steps") if isinstance(content, Mapping) else None
    return Log(path, _steps(history), Context(n_steps=_count(n_steps)))


def _of_broken_state(path: Path, text: str) -> Log:
    """The rows that are whole: transformers writes the history as a list of objects."""
    begins = _HISTORY_BEGINS.search(text)
    if begins is None:
        raise RunFolderError(f"{path} is no JSON, and has no {HISTORY}", WANTED)
    rows: list[Any] = []
    decoder, at = json.JSONDecoder(), begins.end()
    while match := re.compile(r"[\s,]*(?=\{)").match(text, at):
        try:
            row, at = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            break
        rows.append(row)
    broken = f"{path.name} is broken at character {at}: read up to there"
    n_steps = _MAX_STEPS.search(text)
    return Log(path, _steps(rows), Context(n_steps=int(n_steps[1]) if n_steps else None), warnings=[broken])


def _steps(history: list[Any]) -> list[dict[str, Any]]:
    return [row for row in history if isinstance(row, dict) and AT_THE_END not in row]


def _context(record: Record) -> Context:
    """What a run folder says beside its metrics."""
    fields = record.at(SETTINGS, "effective") or record.asked
    sizes = [_count(fields.get(name)) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")]
    n_generations, n_processes = _count(fields.get("num_generations")), record.at(ENVIRONMENT, "world_size")
    gpus = record.at(ENVIRONMENT, "gpus")
    gpu = gpus[0] if isinstance(gpus, list) and gpus and isinstance(gpus[0], Mapping) else {}
    memory = gpu.get("total_gib")
    n_groups = 1.0
    if all(sizes) and n_generations:
        n_groups = (sizes[0] or 1) * (sizes[1] or 1) * (_count(n_processes) or 1) / n_generations
    return Context(
        memory_gib=float(memory) if isinstance(memory, (int, float)) else None,
        n_steps=_count(record.asked.get("max_steps")),
        n_groups=n_groups / (_count(fields.get("num_iterations")) or 1),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
