"""Every way a user can be wrong: one clear line, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes import harness

# Port 9 refuses at once: the Hub of a machine without a network
NO_NETWORK = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def rows(folder: Path, *extra: dict[str, object], n: int = 12, **names: str) -> Path:
    question, answer = names.get("question", "question"), names.get("answer", "answer")
    table: list[dict[str, object]] = [{question: f"What is {i} plus 1?", answer: f"{i + 1}"} for i in range(n)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*table, *extra]))
    return path


def text(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


def raw(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def model_folder(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).write_text("{}")
    return folder


Case = tuple[Callable[[Path], list[str | Path]], str]

# Found before anything heavy loads: exactly one line on stderr
EARLY: dict[str, Case] = {
    "misspelled flag": (lambda p: ["--sead", "1"], "did you mean --seed, --reward?"),
    "wrong type": (lambda p: ["--max_steps", "many"], "--max_steps is 'many'; wanted a whole number"),
    "wrong choice": (lambda p: ["--save", "merged"], "--save is 'merged'; did you mean merged_16bit?"),
    "flag without value": (lambda p: ["--dataset"], "--dataset has no value; wanted one"),
    "stray word": (lambda p: ["train"], "unexpected argument 'train'"),
    "misspelled GRPOConfig field": (lambda p: ["--grpo.los_type", "grpo"], "did you mean loss_type"),
    "GRPOConfig field of the recipe": (lambda p: ["--grpo.temperature", "1"], "wanted --temperature"),
    "indivisible batch": (lambda p: ["--num_generations", "7"], "wanted a multiple of num_generations 7"),
    "one generation": (lambda p: ["--num_generations", "1"], "--num_generations is 1; wanted at least 2"),
    "no iterations": (lambda p: ["--grpo.num_iterations", "0"], "--grpo.num_iterations is 0; wanted at least 1"),
    "temperature 0": (lambda p: ["--temperature", "0"], "wanted a value above 0"),
    "out of range": (lambda p: ["--gpu_memory_utilization", "1.5"], "wanted a value from 0.05 to 0.98"),
    "no such config": (lambda p: ["--config", "24g"], "did you mean 24gb"),
    "config that is not YAML": (lambda p: ["--config", text(p, "c.yaml", "a: b: c")], "is not YAML at line 1"),
    "config with an unknown name": (lambda p: ["--config", text(p, "c.yaml", "sed: 1")], "did you mean seed?"),
    "config with a wrong type": (lambda p: ["--config", text(p, "c.yaml", "seed: x")], "c.yaml: --seed is 'x'"),
    "config not in UTF-8": (lambda p: ["--config", raw(p, "c.yaml", b"model: caf\xe9")], "is not UTF-8 at byte 10"),
    "config with a list for a value": (
        lambda p: ["--config", text(p, "c.yaml", "max_steps: [1, 2]")],
        "c.yaml: max_steps is a list; wanted one value",
    ),
    "config with words below grpo": (lambda p: ["--config", text(p, "c.yaml", "grpo: hello")], "c.yaml: grpo is one"),
    "grpo without a field": (lambda p: ["--grpo"], "wanted --grpo.NAME VALUE"),
    "GRPOConfig mapping in words": (
        lambda p: ["--grpo.generation_kwargs", "top_p", "0.9"],
        "--grpo.generation_kwargs is top_p 0.9; wanted one JSON object",
    ),
    "GRPOConfig field that resume needs": (lambda p: ["--grpo.save_only_model", "true"], "the recipe owns"),
    "folder for a file": (lambda p: ["--dataset", subfolder(p, "d.jsonl")], "is a folder; wanted a file"),
    "header without rows": (lambda p: ["--dataset", text(p, "a.csv", "question,answer\n")], "is empty"),
    "semicolons": (lambda p: ["--dataset", text(p, "a.csv", "question;answer\nHow?;1\n")], "with `;`"),
    "more held out than there is": (
        lambda p: ["--dataset", "arithmetic", "--n_eval", "100000"],
        "wanted at most 2000",
    ),
    "no gold answer": (lambda p: ["--dataset", rows(p, {"question": "How?"})], "line 13: no gold answer"),
    "no such system prompt": (lambda p: ["--system_prompt", p / "mine.txt"], "mine.txt does not exist"),
    "a blank system prompt": (lambda p: ["--system_prompt", text(p, "mine.txt", " ")], "mine.txt is blank"),
    "examples without reasoning": (
        lambda p: ["--examples", text(p, "e.yaml", "- {question: Q, answer: 7}")],
        "e.yaml row 1 has no reasoning in words",
    ),
    "a solution in no row": (lambda p: ["--dataset", rows(p), "--examples", "2"], "0 of 10 training rows have a"),
    "misspelled dataset": (lambda p: ["--dataset", "aritmetic"], "did you mean arithmetic?"),
    "no such file": (lambda p: ["--dataset", p / "no.jsonl"], "no.jsonl does not exist"),
    "unknown file type": (lambda p: ["--dataset", text(p, "a.txt", "x")], "wanted one of .jsonl"),
    "empty file": (lambda p: ["--dataset", text(p, "a.jsonl", "")], "is empty"),
    "broken JSON": (lambda p: ["--dataset", text(p, "a.jsonl", '{"question": ')], "a.jsonl line 1 is not JSON"),
    "a column twice": (
        lambda p: ["--dataset", text(p, "a.csv", "question,answer,answer\nHow?,1,2\n")],
        "has two columns 'answer'",
    ),
    "dataset not in UTF-8": (
        lambda p: ["--dataset", raw(p, "a.jsonl", b'{"question": "caf\xe9"}')],
        "a.jsonl line 1 is not UTF-8",
    ),
    "misspelled column": (lambda p: ["--dataset", rows(p, answer="anser")], "did you mean anser?"),
    "column flag wrong": (lambda p: ["--dataset", rows(p), "--question_column", "q"], "no column 'q'"),
    "two columns that may be the question": (
        lambda p: ["--dataset", rows(p, {"problem": "How?", "query": "How?", "answer": "1"}, question="problem")],
        "2 that may be it: 'problem', 'query'; wanted one of them; name it with --question_column",
    ),
    "a split of a file": (lambda p: ["--dataset", rows(p), "--dataset_train_split", "dev"], "rows.jsonl is a file"),
    "any id of the Hub, without a network": (lambda p: ["--dataset", "me/data"], "me/data is not in the local cache"),
    "no split of that name": (
        lambda p: ["--dataset", rows(p).parent, "--dataset_train_split", "dev"],
        "has no split 'dev'; wanted one of train; name it with --dataset_train_split",
    ),
    "choices where a number is judged": (
        lambda p: ["--dataset", rows(p, {"question": "Which?", "choices": ["a", "b"], "answer": "B"}, n=0)],
        "gold answer 'B' is not one number; wanted a number, or text that ends in `#### ` and one; judge choices with",
    ),
    "bad rows of two kinds": (
        lambda p: ["--dataset", rows(p, {"question": "How?"}, {"question": "How?", "answer": "many"})],
        "line 13: no gold answer (1 with a gold answer that is not one number, the first:",
    ),
    "gold answer in words": (
        lambda p: ["--dataset", rows(p, {"question": "How?", "answer": "many"})],
        "line 13: gold answer 'many' is not one number",
    ),
    "config name too long": (lambda p: ["--config", "x" * 300], "does not exist"),
    "dataset name too long": (lambda p: ["--dataset", "x" * 300 + ".jsonl"], "does not exist"),
    "model name too long": (lambda p: ["--model", "x" * 300, "--dataset", "arithmetic"], "unknown model"),
    "misspelled model": (lambda p: ["--model", "embeded"], "did you mean embedded?"),
    "empty model folder": (lambda p: ["--model", p, "--dataset", "arithmetic"], "no config.json"),
    "pickled weights": (
        lambda p: ["--model", model_folder(p, "config.json", "model.bin"), "--dataset", "arithmetic"],
        "only pickled weights (model.bin); wanted safetensors",
    ),
    "no network for the model": (
        lambda p: ["--model", "Qwen/Qwen2.5-3B-Instruct", "--dataset", "arithmetic"],
        "the Hub does not answer",
    ),
    "no network for the dataset": (lambda p: ["--dataset", "openai/gsm8k"], "the Hub does not answer"),
    "folder in use": (lambda p: ["--output_dir", text(p, "notes.txt", "x").parent], "wanted a new or empty folder"),
    "resume of no run": (lambda p: ["--resume", p], "is not a run folder"),
    "require_gpu without one": (lambda p: ["--require_gpu"], "--require_gpu, and"),
    "unsloth on a required GPU": (lambda p: ["--backend", "unsloth", "--require_gpu"], "wanted a CUDA device"),
    "public without a push": (lambda p: ["--public"], "add --push_to_hub"),
    "push without an owner": (lambda p: ["--push_to_hub", "model"], "names no owner"),
    "push without a token": (lambda p: ["--push_to_hub", "me/model"], "without a Hub token"),
    "an unknown schedule": (lambda p: ["--lr_scheduler_type", "cosin"], "is 'cosin'; did you mean cosine"),
    "an unknown optimizer": (lambda p: ["--optim", "quux"], "is 'quux'; wanted one of adamw_torch, "),
    "misspelled reward": (lambda p: ["--reward", "correct:1,corect_signed"], "did you mean correct_signed"),
    "a reward's file that is not there": (lambda p: ["--reward", p / "my.py:score"], "there is no file"),
    "a reward's file that does not import": (
        lambda p: ["--reward", f"{text(p, 'broken_reward.py', 'import nowhere')}:score"],
        "broken_reward.py cannot be imported (ModuleNotFoundError",
    ),
    "a reward twice": (lambda p: ["--reward", "correct,correct:2"], "--reward has 'correct' twice"),
    "a weight without end": (lambda p: ["--reward", "correct:inf"], "the weight is inf; wanted a finite number"),
    "a reward's address without a host": (lambda p: ["--reward", "http://"], "wanted such as http://localhost"),
    "a pass score without end": (lambda p: ["--pass_score", "nan"], "--pass_score is nan; wanted a finite number"),
    "checkpoint inside a round": (
        lambda p: ["--steps_per_generation", "4", "--save_steps", "6"],
        "wanted a multiple of 4",
    ),
}

WRONG = """
def score(completions, answer, **kwargs):
    return [float(f"<answer>\\n{gold}\\n" not in c[-1]["content"]) for c, gold in zip(completions, answer)]
"""

# Found once the rows, the tokenizer or the trainer are there
LATE: dict[str, Case] = {
    "no such layer": (lambda p: ["--target_modules", "q_prj"], "the model has no such layer"),
    "no layer": (lambda p: ["--target_modules"], "--target_modules names no layer; wanted some of down_proj"),
    "too long for the model": (lambda p: ["--max_completion_length", "400"], "wanted at most 512"),
    "a style that the rewards do not read": (
        lambda p: ["--prompt_style", "boxed", "--n_eval", "4"],
        "reads <answer>, and --prompt_style boxed asks for \\boxed{}",
    ),
    "every prompt too long": (lambda p: ["--max_prompt_length", "9"], "longer than 9 tokens"),
    "too few rows": (lambda p: ["--dataset", rows(p, n=6)], "wanted at least 8, the prompts of one round"),
    "a reward that pays wrong answers": (
        lambda p: ["--reward", f"{text(p, 'wrong_reward.py', WRONG)}:score"],
        "reward 'score' fails its check 'gold'",
    ),
    "a reward that the rows cannot feed": (lambda p: ["--reward", "code_tests"], "the dataset has no 'tests'"),
    "a reward's server that is not there": (
        lambda p: ["--reward", "http://me:hush@127.0.0.1:9/score"],
        "reward 'score' (http://***@127.0.0.1:9/score) gives no scores: no connection",
    ),
    "a value that TRL refuses": (lambda p: ["--grpo.loss_type", "grpo2"], "loss_type"),
}


def check(case: Case, tmp_path: Path) -> harness.Result:
    arguments, said = case
    folder = tmp_path / "input"
    folder.mkdir()
    argv = arguments(folder)
    before = sorted(folder.rglob("*"))
    if "--output_dir" not in argv and "--resume" not in argv:
        argv += ["--output_dir", tmp_path / "run"]
    environment = {**NO_NETWORK, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": ""}
    result = harness.run(*argv, env=environment, timeout=60)
    assert result.returncode == 2, result.stdout + result.stderr
    assert said in " ".join(result.error_lines()[-1:])
    assert "Traceback" not in result.stderr + result.stdout
    assert "hush" not in result.stderr + result.stdout
    assert not (tmp_path / "run").exists()
    assert [path for path in sorted(folder.rglob("*")) if "__pycache__" not in str(path)] == before
    return result


def test_the_table_has_at_least_twenty_cases() -> None:
    assert len(EARLY) + len(LATE) >= 20


@pytest.mark.parametrize("case", EARLY.values(), ids=EARLY.keys())
def test_bad_input_is_one_line(case: Case, tmp_path: Path) -> None:
    result = check(case, tmp_path)
    assert len(result.error_lines()) == 1, result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("case", LATE.values(), ids=LATE.keys())
def test_what_only_the_model_can_tell_is_one_line_too(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_a_bad_reward_is_found_before_the_model_is_loaded(tmp_path: Path) -> None:
    bad = text(tmp_path, "wrong_reward.py", WRONG)
    result = harness.run("--reward", f"{bad}:score", "--output_dir", tmp_path / "run")
    assert "loading the model" not in result.stdout


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = harness.run("--dataset", "aritmetic", "--debug")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_settings_of_a_resumed_run_are_fixed(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"recipe": "gsm8k_r1", "requested": {"seed": 0}}))
    result = harness.run("--resume", tmp_path, "--seed", "1")
    assert result.returncode == 2
    assert "--seed beside --resume" in result.stderr


def test_too_little_disk_is_found_before_the_run(tmp_path: Path) -> None:
    full = "import shutil, types\nshutil.disk_usage = lambda path: types.SimpleNamespace(free=2**20)\n"
    (tmp_path / "sitecustomize.py").write_text(full)
    result = harness.run("--output_dir", tmp_path / "run", env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 2
    assert "free; wanted at least 0.25 GiB; make room, or choose another --output_dir" in result.stderr
    assert not (tmp_path / "run").exists()
