"""Where a person reads: standard output and standard error, one line at a time."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.text import Text


class LastingConsole(Console):
    """A console that outlives its reader: `| head` or a dead `tee` must not end a training run."""

    def on_broken_pipe(self) -> None:
        """Go on without output; rich would exit."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's flush at exit fails again


console = LastingConsole(highlight=False)
_errors = Console(highlight=False, stderr=True)


def say(text: str) -> None:
    """Print one plain line by this project, as it is: no markup, no wrapping."""
    console.print(Text(text), soft_wrap=True)


def fail(text: str) -> None:
    """Print one red line to standard error; line breaks in it become spaces, and it is never wrapped."""
    _errors.print(Text(" ".join(text.split()), "red"), soft_wrap=True)
