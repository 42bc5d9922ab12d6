"""What would stop a run on a card, found before the minutes in which a model is fetched and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolkit.doctor.card import check_card
from toolkit.doctor.engines import check_engines
from toolkit.doctor.facts import Facts, collect
from toolkit.doctor.packages import check_packages
from toolkit.errors import BackendError
from toolkit.findings import Finding
from toolkit.machine.devices import Gpu
from toolkit.machine.hub import Hub


def check_before_loading(gpus: Sequence[Gpu]) -> None:
    """Hold driver, kernels, torch's build and the engines' packages against the card that was chosen, without torch.

    Raises:
        BackendError: the first finding that stops a run, and how many more there are.
    """
    facts = replace(collect(hub=Hub("", None, "not asked")), gpus=tuple(gpus))
    stops = what_stops(facts)
    if stops:
        first = stops[0]
        more = f" (and {len(stops) - 1} more: toolkit doctor)" if len(stops) > 1 else ""
        raise BackendError(f"{first.name}: {first.found}", first.wanted, first.next_step + more)


def what_stops(facts: Facts) -> list[Finding]:
    """The red findings on the card and what computes on it; pure."""
    parts = (check_card, check_engines, check_packages)
    return [finding for part in parts for finding in part(facts) if finding.level == "red"]
