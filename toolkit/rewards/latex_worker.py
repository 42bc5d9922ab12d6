"""The process in which math-verify runs: one JSON request a line on stdin, one JSON reply a line on stdout.

A process of its own, because math-verify's time-outs use `signal.alarm`, which works on the main thread only
(verl#5635), and because sympy can hang in C code and can take all memory. `latex.py` starts it, waits, and kills it.
It imports nothing of this package, so it can be run by its path.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from typing import Any

MAX_MEMORY = 4 * 1024**3  # bytes of address space
GRACE_S = 5.0  # after the parent's time-out: it is gone when it has not killed us by then


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # antlr prints, and would break the protocol
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has none; a lower limit stays
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))

    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    os.dup2(quiet, 2)  # after the import, whose failure the parent reports

    # A box is the answer wherever it stands; math-verify's default tries "the final answer is" first
    configs = {"latex": LatexExtractionConfig(boxed_match_priority=0), "expr": ExprExtractionConfig()}

    def reply_to(request: dict[str, Any]) -> dict[str, Any]:
        read = [configs[kind] for kind in request["read"]]
        gold = parse(request["gold"], read, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        if not gold:
            return {"equal": None, "why": "the gold answer cannot be read"}
        answer = parse(request["answer"], read, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        return {"equal": bool(answer) and verify(gold, answer, timeout_seconds=None, **request["settings"]), "why": ""}

    replies.write(json.dumps({"ready": True}) + "\n")
    with open(quiet, "w", closefd=False) as nowhere:
        for line in sys.stdin:
            request = json.loads(line)
            faulthandler.dump_traceback_later(request["timeout_s"] + GRACE_S, exit=True, file=nowhere)
            try:
                reply = reply_to(request)
            except (Exception, RecursionError, MemoryError) as error:
                reply = {"equal": None, "why": f"math-verify fails with {type(error).__name__}"}
            replies.write(json.dumps(reply) + "\n")
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
