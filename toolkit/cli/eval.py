"""`toolkit eval ...`: what a trained model can do; `compare` and `rate` hold two of them against each other."""

from __future__ import annotations

import json
from dataclasses import dataclass

from toolkit.settings.measuring import Measuring


@dataclass(frozen=True)
class Eval(Measuring):
    """Measure a run, an adapter or a model on held-out problems; `toolkit eval compare --help` for two of them.

    What is not said is as in the run that trained it, or for a model as a recipe would run it on this machine.
    """

    def run(self) -> int:
        from toolkit.launch import examine

        exam = examine.examine(self)
        if self.json:
            print(json.dumps(exam.result, indent=2, ensure_ascii=False))
        else:
            examine.show(exam)
        return 0


EVAL_VERBS: dict[str, type] = {}
"""`compare` and `rate`."""
