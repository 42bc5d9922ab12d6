"""The code's side: runs the program once, then does what the tests' side asks of it. It never learns what is expected.

Everything said from here is the code's claim: the code may have replaced any function of this process. It can claim
a value, which helps it only if the value is right.
"""

from __future__ import annotations

import builtins
import operator
import os

import script
import wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

OPERATIONS = {
    "call": lambda target, *arguments, **named: target(*arguments, **named),
    "getattr": getattr, "setattr": setattr, "getitem": operator.getitem, "setitem": operator.setitem,
    "len": len, "iter": iter, "next": next, "str": str, "repr": repr, "bool": bool,
}  # fmt: skip


def run(job: dict[str, Any], _: int) -> None:
    """Serve until the tests' side is done."""
    line = wire.Line(*job["descriptors"])
    script.prepare_interpreter()
    try:
        names = script.execute(job["program"], "solution")  # not __main__: a script's own last lines are not asked for
    except BaseException as error:
        line.send(wire.tell_exception(error))
        return
    line.send(["loaded"])
    objects: list[Any] = []
    while True:
        try:
            request = line.receive()
        except wire.GoneError:
            os._exit(0)  # so that nothing of the code's runs at the end; it also saves a tenth of the time
        try:
            reply = _answer(request, names, objects)
        except BaseException as error:  # whatever the code raises, SystemExit too, is an answer
            reply = wire.tell_exception(error)
        line.send(reply)


def _answer(request: list[Any], names: dict[str, Any], objects: list[Any]) -> list[Any]:
    """`["value", result, changed]`: `changed` holds, by place, the lists and dicts that the call altered."""

    def keep(value: Any) -> list[Any]:
        objects.append(value)
        return ["object", len(objects) - 1, type(value).__name__]

    def own(told: list[Any]) -> Any:
        return objects[told[1]] if told[0] == "object" else getattr(builtins, told[1])

    operation, target, arguments, named = request
    if operation == "name":
        if target not in names:
            raise NameError(f"name {target!r} is not defined")
        return ["value", wire.encode(names[target], keep), []]
    given = wire.decode(arguments, own)
    before = [
        told if type(value) in (list, dict, set) else None for told, value in zip(arguments[1], given, strict=True)
    ]
    result = OPERATIONS[operation](own(target), *given, **wire.decode(named, own))
    changed = []
    for place, told in enumerate(before):
        if told is not None and (now := wire.encode(given[place], keep)) != told:
            changed.append([place, now])
    return ["value", wire.encode(result, keep), changed]
