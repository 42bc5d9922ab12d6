"""Random checkpoints that are written on their first use and kept; nothing is fetched.

A child process writes them (`python -m toolkit.models.random_cache`), since whoever wants one may not load torch, or
must load unsloth before transformers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from toolkit.errors import ModelError
from toolkit.files import write_json
from toolkit.machine.child import Child, end_with_parent
from toolkit.models.random import Dtype, write_checkpoint
from toolkit.units import format_gib, gib
from toolkit.vram.configs import from_config
from toolkit.vram.formula.costs import nf4_bytes
from toolkit.vram.shapes import Shape

LAYOUT = "v2"
"""Part of each folder's name; another one where `write_checkpoint` comes to write something else."""
LIMIT_S = 3600.0
ROOM_GIB = 1.0
"""What is to be left on the disk."""


def root() -> Path:
    """The folder that keeps them, beside what else this project keeps."""
    return Path.home() / ".cache" / "grpo-toolkit" / "random_models"


def size_gib(shape: Shape, dtype: Dtype, *, in_4bit: bool) -> float:
    """What a checkpoint takes on disk."""
    each, linear = (4 if dtype == "float32" else 2), shape.linear_parameters()
    return gib(each * (shape.parameters() - linear) + (nf4_bytes(linear) if in_4bit else each * linear))


def folder_of(shape: Shape, dtype: Dtype, *, in_4bit: bool) -> Path:
    """Where the checkpoint of a model lies, or will: its name is the model's, as a person reads it in a log."""
    name = re.sub(r"[^\w.-]+", "--", shape.name)
    return root() / f"{name}-{dtype}{'-nf4' if in_4bit else ''}-{LAYOUT}"


def ensure(shape: Shape, dtype: Dtype, *, in_4bit: bool) -> Path:
    """The folder of a random checkpoint of this shape, written now where it is not there.

    Raises:
        ModelError: the disk has no room for it, or it could not be written; the message has the last words.
    """
    folder = folder_of(shape, dtype, in_4bit=in_4bit)
    if folder.is_dir():
        return folder
    needed, where = size_gib(shape, dtype, in_4bit=in_4bit) + ROOM_GIB, root()
    try:
        where.mkdir(parents=True, exist_ok=True)
        free = gib(shutil.disk_usage(where).free)
    except OSError as error:
        raise ModelError(f"{where} cannot be written ({error.strerror})", "a writable home folder") from error
    if free < needed:
        found = f"random weights of {shape.name} take {format_gib(needed)} and {where} has {format_gib(free)}"
        raise ModelError(found, "room on the disk, or a smaller model")
    request = {"folder": str(folder), "config": dict(shape.config), "name": shape.name, "dtype": dtype}
    with tempfile.TemporaryDirectory() as place:
        child = Child([sys.executable, "-m", __name__], Path(place) / "writer", _environment())
        found = child.run(request | {"in_4bit": in_4bit}, LIMIT_S)
        if found["status"] != "ok" or not folder.is_dir():
            last = child.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise ModelError(f"random weights of {shape.name} could not be written: {(last or [found['why']])[0]}")
    return folder


def write_whole(shape: Shape, folder: Path, *, dtype: Dtype, in_4bit: bool) -> None:
    """Write a checkpoint that is there whole or not at all; one that is there stays, and two writers take turns."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.exists():
            return
        unfinished = folder.parent / f".{folder.name}"
        shutil.rmtree(unfinished, ignore_errors=True)  # what a writer that was ended has left
        write_checkpoint(shape, unfinished, dtype=dtype, in_4bit=in_4bit)
        unfinished.replace(folder)


def _environment() -> dict[str, str]:
    """This process's, with this package in front and no card: everything is made in the host's memory."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}


def main() -> None:
    """Write the checkpoint whose request stands on standard input; see `ensure`."""
    request = json.loads(sys.stdin.readline())
    end_with_parent()
    shape = from_config(request["config"], request["name"])
    write_whole(shape, Path(request["folder"]), dtype=request["dtype"], in_4bit=request["in_4bit"])
    write_json(Path(request["result"]), {"status": "ok", "why": ""})


if __name__ == "__main__":
    main()
