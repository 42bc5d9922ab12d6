"""The `toolkit` command: verbs only. A verb is a dataclass of flags whose `run` imports its floor inside."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tyro

from toolkit import __version__
from toolkit.cli.bench import BENCH_VERBS
from toolkit.cli.chat import Chat
from toolkit.cli.doctor import EXIT_CANNOT_RUN, Doctor
from toolkit.cli.eval import EVAL_VERBS, Eval
from toolkit.cli.plan import Plan
from toolkit.cli.reward import REWARD_VERBS, with_bare_flags
from toolkit.cli.runs import RUNS_VERBS
from toolkit.cli.serve import Serve
from toolkit.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, SettingsError, ToolkitError, did_you_mean
from toolkit.settings.parse import parse


@dataclass(frozen=True)
class Reward:
    """Try rewards without a model: list, show, score, try, check, attack, stats; see toolkit reward --help."""


@dataclass(frozen=True)
class Bench:
    """Measure memory and speed over settings: run, tune, table, plot, compare, share; see toolkit bench --help."""


@dataclass(frozen=True)
class Runs:
    """Look at runs afterwards: list them, show one, compare several; see toolkit runs --help."""


VERBS: Mapping[str, type] = {
    "doctor": Doctor,
    "plan": Plan,
    "serve": Serve,
    "reward": Reward,
    "eval": Eval,
    "chat": Chat,
    "runs": Runs,
    "bench": Bench,
}
NESTED: Mapping[str, Mapping[str, type]] = {
    "reward": REWARD_VERBS,
    "eval": EVAL_VERBS,
    "runs": RUNS_VERBS,
    "bench": BENCH_VERBS,
}
ABOUT = {
    "toolkit": "The toolkit beside the recipes: what this machine can run, whether a run fits its card, what is paid.",
    "toolkit eval": "What a trained model can do, alone or beside another.",
    "toolkit bench": "What a grid of settings takes on this machine, each cell in a process of its own.",
    "toolkit runs": "What runs have left in their folders, read without a model, a card or torch.",
    "toolkit reward": "Rewards without a model, a card or torch: the library's, a rubric file, or your own function.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` (default: the command line) names, and return the exit code.

    Bad input is one line on stderr and code 2.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `toolkit doctor --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would flush and fail again
        return EXIT_CANNOT_RUN
    except KeyboardInterrupt:
        from toolkit.display.console import fail

        fail("interrupted")
        return EXIT_INTERRUPTED
    except ToolkitError as error:
        from toolkit.display.console import fail

        fail(str(error))
        return EXIT_BAD_INPUT


def _dispatch(args: Sequence[str], verbs: Mapping[str, type] = VERBS, command: str = "toolkit") -> int:
    name, rest = (args[0], list(args[1:])) if args else ("", [])
    if name == "--version" and verbs is VERBS:
        print(f"toolkit {__version__}")
        return 0
    if name in ("-h", "--help"):
        _print_help([name], verbs, command)
        return 0
    if name not in verbs:
        raise _unknown_verb(args, verbs, command)
    # `toolkit eval RUN` is a verb itself; a folder that has the name of one of its sub-verbs is ./NAME
    below = NESTED.get(name, {}) if verbs is VERBS else {}
    if below and (not hasattr(verbs[name], "run") or (rest and rest[0] in below)):
        return _dispatch(rest, NESTED[name], f"toolkit {name}")
    if "-h" in rest or "--help" in rest:
        _print_help([name, "--help"], verbs, command)
        return 0
    has_positional = verbs is not VERBS or name in NESTED or name == "chat"
    return parse(verbs[name], with_bare_flags(rest, verbs[name]) if has_positional else rest).run()


def _print_help(args: Sequence[str], verbs: Mapping[str, type], command: str) -> None:
    try:
        tyro.extras.subcommand_cli_from_dict(
            dict(verbs), prog=command, description=ABOUT[command], args=args, use_underscores=True
        )
    except SystemExit as stop:  # how a parser ends after its help
        if stop.code:
            raise


def _unknown_verb(args: Sequence[str], verbs: Mapping[str, type], command: str) -> SettingsError:
    name, known, see = (args[0] if args else ""), f"one of {', '.join(verbs)}", f"see {command} --help"
    if not name:
        return SettingsError("no verb given", known, see)
    if not name.startswith("-"):
        return SettingsError(f"unknown verb {name!r}", did_you_mean(name, verbs) or known, see)
    verb = next((arg for arg in args if arg in verbs), None)
    if verb:
        return SettingsError(f"{name} before the verb", "the verb first", f"{command} {verb} {name}")
    hint = did_you_mean(name, ("--help", "--version")) or f"a verb, {known}"
    return SettingsError(f"unknown flag {name}", hint, see)
