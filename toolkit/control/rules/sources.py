"""Where limits come from: published tables and the threads in which a failure was described."""

from __future__ import annotations

GITHUB = "https://github.com/"
AXOLOTL = f"{GITHUB}axolotl-ai-cloud/axolotl/blob/main/docs/training_stability.qmd"
QUICKSTART = f"{GITHUB}huggingface/trl/issues/5697"
FLAT = f"{GITHUB}huggingface/trl/issues/3857"
KL_RISES = f"{GITHUB}PeterGriffinJin/Search-R1/issues/88"
DRIFT = f"{GITHUB}huggingface/trl/issues/3867"
ENTROPY = f"{GITHUB}huggingface/trl/issues/5584"
HACKING = f"{GITHUB}om-ai-lab/VLM-R1/issues/270"
MEMORY = f"{GITHUB}unslothai/unsloth/issues/3512"
SLOW = f"{GITHUB}unslothai/unsloth/issues/2740"
GIBBERISH = f"{GITHUB}unslothai/unsloth/issues/1844"
CHECKLIST = f"checklists for RL runs; see also {KL_RISES}"
OF_GSM8K = "ours: words of GSM8K's 7,473 solutions"
