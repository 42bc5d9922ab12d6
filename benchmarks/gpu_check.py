"""Hold the CUDA side and the memory planner against this card: real loads, real GRPO steps, random weights, no network.

    python benchmarks/gpu_check.py                     # under 10 minutes, from a checkout or an installation
    python benchmarks/gpu_check.py --only 7B           # cells whose name has it
    python benchmarks/gpu_check.py --device cpu        # the same path with a tiny model, to see that it works

Each cell is a process that loads a Qwen2.5 of true shape through a backend, trains for a few steps and reports
allocated, reserved and process peaks beside the plan, or says why it could not. One JSON is written after each cell:
`benchmarks/baselines/gpu_check_<card>.json`; benchmarks/README.md says what it means. It has not run on a card yet.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # from a checkout that is not installed, too

from benchmarks.gpu import report  # noqa: E402 (see above)
from benchmarks.gpu.check import Check, Limits  # noqa: E402
from toolkit.display.console import console, fail, say  # noqa: E402
from toolkit.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, SettingsError, ToolkitError  # noqa: E402
from toolkit.machine.devices import Gpu, find_gpus  # noqa: E402


@dataclass(frozen=True)
class Settings:
    """Hold the CUDA side and the memory planner against this card."""

    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where to run; `auto` takes the first CUDA card, else the CPU with a tiny model."""
    budget_s: float = 600
    """Seconds for everything; cells come in the order of their value, and those left over are listed as not run."""
    limit_s: float = 150
    """Seconds for one cell; one that starts vLLM, which compiles, has 300."""
    only: tuple[str, ...] = ()
    """Run cells whose name has one of these."""
    models: Path | None = None
    """Folder that keeps the random checkpoints (16 GB) for the next time; None: a temporary one."""
    output: Path | None = None
    """JSON to write; None: benchmarks/baselines/gpu_check_<card>.json, on a CPU runs/gpu_check_cpu.json."""
    log: Path | None = None
    """Gets what the cells print; None: runs/gpu_check.log."""


def main(settings: Settings) -> int:
    """Run the cells and print the tables; the exit code, 1 where nothing ran."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that a scheduler's stop ends the cell in progress, too
    gpu, why = choose_device(settings.device)
    output = settings.output or default_output(gpu)
    log = settings.log or ROOT / "runs" / "gpu_check.log"
    for path in (output, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    limits = Limits(settings.budget_s, settings.limit_s, settings.only)
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as work, log.open("wb") as file:
        models = settings.models or Path(work) / "models"
        check = Check(gpu, limits, output, models, Path(work), file)
        for text in (why, *check.document["degradations"], *check.document["warnings"]):
            say(text)
        say(f"writing {output} after each cell; what the cells print goes to {log}\n")
        try:
            check.run()
        except KeyboardInterrupt:
            fail(f"stopped; what was measured is in {output}")
            return EXIT_INTERRUPTED
    document = check.document
    console.print(report.render(document))
    say(f"\n{output}")
    return 0 if any(row["status"] == "ran" for row in document["cells"]) else 1


def choose_device(asked: str) -> tuple[Gpu | None, str]:
    """The card to measure, None for the CPU, and why.

    Raises:
        SettingsError: a card was asked for and there is none.
    """
    gpus, why = ([], "the CPU was asked for") if asked == "cpu" else find_gpus()
    if asked == "cuda" and not gpus:
        raise SettingsError(f"--device cuda, and {why}", "a CUDA device", "run: toolkit doctor, or --device cpu")
    if not gpus:
        return None, f"a tiny model on the CPU, {why}: the code path is tried, no figure of a card is measured"
    gpu = gpus[0]
    capability = ".".join(map(str, gpu.compute_capability))
    return gpu, f"{gpu.name}, {gpu.total_gib:.1f} GiB, compute capability {capability}, driver {gpu.driver_version}"


def default_output(gpu: Gpu | None) -> Path:
    """Where the JSON goes."""
    if gpu is None:
        return ROOT / "runs" / "gpu_check_cpu.json"
    name = re.sub(r"[^a-z0-9]+", "_", gpu.name.lower().replace("nvidia", "").replace("geforce", "")).strip("_")
    return ROOT / "benchmarks" / "baselines" / f"gpu_check_{name}.json"


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Settings, use_underscores=True)))
    except ToolkitError as error:
        fail(str(error))
        sys.exit(EXIT_BAD_INPUT)
