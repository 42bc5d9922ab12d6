"""`toolkit reward ...`: the flags of its sub-verbs. Each imports what it needs in `run`, and none needs torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar, get_type_hints

import tyro

from toolkit.errors import SettingsError

EXIT_FAILED = 1
T = TypeVar("T")


def _argument(metavar: str) -> object:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True)
class List:
    """Every reward by name, with its range and what it is for."""

    def run(self) -> int:
        from toolkit.display.console import console
        from toolkit.rewards.bench.screens import listing

        console.print(listing())
        return 0


@dataclass(frozen=True)
class Show:
    """One reward: range, purpose, weakness, columns and settings."""

    name: Annotated[tyro.conf.Positional[str], _argument("NAME")] = ""
    """A name of `list`, rubric:FILE.yaml, MODULE:FUNCTION, FILE.py:FUNCTION or a server's address."""

    def run(self) -> int:
        from toolkit.display.console import console
        from toolkit.rewards.bench.screens import details
        from toolkit.rewards.target import find

        console.print(details(_quietly(lambda: find(self.name))))
        return 0


@dataclass(frozen=True)
class Score:
    """Score the completions of a file: a table, or one JSON object a line. What cannot be judged is null, never 0."""

    reward: str = ""
    """NAME[,NAME...]: names of `list`, rubric:FILE.yaml, MODULE:FUNCTION, FILE.py:FUNCTION or servers' addresses."""
    input: Path | None = None
    """A file of rows {"prompt", "completion", "answer", ...}; neighbours of one `group`, else `prompt`, are a group."""
    answer_column: str = "answer"
    """Column with the gold answer; rewards get it as `answer`, as in training."""
    question_column: str = "question"
    """Column with the question; rewards get it as `question`."""
    reward_weights: tuple[float, ...] = ()
    """A weight for each reward in the total, in their order; 1 without it. The total is null where a score is."""
    json: bool = False
    """Print one line a row, and nothing else: {"row": 0, "scores": {"NAME": 1.0}, "total": 1.0}"""
    allow_unsafe_code: bool = False
    """Run model-written code also where only the weakest sandbox works, which leaves this machine's files readable."""

    def run(self) -> int:
        from toolkit.rewards.bench import score
        from toolkit.rewards.target import find_all

        path = given_path(self.input, "--input", "a file of completions")
        targets = _quietly(lambda: find_all(self.reward, allow_unsafe_code=self.allow_unsafe_code))
        columns = self.answer_column, self.question_column
        if not self.json:
            from toolkit.display.console import console

            console.print(_quietly(lambda: score.report(path, targets, self.reward_weights, columns)))
            return 0
        out = sys.stdout
        _quietly(lambda: score.write_json(path, targets, self.reward_weights, out, columns))
        return 0


@dataclass(frozen=True)
class Try:
    """Score the completions of a YAML file and compare with the scores that it expects. Exit code 1 on a FAIL."""

    cases: Annotated[tyro.conf.Positional[Path | None], _argument("CASES.yaml")] = None
    """Rewards, and cases with completion and expected scores; recipes/cases/gsm8k_r1.yaml is an example."""
    allow_unsafe_code: bool = False
    """Run model-written code also where only the weakest sandbox works, which leaves this machine's files readable."""

    def run(self) -> int:
        from toolkit.display.console import console
        from toolkit.rewards.bench.cases import try_cases
        from toolkit.rewards.bench.screens import tried

        path = given_path(self.cases, "CASES.yaml", "a file of cases, such as recipes/cases/gsm8k_r1.yaml")
        results = _quietly(lambda: try_cases(path, allow_unsafe_code=self.allow_unsafe_code))
        console.print(tried(results))
        return 0 if all(result.passed for result in results) else EXIT_FAILED


@dataclass(frozen=True)
class OnRows:
    """What `check` and `attack` have in common."""

    target: Annotated[tyro.conf.Positional[str], _argument("TARGET")] = ""
    """A name of `list`, rubric:FILE.yaml, MODULE:FUNCTION, FILE.py:FUNCTION or a server's address."""
    dataset: str = "arithmetic"
    """Rows with `prompt` or `question` and gold answers: a .jsonl, .json, .csv or .parquet file, or arithmetic."""
    answer_column: str = "answer"
    """Column with the gold answer; rewards get it as `answer`, as in training."""
    question_column: str = "question"
    """Column with the question, where rows have no `prompt`."""
    drop_bad_rows: bool = False
    """Go on without the rows that cannot be used."""
    layout: str = ""
    """How completions give an answer, such as '<SOLUTION>{answer}</SOLUTION>', with {reasoning} where it may stand."""
    n_rows: int = 64
    """Rows to use, from the first."""
    json: bool = False
    """Print one JSON object."""
    allow_unsafe_code: bool = False
    """Run model-written code also where only the weakest sandbox works, which leaves this machine's files readable."""

    def subject(self):  # its type is the bench's, which is not loaded for --help
        """The reward on its rows."""
        from toolkit.rewards.bench.layouts import checked_layout
        from toolkit.rewards.bench.subject import ANY, Subject, training_rows
        from toolkit.rewards.target import find

        if self.n_rows < 1:
            raise SettingsError(f"--n_rows is {self.n_rows}", "at least 1")
        layout = checked_layout(self.layout) if self.layout else ""
        target = find(self.target, allow_unsafe_code=self.allow_unsafe_code)
        wanted = replace(
            ANY,
            question_column=self.question_column,
            answer_column=self.answer_column,
            drop_bad_rows=self.drop_bad_rows,
        )
        rows, prompts_are_given = training_rows(self.dataset, self.n_rows, wanted)
        return Subject(target, rows, prompts_are_given, layout)


@dataclass(frozen=True)
class Check(OnRows):
    """Does a reward keep its contract? Right answers earn most, wrong ones less, nothing raises. Exit code 1 if not."""

    def run(self) -> int:
        from toolkit.rewards.bench.check import check

        checked = _quietly(lambda: check(self.subject()))
        if self.json:
            print(json.dumps(checked.as_json(), indent=2, ensure_ascii=False))
        else:
            from toolkit.display.console import console
            from toolkit.rewards.bench import screens

            console.print(screens.checked(checked), crop=False)
        return 0 if checked.holds else EXIT_FAILED


@dataclass(frozen=True)
class Attack(OnRows):
    """What earns more than an honest wrong answer? Exit code 1 for an exploit that the reward does not name itself."""

    def run(self) -> int:
        from toolkit.rewards.bench.attack import as_json, attack

        results = _quietly(lambda: attack(self.subject()))
        if self.json:
            print(json.dumps(as_json(self.target, results), indent=2, ensure_ascii=False))
        else:
            from toolkit.display.console import console
            from toolkit.rewards.bench import screens

            console.print(screens.attacks(self.target, results))
        return EXIT_FAILED if any(result.error or (result.works and not result.known) for result in results) else 0


@dataclass(frozen=True)
class Stats:
    """Saved completions: constant, saturated and correlated parts, groups without signal, lengths, a histogram."""

    input: Annotated[tyro.conf.Positional[Path | None], _argument("FILE")] = None
    """A run folder, a file of its completions/, or a file of rows with `scores` or `rewards`."""
    png: Path | None = None
    """Where the histogram goes; beside the input without it."""

    def run(self) -> int:
        from toolkit.display.console import console
        from toolkit.rewards.bench.stats import give

        path = given_path(self.input, "FILE", "a run folder, or a file of completions with their scores")
        console.print(give(path, self.png))
        return 0


def given_path(value: Path | None, name: str, wanted: str) -> Path:
    if value is None:
        raise SettingsError(f"no {name} given", wanted)
    return value.expanduser()


def _quietly(work: Callable[[], T]) -> T:
    """Do it with both outputs kept for the answer; what a reward printed meanwhile comes to one line on the second."""
    from toolkit.rewards.bench.calling import heard

    with heard() as printed:
        done = work()
    if printed.n_lines:
        print(f"the reward {printed}", file=sys.stderr)
    return done


def with_bare_flags(args: Sequence[str], verb: type) -> list[str]:
    """`--json TARGET` as `--json=true TARGET`, else the target would be taken for the flag's value."""
    switches = {f"--{name}" for name, kind in get_type_hints(verb).items() if kind is bool}
    following = [*args, ""][1:]
    return [
        f"{arg}=true" if arg in switches and after.lower() not in ("true", "false") else arg
        for arg, after in zip(args, following, strict=True)
    ]


REWARD_VERBS = {
    "list": List,
    "show": Show,
    "score": Score,
    "try": Try,
    "check": Check,
    "attack": Attack,
    "stats": Stats,
}
