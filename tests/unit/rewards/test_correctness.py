"""Rewards for the right answer, by number and as mathematics."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.paths import GOLDEN
from toolkit.errors import RewardError
from toolkit.rewards import latex
from toolkit.rewards.base import RewardWarning
from toolkit.rewards.correctness import (
    Close,
    Correct,
    CorrectLatex,
    PartialCredit,
    close,
    correct_latex,
    correct_signed,
    integer,
    partial_credit,
)
from toolkit.rewards.latex import Equivalence, as_formula, equivalent

CASES = json.loads((GOLDEN / "math_verify.json").read_text())["cases"]
HANGS = "$" + "(" * 3000 + "1" + ")" * 3000 + "$"  # antlr's parser takes minutes


def answered(text: str) -> str:
    return f"<answer>{text}</answer>"


def test_signed_correctness_is_plus_or_minus_one() -> None:
    completions = [answered("18"), answered("17"), "18"]
    assert correct_signed(completions, answer=["18"] * 3) == [1.0, -1.0, -1.0]
    assert correct_signed.range == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("100", "100", 1.0), ("95", "100", 0.25), ("105", "100", 0.25), ("99", "100", 0.45), ("90", "100", 0.0),
        ("50", "100", 0.0), ("-100", "100", 0.0), ("many", "100", 0.0), ("0.05", "0", 0.25), ("-95", "-100", 0.25),
    ],
)  # fmt: skip
def test_a_near_answer_earns_less_than_half(said: str, gold: str, score: float) -> None:
    assert close([answered(said)], answer=[gold]) == [pytest.approx(score)]


def test_the_slope_of_closeness_follows_its_settings() -> None:
    assert Close(tolerance=0.5, near=0.2).judge(answered("75"), answer="100") == pytest.approx(0.1)


def test_a_whole_number_is_whole_however_it_is_written() -> None:
    completions = [answered(text) for text in ("18", "18.0", "36/2", "1,800", "18.5", "many", "3/4")]
    assert integer([*completions, "18"]) == [1, 1, 1, 1, 0, 0, 0, 0]


def test_right_equations_earn_their_share_of_a_third_when_the_answer_is_wrong() -> None:
    steps = "<<48/2=24>> 48+24 = 71. 48/2=24 24*2 = 48"  # three different ones, one of them wrong
    assert partial_credit([steps + answered("71")], answer=["72"]) == [pytest.approx(0.3 * 2 / 3)]
    assert partial_credit([steps + answered("72")], answer=["72"]) == [1.0]
    assert partial_credit([answered("71"), "1+1=3"], answer=["72"] * 2) == [0.0, 0.0]
    assert PartialCredit(share=0.5).judge("1+1=2", answer="72") == 0.5


def test_an_unreadable_gold_answer_names_its_row_and_its_share() -> None:
    metrics = {}
    with pytest.warns(RewardWarning, match=r"row 2 of 3, 'How many\?': the gold answer 'many' cannot be read"):
        scores = Correct()(
            [answered("18")] * 3,
            answer=["18", "many", "18"],
            question=["How many?"] * 3,
            log_metric=metrics.__setitem__,
        )
    assert scores == [1.0, None, 1.0]
    assert metrics == {"unjudged/correct_frac": pytest.approx(1 / 3)}


def test_an_unknown_place_is_refused_with_the_nearest() -> None:
    with pytest.raises(RewardError, match="did you mean boxed"):
        Correct(("boxd",))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["answer"][-30:])
def test_math_verifys_own_cases_pass_through_the_worker(case: dict) -> None:
    settings = {name: value for name, value in case.items() if name not in ("gold", "answer", "equal", "read")}
    settings.setdefault("allow_set_relation_comp", False)  # math-verify's own default
    how = Equivalence(tuple(case.get("read", ("latex", "expr"))), **settings)
    assert equivalent(case["answer"], case["gold"], how).equal is case["equal"]


@pytest.mark.parametrize(
    ("text", "gold", "score"),
    [
        (r"\boxed{\frac{x^2-1}{x-1}}", "x+1", 1), (r"\boxed{x+2}", "x+1", 0), (r"<answer>(0, 1]</answer>", r"(0,1]", 1),
        (r"<answer>$\{1, 2\}$</answer>", r"\{2, 1\}", 1), (r"<answer>18</answer>", "18", 1), ("no answer", "x", 0),
        (r"<answer>\boxed{2\sqrt{2}}</answer>", r"\sqrt{8}", 1), (r"\boxed{0.5}", r"\frac{1}{2}", 1), ("", "18", 0),
        (r"\boxed{18}", "", None), (r"\boxed{\pi}", "$", None), ("nothing", "$", None),
    ],
)  # fmt: skip
def test_formulas_are_compared_as_mathematics(text: str, gold: str, score: float | None) -> None:
    assert correct_latex.judge(text, answer=gold) == score
    assert correct_latex.explain(text, answer=gold).score == score


SAME = [
    (r"2<x\le 5", "(2,5]"), (r"5 \ge x > 2", "(2,5]"), ("x > 2", r"(2,\infty)"), (r"|x| \le 3", "[-3,3]"),
    (r"x\le -1 \text{ or } x\ge 3", r"(-\infty,-1]\cup[3,\infty)"), (r"x>2 \text{ and } x\le 5", "(2,5]"),
    (r"\{x \mid 2<x\le 5\}", "(2,5]"), (r"\{x\in\mathbb{R} : x^2<9\}", "(-3,3)"),
    (r"x\ne 3", r"(-\infty,3)\cup(3,\infty)"),
    (r"\frac{1}{2006!}", r"\frac{1}{2006!}"), ("5!", "120"), ("5!!", "15"), (r"\binom{5}{2}", "10"), ("C(5,2)", "10"),
    ("{}_5C_2", "10"), (r"\lfloor 3.7 \rfloor", "3"), (r"\lceil 3.2 \rceil", "4"), (r"50\%", r"\frac{1}{2}"),
    (r"1\frac{1}{2}", r"\frac{3}{2}"), (r"\sqrt{8}", r"2\sqrt{2}"), (r"0.1\overline{6}", r"\frac{1}{6}"),
    (r"\sin 30^\circ", r"\frac12"), (r"\tan 45^{\circ}", "1"), (r"90^\circ", r"\frac{\pi}{2}"), (r"90^\circ", "90"),
    (r"\sqrt{2}\text{ cm}", r"\sqrt{2}"), (r"f'(x) = 2x", "2x"), ("y = x+1", "x+1"), (r"\text{yes}", r"\text{yes}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("2^{10}", "1024"),
    ("10^{-7}", "0.0000001"),
]  # fmt: skip
DIFFERENT = [
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"), ("10^{-9}", "10^{-8}"), ("(10^{-9}, 1)", "(10^{-8}, 1)"),
    ("0.0000001", r"10^{-8}\pi"),
    ("2<x<5", "(2,5]"), (r"x\le -1 \text{ and } x\ge 3", r"(-\infty,-1]\cup[3,\infty)"), ("x>2", "y>2"),
    (r"x \cup x \ge 3", "3"),
    (r"\{x \mid 1<x\le 5\}", r"\{x \mid 2<x\le 5\}"), (r"\{x \mid 2<x\le 5\}", "5"), ("x'", "x"), ("f''(x)", "f'(x)"),
    ("A^T", "A"), ("12_7", "12_8"), ("12_7", "12"), ("5!!", "(5!)!"), ("n!!", "(n!)!"), (r"a \equiv b", "a = b"),
    (r"x \sim 3", "3"),
    (r"x^{(2)}", "x^2"), (r"5\text{ cm}", r"5\text{ m}"), (r"5\text{ cm}^2", r"5\text{ cm}^3"),
    (r"5\,\mathrm{km}", "5 m"),
    (r"\sqrt{2}\text{ cm}", r"\sqrt{2}\text{ m}"), (r"\pi\text{ million}", r"\pi"), (r"\text{yes}", r"\text{no}"),
    ("(1,2)", r"\{1,2\}"), (r"\binom{5}{2}", r"\binom{6}{2}"), (r"\cos 60^\circ", r"\cos 60"), ("30'", "30"),
    (r"0.\overline{3}", r"0.\overline{4}"), (r"\lfloor x \rfloor", r"\lceil x \rceil"), (r"\sqrt{2}\%", r"\sqrt{2}"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "gold"), SAME)
def test_one_thing_in_two_notations_is_equal_in_either_direction(said: str, gold: str) -> None:
    for answer, other in ((said, gold), (gold, said)):
        verdict = correct_latex.explain(answered(answer), answer=other)
        assert verdict.score == 1.0, verdict.reason


@pytest.mark.parametrize(("said", "gold"), DIFFERENT)
def test_what_the_parser_drops_does_not_make_two_things_equal(said: str, gold: str) -> None:
    assert [correct_latex.judge(answered(a), answer=b) for a, b in ((said, gold), (gold, said))] == [0.0, 0.0]


MARKS = [
    r"{x}'", r"{x}^T", "{x}!", "{x}!!", r"\lfloor {x}\rfloor", r"\sqrt{{{x}}}", r"{x}_{{7}}", r"{x}\%", r"|{x}|",
    r"\binom{{{x}}}{{2}}", "{x}", r"{x}\text{{ cm}}^2", r"{x}\text{{ m}}",
]  # fmt: skip


@given(st.sampled_from(MARKS), st.sampled_from(MARKS), st.sampled_from(["x", "n", "a"]))
@settings(max_examples=40, deadline=None)
def test_two_marks_around_one_name_are_two_things(one: str, other: str, name: str) -> None:
    said, gold = one.format(x=name), other.format(x=name)
    is_unit_left_out = "{x}" in (one, other) and "text" in one + other
    if one != other and not is_unit_left_out and correct_latex.judge(answered(gold), answer=gold) == 1.0:
        assert correct_latex.judge(answered(said), answer=gold) == 0.0


def test_plain_numbers_do_not_start_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latex, "equivalent", None)
    assert correct_latex([answered("18"), answered("$1,000.00")], answer=["18", "1000"]) == [1.0, 1.0]


def test_tags_are_stripped_and_a_box_goes_before_any_other_formula() -> None:
    assert equivalent("<answer>18</answer>", "18", Equivalence()).equal is True  # 0 by math-verify itself
    assert equivalent(r"the final answer is $9999$, \boxed{1}", "$1$", Equivalence()).equal is True


def test_bare_latex_is_marked_as_a_formula_once() -> None:
    assert [as_formula(text) for text in ("x+1", "$x$", r"\boxed{x}", "{x")] == [
        r"\boxed{x+1}",
        "$x$",
        r"\boxed{x}",
        "{x",
    ]


def test_a_hanging_comparison_is_killed_on_a_worker_thread_and_the_next_one_works() -> None:
    quick = Equivalence(timeout_s=1.0)
    equivalent.cache_clear()
    with ThreadPoolExecutor(1) as thread:
        assert threading.current_thread() is threading.main_thread()
        begin = time.monotonic()
        verdict = thread.submit(equivalent, HANGS, "$7$", quick).result()
        assert time.monotonic() - begin < 20  # a second, and the start of a process on a busy machine
        assert verdict.equal is None
        assert "took more than 1 s" in verdict.why
        assert thread.submit(equivalent, r"$\frac{1}{2}$", "$0.5$", quick).result().equal is True


def test_an_answer_that_hangs_is_wrong_and_a_gold_answer_that_hangs_is_none() -> None:
    reward = CorrectLatex(how=Equivalence(timeout_s=1.0), wrong=-1.0)
    assert reward.judge(answered(HANGS), answer="x") == -1.0
    assert "took more than 1 s" in reward.explain(answered(HANGS), answer="x").reason
    assert reward.judge(answered("$x$"), answer=HANGS) is None


def test_one_worker_answers_many_calls_and_dies_with_its_pool() -> None:
    pool = latex.Pool()
    for i in range(20):
        assert pool.ask(f"$\\frac{{{i}}}{{7}}$", f"${i}/7$", Equivalence()).equal is True
    (worker,) = pool._idle.queue
    pid = worker._process.pid
    os.kill(pid, 0)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text(latex.WORKER.read_text().replace("from math_verify", "from math_verify_absent"))
    monkeypatch.setattr(latex, "WORKER", broken)
    with pytest.raises(RewardError, match=r"No module named 'math_verify_absent'.*pip install math-verify"):
        latex.Pool().ask("$x$", "$x$", Equivalence())


def test_a_worker_that_hangs_does_not_live_on() -> None:
    pool = latex.Pool()
    pool.ask("$x$", "$x$", Equivalence())
    pid = pool._idle.queue[0]._process.pid
    assert pool.ask(HANGS, "$7$", Equivalence(timeout_s=0.5)).equal is None
    assert not pool._idle.queue
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_was_killed_is_replaced() -> None:
    pool = latex.Pool()
    pool.ask("$x$", "$x$", Equivalence())
    (worker,) = pool._idle.queue
    worker._process.kill()
    worker._process.wait()
    verdict = pool.ask("$x$", "$x$", Equivalence())
    pool.close()
    assert verdict.equal is True
