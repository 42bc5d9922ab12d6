"""The process in which math-verify runs: one JSON request a line on stdin, one JSON reply a line on stdout.

A process of its own, because math-verify's time-outs use `signal.alarm`, which works on the main thread only
(verl#5635), and because sympy can hang in C code and can take all memory. `latex.py` starts it, waits, and kills it.
It imports nothing of this package, so it can be run by its path.

Two of math-verify's verdicts are its own: inequalities are compared as sets of numbers, in either direction, and
numbers that agree after rounding must agree in their first digits, too, since all small ones round to 0.
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


def _described(conditions: list[list[str]], parsed: Any) -> tuple[Any, Any] | None:
    """The set of reals that an answer describes, and the name of its variable; None where it is no such set."""
    from math_verify import LatexExtractionConfig, parse
    from sympy import Eq, Intersection, Set, Symbol, Union
    from sympy.core.function import AppliedUndef

    if not conditions:
        if isinstance(parsed, Eq) and isinstance(parsed.rhs, Set):  # x in [2, 5]
            return parsed.rhs, parsed.lhs
        return (parsed, None) if isinstance(parsed, Set) else None
    unions, names = [], set()
    for every in conditions:
        sets = []
        for condition in every:
            formula, read = f"${condition}$", [LatexExtractionConfig()]
            found = parse(formula, read, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
            relation: Any = found[0] if found else None
            is_relation = getattr(relation, "is_Relational", False) or getattr(relation, "is_Boolean", False)
            if not is_relation or len(relation.free_symbols) != 1 or relation.atoms(AppliedUndef):
                return None
            (name,) = relation.free_symbols
            names.add(name)
            try:
                sets.append(relation.subs(name, Symbol(str(name), real=True)).as_set())
            except (NotImplementedError, TypeError, AttributeError):
                return None
        unions.append(Intersection(*sets))
    return (Union(*unions), names.pop()) if len(names) == 1 else None


def _same_set(gold: Any, gold_name: Any, answer: Any, answer_name: Any, strict: bool) -> bool:
    if strict and gold_name is not None and answer_name is not None and str(gold_name) != str(answer_name):
        return False
    return gold == answer or gold.symmetric_difference(answer).is_empty is True


def _is_close(gold: Any, answer: Any, rounding: int) -> bool:
    """Whether two numbers that are equal after rounding are so in their first digits: all where both are exact.

    Of tuples, sets and intervals each number; anything else is.
    """
    from sympy import FiniteSet, Float, Interval, MatrixBase, Tuple

    if type(gold) is type(answer) and issubclass(type(gold), (Tuple, Interval, FiniteSet)):
        pairs = zip(gold.args, answer.args, strict=False)
        return len(gold.args) != len(answer.args) or all(_is_close(*pair, rounding) for pair in pairs)
    if all(issubclass(type(side), MatrixBase) for side in (gold, answer)) and gold.shape == answer.shape:
        return all(_is_close(*pair, rounding) for pair in zip(gold, answer, strict=True))
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return True
    is_exact = not (gold.has(Float) or answer.has(Float))
    try:
        a, b = gold.evalf(30), answer.evalf(30)
        return bool(abs(a - b) <= abs(a) * (10.0**-20 if is_exact else 10.0 ** (3 - rounding)))
    except TypeError:  # infinite, or no number after all
        return True


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
        if not answer:
            return {"equal": False, "why": ""}
        settings, conditions = request["settings"], request["conditions"]
        if any(conditions.values()) and settings["allow_set_relation_comp"]:
            sides = [_described(conditions[side], parsed[0]) for side, parsed in (("gold", gold), ("answer", answer))]
            if sides[0] and sides[1]:
                return {"equal": _same_set(*sides[0], *sides[1], settings["strict"]), "why": ""}
        equal = verify(gold, answer, timeout_seconds=None, **settings)
        return {"equal": equal and _is_close(gold[0], answer[0], settings["float_rounding"]), "why": ""}

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
