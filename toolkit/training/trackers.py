"""Trackers that transformers offers, as a run uses them: they get our metrics too, and write into its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.settings.trackers import WITH_TABLES

TENSORBOARD = "tensorboard"
"""The folder of its event files in a run's, unless TENSORBOARD_LOGGING_DIR names another."""


def fields(trackers: list[str], run_folder: Path) -> dict[str, Any]:
    """The fields of GRPOConfig: completions go where there are tables, and are not printed."""
    if not trackers:
        return {"report_to": "none"}
    tables = {"log_completions": True, "num_completions_to_print": 0} if {*trackers} & {*WITH_TABLES} else {}
    return {"report_to": trackers, "run_name": run_folder.name, **tables}


def write_to(trainer: Any, run_folder: Path) -> None:
    """TensorBoard's files go to the run folder; transformers would put them among the checkpoints."""
    for callback in _of(trainer):
        if getattr(callback, "logging_dir", "") is None:
            callback.logging_dir = str(run_folder / TENSORBOARD)


def put_last(trainer: Any) -> None:
    """Let the trackers be told of a step after whoever adds metrics to it."""
    handler = trainer.callback_handler
    own = _of(trainer)
    handler.callbacks = [*(callback for callback in handler.callbacks if callback not in own), *own]


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker can draw; TRL has None for a metric without a value, of which transformers would warn."""
    return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}


def _of(trainer: Any) -> list[Any]:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    kinds = tuple(INTEGRATION_TO_CALLBACK.values())
    return [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, kinds)]
