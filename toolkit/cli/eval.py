"""`toolkit eval ...`: what a trained model can do; `compare` and `rate` hold two of them against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from toolkit.cli.rate import Rate


@dataclass(frozen=True)
class Eval:
    """Measure a run, an adapter or a model on held-out problems; `toolkit eval compare --help` for two of them."""

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|ADAPTER|MODEL", help_behavior_hint="")] = ""
    """A run folder, an adapter's folder, or a model by folder, Hub id or `embedded`."""
    base: str | None = None
    """The model under an adapter whose own record of it leads nowhere."""

    def run(self) -> int:
        from toolkit.display.console import say
        from toolkit.launch import open_policy

        opened = open_policy(self.policy, {}, self.base)
        for line in opened.notes:
            say(line)
        say(opened.load().describe())
        return 0


EVAL_VERBS: dict[str, type] = {"rate": Rate}
"""`compare` and `rate`."""
