"""Hold the planner's formula against full simulations of training steps, and keep both sides.

    python benchmarks/planner_accuracy.py

Writes `benchmarks/baselines/planner_vs_simulation.json`: for each point the settings, the simulated peak (all layers,
real transformers, PEFT, bitsandbytes and TRL code on fake tensors) and what the caching allocator would have held. The
formula's own figures are not kept: tests/unit/vram/test_accuracy.py computes them anew. `held_out` points were drawn
after the formula was finished. Needs no GPU; about 10 minutes on two cores.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from toolkit.files import write_json
from toolkit.vram.catalog import find
from toolkit.vram.formula import costs
from toolkit.vram.formula.update import Update

OUTPUT = Path(__file__).parent / "baselines" / "planner_vs_simulation.json"
MODELS = (
    *(f"Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "14B")),
    *(f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B", "14B")),
    *("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B", "mistralai/Mistral-7B-v0.3"),
)
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = (ALL_LINEAR, ALL_LINEAR, ALL_LINEAR[:4], ("q_proj", "v_proj"))


@dataclass(frozen=True)
class Settings:
    """Simulate the points and write them."""

    n_points: int = 60
    """Points drawn with seed 0."""
    n_held_out: int = 16
    """Points drawn with seed 1."""
    output: Path = OUTPUT
    """File to write; points that it has already are kept."""


def main(settings: Settings) -> None:
    """Simulate what is missing; write after each point, so that a stopped run goes on where it was."""
    from toolkit.vram.simulation import simulate

    wanted = [(point, False) for point in draw(0, settings.n_points)]
    wanted += [(point, True) for point in draw(1, settings.n_held_out)]
    points = json.loads(settings.output.read_text())["points"] if settings.output.exists() else []
    known = {json.dumps([point["model"], point["update"]]) for point in points}
    for (model, update), held_out in wanted:
        if json.dumps([model, asdict(update)]) in known:
            continue
        shape = find(model)
        peak = simulate(shape.config, update)
        error = costs.peak(shape, update).total / peak.peak_bytes - 1
        points.append(
            {
                "model": model,
                "held_out": held_out,
                "update": asdict(update),
                "peak_bytes": peak.peak_bytes,
                "reserved_bytes": peak.reserved_bytes,
                "phase": peak.phase,
            }
        )
        write_json(settings.output, {"versions": versions(), "points": points})
        print(f"{len(points):3} {model:28} {peak.peak_bytes / 2**30:7.2f} GiB  formula {error:+.2%}", flush=True)


def draw(seed: int, n: int) -> Iterator[tuple[str, Update]]:
    """Random steps: models in turn, settings at random, each kind of step as often as users run it."""
    rng = random.Random(seed)
    for i in range(n):
        model = MODELS[(i + 7 * seed) % len(MODELS)]
        kind = rng.choice(("trl", "trl", "trl", "unsloth", "unsloth", "loop", "full"))
        sizes = {"batch": rng.choice((1, 2, 4, 8)), "prompt": rng.choice((128, 256, 512, 1024))}
        sizes["completion"] = rng.choice((256, 512, 1024, 2048, 3072))
        yield model, Update(**_step(rng, kind, sizes), chunks=sizes["batch"])


def _step(rng: random.Random, kind: str, sizes: dict[str, int]) -> dict[str, Any]:
    lora = {"rank": rng.choice((8, 16, 32, 64, 128, 256)), "targets": rng.choice(TARGETS)}
    quantization = rng.choice(("nf4", "none"))
    if kind == "trl":
        checkpointing, head = rng.choice(("hf", "hf", "none")), rng.choice(("chunked", "chunked", "logits"))
        attention = {"attention": rng.choice(("flash", "flash", "flash", "eager")), "padded": rng.random() < 0.5}
        step = {"quantization": quantization, "checkpointing": checkpointing, "head": head, **attention}
        return {**sizes, **lora, **step, "double_quant": rng.random() < 0.7}
    if kind == "unsloth":
        step = {"quantization": quantization, "checkpointing": "unsloth", "head": "unsloth", "lora_float32": True}
        return {**sizes, **lora, **step, "padded": rng.random() < 0.5}
    if kind == "full":
        sizes["batch"] = min(sizes["batch"], 2)
        return {**sizes, "quantization": "none", "method": "full", "checkpointing": rng.choice(("hf", "none"))}
    upcast = quantization == "nf4"
    step = {"quantization": quantization, "upcast_embeddings": upcast, "lora_float32": upcast, "autocast": False}
    step |= {"head": "cross_entropy", "dtype": "fp16", "attention": rng.choice(("eager", "efficient"))}
    return {**lora, **step, "batch": sizes["batch"], "prompt": 0, "completion": min(sizes["completion"], 1024)}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes", "trl")}


if __name__ == "__main__":
    main(tyro.cli(Settings))
