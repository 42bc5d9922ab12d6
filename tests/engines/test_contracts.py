"""The calls that need a card, held against the sources of the installed Unsloth or vLLM, none of which is imported."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from toolkit.compat import unsloth
from toolkit.compat.versions import find_package

pytestmark = pytest.mark.engine

INSTALLED = {name: folder for name in ("unsloth", "unsloth_zoo", "vllm") if (folder := unsloth.folder_of(name))}


@pytest.fixture
def copied(tmp_path: Path) -> dict[str, Path]:
    """The files that are read, copied, so that a test may break one."""
    files = {(call.package, call.file) for call in unsloth.CALLS}
    files |= {(names.package, file) for names in unsloth.NAMES for file in names.files}
    for package, file in files:
        if package in INSTALLED:
            copy = tmp_path / package / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(INSTALLED[package] / file, copy)
    return {package: tmp_path / package for package in INSTALLED}


def test_the_installed_release_takes_every_call() -> None:
    assert INSTALLED, "neither unsloth nor vllm is installed here"
    assert unsloth.differences() == []


@pytest.mark.skipif("unsloth" not in INSTALLED, reason="unsloth is not installed")
@pytest.mark.parametrize(
    ("package", "file", "old", "new", "said"),
    [
        (
            "unsloth", "models/loader.py", "        max_lora_rank = 64,\n", "",
            "FastLanguageModel.from_pretrained is called with max_lora_rank, which unsloth {} does not take",
        ),
        (
            "unsloth", "models/llama.py", "    def get_peft_model(\n        model,\n        r = 16,\n",
            "    def get_peft_model(\n        model,\n        rank = 16,\n",
            "FastLanguageModel.get_peft_model is called with r, which unsloth {} does not take",
        ),
        (
            "unsloth_zoo", "vllm_utils.py", "def load_lora(model, save_directory, load_tensors = False",
            "def load_lora(save_directory, model, load_tensors = False",
            "model.load_lora is called with model, save_directory by position, and unsloth_zoo {} takes save_directory",
        ),
        (
            "unsloth", "models/rl.py", "    unsloth_grpo_mini_batch : Optional[int]", "    other : Optional[int]",
            "its generated GRPOConfig should have unsloth_grpo_mini_batch, and unsloth {} has not",
        ),
        (
            "unsloth_zoo", "device_type.py", "UNSLOTH_DISABLE_CPU_FALLBACK", "UNSLOTH_NO_CPU",
            "its switches should have UNSLOTH_DISABLE_CPU_FALLBACK, and unsloth_zoo {} has not",
        ),
        (
            "unsloth_zoo", "vllm_utils.py", "MemAllocator.wake_up = wake_up", "pass",
            "Unsloth's allocator, which leaves the weights where they are, should have MemAllocator.wake_up = wake_up,",
        ),
    ],
    ids=["parameter", "renamed", "order", "field", "variable", "standby"],
)  # fmt: skip
def test_a_release_that_takes_something_else_is_one_sentence_with_the_remedy(
    copied: dict[str, Path], package: str, file: str, old: str, new: str, said: str
) -> None:
    path = copied[package] / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    installed = find_package(package)
    assert installed is not None
    (line,) = unsloth.differences(copied)
    assert line.startswith(said.format(installed.version)), line
    assert 'for the tested release: pip install "unsloth==' in line


# What `toolkit.compat.standby` says beyond names


@pytest.mark.skipif("vllm" not in INSTALLED, reason="vllm is not installed")
def test_vllm_fills_the_two_pools_that_standby_knows() -> None:
    text = (INSTALLED["vllm"] / "v1" / "worker" / "gpu_worker.py").read_text()
    assert set(re.findall(r"_memory_pool_context\(tag=(\S+)\)", text)) == {'"weights"', '"kv_cache"'}
    assert "CuMem allocator can only be used for one instance per process" in text


@pytest.mark.skipif("unsloth" not in INSTALLED, reason="unsloth is not installed")
def test_unsloth_still_leaves_vllms_mark_of_sleep_alone() -> None:
    text = (INSTALLED["unsloth_zoo"] / "vllm_utils.py").read_text()
    patch = text.partition("def patch_vllm_enable_sleep_mode")[2].partition("\ndef ")[0]
    assert "unmap_and_release(handle)" in patch
    assert "is_asleep" not in patch


def test_nobody_takes_the_cache_from_under_an_engine_that_sleeps() -> None:
    trl = find_package("trl")
    assert trl is not None
    folders = [folder for name in ("trl", "unsloth", "unsloth_zoo") if (folder := unsloth.folder_of(name))]
    sources = [path.read_text(errors="replace") for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 100
    assert not any("release_kv_cache_memory" in text for text in sources)
    assert sum("self.llm.sleep(level=2)" in text for text in sources) > 0, "as standby.LEVEL"
