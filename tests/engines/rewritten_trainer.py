"""Train with the GRPOTrainer that Unsloth generates, on a CPU: run by test_rewritten_trainer.py in its own process.

Upstream loads the rewriting patches on a card only. `import unsloth.models` after `import unsloth` loads them here too,
so everything of this project that hangs on the trainer meets the real generated class. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from toolkit import data, models
from toolkit.console import console
from toolkit.launch import prepare
from toolkit.live import open_view
from toolkit.rewards import correct, format
from toolkit.run_state import RunState
from toolkit.settings import GrpoSettings
from toolkit.training import Reward, build_trainer, train
from toolkit.training.grpo import differences

ROOT = Path(__file__).parents[2]


def main() -> None:
    argv = ["--backend", "unsloth", "--load_in_4bit", "--max_steps", "3", "--output_dir", sys.argv[1], *sys.argv[2:]]
    settings, session = prepare(GrpoSettings, argv, ROOT / "recipes" / "gsm8k_r1.py")
    source = models.locate(settings.model.model)
    problems = data.load(settings.data, settings.record.seed)
    with session.open_run() as (run, _):
        policy = session.backend.load(settings, source)
        import unsloth.models  # noqa: F401 (rebinds trl.GRPOTrainer and trl.GRPOConfig)

        trainer = build_trainer(
            policy, problems.train[:64], [Reward(correct), Reward(format, 0.25)], settings, run, session.backend
        )
        before = {n: p.detach().clone() for n, p in policy.model.named_parameters() if p.requires_grad}
        state = RunState("rewritten", "embedded", "unsloth", "", settings.optim.max_steps)
        view = open_view(state, console, None)
        n_steps = train(trainer, settings, run, view)
        moved = [float((p.detach() - before[n]).abs().max()) for n, p in policy.model.named_parameters() if n in before]
        result = {
            "trainer": type(trainer).__module__.rpartition(".")[2],
            "steps": n_steps,
            "n_moved": sum(m > 0 for m in moved),
            "differences": [str(d) for d in differences(settings, run)],
            "completions": len(list(run.completions.glob("step_*.jsonl"))),
        }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
