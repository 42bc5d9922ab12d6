"""recipes/GUIDE.md: its figures are those of the files that it names, its equations autograd's, its commands run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.paths import CONFIGS, ROOT
from tests.recipes.pages import follow
from toolkit.control.preflight import AMBER_TRUNCATED_FRAC, RED_TRUNCATED_FRAC
from toolkit.display.panel import render
from toolkit.display.state import RECENT_STEPS, RunState
from toolkit.models import build_embedded
from toolkit.runs import metrics
from toolkit.settings import GrpoSettings

GUIDE = (ROOT / "recipes" / "GUIDE.md").read_text()
BASELINES = ROOT / "benchmarks" / "baselines"
RUNS = json.loads((BASELINES / "choices_embedded.json").read_text())["runs"]
FOLDED = " ".join(GUIDE.split())
CORRECT, FORMAT = "rewards/correct/mean", "rewards/format/mean"
SHOWN = {metrics.NO_SIGNAL: "{:.0%}", metrics.TRUNCATED: "{:.0%}", metrics.LENGTH: "{:.0f}"}
SHOWN |= {metrics.GRAD_NORM: "{:.3f}", metrics.ENTROPY: "{:.4f}", metrics.KL: "{:.1e}"}


def run_with(setting: str = "", value: str = "") -> dict[str, Any]:
    (found,) = [run for run in RUNS if (run["setting"], run["value"], run["seed"]) == (setting, value, 0)]
    return found


def shown(run: dict[str, Any], when: str, key: str) -> str:
    return SHOWN.get(key, "{:.2f}").format(run[when][key])


def course(key: str, run: dict[str, Any]) -> str:
    return f"{shown(run, 'first', key)} to {shown(run, 'last', key)}"


def chances() -> Iterator[str]:
    """That a group is neither all right nor all wrong."""
    for p in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99):
        cells = [f"{1 - p**n - (1 - p) ** n:.1%}".replace("100.0%", "100%") for n in (4, 8, 16)]
        yield f"| {p:g} | {' | '.join(cells)} |"


def courses() -> Iterator[str]:
    """The measured cell of each figure that the choices have."""
    run, near = run_with(), run_with("beta", "0.04")
    yield f"| `reward` | weighted sum of the rewards, mean over completions | {course(metrics.REWARD, run)} |"
    yield f"`correct` {course(CORRECT, run)}, `format` {course(FORMAT, run)} |"
    yield f"| `length, tokens` | mean length of a completion | {course(metrics.LENGTH, run)} |"
    yield f"| `truncated` | share that the length limit truncated | {course(metrics.TRUNCATED, run)} |"
    yield f"earned the same | {course(metrics.NO_SIGNAL, run)} |"
    yield f"before clipping | {course(metrics.GRAD_NORM, run)} |"
    yield f"the policy a token, in nats | {course(metrics.ENTROPY, run)} |"
    yield f"shown where β is above 0 | {course(metrics.KL, near)} at β 0.04 |"


def choices() -> Iterator[str]:
    """A row for each choice."""
    for run in RUNS:
        cells = [shown(run, "last", metrics.REWARD)]
        keys = (metrics.TRUNCATED, metrics.NO_SIGNAL, metrics.ENTROPY, metrics.KL)
        cells += [shown(run, "last", key) if key in run["last"] else "-" for key in keys]
        cells.append(f"{run['after']['pass_at_1']:.1%}")
        name = f"`{run['setting']}` {run['value']}" if run["setting"] else "nothing"
        yield f"| {name} | {' | '.join(cells)} |"


def sentences() -> Iterator[str]:
    """What the text says of figures, as the files say it."""
    baselines = json.loads((BASELINES / "gsm8k_r1_embedded.json").read_text())["runs"]
    reached = [run["after"]["pass_at_1"] for run in baselines]
    yield f"Seeds alone move the last column from {min(reached):.1%} to {max(reached):.1%}"
    baseline = baselines[0]
    before, after = (f"{baseline[when]['pass_at_1']:.1%}" for when in ("before", "after"))
    mix = {name: f"{share:.0%}".replace("%", " %") for name, share in build_embedded.MIX.items()}
    earned = [1.25, 0.25, 0.25, 0.0]
    said = [f"{coefficients()['advantage'](earned, i):+.2f}" for i in range(4)]
    yield f"earn 1.25, 0.25, 0.25 and 0 have the advantages {', '.join(said[:3])} and {said[3]}"
    yield f"{mix['untagged']} lack the tags, {mix['hasty']} stop after the first step and {mix['right']} are right"
    yield f"left it at {before}; GRPO chose the right habit, and {baseline['steps']} steps later it was at {after}"
    yield f"40 steps of {preset('embedded')['per_device_train_batch_size']} completions"
    cards = [preset(name) for name in ("12gb", "16gb", "24gb")]
    (generations,) = {card["num_generations"] for card in cards}
    r1 = preset("deepseek_r1")
    yield f"{generations} is the presets' choice, {r1['num_generations']} that of the comparison with DeepSeek-R1"
    (longest,) = {card["max_completion_length"] for card in cards}
    yield f"The presets have {longest} tokens for GSM8K, since a widely copied quickstart had 256"
    (rate,) = {card["learning_rate"] for card in cards}
    yield f"The card presets have {rate:.0e} for LoRA, the CPU default {preset('embedded')['learning_rate']:g}"
    (norm,) = {card["grpo"]["max_grad_norm"] for card in cards}
    yield f"`max_grad_norm` {norm} in the card presets"
    yield f"{r1['beta']} is DeepSeek-R1's"
    yield f"the mean of the *last {RECENT_STEPS}* steps"
    yield f"Shown yellow above {AMBER_TRUNCATED_FRAC:.0%}, red above {RED_TRUNCATED_FRAC:.0%}"
    first = {value: run_with("num_generations", value) for value in ("2",)} | {"8": run_with()}
    two, eight = (shown(first[value], "first", metrics.NO_SIGNAL) for value in ("2", "8"))
    yield f"{two} of them in the first five steps above, {eight} with 8"
    yield f"it rises from {course(metrics.NO_SIGNAL, run_with())}"
    yield "one reward for the right answer, weight 1.0, and one for the format that makes it findable, weight 0.25"


def preset(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("said", [chances, courses, choices, sentences], ids=lambda said: said.__name__)
def test_the_figures_are_those_of_the_files(said: Callable[[], Iterator[str]]) -> None:
    found = list(said())
    assert len(found) >= 6
    assert [line for line in found if line not in FOLDED] == []


def test_every_figure_of_the_live_view_is_explained() -> None:
    explained = re.findall(r"`([^`]+)`", GUIDE.partition("## The figures")[2].partition("## Choosing")[0])
    state = RunState("r", "m", "b", "f", 9, clock=lambda: 1.0)
    known = dict.fromkeys(metrics.METRICS, 0.5)
    state.record(1, {**known, CORRECT: 0.5})
    screen = StringIO()
    Console(width=120, file=screen).print(render(state, 120))
    lines = [line.strip("│ ") for line in screen.getvalue().splitlines()]
    header = next(i for i, line in enumerate(lines) if line.startswith("now"))
    rows = lines[header + 1 : lines.index("", header)]
    names = [re.split(r"\s{2,}", row)[0] for row in rows]
    assert len(names) >= 8
    assert [name for name in names if name not in explained] == []
    for told in ("tok/s", "peak RAM", "learning rate", "elapsed", "eta", "time", "rollout", "update", "other"):
        assert told in "\n".join(lines).replace("peak VRAM", "peak RAM"), told
        assert told in explained, told


def coefficients() -> dict[str, Any]:
    block = GUIDE.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 # the page's own code
    return names


def test_the_coefficients_are_those_of_autograd() -> None:
    import torch

    gc = coefficients()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)  # G completions, T, V
    reference = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64).log_softmax(-1)
    tokens = torch.randint(7, (4, 5, 1), generator=generator)
    logps = logits.log_softmax(-1).gather(-1, tokens).squeeze(-1)
    ratios = logps - reference.gather(-1, tokens).squeeze(-1)
    rewards, beta, critic = [1.25, 0.25, 0.25, 0.0], 0.3, torch.randn(4, 5, generator=generator, dtype=torch.float64)
    advantages = [gc["advantage"](rewards, i) for i in range(4)]
    said = torch.tensor(advantages, dtype=torch.float64)[:, None]
    share, old = (logps - logps.detach()).exp(), ratios.detach()
    kl = (-ratios).exp() + ratios - 1
    pairs = torch.nn.functional.logsigmoid(beta * (ratios[0].sum() - ratios[1].sum()))
    of_pair = gc["dpo"](old[0].sum().item(), old[1].sum().item(), beta)
    each = [[value.item() for value in row] for row in old]

    def of_grpo(function: Callable[..., float]) -> list[list[float]]:
        return [[function(a, ratio, beta) for ratio in row] for a, row in zip(advantages, each, strict=True)]

    right = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)[:, None]
    per_completion = 1 / (4 * 5)  # the mean over completions and tokens
    objectives = {
        "sft": (logps.mean(), [[gc["sft"]()] * 5] * 4, per_completion),
        "rft": (
            (right * logps).mean(),
            [[gc["rft"](is_right)] * 5 for is_right in (True, False, False, True)],
            per_completion,
        ),
        "dpo": (pairs, [[of_pair] * 5, [-of_pair] * 5, [0.0] * 5, [0.0] * 5], 1.0),
        "ppo": ((share * critic).mean(), [[gc["ppo"](a.item()) for a in row] for row in critic], per_completion),
        "grpo": ((share * said - beta * kl).mean(), of_grpo(gc["grpo"]), per_completion),
        "in trl": ((share * said - beta * share * kl).mean(), of_grpo(gc["grpo_in_trl"]), per_completion),
    }
    for name, (objective, coefficient, scale) in objectives.items():
        (wanted,) = torch.autograd.grad(objective, logits, retain_graph=True)
        stated = scale * (torch.tensor(coefficient, dtype=torch.float64) * logps).sum()
        (found,) = torch.autograd.grad(stated, logits, retain_graph=True)
        torch.testing.assert_close(found, wanted, msg=lambda text, name=name: f"{name}: {text}")


def test_what_is_said_of_trl_is_its_default() -> None:
    from trl.trainer.grpo_config import GRPOConfig

    fields = GRPOConfig.__dataclass_fields__
    assert fields["loss_type"].default == "dapo"
    assert fields["use_bias_correction_kl"].default is True
    assert fields["beta"].default == 0.0 == GrpoSettings().optim.beta


NOT_FIGURES = (
    r"```.*?```",  # code and what it prints, which run
    r"## Five methods.*?(?=## )",  # equations, which autograd is held against
    r"^\d\. ",
    r"`[^`]*`",  # names of files and settings
    r"DeepSeek-R1|arXiv:[\d.]+",
)


def test_no_figure_stands_here_that_no_file_gives() -> None:
    """Beside what the files give only values of settings stand here, each in the table of choices or in a preset."""
    names = NOT_FIGURES[3]
    rest = " ".join(re.sub("|".join(NOT_FIGURES), " ", GUIDE, flags=re.DOTALL | re.MULTILINE).split())
    held = [re.sub(names, " ", line) for said in (chances, courses, choices, sentences) for line in said()]
    for line in sorted((" ".join(line.split()) for line in held), key=len, reverse=True):
        rest = rest.replace(line, " ")
    values = {run["value"] for run in RUNS} | {str(preset(name)["num_generations"]) for name in ("24gb", "deepseek_r1")}
    values |= {str(GrpoSettings().rollout.temperature), str(RECENT_STEPS), "0", "1"}
    found = re.findall(r"(?<![\w.@])(\d[\d.,e+-]*(?<![.,]))(.{0,30})", rest)
    assert [number + after for number, after in found if number not in values] == []


def test_the_commands_run_and_print_what_the_page_says(tmp_path: Path) -> None:
    assert follow(GUIDE, tmp_path) == 3
