"""The health rules, as data: signal, limits with their sources, what it means, what to change.

R01 to R25 are a list of published GRPO failures. Those that no metric shows are judged elsewhere: R17 (BOS and EOS) by
the look at the first prompt, R18 (versions), R24 (standby with expandable segments) and R25 (disk) by `toolkit doctor`
and the session, R19 (a batch that the engine changed) and R20 (top_p with importance sampling) by `training.notices`.

Many limits follow axolotl's table, which its authors did not validate and neither did this project. "Ours" is a
figure without a publication behind it. "Embedded" is this package's own run on a CPU, which is healthy and trips none
of the red ones.
"""

from __future__ import annotations

from toolkit.control.rule import Rule
from toolkit.control.rules.behaviour import OF_BEHAVIOUR, OF_HELD_OUT
from toolkit.control.rules.machine import OF_MACHINE
from toolkit.control.rules.optimisation import OF_OPTIMISATION, OF_SAMPLER
from toolkit.control.rules.signal import OF_SIGNAL

# Of two that trip at one step the earlier stands first where there is room for one
RULES: tuple[Rule, ...] = (*OF_SIGNAL, *OF_OPTIMISATION, *OF_SAMPLER, *OF_BEHAVIOUR, *OF_HELD_OUT, *OF_MACHINE)
BY_ID = {rule.id: rule for rule in RULES}
