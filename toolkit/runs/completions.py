"""Completions as a run keeps them: one Parquet file a step, `before` and `after`; older runs have JSONL, read as well.

A row has `step` and `group` (not in before and after), `prompt`, `completion`, `answer`, `n_tokens`, `finish_reason`,
`rewards` (a score for each reward function, null where it could not judge), and `reward`, their weighted sum as TRL
makes it. Rows of a step have `advantage`, those of a measurement `score` and `correct`.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import first_line
from toolkit.files import finite, read_jsonl
from toolkit.rewards.completions import prompt_text
from toolkit.runs.names import AFTER, BEFORE

Row = dict[str, Any]
PARQUET, JSONL = ".parquet", ".jsonl"
_WHOLE, _TEXT, _REAL, _YES_NO = "int64", "string", "float64", "bool_"
COLUMNS = {
    **dict.fromkeys(("step", "group", "n_tokens"), _WHOLE),
    **dict.fromkeys(("prompt", "completion", "finish_reason"), _TEXT),
    **dict.fromkeys(("reward", "advantage", "score"), _REAL),
    "correct": _YES_NO,
}
"""Arrow's type of each column that is always of one; without it a column of nulls would differ from step to step."""
REWARDS, ANSWER = "rewards", "answer"
_STEP = re.compile(r"step_(\d+)")


def weighted_sum(rewards: Iterable[float | None], weights: Iterable[float]) -> float | None:
    """TRL's total of one completion: what could not be judged counts nothing; None where nothing could be judged."""
    parts = [weight * reward for reward, weight in zip(rewards, weights, strict=True) if reward is not None]
    return sum(parts) if parts else None


# ------------------------------------------------------------------ written


def to_parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as a Parquet file, whatever their values are: what a column cannot hold is kept as JSON text.

    NaN and infinities become null, and a lone surrogate, which UTF-8 does not have, U+FFFD.
    """
    import pyarrow
    from pyarrow import parquet

    kept = [finite(row) for row in rows]
    columns = {
        name: _column(name, [row.get(name) for row in kept]) for name in dict.fromkeys(n for r in kept for n in r)
    }
    file = io.BytesIO()
    table = pyarrow.table({name: column for name, column in columns.items() if column is not None})
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _column(name: str, values: Sequence[Any]) -> Any:
    """An Arrow array; None for rewards of no function, which Parquet cannot say."""
    import pyarrow

    if name == REWARDS and all(value is None or isinstance(value, dict) for value in values):
        parts = list(dict.fromkeys(part for value in values for part in value or ()))
        scores = [pyarrow.array([_real((v or {}).get(part)) for v in values], pyarrow.float64()) for part in parts]
        return pyarrow.StructArray.from_arrays(scores, names=list(map(_utf8, parts))) if parts else None
    kind = COLUMNS.get(name)
    if kind and kind != _TEXT:
        known = map(_real, values) if kind == _REAL else values
        return pyarrow.array(list(known), getattr(pyarrow, kind)())
    if kind or all(value is None or isinstance(value, str) for value in values):
        return pyarrow.array([None if value is None else _text(value) for value in values], pyarrow.string())
    if not any(isinstance(part, dict) for value in values for part in (value if isinstance(value, list) else [value])):
        try:  # numbers, lists of answers
            return pyarrow.array(values)
        except (pyarrow.ArrowException, ValueError, OverflowError):
            pass  # of several kinds, or too large a number
    # Arrow would give every object the keys of all
    return pyarrow.array([None if value is None else _text(value) for value in values], pyarrow.string())


def _real(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str:
    return _utf8(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _utf8(text: str) -> str:
    """The text with U+FFFD for each lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# ------------------------------------------------------------------ read


def files_of(folder: Path) -> dict[str, Path]:
    """The files of completions in a run folder, or its `completions`, by name: `before`, the steps in order, `after`.

    Of a name that is there in both formats, as a kill can leave it, the Parquet file is the newer one.
    """
    inside = folder / "completions" if (folder / "completions").is_dir() else folder
    found: dict[str, Path] = {}
    for suffix in (JSONL, PARQUET):
        found |= {path.stem: path for path in inside.glob(f"*{suffix}") if _place(path.stem) is not None}
    return dict(sorted(found.items(), key=lambda named: _place(named[0]) or 0))


def step_files(folder: Path) -> dict[int, Path]:
    """Those of training steps, by step, in order."""
    return {step: path for name, path in files_of(folder).items() if (step := step_of(name)) is not None}


def step_of(name: str) -> int | None:
    """The step in `step_00012`; None for `before` and `after`."""
    found = _STEP.fullmatch(name)
    return int(found[1]) if found else None


def _place(name: str) -> float | None:
    return {BEFORE: -1.0, AFTER: float("inf")}.get(name, step_of(name))


def read_rows(path: Path) -> tuple[list[Row], str]:
    """The rows of a file, and a sentence on what could not be read; of JSONL those before the break are read."""
    return (_read_parquet if path.suffix == PARQUET else _read_jsonl)(path)


def by_problem(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Row]:
    """Rows by their problem, in order: its prompt, and how often that came before, since a question may be repeated."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        prompt = prompt_text(row.get("prompt") or "")
        found[prompt, seen[prompt]] = dict(row)
        seen[prompt] += 1
    return found


def _read_parquet(path: Path) -> tuple[list[Row], str]:
    import pyarrow
    from pyarrow import parquet

    try:
        # From memory: a mapped file that is truncated while it is read ends the process. `read_table` loads pandas.
        file = parquet.ParquetFile(pyarrow.BufferReader(path.read_bytes()))
        return file.read(use_threads=False).to_pylist(), ""
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return [], f"{path.name} cannot be read ({first_line(error)})"


def _read_jsonl(path: Path) -> tuple[list[Row], str]:
    try:
        return read_jsonl(path)
    except OSError as error:
        return [], f"{path.name} cannot be read ({error.strerror})"
