"""A reward model: a sequence classifier that reads prompt and completion and gives one number.

Loaded at the first call, in each process for itself, from safetensors and without code of the repository's own. It has
not run on a GPU yet. Its memory is not in the memory plan: on the card that trains, leave room for it.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from toolkit.errors import HubError, ModelError, RewardError, did_you_mean
from toolkit.models import locate
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import Completion, one_line, prompt_text, text_of, utf8
from toolkit.rewards.learned.score_cache import ScoreCache, digest

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_busy = threading.RLock()
"""One thread at a time loads and computes: two rewards may share a model, and a tokenizer is not made for several."""


@dataclass(frozen=True)
class RewardModel(RewardFunction):
    """The score of a sequence-classification model (`AutoModelForSequenceClassification`). Range: [low, high].

    The model reads what its chat template makes of the prompt and the completion as the assistant's turn; a plain
    prompt counts as the user's message. Without a template it reads prompt + completion, as in TRL. Special tokens
    that a completion spells out are broken up, so that it cannot open a turn of its own.

    A text over `max_length` tokens, or over what the model takes, loses its beginning: a completion's end holds the
    answer, and most reward models read the score at the last token.

    None where the chat template refuses the prompt, or the model gives no finite number.

    Raises:
        RewardError: no `model` is set, it cannot be loaded, its weights lack the classifying head, it has several
            labels and `label` names none, or the device is not there.
    """

    name = "reward_model"
    columns = ("prompts",)
    purpose = "What no rule can measure, as a model trained on people's preferences sees it."
    weakness = (
        "Any text it was not trained on may score high, most often long and confident ones; watch length and samples."
    )

    model: str = ""
    """Hub id or folder, with safetensors weights."""
    label: int | str | None = None
    """Number or name of the label whose logit counts; None: the only one."""
    squash: Literal["sigmoid", "softmax", "none"] = "sigmoid"
    """How a logit gets into the range: the logit's sigmoid or the label's probability among all labels, from `low` to
    `high`; or the logit as it is, clipped to them."""
    low: float = 0.0
    high: float = 1.0
    max_length: int = 2048
    """Longest text in tokens, prompt and template included."""
    batch_size: int = 8
    """Texts in one forward pass."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:0`; auto: the first CUDA device, else the CPU. In bfloat16 on a card that has it, else
    in float32."""
    cache_size: int = 8192
    """Texts whose scores are remembered, by digest; the same text is scored once."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise RewardError(f"reward_model: low is {self.low}, high is {self.high}", "two numbers, low below high")
        if self.squash not in ("sigmoid", "softmax", "none"):
            raise RewardError(f"reward_model: squash is {self.squash!r}", "sigmoid, softmax or none")
        if not _DEVICE.fullmatch(self.device):
            raise RewardError(f"reward_model: device is {self.device!r}", "auto, cpu, cuda or cuda:NUMBER")
        for name in ("max_length", "batch_size", "cache_size"):
            if getattr(self, name) < 1:
                raise RewardError(f"reward_model: {name} is {getattr(self, name)}", "at least 1")

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.low, self.high

    def judge(self, text: str, *, prompts: Completion, **_: Any) -> float | None:
        return self._scored([prompts], [text])[0]

    def reason(self, text: str, score: float | None, *, prompts: Completion, **_: Any) -> str:
        found = _classifier(self).logits([prompts], [text])[0]
        if isinstance(found, str):
            return found
        shown = ", ".join(f"{logit:.4g}" for logit in found)
        return f"{'logit' if len(found) == 1 else 'logits'} {shown} of {self.model}"

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        """In batches of texts of about one length."""
        return self._scored(lists["prompts"], [text_of(completion) for completion in completions])

    def _scored(self, prompts: Sequence[Completion], texts: Sequence[str]) -> list[float | None]:
        classifier = _classifier(self)
        label = classifier.label(self.label)
        found = classifier.logits(prompts, texts)
        return [None if isinstance(logits, str) else self._score(logits, label) for logits in found]

    def _score(self, logits: tuple[float, ...], label: int) -> float:
        logit = logits[label]
        if self.squash == "none":
            return min(self.high, max(self.low, logit))
        if self.squash == "sigmoid":
            share = 0.5 * (1 + math.tanh(logit / 2))  # the sigmoid, without overflow
        else:
            top = max(logits)
            share = math.exp(logit - top) / sum(math.exp(other - top) for other in logits)
        return self.low + (self.high - self.low) * share


class Classifier:
    """A loaded model with its tokenizer and its memory."""

    def __init__(self, settings: RewardModel) -> None:
        self._settings = settings
        self._device = _device(settings.device)
        self._model, self._tokenizer = _loaded(settings.model, self._device)
        config = self._model.config.get_text_config()
        pads = (self._tokenizer.pad_token_id, config.pad_token_id)
        self._pad_id: int | None = next((pad for pad in pads if pad is not None), None)
        limits = (settings.max_length, self._tokenizer.model_max_length, getattr(config, "max_position_embeddings", 0))
        self._max_length = min(limit for limit in limits if limit and limit > 0)
        added = self._tokenizer.added_tokens_decoder.values()
        self._specials = [str(token) for token in added if token.special and len(str(token)) > 1]
        self._cache: ScoreCache[tuple[float, ...]] = ScoreCache(settings.cache_size)

    def label(self, wanted: int | str | None) -> int:
        """The number of a label; a RewardError where there is none, or none is wanted and there are several."""
        names = {int(i): str(name) for i, name in self._model.config.id2label.items()}
        if wanted is None and len(names) == 1:
            return 0
        number = next((i for i, name in names.items() if wanted in (i, name)), None)
        if number is None:
            listed = ", ".join(f"{i} ({name})" for i, name in list(names.items())[:8])
            found = f"no label {wanted!r}" if wanted is not None else f"{len(names)} labels and no `label` set"
            hint = did_you_mean(str(wanted), names.values()) or f"one of {listed}"
            raise RewardError(f"reward model {self._settings.model} has {found}", hint)
        return number

    def logits(self, prompts: Sequence[Completion], texts: Sequence[str]) -> list[tuple[float, ...] | str]:
        """The logits of each text, (n_labels,), or why there are none."""
        with _busy:
            rendered = [self._rendered(*pair) for pair in zip(prompts, texts, strict=True)]
            read = [i for i, (_text, why) in enumerate(rendered) if not why]
            keys = [digest(rendered[i][0]) for i in read]
            found = self._cache.get_all(keys, lambda places: self._forward({p: rendered[read[p]][0] for p in places}))
        by_row = dict(zip(read, found, strict=True))
        no_number = f"{self._settings.model} gives no finite number for it"
        return [why or by_row[i] or no_number for i, (_text, why) in enumerate(rendered)]

    def _rendered(self, prompt: Completion, text: str) -> tuple[str, str]:
        """What the model reads, and why not."""
        from jinja2.exceptions import TemplateError

        for token in self._specials:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        if not self._tokenizer.chat_template:
            return utf8(prompt_text(prompt) + text), ""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        said = [{"role": turn.get("role"), "content": text_of([turn])} for turn in turns]
        try:
            whole = self._tokenizer.apply_chat_template([*said, {"role": "assistant", "content": text}], tokenize=False)
        except TemplateError as error:
            return "", f"the chat template of {self._settings.model} refuses the prompt: {one_line(str(error), 80)}"
        return utf8(whole), ""

    def _forward(self, texts: Mapping[int, str]) -> dict[int, tuple[float, ...]]:
        """The logits of texts that are not known yet, where all are finite."""
        has_template = bool(self._tokenizer.chat_template)
        encoded = self._tokenizer(
            list(texts.values()), truncation=True, max_length=self._max_length, add_special_tokens=not has_template
        )["input_ids"]
        by_length = sorted(zip(texts, encoded, strict=True), key=lambda pair: len(pair[1]))
        found: dict[int, tuple[float, ...]] = {}
        for begin in range(0, len(by_length), self._settings.batch_size):
            places, ids = zip(*by_length[begin : begin + self._settings.batch_size], strict=True)
            found |= dict(zip(places, self._one_batch(ids), strict=True))
        return {place: logits for place, logits in found.items() if all(map(math.isfinite, logits))}

    def _one_batch(self, ids: Sequence[list[int]]) -> list[tuple[float, ...]]:
        import torch

        used = {token for row in ids for token in row}
        # The head takes the last token that is no pad. Where no pad is named, one that no text of this batch has
        pad = self._pad_id if self._pad_id is not None else next(i for i in range(len(used) + 1) if i not in used)
        self._model.config.get_text_config().pad_token_id = pad
        width = max(1, *map(len, ids))
        padded = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids], device=self._device)
        mask = torch.tensor([[1] * max(1, len(row)) + [0] * (width - max(1, len(row))) for row in ids])
        with torch.inference_mode():
            logits = self._model(input_ids=padded, attention_mask=mask.to(self._device)).logits
        return [tuple(row) for row in logits.float().cpu().tolist()]


@cache
def _cached_classifier(settings: RewardModel) -> Classifier:
    return Classifier(settings)


def _classifier(settings: RewardModel) -> Classifier:
    if not settings.model:
        hint = "reward_model:FOLDER, or RewardModel(model=...)"
        raise RewardError(f"reward {settings.__name__!r} has no model", hint)
    with _busy:  # `cache` alone would load it twice for two threads
        return _cached_classifier(settings)


def _device(wanted: str) -> str:
    import torch

    n_cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if n_cards else "cpu"
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= n_cards:
        raise RewardError(f"reward_model: device is {wanted}, and torch sees {n_cards} CUDA devices", "auto or cpu")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise RewardError("reward_model: device is mps, which torch does not see", "auto or cpu")
    return wanted


@cache
def _loaded(model: str, device: str) -> tuple[Any, Any]:
    """The model in evaluation mode and its tokenizer, shared by rewards that differ in other settings only."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    has_bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        source = locate(model)
    except (ModelError, HubError) as error:
        found = error.found.removeprefix("--model ")
        raise RewardError(f"reward model: {found}", "a folder or Hub id of a sequence classifier") from error
    try:
        loaded, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            dtype=torch.bfloat16 if has_bf16 else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, truncation_side="left")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        detail = one_line(str(error), 140)
        raise RewardError(f"reward model {model} cannot be loaded ({detail})", "a sequence classifier") from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        found = f"reward model {model} has no weights for {', '.join(missing[:3])}"
        raise RewardError(found, "a trained sequence classifier, not a language model without its head")
    return loaded.to(device).eval().requires_grad_(False), tokenizer
