"""What a model is asked with: a system message, solved examples as turns, and the question.

A style says how the answer is to be given; the layouts are those of `rewards.bench.layouts`, so that what a prompt asks
for, what an example shows, and what a reward is checked on are one text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.data.examples import Example, parse_examples, turns
from toolkit.data.schema import R1_SYSTEM_PROMPT, WORKED_SOLUTION, Messages, Problems, Row
from toolkit.errors import DataError, ModelError
from toolkit.settings import DataSettings
from toolkit.units import plural

_STYLE_MARK = re.compile(r"\{\{\s*style\s*\}\}|\{style\}")


@dataclass(frozen=True)
class Style:
    """How an answer is to be given."""

    instruction: str
    """The text of the system message; empty: there is none."""
    layout: str
    """How an example writes its answer, by its name in `rewards.bench.layouts`."""


STYLES: dict[str, Style] = {
    "r1": Style(R1_SYSTEM_PROMPT, "answer_tag"),
    "think": Style(
        "Think first, between <think> and </think>. After that, give the final answer within \\boxed{}.", "think"
    ),
    # The words of Qwen2.5-Math's and Qwen3's model cards, which those models were trained with
    "boxed": Style("Please reason step by step, and put your final answer within \\boxed{}.", "boxed"),
    "hash": Style("Reason step by step, and end with a line that gives the final answer after ####.", "hashes"),
    "none": Style("", "answer_is"),
}
"""By the values of `--prompt_style`. With `none` nothing asks for the layout; only examples show it."""


def ask(problems: Problems, settings: DataSettings, *, keep_solutions: bool = False) -> Problems:
    """The problems with a `prompt` in every row; what was done is the last line of the report.

    A row that brings messages of its own as `prompt` keeps them: the style says nothing there, and a given system
    message is put in front where they have none. Questions that are shown as examples are neither trained nor measured
    on, and `worked_solution`, of which examples are made, is taken off unless `keep_solutions`.

    Raises:
        DataError: fewer worked solutions than examples are asked for, or no row is left beside the examples.
    """
    examples = _examples(problems.train, settings.examples)
    shown = [turn for example in examples for turn in turns(example, STYLES[settings.prompt_style].layout)]
    asked = {_folded(turn["content"]) for turn in shown if turn["role"] == "user"}
    system, _ = _system_text(settings)
    off = () if keep_solutions else (WORKED_SOLUTION,)
    sides: dict[str, list[Row]] = {}
    for name, rows in problems.sides.items():
        left = [row for row in rows if _folded(row["question"]) not in asked]
        if rows and not left:
            raise DataError(f"every {name} row is shown as an example", "rows beside the examples", "show fewer")
        sides[name] = [
            _prompted(row, system, shown, is_given=settings.system_prompt is not None, off=off) for row in left
        ]
    said = _said(problems, settings)
    if examples:
        n_left_out = sum(len(rows) - len(sides[name]) for name, rows in problems.sides.items())
        said += f", {plural(len(examples), 'example')} as turns"
        said += f" ({plural(n_left_out, 'row')} with these questions left out)" if n_left_out else ""
    return replace(problems.with_sides(sides, f"prompt: {said}"), examples=tuple(shown))


def prompt_for(question: str, settings: DataSettings, shown: Sequence[dict[str, str]] | None = None) -> Messages:
    """One question as `ask` puts it. `shown` are the turns of its examples (`Problems.examples`); None: the settings'
    own, which must not be a number of rows then."""
    if shown is None:
        layout = STYLES[settings.prompt_style].layout
        shown = [turn for example in _examples([], settings.examples) for turn in turns(example, layout)]
    system, _ = _system_text(settings)
    return _prompted({"question": question}, system, list(shown), is_given=settings.system_prompt is not None)["prompt"]


def _prompted(row: Row, system: str, shown: Messages, *, is_given: bool, off: Sequence[str] = ()) -> Row:
    own = row.get("prompt")
    said = own if own is not None else [{"role": "user", "content": row["question"]}]
    rest = {name: value for name, value in row.items() if name not in ("prompt", *off)}
    if not isinstance(said, list):  # plain text has no turns to put anything in front of
        return {"prompt": said, **rest}
    front = said[:1] if _has_system(said) else []
    if not front and system and (own is None or is_given):
        front = [{"role": "system", "content": system}]
    return {"prompt": [*front, *shown, *said[_has_system(said) :]], **rest}


def _said(problems: Problems, settings: DataSettings) -> str:
    """What the prompts are made of, but for the examples."""
    rows = [*problems.train, *problems.held_out]
    n_own = sum(row.get("prompt") is not None for row in rows)
    _, said = _system_text(settings)
    if not n_own:
        return said
    own = "the rows' own" if n_own == len(rows) else f"{said}; {n_own:,} of {len(rows):,} rows bring their own"
    return f"{own}, with the given system message where they have none" if settings.system_prompt else own


def _system_text(settings: DataSettings) -> tuple[str, str]:
    """The text of the system message, and where it is from."""
    style, given = settings.prompt_style, settings.system_prompt
    instruction = STYLES[style].instruction
    if given is None:
        return instruction, f"style {style}"
    if not given.strip():
        return "", "no system message"
    if _STYLE_MARK.search(given):
        return _STYLE_MARK.sub(lambda _: instruction, given), f"the given system message with style {style} in it"
    return given, f"the given system message in place of style {style}'s"


def _examples(rows: Sequence[Row], given: str | None) -> list[Example]:
    """Those of a file, or the first so many of the rows that have a worked solution."""
    if given is None:
        return []
    if not given.isdecimal():
        return parse_examples(given)
    wanted, worked = int(given), {}
    for row in rows:
        if row.get(WORKED_SOLUTION) and len(worked) < wanted:
            worked.setdefault(_folded(row["question"]), row)
    if len(worked) < wanted:
        found = f"--examples {wanted}: {len(worked)} of {len(rows):,} training rows have a worked solution"
        raise DataError(
            found, "as many as examples", "write them down: --examples FILE with question, reasoning, answer"
        )
    chosen = worked.values()
    return [Example(row["question"], row[WORKED_SOLUTION], row["answer"]) for row in chosen]


def _folded(question: str) -> str:
    return " ".join(question.split())


def for_template(problems: Problems, tokenizer: Any, source: str) -> Problems:
    """The problems with prompts that this model's chat template takes, found by trying it on the first one.

    Where it takes no system message, or leaves it out, its text goes in front of the first user message.

    Raises:
        ModelError: the template refuses the prompt either way, or does not show the examples as they are.
    """
    from jinja2 import TemplateError

    rows = [row for row in (*problems.train, *problems.held_out) if isinstance(row["prompt"], list)]
    first = next((row["prompt"] for row in rows if _has_system(row["prompt"])), rows[0]["prompt"] if rows else None)
    if first is None:
        return problems
    try:
        text, used = rendered(tokenizer, first)
    except TemplateError as error:
        found = f"the chat template of {source} refuses the prompt ({error})"
        raise ModelError(found, "one that takes these messages", "choose another model, or another prompt") from error
    lost = next((turn for turn in problems.examples if turn["content"].strip() not in text), None)
    if lost:
        found = f"the chat template of {source} does not show the examples whole, as Qwen3's drops <think> from turns"
        raise ModelError(found, "examples as they are written", "another --prompt_style, or no --examples")
    notes = []
    if text.rstrip().endswith("<think>"):
        notes = ["the chat template opens <think> itself, so completions begin after it"]
    if used is first:
        return replace(problems, report=(*problems.report, *notes))
    notes.insert(0, "the chat template takes no system message: its text stands before the first question")
    put = {name: [row | {"prompt": merged(row["prompt"])} for row in rows] for name, rows in problems.sides.items()}
    return problems.with_sides(put, *notes)


def rendered(tokenizer: Any, prompt: Messages) -> tuple[str, Messages]:
    """A prompt in the chat template, and the messages that made it: `prompt` itself, or that `merged`.

    Raises:
        jinja2.TemplateError: the template refuses both.
    """
    from jinja2 import TemplateError

    def render(messages: Messages) -> str:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    try:
        text = render(prompt)
    except TemplateError:
        if not _has_system(prompt):
            raise
        text = ""
    if not _has_system(prompt) or prompt[0]["content"].strip() in text:
        return text, prompt
    return render(merged(prompt)), merged(prompt)


def merged(prompt: Messages) -> Messages:
    """The messages with the system's text in front of the first user message, as Gemma 3's own template does it."""
    if not isinstance(prompt, list) or not _has_system(prompt):
        return prompt
    system, first, *rest = prompt
    return [first | {"content": f"{system['content'].rstrip()}\n\n{first['content']}"}, *rest]


def _has_system(prompt: Messages) -> bool:
    return bool(prompt) and prompt[0].get("role") == "system"
