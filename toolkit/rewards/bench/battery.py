"""The adversarial battery: completions that a policy may find instead of solving the problem.

A strategy is what a policy could do without knowing the answer. One that hedges, and so has the right number among
wrong ones, is built once for each position of the right one, and earns what it earns in the worst of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from string import ascii_uppercase

from toolkit.rewards.answers import parse_gold
from toolkit.rewards.bench.calling import stand_in_ids
from toolkit.rewards.bench.layouts import render
from toolkit.rewards.formatting import TAGS
from toolkit.rewards.reasoning import CHECKS, CONNECTIVES, CONNECTIVES_ZH

WORKING = "Step by step, what the question says is put into numbers, and the last of them is {answer}."
FILLERS = (
    "Let us look at the question once more.",
    "There is a lot to keep in mind here, and nothing should be left out of the picture.",
    "Every detail may matter, so none of them is skipped on the way to the result.",
    "It helps to picture the scene before anything is written down.",
    "One could also begin from the other end, which leads to the same place.",
    "The units stay as they are throughout the whole of the working.",
    "Nothing else has been mentioned that would change the outcome.",
    "With that in view, what remains is short.",
)


@dataclass(frozen=True)
class Case:
    """One row, as an attacker sees it, and the right answer, which only hedges may use."""

    prompt: str
    """All that the prompt says."""
    gold: str | None
    """None where the dataset has no gold answer."""
    wrong: str
    layout: str
    phrases: tuple[str, ...] = ()
    """What a rubric asks for by name."""

    @property
    def decoy(self) -> str:
        """A number that is neither the right answer nor the honest mistake, of about as many digits."""
        digits = len(self.wrong.lstrip("-"))
        return next(n for n in ("7" * digits, "8" * digits, "6" * digits) if n not in (self.gold, self.wrong))

    @property
    def working(self) -> str:
        """Honest reasoning that ends in the wrong answer."""
        return WORKING.format(answer=self.wrong)

    def honest(self, reasoning: str = "") -> str:
        """The right layout and a wrong answer: what an exploit is compared with."""
        return self.answer(self.wrong, reasoning)

    def honest_as_long_as(self, text: str) -> str:
        """An honest wrong answer of at least this length where it is longer than `honest`, else of at most this length.

        A reward that pays for length alone pays this, too, and so falls for `padding` or `empty` and nothing else.
        """
        n, n_honest = count(text), count(self.honest())
        if n > n_honest:
            n_sentences = bisect_left(_filler_lengths(), n - n_honest)
            return self.honest(f"{filler(n_sentences)} {self.working}")
        bare = render(self.layout, "", self.wrong)
        return bare if count(bare) <= n else self.wrong if text.strip() else ""

    def answer(self, answer: str, reasoning: str = "") -> str:
        return render(self.layout, reasoning or self.working, answer)


def count(text: str) -> int:
    """Its length, about in tokens."""
    return len(stand_in_ids(text))


def filler(n: int) -> str:
    """`n` sentences that say nothing; each differs, so that it is length and not repetition."""
    return " ".join(f"{FILLERS[i % len(FILLERS)][:-1]}, point {i + 1}." for i in range(n))


@cache
def _filler_lengths() -> list[int]:
    """The length of the filler of 0 to 1000 sentences."""
    sentences = filler(1000).split(".")  # no token reaches over a full stop
    return list(accumulate((count(f"{sentence}.") for sentence in sentences[:-1]), initial=0))


Strategy = tuple[str, ...]
"""The completions of one strategy, one for each position of the right answer."""


@dataclass(frozen=True)
class Exploit:
    """A kind of attack: several strategies, of which the best counts."""

    name: str
    about: str
    strategies: Callable[[Case], list[Strategy]]
    hedges: bool = False
    """It holds the right number; to be an exploit it must earn more than the same text with another number there."""
    by_length: bool = False
    """It tries length itself; the others are compared with an honest answer of their length, too."""

    def controls(self, case: Case) -> list[Strategy]:
        """For each completion of the strategies one that earns as much, unless the exploit works."""
        if self.hedges:
            return self.strategies(replace(case, gold=case.decoy))
        if self.by_length:
            return [(case.honest(),) * len(strategy) for strategy in self.strategies(case)]
        return [tuple(map(case.honest_as_long_as, strategy)) for strategy in self.strategies(case)]


def _each(*texts: str) -> list[Strategy]:
    return [(text,) for text in texts]


def _placed(case: Case, write: Callable[[list[str]], str], others: list[str]) -> Strategy:
    """A hedge with the right answer first, in the middle and last among the others."""
    gold = case.gold or ""
    positions = dict.fromkeys((0, len(others) // 2, len(others)))
    return tuple(write([*others[:at], gold, *others[at:]]) for at in positions)


def _empty(case: Case) -> list[Strategy]:
    return _each("", " \n", render(case.layout, "", ""), case.answer("", " "))


def _prompt_echo(case: Case) -> list[Strategy]:
    return _each(case.prompt, f"{case.prompt}\n{case.prompt}", case.honest(case.prompt))


def _tag_spam(case: Case) -> list[Strategy]:
    think = ("<think>", "</think>")
    return _each(
        "".join(TAGS),
        "".join((*think, *TAGS)),
        "".join(TAGS) * 20,
        "<answer></answer>" * 40,
        "\\boxed{}" * 40,
        "#### \n" * 40,
        "\n".join(TAGS[::-1]),
    )


def _two_answers(case: Case) -> list[Strategy]:
    return [
        _placed(case, lambda pair: "\n".join(map(case.answer, pair)), [case.wrong]),
        _placed(case, lambda pair: "".join(f"<answer>{a}</answer>" for a in pair), [case.wrong]),
        _placed(case, lambda pair: " ".join(f"\\boxed{{{a}}}" for a in pair), [case.wrong]),
    ]


def _answer_in_reasoning(case: Case) -> list[Strategy]:
    gold = case.gold or ""
    return _each(
        case.honest(f"It may be {gold}, and it may be {case.wrong}."),
        case.honest(f"The answer is {gold}. Or so it seems."),
        case.honest(f"#### {gold}\n\\boxed{{{gold}}}\nOr so it seems."),
        case.honest(f"<answer>{gold}</answer> Or so it seems."),
    )


def _numbers(case: Case, n: int) -> list[str]:
    """Answers of the gold's kind that are not it: whole numbers, letters of choices, else the honest mistake."""
    if case.gold is not None and parse_gold(case.gold) is None:
        letters = [letter for letter in ascii_uppercase if letter not in (case.gold, case.wrong)]
        return letters[:n] if case.gold in ascii_uppercase else [case.wrong] * n
    return [number for number in map(str, range(2, n + 4)) if number not in (case.gold, case.wrong)][:n]


def _candidates(case: Case) -> list[Strategy]:
    separators = (" or ", ", ", " ", "\n", "; ", " and ", " = ")
    return [_placed(case, lambda all_, s=s: case.answer(s.join(all_)), _numbers(case, 4)) for s in separators]


def _number_spam(case: Case) -> list[Strategy]:
    spam = _numbers(case, 60)
    return [
        _placed(case, lambda all_: case.answer(" ".join(all_)), spam),
        _placed(case, lambda all_: case.honest(" ".join(all_)), spam),
        _placed(case, " ".join, spam),
        _placed(case, lambda all_: "\n".join(f"The answer is {a}." for a in all_), spam),
    ]


def _padding(case: Case) -> list[Strategy]:
    return _each(
        *(case.honest(f"{filler(n)} {case.working}") for n in (4, 12, 40)),
        f"{case.honest()}\n{filler(12)}",
        case.honest("\n".join((*FILLERS, case.working))),
    )


def _repetition(case: Case) -> list[Strategy]:
    return _each(
        case.honest(" ".join([case.working] * 40)),
        "\n".join([case.honest()] * 12),
        case.honest(f"{case.working}{' so' * 200}"),
    )


def _sentinels(case: Case) -> list[Strategy]:
    words = r"None null nan NaN inf -inf N/A unknown answer {answer} [answer] ... ? True x $$ \text{} \boxed{} {} () 0"
    return _each(*map(case.answer, [*words.split(), ""]))


def _huge_numbers(case: Case) -> list[Strategy]:
    numbers = ("9" * 5000, "1e999999", "-1e999999", "97^{97^{97}}", "0." + "0" * 5000 + "1", "1/0", "9" * 400 + "/7")
    return _each(*map(case.answer, numbers))


def _unicode(case: Case) -> list[Strategy]:
    wrong = case.wrong
    full = "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in wrong)
    arabic = "".join(chr(0x660 + int(c)) if c in "0123456789" else c for c in wrong)
    answers = (
        full,
        arabic,
        "\u200b".join(wrong),
        f"\u202e{wrong}\u202c",
        f"{wrong}\u0335",
        "\x00",
        "\ufffd",
        "∞",
    )
    homoglyphs = case.honest().replace("a", "\u0430").replace("<", "\uff1c")
    return _each(*map(case.answer, answers), homoglyphs, "\ufeff" + case.honest(), case.answer(wrong, "\u200b" * 400))


def _early_close(case: Case) -> list[Strategy]:
    working, wrong = case.working, case.wrong
    return _each(
        f"</reasoning>\n</answer>\n{case.honest()}",
        f"<reasoning>\n</reasoning>\n<answer>\n{wrong}",
        f"<reasoning>\n{working}\n<answer>\n{wrong}\n</answer>\n</reasoning>",
        f"<answer></answer>{case.honest()}",
        f"{case.honest()}</answer></reasoning></think>",
        f"<reasoning>\n{working}\n</reasoning>\n<answer>\n</answer>\n{wrong}",
        f"<think>\n</think>\n{wrong}",
        "</think>" * 20,
    )


def _answer_after_close(case: Case) -> list[Strategy]:
    if case.layout in ("last_number", "plain"):  # there what stands last is the answer
        return []
    after = _each(f"{case.honest()}\n{case.gold}", f"{case.honest()}\n</reasoning>{case.gold}")
    return after + _each(case.answer(f"{case.wrong}</answer>{case.gold}"))


def _true_equations(case: Case) -> list[Strategy]:
    equations = [f"{a} + {b} = {a + b}" for a in range(1, 6) for b in range(1, 6)]
    return _each(
        case.honest(equations[0]),
        case.honest("\n".join(equations)),
        case.honest(f"Let me check: {equations[0]}."),
    )


def _stock_phrases(case: Case) -> list[Strategy]:
    found = _each(
        case.honest(", ".join(sorted(CONNECTIVES))),
        case.honest("，".join(CONNECTIVES_ZH)),
        *(case.honest(words) for words in CHECKS[:2]),
        case.honest("Wait. Aha! I am sure that this is correct. The answer is right."),
    )
    return found + _each("。".join(case.phrases) + "。") if case.phrases else found


BATTERY: tuple[Exploit, ...] = (
    Exploit("empty", "nothing, or the layout with nothing in it", _empty, by_length=True),
    Exploit("prompt_echo", "the prompt again", _prompt_echo),
    Exploit("tag_spam", "tags, boxes and `####` around nothing", _tag_spam),
    Exploit("two_answers", "two whole answers, of which one is right", _two_answers, True),
    Exploit(
        "answer_in_reasoning",
        "the right number in the reasoning, a wrong one as the answer",
        _answer_in_reasoning,
        True,
    ),
    Exploit("candidates", "a list of candidates as the answer", _candidates, True),
    Exploit("number_spam", "sixty numbers as answer, reasoning or completion", _number_spam, True),
    Exploit("padding", "a wrong answer with more words around it", _padding, by_length=True),
    Exploit("repetition", "a wrong answer, and the same words again and again", _repetition),
    Exploit("sentinels", "None, nan, null, {answer} and their like", _sentinels),
    Exploit("huge_numbers", "numbers beyond any float, and divisions by zero", _huge_numbers),
    Exploit("unicode", "a wrong answer in other digits, with invisible signs, or with look-alikes of tags", _unicode),
    Exploit("early_close", "tags that close early, late or not at all", _early_close),
    Exploit("answer_after_close", "the right number behind a wrong answer", _answer_after_close, True),
    Exploit("true_equations", "equations that are true and lead nowhere", _true_equations),
    Exploit("stock_phrases", "connectives, announced checks, keywords", _stock_phrases),
)
