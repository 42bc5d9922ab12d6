"""What the planner says of a cell, with the shipped constants: what runs on this machine taught is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from benchmarks.gpu.cells import CHECKPOINTING, ENGINES, FRAMEWORKS, Cell, shape_of
from toolkit.machine.devices import Gpu
from toolkit.vram.cards import Card, find_card
from toolkit.vram.constants import for_capability, shipped
from toolkit.vram.formula.timing import Timing, estimate
from toolkit.vram.mapping import request_of
from toolkit.vram.plan import Plan, fit_of, make_plan, surely_fits
from toolkit.vram.run_plan import card_of, plan_run

LENGTH_STEP = 256  # tokens, of the search for the edge of an emulated card
BATCHES = (8, 4, 2)  # sequences in a pass, tried in turn on a card that is too small for the first


def card_for(cell: Cell, gpu: Gpu | None) -> Card | None:
    """The card to plan for: the one at hand or, emulated, another one's memory on this one's kernels."""
    if gpu is None or gpu.is_slice:
        return None
    here, _ = card_of(gpu)
    if not cell.emulates:
        return here
    other = find_card(cell.emulates)
    return replace(other, compute_capability=here.compute_capability, bandwidth_gbs=None)  # its speed is not emulated


def plan_of(cell: Cell, gpu: Gpu | None) -> Plan:
    """The plan of a cell's settings on its card; on a CPU of no card, in float32."""
    settings = cell.settings(shape_of(cell.size).name)
    has_bf16 = gpu is not None and gpu.has_bf16
    has_vllm = cell.rollouts == "vllm"
    request = request_of(settings, has_bf16=has_bf16, framework=FRAMEWORKS[cell.engine], has_vllm=has_vllm)
    request = replace(request, attention="flash" if cell.equal_lengths else "sdpa")
    if gpu is None:
        request = replace(request, dtype="fp32")
    card = card_for(cell, gpu)
    known = for_capability(shipped(), card.compute_capability if card else None)
    return make_plan(request, shape_of(cell.size), card, known)


def record(cell: Cell, plan: Plan) -> dict[str, Any]:
    """What is kept of a plan: GiB by phase, the process's interval, seconds and tokens a second as [low, mid, high]."""
    timing = timing_of(plan)
    return {
        "load": planned_gib(plan, ("load",)),
        "update": planned_gib(plan, phases_of(cell)),
        "interval_process_gib": [round(bound, 3) for bound in plan.interval_gib],
        "verdict": fit_of(plan) if plan.card else None,
        "usable_gib": plan.card.usable_gib if plan.card else None,
        "time": timing.as_json() if timing else None,
        "request": asdict(plan.request),
    }


def phases_of(cell: Cell) -> tuple[str, ...]:
    """The phases that happen in a cell after loading: completions that are given are not rolled out."""
    return ("update",) if cell.rollouts == "given" else ("rollout", "update")


def planned_gib(plan: Plan, phases: tuple[str, ...]) -> dict[str, float]:
    """Peaks over these phases, under the names of `toolkit.vram.measured.Measured`."""
    chosen = [plan.phases[name] for name in phases if name in plan.phases]
    return {
        "allocated": round(max(phase.allocated_gib for phase in chosen), 4),
        "reserved": round(max(phase.reserved_gib for phase in chosen), 4),
        "process": round(max(phase.total_gib for phase in chosen), 4),
    }


def timing_of(plan: Plan, shares: Mapping[str, Any] | None = None) -> Timing | None:
    """The planned times; `shares` stands in for the table [time] of constants.toml."""
    return estimate(plan.request, plan.shape, plan.card, plan.engine, shares)


def tensor_share(plan: Plan, update_s: float) -> float | None:
    """The share of the tensor cores' rate that explains a measured update, the other rates at their middle; 0 to 1.

    None where the card has no rates, or where no share does: the update is then bound by something else.
    """
    table = shipped()["time"]

    def planned_s(share: float) -> float | None:
        timing = timing_of(plan, table | {"flops": dict.fromkeys(("slow", "mid", "fast"), share)})
        return timing.update_s.mid if timing else None

    return _bisect(planned_s, update_s)


def _bisect(planned_s: Callable[[float], float | None], measured_s: float) -> float | None:
    """Where a function that falls over (0, 1] takes a value."""
    low, high = 0.001, 1.0
    slowest, fastest = planned_s(low), planned_s(high)
    if slowest is None or fastest is None or not fastest < measured_s < slowest:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        seconds = planned_s(middle)
        low, high = (middle, high) if seconds and seconds > measured_s else (low, middle)
    return round(high, 4)


def fitted(cell: Cell, gpu: Gpu | None, longest_s: float) -> tuple[Cell | None, str]:
    """The cell as this card can run it, with what was changed, or None with the reason.

    An emulated card's cells get the length at the edge; another cell that does not fit, or whose steps would take more
    than `longest_s`, gets a smaller pass, the same for both engines.
    """
    if gpu is None:
        return (None, "a CPU has no card to emulate") if cell.emulates else (cell, "")
    if gpu.is_slice:
        return (None, "the memory of a MIG slice is not known") if cell.emulates else (cell, "")
    if cell.rollouts == "vllm":
        return _as_a_run(cell, gpu)
    if cell.kind != "update":
        return cell, ""
    if cell.emulates:
        chosen, why = _at_the_edge(cell, gpu)
        runs = chosen if cell.expected == "runs" else None  # the other one ends in its first pass
        too_long = runs and steps_s(replace(runs, emulates=""), gpu) > longest_s
        return (
            (None, "its steps would take too long by the plan; give more with --limit_s") if too_long else (chosen, why)
        )
    for one in _smaller(cell):
        if all(surely_fits(plan_of(same, gpu)) for same in _both_engines(one)) and steps_s(one, gpu) <= longest_s:
            size = f"{one.per_device_train_batch_size} x {one.max_completion_length} tokens"
            return one, "" if one == cell else f"{size}: what was asked is too much for this card by the plan"
    return None, "even its smallest pass is too much for this card by the plan"


def _as_a_run(cell: Cell, gpu: Gpu) -> tuple[Cell | None, str]:
    """The cell with the share for vLLM that a recipe's plan would choose, or None where the recipe would not start."""
    settings, framework = cell.settings(shape_of(cell.size).name), FRAMEWORKS[cell.engine]
    found = plan_run(settings, gpu, framework=framework, has_vllm=True, share_is_given=False)
    if found.flags != ():
        return None, "a recipe would not start it on this card, by the plan"
    if found.share is None:
        return cell, ""
    return replace(cell, gpu_memory_utilization=found.share), f"{found.share:.0%} of the card for vLLM, by the plan"


def _both_engines(cell: Cell) -> Iterator[Cell]:
    """A cell and its like under the other engine, so that both are measured at the same settings."""
    for engine in ENGINES:
        how = cell.gradient_checkpointing if cell.gradient_checkpointing == "none" else CHECKPOINTING[engine]
        yield replace(cell, engine=engine, gradient_checkpointing=how)


def _smaller(cell: Cell) -> Iterator[Cell]:
    """The cell, then with fewer sequences in a pass, then with shorter ones, too."""
    yield cell
    batches = [batch for batch in BATCHES if batch < cell.per_device_train_batch_size]
    yield from (replace(cell, per_device_train_batch_size=batch) for batch in batches)
    for part in (2, 4):
        shorter = replace(cell, max_completion_length=cell.max_completion_length // part)
        yield replace(shorter, per_device_train_batch_size=min(BATCHES[-1], cell.per_device_train_batch_size))


def steps_s(cell: Cell, gpu: Gpu) -> float:
    """Seconds of all steps by the plan; 0 where it knows no rates."""
    timing = timing_of(plan_of(cell, gpu))
    return cell.n_steps * timing.update_s.mid if timing else 0.0


def _at_the_edge(cell: Cell, gpu: Gpu) -> tuple[Cell | None, str]:
    """The longest completions that surely fit the emulated card, or the shortest that surely do not."""
    card, here = card_for(cell, gpu), card_of(gpu)[0]
    if card is None or here.usable_gib < card.usable_gib:
        return None, f"the card has {here.usable_gib:.1f} GiB, fewer than the emulated {cell.emulates}"
    plans = [(longer, plan_of(longer, gpu)) for longer in _lengths(cell)]
    # Only where the update is the peak: completions are given, so that no rollout would fill the card
    plans = [(longer, plan) for longer, plan in plans if plan.peak_phase.name == "update"]
    if cell.expected == "runs":
        found = [longer for longer, plan in plans if surely_fits(plan)][-1:]
    else:
        found = [longer for longer, plan in plans if plan.interval_gib[0] > card.usable_gib][:1]
    if not found:
        return None, f"no length that the planner is sure of on {cell.emulates}"
    return found[0], f"{found[0].max_completion_length} tokens by the plan for {cell.emulates}"


def _lengths(cell: Cell) -> Iterator[Cell]:
    limit = shape_of(cell.size).max_position_embeddings - cell.max_prompt_length
    for length in range(LENGTH_STEP, min(limit, 16384) + 1, LENGTH_STEP):
        yield replace(cell, max_completion_length=length)
