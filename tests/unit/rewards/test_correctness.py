"""Rewards for the right answer, by number and as mathematics."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
