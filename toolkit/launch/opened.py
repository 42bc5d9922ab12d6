"""RUN|ADAPTER|MODEL as a policy that answers, with the prompt, the rewards and the data of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Backend, Policy
from toolkit.data.schema import Messages, Problems
from toolkit.doctor import best_first
from toolkit.errors import DataError, ModelError, RewardError
from toolkit.launch import named
from toolkit.launch.beginning import start
from toolkit.launch.named import Named
from toolkit.launch.session import Session
from toolkit.machine.devices import find_gpus
from toolkit.rewards import registry, target
from toolkit.rewards.answers import is_number
from toolkit.runs.names import SETTINGS
from toolkit.runs.reader import read_json
from toolkit.settings import DataSettings, GrpoSettings, RecordSettings, check
from toolkit.settings.resolved import Resolved
from toolkit.training import rewards as run_rewards
from toolkit.training.rewards import Reward

if TYPE_CHECKING:
    from toolkit.evaluation.run import Exam

OF_STYLE = {
    "r1": ("correct", "format"),
    "think": ("correct_boxed", "format_think"),
    "boxed": ("correct_boxed",),
    "hash": ("correct_hashes", "format_hashes"),
    "none": ("correct_answer_is",),
}
"""What judges the answers of a model that no run has trained, by its `--prompt_style`; the first one measures."""


@dataclass
class Opened:
    """A policy that was found and checked; `load` brings it into memory."""

    named: Named
    session: Session[GrpoSettings]
    source: str
    """Folder or Hub id of the base."""
    rewards: list[Reward]
    """What the run paid for."""
    judge: Reward
    """What measures: the reward that the run was measured by."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of how it was opened, a line each."""
    of_run: DataSettings | None = None
    """How the run divided the dataset; None for a model that no run has trained, or on another dataset."""
    policy: Policy | None = None

    @property
    def loaded(self) -> Policy:
        """The policy in memory, which `load` brings there."""
        if self.policy is None:
            raise RuntimeError("load() comes first")
        return self.policy

    @property
    def had_hidden(self) -> bool:
        """Whether the run has never seen the problems that are hidden here."""
        return self.of_run is None or self.of_run.n_hidden > 0 or self.problems.has_reserve

    @property
    def settings(self) -> GrpoSettings:
        """The run's settings, under what was asked for here."""
        return self.session.resolved.settings

    @property
    def backend(self) -> Backend:
        return self.session.backend

    @cached_property
    def problems(self) -> Problems:
        """The run's dataset as it trained and measured on it, with prompts, the same rows held out, and solutions.

        Not yet cut to the prompt budget, which takes a tokenizer: `load` does it.

        Raises:
            DataError: see `data.load`; more problems are asked for than the run has held out, and others it trained on.
        """
        from toolkit import data

        of_run = read_json(self.named.run / SETTINGS) if self.named.run else {}
        needs = frozenset[str]().union(self.judge.columns, *(reward.columns for reward in self.rewards))
        is_gold = is_number if of_run.get("gold") == is_number.__name__ else bool
        asked, seed = self.settings.data, self.settings.record.seed
        found = data.load(asked, seed, is_gold=is_gold, needs=needs, keep_solutions=True)
        if self.of_run is not None and asked.n_eval > self.of_run.n_eval and not found.has_reserve:
            n = self.of_run.n_eval
            raise DataError(
                f"--n_eval is {asked.n_eval}, and the run held out {n} and trained on the rest", f"at most {n}"
            )
        return found

    def messages(self, question: str) -> Messages:
        """A question as the run asks it: system message, solved examples, and in words that the chat template takes.

        The dataset is loaded only where the run shows training rows as examples.
        """
        from toolkit.data import prompts

        shown = self.settings.data.examples
        rows = self.problems.examples if shown is not None and shown.isdecimal() else None
        asked = prompts.prompt_for(question, self.settings.data, rows)
        return prompts.rendered(self.policy.tokenizer, asked)[1] if self.policy else asked

    def load(self) -> Policy:
        """Load the base and put the adapter on it; where `problems` are loaded, keep those within the prompt budget.

        Raises:
            ModelError: the adapter does not fit its base, or was saved with another tokenizer.
            ModelError, BackendError: see the backends' `load`.
            DataError: see `data.within_budget`.
        """
        from toolkit.data import prompts, within_budget

        settings, adapter = self.settings, self.named.adapter
        self.backend.import_first()
        if adapter is not None:
            check_tokenizer(adapter, self.source)
        policy = self.backend.load(settings.model, self.source, settings.lengths, settings.record.seed)
        if adapter is not None:
            self.backend.load_adapter(policy, adapter)
        self.policy = policy
        if "problems" in vars(self):
            fitted = prompts.for_template(self.problems, policy.tokenizer, policy.source)
            self.problems = within_budget(fitted, policy.tokenizer, settings.data.max_prompt_length)
        return policy

    def exam(self, rows: Sequence[dict[str, Any]]) -> Exam:
        """Rows to be asked, and how the run is measured on them."""
        from toolkit.evaluation import Exam

        settings = self.settings
        longest, pass_score = settings.rollout.max_completion_length, settings.rewards.pass_score
        return Exam(rows, self.judge.function, longest, pass_score, self.rewards)


def open_policy(
    name: str,
    changes: Mapping[str, Any] | None = None,
    base: str | None = None,
    *,
    n_eval: int | None = None,
    hidden: bool = False,
) -> Opened:
    """Find what RUN|ADAPTER|MODEL means, check it, choose the engine and set the process up for it; `load` follows.

    `changes` are settings by the names of their flags, which take the place of the run's: `{"prompt_style": "boxed"}`.
    `n_eval` and `hidden`: how many problems are to be asked, and whether hidden ones; the dataset is divided as the run
    divided it, whatever they are. Nothing heavy is imported here, so that bad input is told at once.

    Raises:
        ModelError, RunFolderError, SettingsError, DataError: see `named.find` and `settings.check`.
        RewardError: a reward that was asked for and cannot be found.
        BackendError, HubError: see `beginning.start` and `models.locate`.
    """
    gpus, why_no_gpu = find_gpus()
    gpus = best_first(gpus)
    found = named.find(name, changes or {}, gpus, why_no_gpu, base)
    of_run = found.settings.data if found.run is not None and "dataset" not in (changes or {}) else None
    settings = _to_measure(replace(found.settings, data=_divided(found.settings.data, of_run, n_eval, hidden)))
    check(settings)
    session = start("evaluate", Resolved.of(settings, found.given, found.why), gpus, why_no_gpu, [name])
    if session.backend.name != "unsloth":  # it generates by itself; vLLM is for the rollouts of its trainer
        session.resolved = session.resolved.with_model(use_vllm=False)
    rewards, judge, notes = _rewards(found, session)
    session.paid = rewards
    source = session.locate()
    notes = [*found.notes, *notes, *session.introduction]
    return Opened(found, session, source, rewards, judge, notes, of_run)


def _divided(data: DataSettings, of_run: DataSettings | None, n_eval: int | None, hidden: bool) -> DataSettings:
    """Never fewer held out than the run has, or what it measured on would be among the hidden ones."""
    n = n_eval or data.n_eval
    if of_run is None:  # so that fewer problems are the first of those that a run would measure on
        return replace(data, n_eval=data.n_eval if hidden else max(n, data.n_eval), n_hidden=n if hidden else 0)
    n_hidden = of_run.n_hidden or (n if hidden else 0)
    return replace(data, n_eval=of_run.n_eval if hidden else max(n, of_run.n_eval), n_hidden=n_hidden)


def _to_measure(settings: GrpoSettings) -> GrpoSettings:
    """Without what only training wants: rollouts from a server, standby, where and how it is saved."""
    model = replace(settings.model, vllm_mode="colocate", standby=False, lora_dropout=0.0)
    if settings.model.vllm_mode == "server":
        model = replace(model, use_vllm=None)
    record = RecordSettings(seed=settings.record.seed, check_machine=settings.record.check_machine)
    return replace(settings, model=model, record=record)


def _rewards(found: Named, session: Session[GrpoSettings]) -> tuple[list[Reward], Reward, list[str]]:
    """What was paid for, what measures, and what to say of it."""
    asked = found.settings.rewards.reward
    if asked is not None:
        if run_rewards.is_own_code(asked):
            session.backend.import_first()
        paid = run_rewards.asked_for(asked)
        return paid, paid[0], []
    if found.run is None:
        paid = [Reward(target.find(name).function) for name in OF_STYLE[found.settings.data.prompt_style]]
        return paid, paid[0], []
    record = read_json(found.run / SETTINGS)
    paid, notes = [], []
    for kept in record.get("rewards", []):
        try:
            paid.append(Reward(target.find(kept["name"]).function, kept.get("weight", 1.0)))
        except RewardError:
            notes.append(f"reward {kept['name']} is the recipe's own, and not judged here: --reward names others")
    judge = record.get("judge")
    by_name = {reward.name: reward for reward in paid}
    if judge in by_name:
        return paid, by_name[judge], notes
    if judge in registry.REWARDS:
        return paid, Reward(registry.get(judge)), notes
    if judge:
        measured = f"{found.name} was measured by {judge}, its recipe's own"
        raise RewardError(measured, "a reward that is known by name", "say by which to measure: --reward NAME")
    if not paid:
        raise RewardError(f"{found.name}: none of its rewards is known by name", "a reward", "name one: --reward NAME")
    return paid, paid[0], notes


def check_tokenizer(adapter: Path, base: str) -> None:
    """Hold the tokenizer that was saved with an adapter against that of the base; nothing is said where none was saved.

    Raises:
        ModelError: they read the same text as other tokens, so the adapter belongs to another base.
    """
    if not (adapter / "tokenizer.json").exists():
        return
    from transformers import AutoTokenizer

    own, of_base = (AutoTokenizer.from_pretrained(str(folder)).get_vocab() for folder in (adapter, base))
    if own != of_base:
        found = f"{adapter} was saved with a tokenizer of {len(own):,} tokens that is not the one of {base}"
        wanted = f"the adapter's own base ({base} has {len(of_base):,} tokens)"
        raise ModelError(found, wanted, "name it: --base MODEL")
