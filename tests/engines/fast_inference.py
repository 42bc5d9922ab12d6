"""Train with Unsloth's generated trainer and rollouts from a real vLLM, on a CPU: run by test_unsloth_vllm.py.

Upstream starts vLLM on a card only, and shares the base's memory with it. Here the engine has a base of its own, and
is put where `from_pretrained(fast_inference=True)` puts it. From there on all is real: Unsloth's way of handing the
adapter over, its patches of vLLM's loader and of TRL's sampler, and vLLM's own kernels. Prints one JSON object.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

from toolkit import data, models
from toolkit.backends.base import Policy, Sampling
from toolkit.backends.transformers import TransformersBackend
from toolkit.compat.unsloth_rollouts import keep_adapter_apart
from toolkit.display.console import console
from toolkit.display.live import open_view
from toolkit.display.state import RunState
from toolkit.launch.frame import prepare
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings
from toolkit.training import Reward, build_trainer, train
from toolkit.training.notices import differences
from toolkit.training.parity import check_parity

ROOT = Path(__file__).parents[2]


def main() -> None:
    argv = ["--backend", "unsloth", "--load_in_4bit", "false", "--max_steps", "2", "--output_dir", sys.argv[1]]
    argv += ["--per_device_train_batch_size", "16", "--parity", "on"]
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    session = prepare(GrpoSettings, argv, ROOT / "recipes" / "gsm8k_r1.py")
    settings = session.resolved.settings
    problems = data.load(settings.data, settings.record.seed)
    with session.open_run() as run:
        policy, problems = session.load(models.locate(settings.model.model), problems)
        bare_load_lora = attach_engine(policy, settings.model.lora_rank)
        rewards = [Reward(correct), Reward(format, 0.25)]
        assembly = build_trainer(policy, problems.train[:64], rewards, session.resolved, run, session.backend)
        trainer = assembly.trainer
        engine = trainer.vllm_generation
        view = open_view(RunState("fast", "embedded", "unsloth", "", settings.optim.max_steps), console, None)
        result: dict[str, Any] = {
            "trainer": type(trainer).__name__,
            "engine": engine.llm is policy.model.vllm_engine,
            "steps": train(assembly, run, view),
            "differences": [str(d) for d in differences(assembly)],
            "answers": both_answers(session.backend, policy, [row["prompt"] for row in problems.held_out[:4]]),
        }
        result["working_directory"] = os.listdir()  # before a control leaves its folder there
        prompts = trainer.train_dataset[:8]["prompt"]
        for name, load_lora in {
            "no adapter reaches vLLM": lambda *args, **kwargs: None,  # unsloth#8701
            "vLLM scales the trained weights": bare_load_lora,
        }.items():
            engine._unsloth_load_lora = load_lora
            finding = check_parity(trainer, prompts, every_part=False).finding
            result[name] = [finding.level, finding.name]
    print("RESULT " + json.dumps(result))


def attach_engine(policy: Policy, lora_rank: int) -> Any:
    """Do what Unsloth's loader does on a card; return `load_lora` as Unsloth made it."""
    import unsloth.models  # noqa: F401 (rebinds trl.GRPOTrainer and trl.GRPOConfig)
    from unsloth_zoo import vllm_utils
    from vllm import LLM

    vllm_utils.patch_vllm(debug=False)
    model = policy.model
    model.vllm_engine = LLM(
        model=policy.source, dtype="float32", enforce_eager=True, enable_lora=True, max_lora_rank=lora_rank,
        max_model_len=160, kv_cache_memory_bytes=1 << 28,
    )  # fmt: skip
    model.vllm_engine.shared_weights = True  # what makes Unsloth pass the adapter with each call
    model._unsloth_user_float32 = True  # as its loader marks a float32 load; without it fp16 autocast is turned on
    model.fast_generate = model.vllm_engine.generate
    model.load_lora = bare = functools.partial(vllm_utils.load_lora, model)
    keep_adapter_apart(model)
    return bare


def both_answers(backend: Any, policy: Policy, prompts: list[Any]) -> dict[str, list[str]]:
    """Greedy completions of the trained policy, by vLLM and by transformers."""
    sampling = Sampling(max_completion_length=48)
    engines = {"vllm": backend, "transformers": TransformersBackend(None)}
    return {name: [g.text for g in engine.generate(policy, prompts, sampling)] for name, engine in engines.items()}


if __name__ == "__main__":
    main()
