"""Train with the GRPOTrainer that Unsloth generates, on a CPU: run by test_unsloth.py in its own process.

Upstream loads the rewriting patches on a card only. `import unsloth.models` after `import unsloth` loads them here too,
so everything of this project that hangs on the trainer meets the real generated class. Prints one JSON object.
"""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import data, models
from toolkit.display.console import console
from toolkit.display.live import open_view
from toolkit.display.state import RunState
from toolkit.launch.frame import prepare
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings
from toolkit.training import Reward, build_trainer, train
from toolkit.training.grpo import differences

ROOT = Path(__file__).parents[2]

# No whole group of eight, which TRL refuses; a run cannot ask for it, because its batch is solved with its groups
UNEVEN = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": None}


def main() -> None:
    argv = ["--backend", "unsloth", "--load_in_4bit", "--max_steps", "3", "--output_dir", sys.argv[1], *sys.argv[2:]]
    settings, session = prepare(GrpoSettings, argv, ROOT / "recipes" / "gsm8k_r1.py")
    source = models.locate(settings.model.model)
    problems = data.load(settings.data, settings.record.seed)
    with session.open_run() as (run, _):
        policy = session.backend.load(settings, source)
        import unsloth.models  # noqa: F401 (rebinds trl.GRPOTrainer and trl.GRPOConfig)

        def build(settings: GrpoSettings) -> Any:
            rewards = [Reward(correct), Reward(format, 0.25)]
            return build_trainer(policy, problems.train[:64], rewards, settings, run, session.backend)

        trainer = build(settings)
        before = {n: p.detach().clone() for n, p in policy.model.named_parameters() if p.requires_grad}
        state = RunState("rewritten", "embedded", "unsloth", "", settings.optim.max_steps)
        view = open_view(state, console, None)
        n_steps = train(trainer, settings, run, view)
        moved = [float((p.detach() - before[n]).abs().max()) for n, p in policy.model.named_parameters() if n in before]
        result = {
            "trainer": type(trainer).__module__.rpartition(".")[2],
            "generated": inspect.getsourcefile(type(trainer)),
            "notes": policy.notes,
            "steps": n_steps,
            "n_moved": sum(m > 0 for m in moved),
            "differences": [str(d) for d in differences(settings, run)],
            "completions": len(list(run.completions.glob("step_*.jsonl"))),
            "settings": run.read("settings.json"),
        }
        uneven = replace(settings, grpo=UNEVEN)
        build(uneven)
        result["of_uneven"] = [str(d) for d in differences(uneven, run)]
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
