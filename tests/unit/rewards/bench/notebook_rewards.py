# ruff: noqa: B905 - zip without strict, as people write it
"""Reward functions as notebooks and threads have them, left as their authors would: none is tidied up for the bench.

First those that do what they are for, then one for each fault that such functions really have.
"""

from __future__ import annotations

import ast
import functools
import json
import logging
import os
import re
import sys

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger("rewards")
reasoning_start, reasoning_end = "<start_working_out>", "<end_working_out>"
solution_start, solution_end = "<SOLUTION>", "</SOLUTION>"
match_format = re.compile(
    rf"{reasoning_start}.+?{reasoning_end}.*?{solution_start}(.+?){solution_end}\s*$", re.DOTALL | re.MULTILINE
)


def content(completion):
    return completion if isinstance(completion, str) else completion[0]["content"]


# Sound


def check_answer(prompts, completions, answer, **kwargs):
    """Partial credit, as in the notebooks with <SOLUTION> tags; prints what it sees at each call."""
    responses = [content(completion) for completion in completions]
    print("*" * 20, f"Question:\n{prompts[0]}", f"\nAnswer:\n{answer[0]}", f"\nResponse:\n{responses[0]}")
    scores = []
    for response, true_answer in zip(responses, answer):
        found = match_format.search(response)
        guess = found.group(1) if found else None
        if guess is None:
            scores.append(-2.0)
        elif guess == true_answer:
            scores.append(5.0)
        elif guess.strip() == true_answer.strip():
            scores.append(3.5)
        else:
            try:
                ratio = float(guess) / float(true_answer)
                scores.append(2.0 if 0.99 <= ratio <= 1.01 and float(guess) == float(true_answer) else -2.5)
            except Exception:
                scores.append(-4.5)
    return scores


def match_format_approximately(completions, **kwargs):
    scores = []
    for completion in completions:
        response = content(completion)
        scores.append(sum(0.5 if response.count(mark) == 1 else -1.0 for mark in (reasoning_end, solution_start)))
    return scores


def xmlcount_reward_func(completions, **kwargs) -> list[float]:
    def count_xml(text) -> float:
        count = 0.0
        for mark in ("<reasoning>\n", "\n</reasoning>\n", "\n<answer>\n"):
            if text.count(mark) == 1:
                count += 0.125
        if text.count("\n</answer>") == 1:
            count += 0.125 - len(text.split("\n</answer>")[-1]) * 0.001
        return count

    return [count_xml(content(completion)) for completion in completions]


def int_reward_func(completions, answer, **kwargs) -> list[float]:
    """Names the gold answer only to print it."""
    print("gold", answer[0])
    answers = [content(c).split("<answer>")[-1].split("</answer>")[0].strip() for c in completions]
    return [0.5 if a.isdigit() else 0.0 for a in answers]


def boxed_reward(completions, answer, **kwargs):
    rewards = []
    for completion, gold in zip(completions, answer):
        found = re.findall(r"\\boxed\{([^{}]*)\}", content(completion))
        rewards.append(1.0 if found and found[-1].strip() == gold.strip() else 0.0)
        logger.info("completion %s", content(completion))
    return rewards


def gsm8k_hashes(completions, answer, **kwargs):
    def last(text):
        return text.split("####")[-1].strip().replace(",", "") if "####" in text else None

    return [float(last(content(c)) == a.replace(",", "")) for c, a in zip(completions, answer)]


def own_tags(completions, answer, **kwargs):
    found = [re.search(r"<verdict>(.*?)</verdict>", content(c), re.DOTALL) for c in completions]
    return [1.0 if m and m.group(1).strip() == a else 0.0 for m, a in zip(found, answer)]


def json_answer(completions, answer, **kwargs):
    scores = []
    for completion, gold in zip(completions, answer):
        try:
            scores.append(1.0 if str(json.loads(content(completion))["answer"]) == gold else 0.2)
        except Exception:
            scores.append(0.0)
    return scores


def countdown(completions, target, nums, **kwargs):
    """The equation in <answer> must use each number once and reach the target."""
    rewards = []
    for completion, goal, numbers in zip(completions, target, nums):
        found = re.search(r"<answer>(.*?)</answer>", content(completion), re.DOTALL)
        equation = found.group(1).strip() if found else ""
        used = sorted(int(n) for n in re.findall(r"\d+", equation)) if len(equation) < 200 else []
        if not equation or used != sorted(numbers) or not re.fullmatch(r"[\d+\-*/().\s]+", equation):
            rewards.append(0.0)
            continue
        try:
            value = eval(equation, {"__builtins__": {}}, {})  # noqa: S307 - as every countdown reward does
            rewards.append(1.0 if abs(value - goal) < 1e-5 else 0.0)
        except Exception:
            rewards.append(0.0)
    return rewards


def keyword_reward(completions, keywords, **kwargs):
    return [
        sum(word.lower() in content(c).lower() for word in words) / len(words)
        for c, words in zip(completions, keywords)
    ]


def unit_tests(completions, tests, **kwargs):
    """Code in a fence, and asserts in a column: here as syntax only, as a first stage of such a reward."""
    rewards = []
    for completion, asserts in zip(completions, tests):
        found = re.search(r"```python\n(.*?)```", content(completion), re.DOTALL)
        try:
            tree = ast.parse(found.group(1)) if found else None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} if tree else set()
        rewards.append(float(any(f"{name}(" in each for name in names for each in asserts)))
    return rewards


class LengthAware:
    """A callable with a setting, which has no __name__."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, completions, answer, **kwargs):
        rights = tagged(completions, answer)
        return [r if len(content(c)) <= self.limit else 0.9 * r for r, c in zip(rights, completions)]


def tagged(completions, answer, right=1.0, **kwargs):
    found = [re.search(r"<answer>\s*(.*?)\s*</answer>", content(c), re.DOTALL) for c in completions]
    return [right if m and m.group(1) == a else 0.0 for m, a in zip(found, answer)]


def through_kwargs(completions, **kwargs):
    return tagged(completions, kwargs["answer"])


def within_five_percent(completions, answer, **kwargs):
    """As for physics, where a result is measured."""
    os.fstat(sys.stdout.fileno())  # as what starts a program with this output does
    scores = []
    for completion, gold in zip(completions, answer):
        found = re.findall(r"-?\d[\d,]*\.?\d*", content(completion))
        try:
            guess, wanted = float(found[-1].replace(",", "")), float(gold.replace(",", ""))
            scores.append(1.0 if abs(guess - wanted) <= 0.05 * abs(wanted) else 0.0)
        except (ValueError, IndexError):
            scores.append(0.0)
    return scores


def as_generator(completions, answer, **kwargs):
    return (score for score in tagged(completions, answer))


length_aware = LengthAware(2000)
double = functools.partial(tagged, right=2.0)

# With a fault


def one_score_for_all(completions, answer, **kwargs):
    return [sum(tagged(completions, answer)) / len(completions)]


def nothing_returned(completions, answer, **kwargs):
    scores = tagged(completions, answer)
    scores.sort()


def none_for_all(completions, answer, **kwargs):
    scores = tagged(completions, answer)
    return [print(score) for score in scores]


def list_with_string(completions, answer, **kwargs):
    extracted = [re.findall(r"<answer>\s*(.*?)\s*</answer>", content(c), re.DOTALL) for c in completions]
    return [1.0 if e == a else 0.0 for e, a in zip(extracted, answer)]


def reads_the_prompt(prompts, completions, answer, **kwargs):
    texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
    return [1.0 if a == t.split("<answer>")[-1].strip() else 0.0 for t, a in zip(texts, answer)]


def case_error(completions, answer, **kwargs):
    return tagged([content(c).lower() for c in completions], [a.upper() for a in answer])


def always_zero(completions, answer, **kwargs):
    scores = []
    for completion, gold in zip(completions, answer):
        score = 0.0
        if "<answer>" in content(completion) and gold in completion:  # `in` a list of messages
            score = 1.0
        scores.append(score)
    return scores


SEEN = []


def global_list(completions, answer, **kwargs):
    SEEN.extend(tagged(completions, answer))
    return SEEN


def counts_its_calls(completions, answer, **kwargs):
    SEEN.append(0.0)
    return [score - 0.01 * len(SEEN) for score in tagged(completions, answer)]


def strings(completions, answer, **kwargs):
    return [str(score) for score in tagged(completions, answer)]


def divides_by_zero(completions, answer, **kwargs):
    return [tagged([c], [a])[0] / len(content(c)) for c, a in zip(completions, answer)]


def infinite(completions, answer, **kwargs):
    return [float("inf") if score else 0.0 for score in tagged(completions, answer)]


def substring(completions, answer, **kwargs):
    return [1.0 if a in content(c) else 0.0 for c, a in zip(completions, answer)]


def reads_the_end_in_place(completions, answer, **kwargs):
    scores = tagged(completions, answer)
    for completion in completions:
        if not isinstance(completion, str):
            completion[0]["content"] = completion[0]["content"].strip().lower()
    return scores


def exits(completions, answer, **kwargs):
    if not answer[0].startswith("#"):
        sys.exit(0)
    return tagged(completions, answer)


def exits_hard(completions, answer, **kwargs):
    os._exit(0)


def quits(completions, answer, **kwargs):
    quit()


def wrong_column(completions, solution, **kwargs):
    return tagged(completions, solution)
