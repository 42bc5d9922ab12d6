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

from toolkit import data, models
from toolkit.compat.unsloth_names import loaded_for
from toolkit.display.console import console
from toolkit.display.live import open_view
from toolkit.display.state import RunState
from toolkit.launch.frame import prepare
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings
from toolkit.settings.resolved import Resolved
from toolkit.training import Assembly, Reward, build_trainer, train
from toolkit.training.notices import differences

ROOT = Path(__file__).parents[2]

# No whole group of eight, which TRL refuses; a run cannot ask for it, because its batch is solved with its groups
UNEVEN = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": None}

ASKED = [
    (f"Qwen/{name}", in_4bit)
    for name in ("Qwen2.5-3B-Instruct", "Qwen2.5-1.5B-Instruct", "Qwen3-4B", "Qwen3-32B", "qwen3-0.6b")
    for in_4bit in (True, False)
]


def main() -> None:
    argv = ["--backend", "unsloth", "--load_in_4bit", "--max_steps", "3", "--output_dir", sys.argv[1], *sys.argv[2:]]
    session = prepare(GrpoSettings, argv, ROOT / "recipes" / "gsm8k_r1.py")
    settings = session.resolved.settings
    problems = data.load(settings.data, settings.record.seed)
    with session.open_run() as run:
        policy, problems = session.load(models.locate(settings.model.model), problems)
        import unsloth.models  # noqa: F401 (rebinds trl.GRPOTrainer and trl.GRPOConfig)
        from unsloth.models.loader_utils import get_model_name

        def build(resolved: Resolved[GrpoSettings]) -> Assembly:
            rewards = [Reward(correct), Reward(format, 0.25)]
            return build_trainer(policy, problems.train[:64], rewards, resolved, run, session.backend)

        assembly = build(session.resolved)
        before = {n: p.detach().clone() for n, p in policy.model.named_parameters() if p.requires_grad}
        state = RunState("rewritten", "embedded", "unsloth", "", settings.optim.max_steps)
        view = open_view(state, console, None)
        n_steps = train(assembly, run, view)
        moved = [float((p.detach() - before[n]).abs().max()) for n, p in policy.model.named_parameters() if n in before]
        result = {
            "trainer": type(assembly.trainer).__module__.rpartition(".")[2],
            "generated": inspect.getsourcefile(type(assembly.trainer)),
            "notes": policy.notes,
            "steps": n_steps,
            "n_moved": sum(m > 0 for m in moved),
            "differences": [str(d) for d in differences(assembly)],
            "completions": len(list(run.completions.glob("step_*.parquet"))),
            "settings": run.document("settings.json"),
            "copies": [[loaded_for(name, in_4bit=b), get_model_name(name, load_in_4bit=b)] for name, b in ASKED],
        }
        uneven = build(replace(session.resolved, settings=replace(settings, grpo=UNEVEN)))
        result["of_uneven"] = [str(d) for d in differences(uneven)]
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
