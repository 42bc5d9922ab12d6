"""How a plan fits its card, in words, marks and colours."""

from __future__ import annotations

from toolkit.vram.plan import Fit

MARKS: dict[Fit, str] = {"fits": "", "tight": "~", "no cache": "kv", "too large": "✗"}
MEANINGS: dict[Fit, str] = {
    "fits": "fits",
    "tight": "fits, but not with the upper end of the plan's interval",
    "no cache": "vLLM's cache cannot hold one sequence",
    "too large": "does not fit",
}
ON_CARD: dict[Fit, str] = {
    "fits": "fits on",
    "tight": "is tight on",
    "no cache": "leaves vLLM too little cache on",
    "too large": "does not fit on",
}
STYLES: dict[Fit, str] = {"fits": "green", "tight": "yellow", "no cache": "magenta", "too large": "red"}
