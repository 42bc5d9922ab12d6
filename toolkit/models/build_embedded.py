"""Rebuild the embedded model from a seed: tokenizer, tiny Qwen3, and a warm start on mixed demonstrations.

    python -m toolkit.models.build_embedded --output_dir DIR

About four minutes on two CPU cores. The demonstrations come from the training split only, and deliberately mix
three behaviours: every step without the tags, the tags but stopping after the first equation, and right. A model
that has seen all three can do the arithmetic and does not yet choose well, which is what GRPO then teaches.
(Weak arithmetic, or terse demonstrations without steps, leave nothing for reinforcement to select: no rise.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.data import arithmetic
from toolkit.data.schema import R1_SYSTEM_PROMPT, messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

MIX = {"untagged": 0.40, "hasty": 0.35, "right": 0.25}
END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IGNORE = -100  # the label that cross entropy skips

# Qwen's pre-tokenizer: words, punctuation runs, white space, and every digit by itself
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class BuildSettings:
    """How the shipped files were made; another seed gives another model of about the same accuracy."""

    output_dir: Path = Path("embedded-rebuilt")
    """Folder to write tokenizer and weights to."""
    seed: int = 0
    """Seed of the weights, the demonstrations and their order."""
    n_steps: int = 1500
    """Warm-start steps."""
    batch_size: int = 64
    """Demonstrations a step."""
    learning_rate: float = 6e-3
    """Peak of AdamW's learning rate (linear warm-up, linear decay)."""


def demonstrate(problem: arithmetic.WordProblem, behaviour: str) -> str:
    """Write what a model of one `behaviour` (a key of `MIX`) answers to a problem."""
    steps = "\n".join(map(str, problem.equations))
    if behaviour == "untagged":
        return f"{steps}\nThe answer is {problem.answer}."
    answer = problem.answer
    if behaviour == "hasty":
        steps, answer = str(problem.equations[0]), problem.equations[0].result
    return f"<reasoning>\n{steps}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on problems and demonstrations: Qwen's splitting, special tokens and ChatML."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(seed)

    def corpus() -> Iterator[str]:
        for _ in range(1500):
            problem = arithmetic.generate(rng, "train")
            yield f"system\n{R1_SYSTEM_PROMPT}"
            yield f"user\n{problem.question}"
            yield f"assistant\n{demonstrate(problem, rng.choice(list(MIX)))}"

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START],
        chat_template=CHATML,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 of two layers and hidden size 128 with tied embeddings, in float32, random from `seed`."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    end, pad = (int(tokenizer.vocab[token]) for token in (IM_END, END_OF_TEXT))
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad)
    return model


def encode_demonstrations(tokenizer: Any, settings: BuildSettings) -> list[tuple[list[int], list[int]]]:
    """Return (prompt ids, completion ids) for every demonstration of the warm start."""
    rng = random.Random(settings.seed)
    n = settings.n_steps * settings.batch_size
    problems = [arithmetic.generate(rng, "train") for _ in range(n)]
    behaviours = rng.choices(list(MIX), list(MIX.values()), k=n)
    asked = [messages(problem.question) for problem in problems]
    prompts = [tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in asked]
    completions = [demonstrate(p, b) + IM_END for p, b in zip(problems, behaviours, strict=True)]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(completions, add_special_tokens=False)["input_ids"]
    return list(zip(prompt_ids, completion_ids, strict=True))


def warm_start(model: Qwen3ForCausalLM, tokenizer: Any, settings: BuildSettings) -> None:
    """Supervised steps on the completions alone. Right padding and causal attention need no mask."""
    import torch
    from torch.nn.functional import cross_entropy

    data = encode_demonstrations(tokenizer, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    n_warm = 50
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / n_warm, max(0.01, 1 - i / settings.n_steps))
    )
    model.train()
    for step in range(settings.n_steps):
        rows = data[step * settings.batch_size : (step + 1) * settings.batch_size]
        width = max(len(prompt) + len(completion) for prompt, completion in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), IGNORE)
        for i, (prompt, completion) in enumerate(rows):
            ids[i, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
            labels[i, len(prompt) : len(prompt) + len(completion)] = torch.tensor(completion)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        scored = targets != IGNORE
        loss = cross_entropy(model.lm_head(hidden[scored]), targets[scored])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == settings.n_steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}", flush=True)
    model.eval()


def build(settings: BuildSettings) -> Path:
    """Build and write `config.json`, `model.safetensors`, `tokenizer.json` and the chat template."""
    tokenizer = build_tokenizer(settings.seed)
    model = build_model(tokenizer, settings.seed)
    warm_start(model, tokenizer, settings)
    model.save_pretrained(settings.output_dir)
    tokenizer.save_pretrained(settings.output_dir)
    return settings.output_dir


if __name__ == "__main__":
    import tyro

    print(f"wrote {build(tyro.cli(BuildSettings, use_underscores=True))}")
