"""A recipe that trains nothing: a sweep's cells can be tried with it in a second, without torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from toolkit.files import write_json
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import parse


@dataclass(frozen=True)
class Settings(GrpoSettings):
    """What a test asks for."""

    ending: str = "well"
    """`well`, or how this ends otherwise."""
    sleep_s: float = 0.0
    """Seconds that it takes."""
    step_s: float = 0.5
    """Seconds that it says a step took."""


def main(settings: Settings) -> None:
    """Leave what a run of three steps leaves, or end as was asked."""
    folder = settings.record.output_dir
    assert folder is not None
    folder.mkdir()
    time.sleep(settings.sleep_s)
    match settings.ending:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refused":
            print("--num_generations is 3; wanted something else.", file=sys.stderr)
            sys.exit(2)
        case "out_of_memory":
            try:
                raise MemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            except MemoryError:
                print("out of GPU memory while training.", file=sys.stderr)
                sys.exit(2)
        case "hangs":  # and ends as a run does that is told to
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
            time.sleep(600)
        case "leaves a process":  # its number in a file, so that a test can look for it
            left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (folder.parent / "left").write_text(str(left.pid))
            os._exit(7)
    rows = [
        {"step": i, "num_tokens": 100.0 * i, "time/step_s": settings.step_s if i > 1 else 9.0, "time/update_s": 0.25}
        | {"memory/peak_gib": 1.0 + settings.rollout.num_generations / 8, "reward": 0.5}
        for i in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / "summary.json", {"after": {"pass_at_1": 0.5}, "phases_s": {"training": 10.0}})
    (folder / "adapter").mkdir()


if __name__ == "__main__":
    main(parse(Settings, sys.argv[1:]))
