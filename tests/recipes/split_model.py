"""Measure a policy whole, and again when torch's FSDP 2 has split it over the processes: the same completions.

Accelerate splits nothing on a CPU, so this does what it and transformers do on cards: layers, then the model, then
`generate` as a method that puts the parts together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from toolkit import evaluation, runs
from toolkit.backends.base import Policy
from toolkit.backends.transformers import TransformersBackend
from toolkit.data import arithmetic
from toolkit.data.prompts import ask
from toolkit.machine import processes
from toolkit.models import embedded
from toolkit.rewards import correct
from toolkit.runs.completions import read_rows
from toolkit.settings import DataSettings


def main(folder: Path) -> None:
    """Print the measurements of seven rows and of one, which the second process has no part of its own in."""
    processes.join(on_gpu=False)
    from peft import LoraConfig, get_peft_model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.folder(), padding_side="left")
    base = AutoModelForCausalLM.from_pretrained(embedded.folder())
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    policy, backend = Policy(model, tokenizer, "embedded"), TransformersBackend(None)
    run = runs.create("split", folder, {}) if processes.is_main() else runs.follow("split", folder, resumed=False)

    def measured() -> list[str]:
        texts = []
        for n_rows in (7, 1):
            rows = ask(arithmetic.load(64, n_rows, seed=0), DataSettings()).held_out
            evaluation.measure("after", run, backend, policy, evaluation.Exam(rows, correct, 48))
            texts.append("".join(f"completion: {row}" for row in read_rows(run.completions / "after.parquet")[0]))
        return texts

    whole = measured()
    mesh = init_device_mesh("cpu", (processes.world_size(),))
    for layer in model.base_model.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "generate")
    if measured() == whole and run.writes:
        print(f"the same {whole[0].count('completion:')} and {whole[1].count('completion:')}")
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
