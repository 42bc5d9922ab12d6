"""Where Unsloth keeps the trainers that it generates from TRL's, and what keeps those of other versions out of a run.

Unsloth 2026.10.9 writes to `UNSLOTH_COMPILE_LOCATION`, puts the folder first on `sys.path`, and writes the versions of
four packages at the head of each file. It generates anew what differs, but not under `UNSLOTH_COMPILE_OVERWRITE=0`,
where a trainer that another Unsloth made is used as it is; and earlier releases compared less. So: a folder for each
set of versions, which two runs with different environments share without waiting for each other, and in it a stamp.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from toolkit.compat.versions import version_of
from toolkit.files import replace_file
from toolkit.units import plural

PACKAGES = ("unsloth", "unsloth_zoo", "trl", "transformers", "torch")
IN_HEAD = ("unsloth_zoo", "unsloth", "transformers", "trl")
"""Packages whose versions stand at the head of a generated file, a line each (`unsloth_zoo.compiler`)."""
STAMP = "made_with.json"
KEEP_DAYS = 30
"""How long a folder of versions that no run uses any more is kept; about 2.5 MB each."""


def root() -> Path:
    """The folder of all sets of versions."""
    return Path.home() / ".cache" / "grpo-toolkit" / "unsloth_compiled_cache"


def versions_now() -> dict[str, str]:
    """What generated code depends on, read from metadata; packages that are not installed are left out."""
    return {name: version for name in PACKAGES if (version := version_of(name))}


def folder_for_these_versions() -> Path:
    """The folder of the installed packages; it need not exist."""
    now = versions_now()
    return root() / "-".join(now.get(name, "none") for name in PACKAGES)


def made_with(path: Path) -> dict[str, str]:
    """The versions at the head of a file that Unsloth generated; empty for any other file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head, mark, _ = file.read(400).partition("__UNSLOTH_VERSIONING__")
    lines = head.strip().strip('"').split()
    return dict(zip(IN_HEAD, lines, strict=True)) if mark and len(lines) == len(IN_HEAD) else {}


def clear_stale(folder: Path) -> list[str]:
    """Remove generated code of other versions from `folder` and stamp it with these; return lines to say.

    Only files that carry Unsloth's head are removed, so that a folder of the user's own is safe. Our own
    folders that no run has used for `KEEP_DAYS` go, too. To be called before unsloth is imported.
    """
    now = versions_now()
    lines: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = _stale_files(folder, now)
        for path in stale:
            path.unlink(missing_ok=True)
        replace_file(folder / STAMP, json.dumps(now, indent=2).encode())
        if folder.parent == root():
            _remove_unused()
    except OSError as error:
        return [f"compiled cache: {folder} cannot be used ({error.strerror}), so Unsloth takes a temporary folder"]
    if stale:
        lines.append(f"compiled cache: {plural(len(stale), 'file')} of other versions removed from {folder}")
    return lines


def _stale_files(folder: Path, now: dict[str, str]) -> list[Path]:
    """Generated files of other versions: all of them where the stamp differs, else those whose head does."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # ValueError: not JSON
        stamp = None
    generated = {path: head for path in sorted(folder.glob("*.py")) if (head := made_with(path))}
    if stamp is not None and stamp != now:
        return list(generated)
    return [path for path, head in generated.items() if any(now.get(name) != head[name] for name in IN_HEAD)]


def _remove_unused() -> None:
    for folder in root().iterdir():
        stamp = folder / STAMP
        used = stamp if stamp.exists() else folder
        if folder.is_dir() and time.time() - used.stat().st_mtime > KEEP_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)
