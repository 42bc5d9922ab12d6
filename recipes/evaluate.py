"""What a trained model can do: the same problems and the same verdict as in training, and what else is worth knowing.

Measures a run, an adapter or a model: greedy pass@1 with its interval, the means of the rewards, the same completions
by lm-evaluation-harness's filters, pass@k and maj@k on request, and whether anything was forgotten. It is
`toolkit eval` line by line, to be copied and changed; what a recipe measures before and after training is its first
step. The flagship's CPU run measures 97.3 % (`greedy.pass_at_1` in evaluation.json), as its summary.json says after
training; not yet measured on a card.

    python recipes/evaluate.py runs/gsm8k_r1-20261121-120000                   # as it was trained, on what it held out
    python recipes/evaluate.py embedded --n_eval 64 --n_samples 4              # rehearsal: no run, no card, one minute
    python recipes/evaluate.py RUN --split hidden --by steps                   # problems that nobody has chosen by

Its limit: one process, one card. What is sampled is kept: the same command again, after a kill too, samples only what
is missing, and another `--reward` judges what is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.launch import Examination, examine, run_script
from toolkit.settings.measuring import Measuring


@dataclass(frozen=True)
class Settings(Measuring):
    """Measure a run, an adapter or a model. What is not said is as in the run that trained it."""

    n_samples: int = 0
    """Completions a problem beside the greedy one, for pass@k and maj@k; they cost that many times as much."""


def main(settings: Settings) -> None:
    """Find the policy, ask it once, judge what it said, show it."""
    exam = Examination.prepare(settings)  # what can go wrong without a model goes wrong here
    exam.introduce()

    with exam.open():  # the folder of the completions, and the policy in memory
        # One greedy completion a problem: pass@1, rewards, format, length, and the verdicts of others
        examine.greedy(exam)
        # Several, sampled: pass@k says what the policy could do, maj@k what a vote makes of it. Training with GRPO
        # often raises pass@1 and leaves pass@k where it was: it finds what was there before
        examine.repeated(exam)
        # Known problems beside hidden ones (--split hidden): a gap is what was learnt by heart
        examine.gap(exam)
        # Text that has nothing to do with the task: perplexity rises where the model forgets
        examine.canary(exam)
        exam.conclude()

    examine.show(exam)


if __name__ == "__main__":
    run_script(main, Settings)
