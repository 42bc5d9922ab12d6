"""What a run folder holds, by name.

settings.json       what was asked (flat), what of it a person gave, the rewards with the digests of their files, and
                     after the trainer is built what took effect
environment.json    versions, platform, card, command line, attention in training and rollouts, peak of loading
metrics.jsonl       one line a step, TRL's keys and ours (`runs.metrics`)
completions/        step_00001.jsonl: prompt, completion, answer, each reward; before.jsonl, after.jsonl
checkpoints/        checkpoint-N, as transformers writes them
parity.json         every check that the sampler draws from the weights in training, where it is not the trainer itself
measurements.json   before and after, with every verdict
reward_check.json   what the check of the rewards found before the model was loaded
adapter/            the LoRA adapter and the tokenizer
summary.json        before, after, wall time, steps, backend, model, seed, memory planned and measured
progress.json       the last step, and the seconds of work up to it
error.log           the traceback of a defect
console.log         what other packages printed under the live view
"""

from __future__ import annotations

SETTINGS, ENVIRONMENT, METRICS, SUMMARY = "settings.json", "environment.json", "metrics.jsonl", "summary.json"
PARITY, MEASUREMENTS, REWARD_CHECK, PROGRESS = "parity.json", "measurements.json", "reward_check.json", "progress.json"
ERROR_LOG, CONSOLE_LOG, LOCK = "error.log", "console.log", "run.lock"

LOADING = "loading the model"
"""The phase of a run, in summary.json's `phases_s`, in which the model comes to the device."""


def step_name(step: int) -> str:
    """The name of a training step's completions: `step_00012`."""
    return f"step_{step:05d}"
