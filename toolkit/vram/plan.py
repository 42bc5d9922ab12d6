"""From a request to a plan: memory by phase and part, and what vLLM can hold.

The card holds other things in each of three phases: `load`, `rollout` (the engine at work), `update` (forward and
backward passes). The tensors of the training process, the allocator around them, and the process with its context and
vLLM's pool are three different numbers and are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from toolkit.units import gib
from toolkit.vram.cards import Card
from toolkit.vram.constants import constants_for, narrowed, slack_kind
from toolkit.vram.formula import costs, rollout
from toolkit.vram.formula.sharing import with_trl, with_unsloth
from toolkit.vram.formula.timing import estimate
from toolkit.vram.formula.update import update_of, warnings
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

PARTS = (
    *("weights", "lora", "gradients", "optimizer", "activations", "logits", "kv_cache", "cuda_graphs"),
    *("context", "slack"),
)
ENGINE_PARTS = ("kv_cache", "cuda_graphs", "engine")
KINDS = ("allocated", "reserved", "process")
"""Of a peak; see `Plan.peak_gib`."""
Fit = Literal["fits", "tight", "no cache", "too large"]
"""How a planned run fits its card, from the best to the worst.

- fits: even the upper end of the interval is within the card's usable memory.
- tight: the peak is, the upper end is not.
- no cache: the peak is, but vLLM's KV cache cannot hold one sequence of max_model_len tokens: vLLM does not start, or
  Unsloth allows shorter ones only.
- too large: the peak is above the card, or vLLM's share above what is free when it starts.
"""


Parts = dict[str, float]
"""GiB by part."""


@dataclass(frozen=True)
class Phase:
    """One phase's parts in GiB; `total_gib` is the process, context and slack included."""

    name: str
    parts_gib: Parts

    @property
    def total_gib(self) -> float:
        return sum(self.parts_gib.values())

    @property
    def reserved_gib(self) -> float:
        """The tensors with the allocator's slack."""
        return self.allocated_gib + self.parts_gib["slack"]

    @property
    def allocated_gib(self) -> float:
        """Tensors of the training process: without context, slack and vLLM."""
        outside = ("context", "slack", *ENGINE_PARTS)
        return sum(value for name, value in self.parts_gib.items() if name not in outside)


@dataclass(frozen=True)
class Plan:
    """The answer to "will it fit?"."""

    request: Request
    shape: Shape
    card: Card | None
    phases: dict[str, Phase]
    engine: rollout.Engine | None
    interval_gib: tuple[float, float]
    warnings: tuple[str, ...] = ()
    calibration: dict[str, Any] | None = None
    """`card` and `n_runs` that taught the constants; None for the shipped ones."""

    @property
    def peak_phase(self) -> Phase:
        return max(self.phases.values(), key=lambda phase: phase.total_gib)

    @property
    def peak_process_gib(self) -> float:
        return self.peak_phase.total_gib

    @property
    def peak_allocated_gib(self) -> float:
        return max(phase.allocated_gib for phase in self.phases.values())

    @property
    def peak_reserved_gib(self) -> float:
        return max(phase.reserved_gib for phase in self.phases.values())

    def peak_gib(self, kind: str) -> float:
        """The peak of one of `KINDS`."""
        return getattr(self, f"peak_{kind}_gib")

    @property
    def fits(self) -> bool | None:
        """Whether the card holds the process, and vLLM finds its share free; None without a card."""
        if self.card is None:
            return None
        return self.peak_process_gib <= self.card.usable_gib and not (self.engine and self.engine.setup.missing)


def fit_of(plan: Plan) -> Fit:
    """Judge a plan that was made for a card; a ValueError for one that was not."""
    if plan.card is None:
        raise ValueError("a plan without a card fits none")
    if not plan.fits:
        return "too large"
    if plan.engine is not None and plan.engine.longest < plan.request.max_model_len:
        return "no cache"
    return "tight" if plan.interval_gib[1] > plan.card.usable_gib else "fits"


def can_run(plan: Plan) -> bool:
    """Whether it is `fits` or `tight`."""
    return fit_of(plan) in ("fits", "tight")


def surely_fits(plan: Plan) -> bool:
    """Whether it is `fits`: the upper end of the interval is within the card, too."""
    return fit_of(plan) == "fits"


def make_plan(request: Request, shape: Shape, card: Card | None, constants: dict[str, Any] | None = None) -> Plan:
    """Plan one run. Without a card its memory is unlimited, and nothing is said of fitting.

    `constants` None takes the shipped ones, or what runs on this card taught.

    Raises:
        SettingsError: the calibration file is broken.
    """
    constants = constants or constants_for(card, request)
    update = update_of(request, shape, card)
    peak = costs.peak(shape, update)
    engine = _engine(request, shape, card, peak, constants)
    workspaces = constants["workspaces"]["gib"]
    fixed = {"weights": gib(peak.weights), "lora": gib(peak.lora), "optimizer": gib(peak.optimizer)}
    load = {"weights": fixed["weights"], "lora": fixed["lora"]}
    working = {
        "gradients": gib(peak.stage.gradients),
        "activations": gib(peak.stage.activations + peak.mask) + workspaces,
        "logits": gib(peak.stage.logits),
    }
    phases = {"load": _phase("load", load, {}, 0.0, constants)}
    if request.task == "grpo":
        generating = {} if engine else {"activations": gib(generate_bytes(shape, request)) + workspaces}
        kept = _engine_parts(engine, request, at_work=True)
        slack = 0.0 if engine else slack_gib(request, generating["activations"], constants)
        phases["rollout"] = _phase("rollout", fixed, generating | kept, slack, constants)
    slack, kept = slack_gib(request, gib(peak.fragmentation), constants), _engine_parts(engine, request, at_work=False)
    phases["update"] = _phase("update", fixed, working | kept, slack, constants)
    found = (*warnings(request, shape, card), *(rollout.warnings(engine, request, card) if engine else ()))
    return Plan(request, shape, card, phases, engine, _interval(phases, constants), found, constants.get("calibration"))


def generate_bytes(shape: Shape, request: Request) -> float:
    """What `generate` of transformers holds for one round: keys and values of all sequences, and a forward pass.

    Keys and values of n S tokens in 16 bit, and one layer's again while it is concatenated; gate, up and their product
    in the prompts' pass, 6 I bytes a token; one position's logits in float32.
    """
    n, length = request.batch.generation_batch_size, request.max_model_len
    cache = n * length * rollout.kv_bytes_per_token(shape) * (1 + 1 / shape.n_layers)
    prefill = 6 * n * request.max_prompt_length * shape.intermediate
    return cache + prefill + 4 * n * shape.vocab


def slack_gib(request: Request, fragmentation_gib: float, constants: dict[str, Any]) -> float:
    """What the caching allocator holds beyond the tensors of a phase."""
    kind = constants["slack"][slack_kind(request)]
    return kind["gib"] + kind["share"] * fragmentation_gib


def _phase(name: str, static: Parts, more: Parts, slack: float, constants: dict[str, Any]) -> Phase:
    slack += constants["slack"]["static"] * sum(static.values())
    return Phase(name, {**static, **more, "context": constants["context"]["gib"], "slack": slack})


def _engine(
    request: Request, shape: Shape, card: Card | None, peak: costs.Peak, constants: dict[str, Any]
) -> rollout.Engine | None:
    if not request.rolls_out_with_vllm:
        return None
    usable_gib = card.usable_gib if card else 24.0
    taken_gib, n_nf4 = constants["context"]["gib"], shape.linear_parameters() - shape.n_unquantised
    if request.framework == "unsloth":
        free_gib = usable_gib - taken_gib
        setup = with_unsloth(request, shape, usable_gib=usable_gib, free_gib=free_gib, weights=int(peak.weights))
    else:
        in_4bit = int(costs.nf4_bytes(n_nf4) + 2 * (shape.parameters() - n_nf4))
        weights = in_4bit if request.method == "qlora" else 2 * shape.parameters()
        free_gib = usable_gib - (taken_gib + gib(peak.weights + peak.lora))
        setup = with_trl(request, usable_gib=usable_gib, free_gib=free_gib, weights=weights)
    graphs_gib = constants["cuda_graphs"]["gib"]
    return rollout.plan_engine(shape, setup, cuda_graphs_gib=graphs_gib, kv_cache_dtype=request.kv_cache_dtype)


def _engine_parts(engine: rollout.Engine | None, request: Request, *, at_work: bool) -> Parts:
    """What vLLM holds beside the training: all of it at work, else without the pass that it profiled.

    Asleep (standby) it keeps its graphs and LoRA slots, but neither the cache nor weights of its own.
    """
    if engine is None:
        return {}
    is_asleep = request.standby and not at_work
    own = engine.setup.lora + (0 if is_asleep else engine.setup.own_weights) + (engine.reserve if at_work else 0)
    cache = {} if is_asleep else {"kv_cache": gib(engine.kv_cache)}
    return cache | {"cuda_graphs": gib(engine.cuda_graphs), "engine": gib(own)}


def _interval(phases: dict[str, Phase], constants: dict[str, Any]) -> tuple[float, float]:
    """The peak with its constants at their published extremes and the formula at its own error; see `narrowed`."""
    phase = max(phases.values(), key=lambda phase: phase.total_gib)
    allocated, engine = phase.allocated_gib, sum(phase.parts_gib.get(name, 0.0) for name in ENGINE_PARTS)
    graphs = constants["cuda_graphs"] if phase.parts_gib.get("cuda_graphs") else {"gib": 0, "low_gib": 0, "high_gib": 0}
    bounds = []
    for sign, side in ((-1, "low"), (1, "high")):
        tensors = allocated * (1 + sign * constants["formula"]["relative"])
        slack = phase.parts_gib["slack"] * constants["slack"][side]
        moved = graphs[f"{side}_gib"] - graphs["gib"]
        bounds.append(tensors + slack + engine + moved + constants["context"][f"{side}_gib"])
    error = constants["formula"]["relative"] * allocated
    return narrowed((bounds[0], bounds[1]), phase.total_gib, error, constants.get("residuals_gib", ()))


def as_json(plan: Plan, suggestion: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The plan as `toolkit plan --json` prints it. GiB throughout."""
    peak, timing = plan.peak_phase.parts_gib, estimate(plan.request, plan.shape, plan.card, plan.engine)
    return {
        "model": {"name": plan.shape.name, "parameters": plan.shape.parameters()},
        "gpu": None if plan.card is None else {"name": plan.card.name, "usable_gib": plan.card.usable_gib},
        "parts_gib": {name: round(peak.get(name, 0.0), 4) for name in (*PARTS, "engine")},
        "phases": {
            name: {"total_gib": round(phase.total_gib, 4)} | {k: round(v, 4) for k, v in phase.parts_gib.items()}
            for name, phase in plan.phases.items()
        },
        "peak_allocated_gib": round(plan.peak_allocated_gib, 4),
        "peak_reserved_gib": round(plan.peak_reserved_gib, 4),
        "peak_process_gib": round(plan.peak_process_gib, 4),
        "interval_process_gib": [round(bound, 4) for bound in plan.interval_gib],
        "fits": plan.fits,
        "rollout": None if plan.engine is None else plan.engine.as_json(),
        "time": None if timing is None else timing.as_json(),
        "calibration": plan.calibration,
        "warnings": list(plan.warnings),
        "suggestion": suggestion,
    }
