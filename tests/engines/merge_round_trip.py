"""Compare a merged model with base plus adapter, by plain transformers and PEFT: run by test_unsloth.py on its own.

    python merge_round_trip.py ADAPTER MERGED

Prints one JSON object: how far log-probabilities of one text are from those of base plus adapter in float32 (the
largest difference), for the merged model, for the same merge rounded to bfloat16 once, and for the base alone; and by
how much, at most, a merged weight is off in units of its bound.

The bound: a number is off by at most 2**-8 of itself when it is rounded to bfloat16 (8 bits of precision). A merge in
bfloat16 rounds base, update and sum; one in float32 rounds the sum alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from toolkit.models import embedded

TEXT = "Mia has 3 bags with 7 pens each. She gives 4 pens away. How many pens are left?"
UNIT_ROUNDOFF = 2.0**-8


def load(source: str | Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, use_safetensors=True)


@torch.no_grad()
def main(adapter: Path, merged_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(merged_folder)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids

    def log_probs(model: Any) -> torch.Tensor:
        return model(input_ids=ids).logits.log_softmax(-1)

    base, merged = load(embedded.folder()), load(merged_folder)
    exact_model = PeftModel.from_pretrained(load(embedded.folder()), adapter)
    exact = log_probs(exact_model)
    once = exact_model.merge_and_unload()
    exact_weights = {name: weight.clone() for name, weight in once.state_dict().items()}
    once = once.to(torch.bfloat16).to(torch.float32)

    def off(model: Any) -> float:
        return float((log_probs(model) - exact).abs().max())

    worst = 0.0
    for name, weight in merged.state_dict().items():
        before, after = base.state_dict()[name], exact_weights[name]
        bound = UNIT_ROUNDOFF * (before.abs() + (after - before).abs() + after.abs())
        worst = max(worst, float(((weight - after).abs() / bound.clamp_min(1e-30)).max()))
    result = {"merged": off(merged), "once": off(once), "base": off(base), "of_bound": worst}
    result["same_as_once"] = all(torch.equal(w, once.state_dict()[n]) for n, w in merged.state_dict().items())
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
