"""What a run folder holds, by name.

settings.json       what was asked (flat), what of it a person gave, the rewards with the digests of their files, and
                     after the trainer is built what took effect
environment.json    versions, platform, card, command line, attention in training and rollouts, peak of loading
metrics.jsonl       one line a step, TRL's keys and ours (`runs.metrics`)
completions/        step_00001.parquet: prompt, completion, answer, each reward, the advantage (`runs.completions`);
                     before.parquet, after.parquet
checkpoints/        checkpoint-N, as transformers writes them
parity.json         every check that the sampler draws from the weights in training, where it is not the trainer itself
measurements.json   before and after, with every verdict
reward_check.json   what the check of the rewards found before the model was loaded
preflight.json      what was sampled before the first step, what it says, and the longest sample that was tried
adapter/            the LoRA adapter and the tokenizer
summary.json        how it ended, before, after, wall time, steps, backend, model, seed, memory planned and measured
evaluation.json     of a folder of `toolkit eval`: the figures, and what decides each file of completions
report.html         all of this on one page
progress.json       the last step, and the seconds of work up to it
broken_batch.json   why a run stopped at a NaN: norm of the gradient, losses and lengths of each micro-batch
broken_batch.safetensors  the micro-batches as the trainer had them
error.log           the traceback of a defect
console.log         what other packages printed under the live view
"""

from __future__ import annotations

SETTINGS, ENVIRONMENT, METRICS, SUMMARY = "settings.json", "environment.json", "metrics.jsonl", "summary.json"
PARITY, MEASUREMENTS, REWARD_CHECK, PROGRESS = "parity.json", "measurements.json", "reward_check.json", "progress.json"
BROKEN_BATCH, BROKEN_TENSORS = "broken_batch.json", "broken_batch.safetensors"
EVALUATION = "evaluation.json"
PREFLIGHT = "preflight.json"
ERROR_LOG, CONSOLE_LOG, LOCK, REPORT = "error.log", "console.log", "run.lock", "report.html"
BEFORE, AFTER = "before", "after"
GREEDY = "greedy"
"""Of `toolkit eval`: one completion a problem."""
FORMAT = 2
"""Of the folder, kept in settings.json; 1, which says nothing there, had completions as JSONL."""

LOADING = "loading the model"
"""The phase of a run, in summary.json's `phases_s`, in which the model comes to the device."""


def step_name(step: int) -> str:
    """The name of a training step's completions: `step_00012`."""
    return f"step_{step:05d}"
