"""Has training cost the model what it knew? Perplexity on prose that has nothing to do with the task.

`canary.txt` was written for this project and is under its licence, so no model has been trained on it: 24 passages of
everyday prose, explanations, letters, code and three other languages. What counts is the change from the base to the
same base with its adapter, passage by passage; the perplexity itself depends on the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from toolkit.backends.base import Policy
from toolkit.evaluation.estimators import bootstrap_interval
from toolkit.findings import Finding

MARK = "%%"
MIN_TOKENS = 8
FORGETS = 0.05
"""Nats a token from which on a rise is worth a warning: perplexity 5 % up. A GRPO run with LoRA stays below it."""


def passages() -> list[str]:
    """The texts, one string a passage."""
    text = Path(__file__).with_name("canary.txt").read_text(encoding="utf-8")
    return [part.strip() for part in text.split(f"\n{MARK}\n") if part.strip()]


def nats(policy: Policy, texts: Sequence[str], *, with_adapter: bool = True) -> list[tuple[float, int]]:
    """Of each text the mean negative log-likelihood a token in nats, and the tokens that were predicted."""
    import torch

    from toolkit.backends.shared import in_eval_mode

    model, found = policy.model, []
    off = nullcontext() if with_adapter else model.disable_adapter()
    longest = getattr(model.config, "max_position_embeddings", None) or 1024
    with in_eval_mode(model), off:
        for text in texts:
            ids = policy.tokenizer(text, return_tensors="pt")["input_ids"][:, : min(longest, 1024)].to(model.device)
            if ids.shape[1] < MIN_TOKENS:
                continue
            # the loss, not logits: Unsloth computes the former alone
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
            found.append((float(loss), int(ids.shape[1]) - 1))
    return found


def compare(policy: Policy) -> dict[str, Any]:
    """Perplexity `before` (the base alone) and `after`, and the `rise` in nats a token with its 95 % `interval`.

    `before` and `rise` are None for a policy without an adapter. `n_vocabulary`: the perplexity of a guess.
    """
    texts = passages()
    after = nats(policy, texts)
    found: dict[str, Any] = {"n_passages": len(after), "n_vocabulary": policy.model.config.vocab_size}
    if not hasattr(policy.model, "disable_adapter"):
        return {"before": None, "after": _perplexity(after), "rise": None, "interval": None, **found}
    before = nats(policy, texts, with_adapter=False)
    rises = [now - then for (then, _), (now, _) in zip(before, after, strict=True)]
    return {
        "before": _perplexity(before),
        "after": _perplexity(after),
        "rise": math.fsum(rises) / len(rises),
        "interval": bootstrap_interval(rises),
        **found,
    }


def finding(found: dict[str, Any]) -> Finding | None:
    """What the change comes to; None without a base to compare with."""
    if found["rise"] is None:
        return None
    if found["before"] >= found["n_vocabulary"]:
        guess = f"perplexity {found['before']:.3g}, a guess has {found['n_vocabulary']:,}"
        return Finding(
            "general ability", "info", f"the base knows nothing of prose ({guess}), so none can be forgotten"
        )
    low, _ = found["interval"] or (found["rise"], found["rise"])
    said = f"perplexity on other text {found['before']:.4g} -> {found['after']:.4g}"
    if low <= FORGETS:
        return Finding("general ability", "green", said)
    remedy = "a lower learning rate or fewer steps, or a KL term: --beta 0.001 to 0.04"
    return Finding("general ability", "amber", f"{said}: the model forgets", f"a rise below {FORGETS:.0%}", remedy)


def _perplexity(found: Sequence[tuple[float, int]]) -> float:
    """Over all tokens together."""
    return math.exp(math.fsum(mean * n for mean, n in found) / sum(n for _, n in found))
