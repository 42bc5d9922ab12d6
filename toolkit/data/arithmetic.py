"""Generated word problems: no file, no network, and a held-out set that training cannot contain.

One example: `Mia has 3 bags with 7 pens each. She loses 5. How many pens does Mia have now?`, equations
`3*7=21`, `21-5=16`, answer `16`.

A problem is a short story of one to three equations; operands are 2-12, products 2-5 x 2-9, results at most
99. The split is by a hash of the tuple of equations, about one in ten held out: a story told with other names
or other words is the same problem. (Hashing operation and number per sentence leaks: another wording gives the
same equations.)
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from toolkit.data.schema import WORKED_SOLUTION, Problems, Row
from toolkit.errors import DataError

Split = Literal["train", "held_out"]

ARITHMETIC = "arithmetic"
"""The name of this dataset."""

SHE = ("Mia", "Ana", "Zoe", "Lily", "Emma", "Nora", "Sara", "Ruth")
HE = ("Tom", "Ben", "Sam", "Leo", "Max", "Omar", "Jack", "Noah")
THINGS = ("apples", "pens", "books", "coins", "cards", "shells", "stickers", "marbles", "eggs", "stamps")
PACKS = ("bags", "boxes", "packs", "jars")
GAINS = ("{who} finds {n} more.", "{who} buys {n} more.", "{who} gets {n} from a friend.")
LOSSES = ("{who} loses {n}.", "{who} gives away {n}.", "{who} sells {n}.")

MAX_OPERAND = 12
MAX_RESULT = 99
HELD_OUT_BYTE = 26  # of 256: the share of equation tuples that is held out
HELD_OUT_POOL = 512  # short problems run out first, so a small sample is drawn from a large one, not from its start
MAX_HELD_OUT = 2000  # seconds to draw; the distinct ones run out not far above, and drawing would never end
HELD_OUT_SEED = 20_260  # the held-out problems are the same for every training seed, so runs compare


@dataclass(frozen=True)
class Equation:
    """`left op right = result` with whole numbers."""

    left: int
    op: Literal["+", "-", "*"]
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left}{self.op}{self.right}={self.result}"


@dataclass(frozen=True)
class WordProblem:
    """A story, the equations that solve it in order, and the answer (the last equation's result)."""

    question: str
    equations: tuple[Equation, ...]

    @property
    def answer(self) -> int:
        return self.equations[-1].result


def is_held_out(equations: tuple[Equation, ...]) -> bool:
    """Say on which side of the split a tuple of equations lies; the same on every machine and version."""
    key = ";".join(map(str, equations))
    return hashlib.sha256(key.encode()).digest()[0] < HELD_OUT_BYTE


def generate(rng: random.Random, split: Split) -> WordProblem:
    """Draw one problem of a split: draw stories until one fits (about one try for train, ten for held_out)."""
    while True:
        problem = _draw_story(rng)
        fits = max(e.result for e in problem.equations) <= MAX_RESULT
        if fits and is_held_out(problem.equations) == (split == "held_out"):
            return problem


def _draw_story(rng: random.Random) -> WordProblem:
    she = rng.random() < 0.5
    name, who = (rng.choice(SHE), "She") if she else (rng.choice(HE), "He")
    thing, pack = rng.choice(THINGS), rng.choice(PACKS)
    n_equations = rng.choices((1, 2, 3), (1, 2, 1))[0]
    equations: list[Equation] = []
    if rng.random() < 0.4:
        a, b = rng.randint(2, 5), rng.randint(2, 9)
        equations.append(Equation(a, "*", b, a * b))
        sentences, have = [f"{name} has {a} {pack} with {b} {thing} each."], a * b
    else:
        have = rng.randint(2, MAX_OPERAND)
        sentences = [f"{name} has {have} {thing}."]
    while len(equations) < n_equations:
        sentence, step = _draw_event(rng, who, pack, have, room=n_equations - len(equations))
        sentences.append(sentence)
        equations += step
        have = step[-1].result
    now = " now" if len(sentences) > 1 else ""
    sentences.append(f"How many {thing} does {name} have{now}?")
    return WordProblem(" ".join(sentences), tuple(equations))


def _draw_event(rng: random.Random, who: str, pack: str, have: int, room: int) -> tuple[str, list[Equation]]:
    """One thing that happens to `have`, in at most `room` equations (buying packs takes two)."""
    kinds = ["gain", "gain"]
    if have >= 3:
        kinds += ["loss", "loss"]
    if room >= 2:
        kinds.append("packs")
    kind = rng.choice(kinds)
    if kind == "packs":
        a, b = rng.randint(2, 5), rng.randint(2, 9)
        return f"{who} buys {a} {pack} of {b}.", [
            Equation(a, "*", b, a * b),
            Equation(have, "+", a * b, have + a * b),
        ]
    if kind == "gain":
        n = rng.randint(2, MAX_OPERAND)
        return rng.choice(GAINS).format(who=who, n=n), [Equation(have, "+", n, have + n)]
    n = rng.randint(2, min(have - 1, MAX_OPERAND))
    return rng.choice(LOSSES).format(who=who, n=n), [Equation(have, "-", n, have - n)]


def load(n_train: int, n_held_out: int, seed: int, n_hidden: int = 0) -> Problems:
    """Generate rows: training problems from `seed`, held-out problems always the same, and hidden ones beside them.

    Held-out and hidden problems are distinct by their equations; training problems may repeat, as a stream would.

    Raises:
        DataError: more than MAX_HELD_OUT held-out problems asked for.
    """
    if n_held_out + n_hidden > MAX_HELD_OUT:
        raise DataError(
            f"--n_eval is {n_held_out}" + (f" and --n_hidden {n_hidden}" if n_hidden else ""),
            f"at most {MAX_HELD_OUT}, what `--dataset arithmetic` can hold out",
            f"for example --n_eval {MAX_HELD_OUT}",
        )
    train_rng, held_out_rng = random.Random(seed), random.Random(HELD_OUT_SEED)
    pool: dict[tuple[Equation, ...], Row] = {}
    while len(pool) < max(n_held_out, HELD_OUT_POOL):
        problem = generate(held_out_rng, "held_out")
        pool.setdefault(problem.equations, _row(problem))
    chosen = random.Random(HELD_OUT_SEED).sample(list(pool), n_held_out)
    held_out, taken = [pool[key] for key in chosen], set(chosen)
    while len(pool) - n_held_out < n_hidden:
        problem = generate(held_out_rng, "held_out")
        pool.setdefault(problem.equations, _row(problem))
    hidden = [row for key, row in pool.items() if key not in taken][:n_hidden]
    train = [_row(generate(train_rng, "train")) for _ in range(n_train)]
    said = f"{n_train} generated, {n_held_out} held out" + (f", {n_hidden} hidden" if n_hidden else "")
    return Problems(train, held_out, ARITHMETIC, (said,), hidden=hidden, has_reserve=True)


def _row(problem: WordProblem) -> Row:
    solution = "\n".join(map(str, problem.equations))
    return {"question": problem.question, "answer": str(problem.answer), WORKED_SOLUTION: solution}
