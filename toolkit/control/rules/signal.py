"""Whether there is anything to learn from: truncated completions, groups without signal, rewards that never pay."""

from __future__ import annotations

from toolkit.control.preflight import AMBER_TRUNCATED_FRAC, RED_TRUNCATED_FRAC
from toolkit.control.rule import Cause, Limit, Rule
from toolkit.control.rules.sources import AXOLOTL, FLAT, GITHUB, QUICKSTART

TRUNCATED = Cause(
    "truncated", 0.8, "completions are truncated at {longest} tokens, before the answer: raise max_completion_length"
)
ALIKE = Cause("identical", 0.9, "the completions of a group are the same text: raise temperature or num_generations")
NEVER_PAID = Cause(
    "never_paid",
    1.0,
    "the reward does not find what the prompt asks for (try it on completions: toolkit reward check, score), or the "
    "problems are too hard: easier problems, a larger model, or SFT on a few demonstrations first",
)
BLIND = Cause("partly_flat", 0.5, "the rewards do not tell completions apart: pay for more than one thing, or finer")
NO_SIGNAL = (TRUNCATED, ALIKE, NEVER_PAID, BLIND)

OF_SIGNAL = (
    Rule(
        id="R26",
        name="every group flat",
        signal="flat_groups",
        amber=Limit(0.5, 0.5, f"two rounds: {QUICKSTART}; {FLAT}", dwell=2),
        red=Limit(7.5, 0.5, "ours: eight groups or more, which chance rarely makes flat one after the other", dwell=2),
        found="every completion earned the same as the others of its group, {flat_rounds} rounds in a row{kinds}, so "
        "nothing is learned{always_zero}",
        wanted="groups whose completions earn differently",
        means="GRPO compares the completions of a group: where all earn the same, every advantage is 0.",
        change="mix easier and harder problems, raise num_generations or temperature",
        causes=NO_SIGNAL,
    ),
    Rule(
        id="R01",
        name="truncated",
        signal="truncated",
        amber=Limit(
            AMBER_TRUNCATED_FRAC, 0.15, f"ours; 14 % where it works: {GITHUB}huggingface/trl/pull/5759", trip=3
        ),
        red=Limit(RED_TRUNCATED_FRAC, 0.5, f"{AXOLOTL}; {QUICKSTART}", trip=2),
        under=("R02",),
        found="{value:.0%} of the completions are truncated at {longest} tokens",
        wanted="most of them to end by themselves",
        means="What is truncated has no answer, earns nothing, and teaches nothing but to be short.",
        change="raise max_completion_length, or ask for shorter answers in the prompt",
    ),
    Rule(
        id="R02",
        name="none ends",
        signal="none_ends",
        red=Limit(0.5, 0.5, f"{QUICKSTART}: 97 to 99 % truncated at 256 tokens", trip=2),
        found="no completion ends by itself: every one is truncated at {longest} tokens",
        wanted="completions that end",
        means="Either the limit is far too short, or the model never writes its end token.",
        change="raise max_completion_length; if it does not help, check that the chat template ends in the EOS token",
    ),
    Rule(
        id="R03",
        name="groups without signal",
        signal="flat_mean",
        amber=Limit(0.8, 0.7, f"{AXOLOTL}; {FLAT}"),
        red=Limit(0.95, 0.9, "ours: all but none for twenty rounds", trip=10),
        under=("R26",),
        found="in {value:.0%} of the groups of the last ten rounds all completions earned the same{kinds}{always_zero}",
        wanted="most groups with different rewards",
        means="Those groups are paid for in time and teach nothing.",
        change="mix easier and harder problems, raise num_generations or temperature",
        causes=NO_SIGNAL,
    ),
    Rule(
        id="R27",
        name="problems solved",
        signal="solved",
        amber=Limit(0.999, 0.5, "ours; embedded: from step 25 on", trip=2),
        found="every group is right, {observations} rounds in a row",
        wanted="problems that the policy does not solve every time",
        means="These problems have nothing left to teach; more steps cost time and drift.",
        change="stop here, or go on with harder problems",
    ),
    Rule(
        id="R04",
        name="reward at its minimum",
        signal="steps_at_bottom",
        amber=Limit(9.5, 0.5, "ours", dwell=1),
        red=Limit(19.5, 0.5, AXOLOTL, dwell=1),
        under=("R26",),
        found="the reward has been at its minimum, {reward:.3g}, for {value:.0f} rows{always_zero}",
        wanted="a reward that is sometimes earned",
        means="Nothing that the policy tries is paid, so it cannot learn what is.",
        change="look at completions with their rewards, then change the reward, the prompt or the problems",
        causes=NO_SIGNAL,
    ),
    Rule(
        id="R36",
        name="reward cannot judge",
        signal="unjudged",
        amber=Limit(0.2, 0.1, "ours", trip=2),
        red=Limit(0.9, 0.5, f"ours; unreadable gold: {GITHUB}huggingface/open-r1/issues/215", trip=2),
        found="reward {unjudged} could not judge {value:.0%} of the completions",
        wanted="rewards that can judge the data they are given",
        means="What is not judged gives no signal; mostly the gold answers cannot be read.",
        change="check the answer column: toolkit reward check",
    ),
    Rule(
        id="R22",
        name="identical completions",
        signal="identical_unsolved",
        amber=Limit(0.95, 0.9, "ours; embedded: 0.70 to 0.89 while it learns", trip=3),
        red=Limit(0.99, 0.95, "ours", trip=5),
        found="{value:.0%} of the completions of a group are the same text",
        wanted="different attempts at one problem",
        means="Without variety there is nothing to compare, and nothing new is tried.",
        change="raise temperature; check that sampling is on (do_sample) and that no seed is fixed in the engine",
    ),
)
