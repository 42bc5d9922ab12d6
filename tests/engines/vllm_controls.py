"""Break a real vLLM engine in known ways and see what the parity gate says; run by test_vllm.py in its own process.

One engine serves for the controls, then further ones are built with a quirk of `toolkit.compat.vllm` taken away. Prints
one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from toolkit import data, models
from toolkit.display.console import console
from toolkit.display.live import open_view
from toolkit.display.state import RunState
from toolkit.errors import ParityError
from toolkit.launch.frame import prepare
from toolkit.rewards import correct, format
from toolkit.runs import Run
from toolkit.settings import GrpoSettings
from toolkit.training import Assembly, Reward, build_trainer, train
from toolkit.training.parity import Check, check_parity

ROOT = Path(__file__).parents[2]
ARGV = ("--use_vllm", "true", "--per_device_train_batch_size", "16", "--max_steps", "3", "--warmup_steps", "0",
        "--learning_rate", "0.01")  # fmt: skip


def main() -> None:
    session = prepare(GrpoSettings, [*ARGV, "--output_dir", sys.argv[1]], ROOT / "recipes" / "gsm8k_r1.py")
    settings = session.resolved.settings
    problems = data.load(settings.data, settings.record.seed)
    from vllm.model_executor.layers import utils as layers

    pack = layers.dispatch_cpu_unquantized_gemm
    with session.open_run() as run:
        policy, problems = session.load(models.locate(settings.model.model), problems)
        rewards = [Reward(correct), Reward(format, 0.25)]
        assembly = build_trainer(policy, problems.train[:64], rewards, session.resolved, run, session.backend)
        trainer = assembly.trainer
        prompts = [row["prompt"] for row in problems.train[:8]]
        result: dict[str, Any] = {"controls": controls(trainer, prompts, pack)}
        trainer.vllm_generation.sync_weights()  # a check leaves it to the next rollout to undo what it moved
        with no_sync(trainer):
            result["stopped_by"] = stopped_by(assembly, run)
            trainer.train()
            result["unsynced"] = [row[DIFFERENCE] for row in trainer.state.log_history if DIFFERENCE in row]
        result["without"] = without_quirks(trainer, pack)
    print("RESULT " + json.dumps(result))


DIFFERENCE = "sampling/sampling_logp_difference/mean"


def stopped_by(assembly: Assembly, run: Run) -> str:
    """What ends training as a recipe starts it."""
    trainer = assembly.trainer
    callbacks = list(trainer.callback_handler.callbacks)
    view = open_view(RunState("controls", "embedded", "transformers", "", 3), console, None)
    try:
        train(assembly, run, view)
    except ParityError as error:
        return str(error)
    finally:
        trainer.callback_handler.callbacks = callbacks
    return ""


def controls(trainer: Any, prompts: list[Any], pack: Callable[..., None]) -> dict[str, Any]:
    """Name of each control -> level and cause of the finding on an engine broken in that way, and healed at last."""
    found = {}
    for name, breakage, every_part in (
        ("no sync", no_sync(trainer), False),
        ("one projection never loaded", without_v_proj(trainer), True),
        ("stale head", stale_head(trainer, pack), False),
        ("scaled adapter", scaled_adapter(trainer), True),
        ("healed", nullcontext(), False),
    ):
        with breakage:
            found[name] = seen(check_parity(trainer, prompts, every_part=every_part))
    return found


def seen(check: Check) -> dict[str, Any]:
    finding = check.finding
    return {"level": finding.level, "cause": finding.name, "found": finding.found, "why": finding.next_step}


@contextmanager
def no_sync(trainer: Any) -> Iterator[None]:
    """The weights of the model as it was loaded, for ever."""
    trainer.vllm_generation.sync_weights = lambda: None
    yield
    del trainer.vllm_generation.sync_weights


@contextmanager
def without_v_proj(trainer: Any) -> Iterator[None]:
    """A loader that passes over one projection, as Unsloth's did: https://github.com/unslothai/unsloth-zoo/pull/941."""
    model = engine_model(trainer.vllm_generation)
    load = model.load_weights
    model.load_weights = lambda weights: load([(name, w) for name, w in weights if "v_proj" not in name])
    yield
    del model.load_weights


@contextmanager
def stale_head(trainer: Any, pack: Callable[..., None]) -> Iterator[None]:
    """A head that vLLM packed, as it does without `keep_plain_weights_on_cpu`, and that was trained since."""
    import torch

    head, ours = engine_model(trainer.vllm_generation).lm_head, trainer.model.get_output_embeddings().weight
    plain, kept = head.cpu_linear, ours.detach().clone()
    pack(head, remove_weight=False)
    with torch.no_grad():
        ours.add_(torch.randn(ours.shape, generator=torch.Generator().manual_seed(0)), alpha=0.3 * float(ours.std()))
    yield
    head.cpu_linear = plain
    with torch.no_grad():
        ours.copy_(kept)


@contextmanager
def scaled_adapter(trainer: Any) -> Iterator[None]:
    """Twice the lora_alpha for the sampler."""
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [module for module in trainer.model.modules() if isinstance(module, LoraLayer)]
    sync = trainer.vllm_generation.sync_weights

    def scaled() -> None:
        for layer in layers:
            layer.scale_layer(2.0)
        sync()
        for layer in layers:
            layer.unscale_layer(2.0)

    trainer.vllm_generation.sync_weights = scaled
    yield
    del trainer.vllm_generation.sync_weights


def without_quirks(trainer: Any, pack: Callable[..., None]) -> dict[str, Any]:
    """What happens with each of this project's settings of the engine taken away, and as it is."""
    import torch
    import trl.generation.vllm_generation as vllm_generation
    from vllm.model_executor.layers import utils as layers

    builder, keep = vllm_generation.LLM, layers.dispatch_cpu_unquantized_gemm

    def build() -> dict[str, Any]:
        before = torch.get_rng_state()
        generation = vllm_generation.VLLMGeneration(
            trainer.model, trainer.accelerator, trainer.processing_class, max_model_length=256, max_num_seqs=8
        )
        found = {
            "dtype": str(generation.llm.llm_engine.vllm_config.model_config.dtype),
            "random_state_kept": torch.equal(before, torch.get_rng_state()),
        }
        try:
            generation.sync_weights()
        except AttributeError as error:
            found["sync"] = str(error)
        return found

    result = {"nothing": build()}
    layers.dispatch_cpu_unquantized_gemm = pack
    result["plain weights"] = build()
    layers.dispatch_cpu_unquantized_gemm = keep
    size = {"kv_cache_memory_bytes": builder.arguments["kv_cache_memory_bytes"], "enforce_eager": True}
    vllm_generation.LLM = lambda **from_trl: builder.build(**size | from_trl)
    result["engine arguments"] = build()
    return result


def engine_model(generation: Any) -> Any:
    """The model inside vLLM, by the path that TRL syncs through."""
    return generation.llm.llm_engine.model_executor.driver_worker.model_runner.model


if __name__ == "__main__":
    main()
