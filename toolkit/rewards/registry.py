"""Every reward by its name. Listing the names imports nothing; a reward is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards.base import RewardFunction

_MODULES = {
    "correctness": """correct correct_signed correct_hashes correct_boxed correct_answer_is correct_last_number
        correct_any correct_latex close integer partial_credit""",
    "choice": "correct_choice",
    "formatting": "format format_soft tag_count format_think format_hashes one_answer nothing_after",
    "reasoning": "steps connectives verification",
    "length": "length_band too_short overlong cosine_length group_length",
    "repetition": "repetition distinct_1 distinct_2 compression printable",
    "language": "language_consistency",
    "rubric": "rubric_sales_zh rubric_sales_zh_hybrid",
    "code": "code_syntax code_tests code_all_tests",
    "composition": "r1_bundle r1_curriculum correct_if_format mixed_explore mixed_balance mixed_exploit mixed_phases",
    "learned": "reward_model judge",
}
REWARDS: dict[str, str] = {name: module for module, listed in _MODULES.items() for name in listed.split()}
"""Name of each reward, with default settings, to its module below `toolkit.rewards`; in the order of listing."""

PREFIXES = ("rubric:", "composition:", "reward_model:", "judge:")
"""Each before a FILE.yaml of the user's own; `reward_model:` also before a folder or Hub id."""


def get(name: str) -> RewardFunction:
    """The reward of this name with its default settings, or what a name with one of `PREFIXES` describes.

    `reward_model` and `judge` alone tell what they are; to score they need a model, and so a prefix. No model is loaded
    here.

    Raises:
        RewardError: no such name (with the nearest ones), or a file that cannot be read.
    """
    kind, _, source = name.partition(":")
    if name.startswith("rubric:"):
        from toolkit.rewards.rubric import load_rubric

        return load_rubric(source)
    if name.startswith("composition:"):
        from toolkit.rewards.composition_file import load_composition

        return load_composition(source)
    if name.startswith(PREFIXES):
        from toolkit.rewards.learned import Judge, RewardModel
        from toolkit.rewards.table_file import load_settings

        if kind == "judge":
            return load_settings(Judge, source)
        return load_settings(RewardModel, source) if source.endswith((".yaml", ".yml")) else RewardModel(model=source)
    if name not in REWARDS:
        hint = did_you_mean(name, REWARDS) or f"one of {', '.join(REWARDS)}, or rubric:FILE.yaml"
        raise RewardError(f"there is no reward {name!r}", hint, "list them: toolkit reward list")
    return getattr(import_module(f"toolkit.rewards.{REWARDS[name]}"), name)
