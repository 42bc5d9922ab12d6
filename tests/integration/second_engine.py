"""A second model as the engine behind TRL's own vLLM code: real weights, really copied, with faults on demand.

TRL's `VLLMGeneration` merges, names and sends the weights as it does for vLLM; only the engine that takes them is
transformers, in a copy of the model that shares no memory with the trained one.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from trl.generation.vllm_generation import VLLMGeneration

Load = Callable[[str, torch.Tensor], torch.Tensor | None]
"""What the engine makes of a weight that it is sent; None: it takes no notice."""


def install(trainer: Any, source: str, load: Load = lambda name, weight: weight) -> SecondEngine:
    """Let this trainer roll out with a second model, loaded from `source`."""
    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "colocate", -1
    trainer.vllm_generation = engine = SecondEngine(trainer, source, load)
    return engine


class SecondEngine(VLLMGeneration):
    """TRL's weight sync into a second model."""

    def __init__(self, trainer: Any, source: str, load: Load) -> None:
        self._source, self._load, self._tokenizer = source, load, trainer.processing_class
        super().__init__(
            trainer.model,
            trainer.accelerator,
            trainer.processing_class,
            temperature=trainer.temperature,
            max_completion_length=trainer.max_completion_length,
        )

    def _init_vllm(self) -> None:
        self.second: Any = AutoModelForCausalLM.from_pretrained(self._source, dtype=self.model.dtype)
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load_weights))
        executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
        config = SimpleNamespace(model_config=SimpleNamespace(dtype=self.second.dtype, quantization=None))
        self.llm = SimpleNamespace(
            llm_engine=SimpleNamespace(model_executor=executor, vllm_config=config), reset_prefix_cache=lambda: None
        )

    def _load_weights(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        own = dict(self.second.named_parameters(remove_duplicate=False))
        for name, weight in weights:
            taken = self._load(name, weight)
            if taken is not None:
                own[name].data.copy_(taken)

    def generate(self, prompts: Any, images: Any, num_generations: int, profiler: Any = None) -> tuple[Any, ...]:
        """One completion a prompt, each by itself: without padding, as vLLM has it."""
        config = GenerationConfig(
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            max_new_tokens=self.max_completion_length,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_scores=True,
        )
        completions, logps = [], []
        for ids in prompts:
            output: Any = self.second.generate(torch.tensor([ids]), generation_config=config)
            new = output.sequences[0, len(ids) :].tolist()
            completions.append(new)
            rows = [scores.log_softmax(-1)[0, i].item() for scores, i in zip(output.scores, new, strict=True)]
            logps.append([[row] for row in rows])
        return prompts, completions, logps, None
