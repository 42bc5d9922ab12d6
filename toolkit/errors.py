"""The one tree of errors that a user can cause or fix.

Every message is one line in three parts: what was found, what was wanted, what to do next. `launch` prints
it and exits with code 2; the traceback appears only with `--debug`. Each class is also the stdlib error it
stands for, so code that imports this package as a library can catch it without knowing the tree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_BUG = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what shells expect


class ToolkitError(Exception):
    """Root of the tree: `found`, `wanted` and `next_step` are kept apart and joined into one line."""

    def __init__(self, found: str, wanted: str = "", next_step: str = "") -> None:
        self.found, self.wanted, self.next_step = found, wanted, next_step
        super().__init__(found, wanted, next_step)

    def __str__(self) -> str:
        return sentence(self.found, self.wanted, self.next_step)


def sentence(found: str, wanted: str = "", next_step: str = "") -> str:
    """`Found this; wanted that; do so.`: one line, whatever line breaks the parts have."""
    if wanted and not wanted.startswith("did you mean"):
        wanted = f"wanted {wanted}"
    parts = [" ".join(part.split()).rstrip(".;") for part in (found, wanted, next_step)]
    line = "; ".join(part for part in parts if part)
    return line if line.endswith("?") else line + "."


class SettingsError(ToolkitError, ValueError):
    """A flag, a YAML key or a combination of settings that cannot be run."""


class DataError(ToolkitError, ValueError):
    """A dataset that is missing, empty, or has a row that cannot be read."""


class RewardError(ToolkitError, ValueError):
    """A reward that is unknown, is set up wrongly, or does not get the columns that it needs."""


class ModelError(ToolkitError, LookupError):
    """A model that cannot be found or is of an unusable kind."""


class BackendError(ToolkitError, RuntimeError):
    """An engine that is not installed, or cannot do what was asked on this machine."""


class StandbyError(BackendError):
    """vLLM does not start with standby, fall asleep or wake up; without standby it may run."""

    step = "load"
    """Where it failed: load, sleep or wake."""


class SandboxError(ToolkitError, RuntimeError):
    """Model-written code cannot be run here as isolated as was asked."""


class RunFolderError(ToolkitError, OSError):
    """A run folder that is in use, is not a run, or has no room on its disk."""


class HubError(ToolkitError, ConnectionError):
    """The Hub cannot be reached, or refuses the token or the repository name."""


class ParityError(ToolkitError, RuntimeError):
    """The rollouts do not come from the weights that are trained."""


class DivergedError(ToolkitError, ArithmeticError):
    """Training has come to numbers that are none."""


class ContractError(ToolkitError, RuntimeError):
    """Another package's private name that this project relies on is gone or has changed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean a, b?` for the three names nearest to `name`, or an empty string when none is near."""
    near = difflib.get_close_matches(name, list(known))
    return f"did you mean {', '.join(near)}?" if near else ""


def first_line(error: BaseException) -> str:
    """What somebody else's exception says, as far as it fits on one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether a card ran out of memory, by the whole chain of causes: engines wrap what torch or CUDA raised."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


# Of torch and CUDA; of vLLM 0.31 at its start, for weights and cache (v1/worker/utils.py, v1/core/kv_cache_utils.py)
_OUT_OF_MEMORY = (
    *("out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("is less than desired GPU memory utilization", "No available memory for the cache blocks"),
)
