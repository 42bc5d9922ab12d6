"""What the machine does meanwhile: memory, time, others on the card."""

from __future__ import annotations

from toolkit.control.rule import Limit, Rule
from toolkit.control.rules.sources import MEMORY, SLOW

OF_MACHINE = (
    Rule(
        id="R14",
        name="memory grows",
        signal="memory_lasts",
        amber=Limit(1.0, 1.5, f"ours: full before the end; {MEMORY}", trip=3),
        red=Limit(0.2, 0.4, f"ours: full within a fifth of what is left; {MEMORY}", trip=3),
        is_below=True,
        found="memory grows by {mib_per_step:.1f} MiB a step and is full in about {steps_to_full:.0f} steps",
        wanted="memory for the steps that are left",
        means="The run will end out of memory.",
        change="save more often (save_steps), lower per_device_train_batch_size or max_completion_length, then resume",
    ),
    Rule(
        id="R15",
        name="reward is slow",
        signal="reward_share",
        amber=Limit(0.5, 0.4, f"toolkit: most of a step; {SLOW}", trip=5),
        red=Limit(0.8, 0.6, "ours", trip=10),
        found="{value:.0%} of a step goes into computing rewards",
        wanted="less than half",
        means="The card waits for the reward.",
        change="make the reward faster, asynchronous or batched; toolkit reward score shows its time a completion",
    ),
    Rule(
        id="R23",
        name="other process on the card",
        signal="foreign_gib",
        amber=Limit(0.25, 0.1, "ours: what a card's own display takes", trip=2, dwell=2),
        found="other processes hold {value:.2g} GiB of the card",
        wanted="a card to itself",
        means="It takes memory and time from this run, and vLLM may fail when it wakes.",
        change="end what is yours: nvidia-smi lists it",
    ),
)
