"""Run folders made as a run makes them, with figures that are known, in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit import runs
from toolkit.runs.names import step_name

N_PROBLEMS = 8


def make_run(
    folder: Path,
    *,
    n_steps: int = 4,
    n_right: int = 6,
    ends: str = "finished",
    texts: tuple[str, ...] = (),
    **asked: Any,
) -> Path:
    """A run of `n_steps` with two groups of two completions a step; `n_right` of 8 held-out problems after, 2 before.

    `ends`: a status of summary.json; "" for a run that has left none.
    """
    settings = {"model": "embedded", "seed": 0, "max_steps": 4, "learning_rate": 1e-3, "grpo": {}, **asked}
    run = runs.create("gsm8k_r1", folder, settings)
    run.update(
        "settings.json",
        rewards=[{"name": "correct", "weight": 1.0}, {"name": "format", "weight": 0.5}],
        effective={"learning_rate": 1e-3, "beta": 0.0, "num_generations": 2},
        differences=["optim: asked adamw_8bit, in effect adamw_torch"],
    )
    versions = {"torch": "2.13.0", "trl": "1.15.0"}
    run.write("environment.json", {"python": "3.11.7", "versions": versions, "gpus": [], "git_commit": "abc"})
    measure(run, "before", 2)
    for step in range(1, n_steps + 1):
        run.write_completions(step_name(step), completions(step, texts))
        run.append_metrics(row(step))
        run.write("progress.json", {"step": step, "wall_s": 10.0 * step})
    if ends == "finished":
        measure(run, "after", n_right)
    sides = dict(run.document("measurements.json"))
    if ends:
        difference = {"difference": {"value": 0.5, "interval": [0.1, 0.8]}} if ends == "finished" else {}
        run.write(
            "summary.json",
            {"status": ends, **sides, **difference, "wall_s": 40.0, "steps": n_steps, "backend": "transformers"},
        )
    run.close()
    return folder


def row(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "reward": 0.25 * step,
        "reward_std": 0.3,
        "reward/best": 1.5,
        "reward/worst": 0.0,
        "rewards/correct/mean": 0.2 * step,
        "rewards/format/mean": 0.1 * step,
        "completions/mean_length": 30.0 + step,
        "completions/clipped_ratio": 0.0,
        "groups/zero_std_frac": 0.5,
        "entropy": 0.5 / step,
        "loss": 0.0,
        "grad_norm": None if step == 2 else 0.1,
        "time/step_s": 2.0,
        "time/rollout_s": 1.0,
        "time/reward_s": 0.25,
        "time/update_s": 0.75,
        "rollout/tokens_per_s": 1000.0,
        "memory/peak_gib": 0.5 + 0.01 * step,
    }


def completions(step: int, texts: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    found = []
    for i in range(4):
        right = float((step + i) % 2)
        text = texts[i % len(texts)] if texts else f"The answer is {i}."
        found.append(
            {"step": step, "group": i // 2, "prompt": f"What is {i // 2}+{step}?", "completion": text, "answer": "3"}
            | {"n_tokens": 5 + i, "finish_reason": "stop", "rewards": {"correct": right, "format": 1.0}}
            | {"reward": right + 0.5, "advantage": 1.0 if right else -1.0}
        )
    return found


def measure(run: runs.Run, when: str, n_right: int) -> None:
    verdicts = [i < n_right for i in range(N_PROBLEMS)]
    share = n_right / N_PROBLEMS
    side = {"pass_at_1": share, "n": N_PROBLEMS, "interval": [share - 0.1, share + 0.1], "truncated_frac": 0.0}
    side |= {"mean_tokens": 5.0, "verdicts": verdicts, "scores": list(map(float, verdicts)), "mean_score": share}
    side |= {"rewards": {"correct": {"mean": share, "interval": [0.1, 0.9], "n": N_PROBLEMS}}}
    run.update("measurements.json", **{when: side})
    run.write_completions(
        when,
        [
            {"prompt": f"What is {i}+1?", "completion": f"{when}: {i + 1}", "answer": str(i + 1), "n_tokens": 5}
            | {"finish_reason": "stop", "correct": right, "score": float(right), "rewards": {"correct": float(right)}}
            | {"reward": float(right)}
            for i, right in enumerate(verdicts)
        ],
    )
