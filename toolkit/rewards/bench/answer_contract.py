"""Does a reward pay the right answer, and only that? The part of the contract that is about gold answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from toolkit.data.schema import Row
from toolkit.findings import Finding
from toolkit.rewards.answers import parse_gold
from toolkit.rewards.bench.calling import TOLERANCE, Outcome, Sample, Scores
from toolkit.rewards.bench.layouts import layout_name
from toolkit.rewards.bench.subject import GOLD, Subject
from toolkit.rewards.completions import one_line
from toolkit.rewards.composition import Composition
from toolkit.rewards.passing import is_right

UNREADABLE = ("", "?!")
MAY_BE_MEANT = {
    "one more": "compare exactly, unless a tolerance is meant",
    "the sign": "compare with the sign, unless a size is meant",
}
"""What is wrong with an answer that a reward may take all the same, and what to do where it should not."""


def right_answer(subject: Subject) -> Iterator[Finding]:
    """The gold answer in the prompted format earns the maximum, or at least more than anything else tried."""
    target, declared = subject.target, subject.target.declared
    if subject.takes_gold and not subject.has_golds:
        found = f"no row has a gold answer in {GOLD!r}"
        yield Finding("gold", "amber", found, "gold answers", "name their column with --answer_column")
        return
    claims_top = declared is not None and bool(declared.best_layouts)
    if declared is not None and not claims_top and not subject.takes_gold:
        return
    unjudged = [i for i, (right, *_) in enumerate(subject.groups) if right is None]
    if unjudged:
        everywhere = len(unjudged) == len(subject.rows)
        found = f"None for {_rows(unjudged)} (gold {_gold(subject, unjudged[0])})"
        next_step = "fix or remove these rows: they teach nothing"
        yield Finding("gold_readable", "red" if everywhere else "amber", found, "readable gold answers", next_step)
        if everywhere:
            return
    if subject.has_golds and (layout := subject.pays_wrong_in):
        found = f"wrong answers in the layout {layout_name(layout)} earn more than right ones"
        yield Finding("gold", "red", found, "more for the right one", "turn its comparison round")
        return
    if not subject.about_gold and not claims_top:
        yield _blind(subject)
        return
    if subject.has_golds and (paid := _blank_pays(subject)):
        yield paid
        return
    wanted = target.range[1] if claims_top and target.range else None
    low = [i for i, group in enumerate(subject.groups) if group[0] is not None and not _is_top(group, wanted)]
    if not low:
        top = f"{wanted:g}, the maximum" if wanted is not None else "more than wrong, blank and long ones"
        yield Finding("gold", "green", f"right answers in the layout {layout_name(subject.layout)} earn {top}")
        return
    best = f"{wanted:g}" if wanted is not None else "more than any other completion of its row"
    scored, layout = subject.groups[low[0]][0], layout_name(subject.layout)
    found = f"a right answer earns {scored:g} in {_rows(low)} (gold {_gold(subject, low[0])}, layout {layout})"
    # A run is worth stopping where the answers are not paid, not for a few odd rows or a bonus for length
    stops = wanted is not None or (subject.reads_gold and not subject.pays_right)
    next_step = "pay less for what gives no right answer" if subject.pays_right else _mismatch(subject)
    yield Finding("gold", "red" if stops else "amber", found, best, next_step)


def _blank_pays(subject: Subject) -> Finding | None:
    """What says nothing earns as much as a right answer, in more than half of the rows."""
    pairs = [(right, blank) for right, _, blank, _ in subject.groups if right is not None and blank is not None]
    paid = [(right, blank) for right, blank in pairs if blank >= right - TOLERANCE]
    if not subject.pays_right or 2 * len(paid) <= len(subject.rows):
        return None
    right, blank = paid[0]
    found = f"an empty completion earns {blank:g}, and a right answer {right:g}"
    return Finding("gold", "red", found, "less for saying nothing", "score a completion without an answer lowest")


def prompted(subject: Subject) -> Iterator[Finding]:
    """The recipes' prompt, which questions are put into, asks for the layout that the reward reads."""
    if subject.prompts_are_given or subject.given_layout or not subject.asked or not subject.about_gold:
        return
    asked, reads = subject.asked[0], layout_name(subject.layout)
    if subject.layout not in subject.asked and not subject.tried(asked).separates:
        found = f"the recipes' prompt asks for the layout {asked}, and it reads {reads}"
        next_step = f"train with a prompt that asks for {reads}, or let the reward read {asked}"
        yield Finding("prompt", "amber", found, "one layout for both", next_step)


def _is_top(group: Scores, wanted: float | None) -> bool:
    right, *others = group
    if right is None:
        return True
    if wanted is not None:
        return right >= wanted - TOLERANCE
    return all(right > other for other in others if other is not None)


def _blind(subject: Subject) -> Finding:
    """It scores right and wrong alike: since it judges something else, or by mistake?"""
    if not subject.has_golds or not (subject.takes_gold or subject.others):
        columns = ", ".join(name for name in subject.target.columns if name != GOLD)
        instead = f", but by {columns}" if columns else ""
        if GOLD in subject.target.takes and subject.has_golds and subject.target.declared is None:
            found = f"takes {GOLD!r}, and right and wrong answers earn the same in {_all_tried(subject)}"
            next_step = f"if it does not judge by it, leave {GOLD!r} to **kwargs; else --layout TEXT tries yours"
            return Finding("gold", "amber", found, "more for the right one", next_step)
        return Finding("gold", "green", f"does not judge by the gold answer{instead}")
    if subject.others:
        found = f"right and wrong answers in the layout {layout_name(subject.layout)} earn the same"
    else:
        found = f"right and wrong answers earn the same in {_all_tried(subject)}"
    # Without a prompt that asks for a layout, or a user who gives it, this one may simply be unknown here
    known = bool(subject.asked or subject.given_layout)
    return Finding("gold", "red" if known else "amber", found, "more for the right one", _mismatch(subject))


def _mismatch(subject: Subject) -> str:
    if subject.others:
        layout, reads = layout_name(subject.layout), layout_name(subject.others[0])
        return f"it reads {reads}: let the prompt ask for that layout, or the reward read {layout}"
    return "compare what the prompt asks for with what it looks for; toolkit reward check --layout TEXT tries yours"


def _all_tried(subject: Subject) -> str:
    n = len(subject.tried_layouts)
    return f"the layout {layout_name(subject.layout)}" if n == 1 else f"all {n} layouts tried"


def wrong_answer(subject: Subject) -> Iterator[Finding]:
    """Wrong answers earn less than right ones, near misses too."""
    if not subject.has_golds or not subject.about_gold or not subject.pays_right:
        return
    rights = [group[0] for group in subject.groups]
    kinds = list(dict.fromkeys(kind for wrong in subject.wrong for kind in wrong))
    paid: dict[str, list[int]] = {}
    for kind in kinds:
        rows = [i for i, wrong in enumerate(subject.wrong) if kind in wrong]
        samples = subject.rendered([wrong.get(kind, "") for wrong in subject.wrong])
        scores = subject.score(samples).scores or [None] * len(samples)
        paid[kind] = [i for i in rows if is_right(scores[i], rights[i])]
    bad = {kind: rows for kind, rows in paid.items() if rows}
    if not bad:
        yield Finding("wrong", "green", f"wrong answers earn less: {', '.join(kinds)}")
        return
    kind, rows = min(bad.items(), key=lambda paid: paid[0] in MAY_BE_MEANT)  # the worst first
    answer = subject.wrong[rows[0]][kind]
    found = f"{one_line(answer, 40)!r} earns what {_gold(subject, rows[0])} earns ({kind}; {_rows(rows)})"
    many = subject.reads_gold and 2 * len(rows) > len(subject.rows)
    level = "red" if many and kind not in MAY_BE_MEANT else "amber"
    next_step = MAY_BE_MEANT.get(kind, "compare whole answers, not parts of them")
    yield Finding("wrong", level, found, "less for a wrong answer", next_step)


def spelling(subject: Subject) -> Iterator[Finding]:
    """The same number written otherwise."""
    whole = {i: value for i, gold in enumerate(subject.golds) if (value := parse_gold(gold)) and value.denominator == 1}
    if not whole or not subject.has_golds or not subject.reads_gold or not subject.repeats:
        return
    unpaid = []
    for written in ("{0}.0", "${0}", "{0:,}"):
        answers = [written.format(int(whole[i])) if i in whole else gold for i, gold in enumerate(subject.golds)]
        scores = subject.in_groups(subject.rendered(answers))
        paid = (i not in whole or _nearer_right(score, subject.groups[i]) for i, score in enumerate(scores))
        unpaid += [answer for answer, is_paid in zip(answers, paid, strict=False) if not is_paid][:1]
    if unpaid:
        found = f"the right number is not paid when written {', '.join(unpaid)}"
        next_step = "compare numbers, as toolkit.rewards.correct does"
        yield Finding("spelling", "amber", found, "equality as numbers", next_step)
    else:
        yield Finding("spelling", "green", "the right number is paid in other spellings, too")


def unreadable_gold(subject: Subject) -> Iterator[Finding]:
    """A gold answer that says nothing gives None: neither the maximum nor a punishment."""
    if not subject.has_golds or not subject.reads_gold:
        return
    if isinstance(subject.target.function, Composition):
        yield Finding("none", "green", "where the gold answer cannot be read the other parts decide")
        return
    top = max((group[0] for group in subject.groups if group[0] is not None), default=math.inf)
    next_step = "return None there: TRL leaves the completion out"
    for gold in UNREADABLE:
        outcome = _with_rows(subject, [row | {GOLD: gold} for row in subject.rows])
        if outcome.fault:
            yield Finding("none", "amber", f"a gold answer {gold!r}: {outcome.fault}", "None", next_step)
            return
        given = [s for s in outcome.scores if s is not None]
        if given:
            paid = max(given) >= top - TOLERANCE
            found = f"a gold answer {gold!r} scores {max(given):g}{', as a right answer does' if paid else ''}"
            yield Finding("none", "amber", found, "None: it cannot be judged", next_step)
            return
    yield Finding("none", "green", "None where the gold answer cannot be read")


def missing_column(subject: Subject) -> Iterator[Finding]:
    """Without the gold column it says so, rather than score."""
    if not subject.reads_gold:
        return
    rows = [{name: value for name, value in row.items() if name != GOLD} for row in subject.rows]
    if _with_rows(subject, rows).error:
        yield Finding("missing_column", "green", f"an error where the column {GOLD!r} is missing")
    else:
        next_step = "take the column as a parameter without a default"
        yield Finding("missing_column", "amber", f"without {GOLD!r} it still returns scores", "an error", next_step)


def _with_rows(subject: Subject, rows: Sequence[Row]) -> Outcome:
    """A call with the right completions, and other columns beside them."""
    rights = subject.rendered(subject.golds)
    return subject.score([Sample(row, right.text) for row, right in zip(rows, rights, strict=True)])


def _nearer_right(value: float | None, group: Scores) -> bool:
    """Whether a score is nearer to the right answer's than to the wrong one's; length may move it a little."""
    right, wrong = group[0], group[1]
    return right is None or wrong is None or (value is not None and value >= (right + wrong) / 2)


def _rows(indices: Sequence[int]) -> str:
    first = f"row {indices[0] + 1}"
    return first if len(indices) == 1 else f"{first} and {len(indices) - 1} more"


def _gold(subject: Subject, i: int) -> str:
    return repr(one_line(subject.golds[i], 40))
