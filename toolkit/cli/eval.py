"""`toolkit eval ...`: what a trained model can do; `compare` and `rate` hold two of them against each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from toolkit.cli.rate import Rate
from toolkit.errors import SettingsError
from toolkit.files import finite
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


@dataclass(frozen=True)
class Compare:
    """Two policies on the same problems: paired figures, what B gains and loses with both completions, a win rate."""

    folders: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="A B", help_behavior_hint="")] = ()
    """Two folders of toolkit eval, or runs that have measured; or one run, before against after."""
    reward: str = ""
    """Who wins by this TARGET, such as judge:FILE.yaml or reward_model:MODEL; else by the rewards that were kept."""
    n_shown: int = 5
    """Problems to show that were gained, and as many that were lost."""
    html: Path | None = None
    """File to write a page with all of it to."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from toolkit.display.console import console, say
        from toolkit.evaluation import paired, paired_report
        from toolkit.evaluation.scored import scored
        from toolkit.files import save

        if self.n_shown < 0:
            raise SettingsError(f"--n_shown is {self.n_shown}", "at least 0")
        if self.html is not None and self.html.suffix.lower() not in (".html", ".htm"):
            raise SettingsError(f"--html {self.html} is no page", "a name that ends in .html")
        a, b = paired.sides([path.expanduser() for path in self.folders])
        found = paired.compare(a, b, self.reward, scored(paired.pairs(a, b), self.reward) if self.reward else ())
        if self.html is not None:
            from toolkit.evaluation import paired_page

            save(self.html, paired_page.render(found).encode())
        if self.json:
            print(json.dumps(finite(found), indent=2, ensure_ascii=False))
            return 0
        for part in paired_report.render(found, self.n_shown):
            console.print(part)
        if self.html is not None:
            say(f"wrote {self.html}")
        return 0


EVAL_VERBS: dict[str, type] = {"compare": Compare, "rate": Rate}
