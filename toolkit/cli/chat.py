"""`toolkit chat RUN|ADAPTER|MODEL`: ask a trained model, as its training asked, in the terminal or through a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.text import Text

from toolkit.errors import EXIT_INTERRUPTED, DataError, SettingsError
from toolkit.rewards.completions import utf8

if TYPE_CHECKING:
    from toolkit.launch.chat import Chat as Talk
    from toolkit.launch.chat import Line

ABOUT = "a line is a question of its own, as in training; /answer 18 scores the last answer; /quit or Ctrl-D ends"
PROMPT = "> "


@dataclass(frozen=True)
class Chat:
    """Ask a run, an adapter or a model as its training asked: system prompt, examples, style. A line is a question."""

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|ADAPTER|MODEL", help_behavior_hint="")] = ""
    """A run folder, an adapter's folder, or a model by folder, Hub id or `embedded`."""
    base: str | None = None
    """The model under an adapter whose own record of it leads nowhere."""
    compare: bool = False
    """Show beside each answer that of the base, with the adapter switched off."""
    score: bool = False
    """Show what each reward of the run gives to an answer. Where one needs the right answer, type /answer 18."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy, as runs are measured."""
    max_completion_length: int | None = None
    """Longest answer in tokens; without it the run's."""
    prompt_style: Literal["r1", "think", "boxed", "hash", "none"] | None = None
    """How the answer is asked for; without it the run's."""
    system_prompt: str | None = None
    """System message, as text or a file; without it the run's."""
    examples: str | None = None
    """Solved examples before each question, a number of training rows or a file; without it the run's."""
    reward: str | None = None
    """TARGET[:WEIGHT],... for --score; without it the run's."""
    seed: int = 0
    """Seed of the sampling."""

    def run(self) -> int:
        try:
            return self._talk()
        except KeyboardInterrupt:  # while it loads, or at the prompt
            print()
            return EXIT_INTERRUPTED

    def _talk(self) -> int:
        from toolkit.launch.chat import HELP, QUIT

        talk = self._load()
        say = _sayer()
        say(ABOUT)
        for line in _lines():
            if line.command in QUIT:
                break
            if line.command:
                say(ABOUT if line.command == HELP else f"unknown {line.command}; {ABOUT}")
            elif line.question:
                self._ask(talk, line)
            elif line.gold and talk.said:
                _show_scores(talk, line.gold)
            elif line.gold is not None:
                say("no answer to score yet" if line.gold else "no right answer behind /answer")
        return 0

    def _load(self) -> Talk:
        """Find, check and load the policy, and say what it is."""
        from toolkit.backends.base import Sampling
        from toolkit.display.console import say
        from toolkit.launch import open_policy
        from toolkit.launch.chat import Chat as Talk

        if not 0 <= self.temperature < float("inf"):
            raise SettingsError(f"--temperature is {self.temperature}", "0 for greedy, or a value above it")
        names = ("max_completion_length", "prompt_style", "system_prompt", "examples", "reward")
        asked = {name: value for name in names if (value := getattr(self, name)) is not None}
        opened = open_policy(self.policy, {**asked, "use_vllm": False}, self.base)  # vLLM does not stream to a terminal
        if self.compare and opened.named.adapter is None:
            raise SettingsError(
                f"--compare, and {self.policy} is a whole model", "a run or an adapter, which has a base"
            )
        if opened.settings.data.examples is not None and opened.settings.data.examples.isdecimal():
            say(f"{len(opened.problems.examples) // 2} solved examples before each question")
        policy = opened.load()
        _seed(self.seed)
        for line in (f"{opened.named.label}: {policy.describe()}; {opened.named.why}", *opened.notes):
            say(line)
        longest = opened.settings.rollout.max_completion_length
        return Talk(opened, policy, Sampling(longest, self.temperature))

    def _ask(self, talk: Talk, line: Line) -> None:
        """Show the answers, and what they are worth; Ctrl-C ends the answer, and the next question is read."""
        from toolkit.display.answers import view_of
        from toolkit.display.console import console
        from toolkit.launch.chat import BASE, TRAINED

        say = _sayer()
        try:
            note = talk.put(line.question)
        except DataError as error:
            say(str(error))
            return
        if note:
            say(note)
        names = [TRAINED, BASE] if self.compare else [TRAINED]
        with view_of(console, names) as view:
            for name in names:
                view.begin(name)
                try:
                    said = talk.answer(name, view.tell)
                except KeyboardInterrupt:
                    view.end("stopped")
                    return
                view.end(said.ending)
        if self.score or line.gold:
            _show_scores(talk, line.gold)


def _lines() -> Iterator[Line]:
    """What a person types, or a pipe brings; a pipe's lines are shown before their answers."""
    from toolkit.display.console import console
    from toolkit.display.terminal import escaped
    from toolkit.launch.chat import understood

    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # editing and history; Windows has its own
            import readline  # noqa: F401 # imported for what it does to input()
    while True:
        try:
            typed = input(PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            if sys.stdin.isatty():
                console.print()
            return
        except UnicodeDecodeError:
            raise DataError("a line of the input is not UTF-8", "text in UTF-8") from None
        if typed.strip():
            if not sys.stdin.isatty():
                console.print(Text(PROMPT + escaped(typed), "dim"), soft_wrap=True)
            yield understood(utf8(typed))


def _show_scores(talk: Talk, gold: str | None) -> None:
    from toolkit.display.answers import score_line, scores_text
    from toolkit.display.console import console
    from toolkit.launch.chat import total

    lines = {}
    for said in talk.said:
        scores = talk.scores(said, gold)
        parts = [(score.name, score.weight, score.value, score.why) for score in scores]
        lines[said.who] = score_line(parts, total(scores))
    console.print(scores_text(lines), soft_wrap=True)


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _sayer() -> Callable[[str], None]:
    """What says a line of this program's own, which is no answer."""
    from toolkit.display.console import console

    return lambda text: console.print(Text(text, "dim"), soft_wrap=True)
