"""Finding a model: by the ways its name is written, as `embedded`, in a folder, in the Hub's cache, or not at all."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vram.real_models import hub_config
from toolkit import cli
from toolkit.errors import ModelError
from toolkit.models import embedded
from toolkit.vram.catalog import find
from toolkit.vram.configs import from_config, tables

KNOWN = [model for row in tables()["models"] for model in row["ids"]]
# Families that the planner promises: id with a gap, what fills it, and the suffixes of base and tuned weights
FAMILIES = (
    ("Qwen/Qwen2.5-{}", ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"), ("", "-Instruct")),
    ("Qwen/Qwen2.5-Coder-{}", ("0.5B", "1.5B", "3B", "7B", "14B", "32B"), ("", "-Instruct")),
    ("Qwen/Qwen2.5-Math-{}", ("1.5B", "7B", "72B"), ("", "-Instruct")),
    ("Qwen/Qwen2-{}", ("0.5B", "1.5B", "7B", "72B"), ("", "-Instruct")),
    ("Qwen/Qwen3-{}", ("0.6B", "1.7B", "4B", "8B", "14B"), ("", "-Base")),
    ("Qwen/Qwen3-{}", ("32B",), ("",)),
    ("meta-llama/Llama-3.2-{}", ("1B", "3B"), ("", "-Instruct")),
    ("meta-llama/Llama-3.1-{}", ("8B", "70B"), ("", "-Instruct")),
    ("meta-llama/Llama-3.3-{}", ("70B",), ("-Instruct",)),
    ("meta-llama/Meta-Llama-3-{}", ("8B", "70B"), ("", "-Instruct")),
    ("meta-llama/Llama-2-{}", ("7b", "13b", "70b"), ("-hf", "-chat-hf")),
    ("mistralai/Mistral-7B-{}", ("v0.1", "v0.3", "Instruct-v0.1", "Instruct-v0.2", "Instruct-v0.3"), ("",)),
    ("google/gemma-2-{}", ("2b", "9b", "27b"), ("", "-it")),
    ("google/gemma-3-{}", ("1b", "4b", "12b", "27b"), ("-pt", "-it")),
    ("google/gemma-3-{}", ("270m",), ("", "-it")),
    ("microsoft/{}", ("phi-4", "Phi-4-mini-instruct"), ("",)),
    ("HuggingFaceTB/SmolLM2-{}", ("135M", "360M", "1.7B"), ("", "-Instruct")),
    ("HuggingFaceTB/SmolLM3-{}", ("3B",), ("", "-Base")),
    ("TinyLlama/TinyLlama-1.1B-{}", ("Chat-v1.0", "intermediate-step-1431k-3T"), ("",)),
    ("deepseek-ai/deepseek-coder-{}", ("1.3b-base", "1.3b-instruct"), ("",)),
)


@pytest.mark.parametrize(("form", "sizes", "suffixes"), FAMILIES)
def test_the_table_holds_every_size_of_a_family(form: str, sizes: tuple[str, ...], suffixes: tuple[str, ...]) -> None:
    wanted = {form.format(size) + suffix for size, suffix in product(sizes, suffixes)}
    assert wanted - set(KNOWN) == set()


def test_an_id_stands_once_in_the_table() -> None:
    assert len({model.lower() for model in KNOWN}) == len(KNOWN) > 100


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("qwen/qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B-Base"),
        ("unsloth/Qwen2.5-3B-Instruct-bnb-4bit", "Qwen/Qwen2.5-3B-Instruct"),
        ("unsloth/qwen3-14b-unsloth-bnb-4bit", "Qwen/Qwen3-14B"),
        ("somebody/gemma-2-9b-it-bnb-4bit", "google/gemma-2-9b-it"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("unsloth/llama-3-8b-bnb-4bit", "meta-llama/Meta-Llama-3-8B"),
        ("unsloth/tinyllama", "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"),
        ("unsloth/mistral-7b-bnb-4bit", "mistralai/Mistral-7B-v0.1"),
        ("unsloth/Phi-3-medium-4k-instruct-bnb-4bit", "unsloth/Phi-3-medium-4k-instruct"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, found: str) -> None:
    assert find(name).name == found


@given(st.data())
def test_every_id_is_found_in_any_case_and_without_owner(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(KNOWN))
    owner, _, name = model.rpartition("/")
    case = data.draw(st.sampled_from((str.lower, str.upper, str)))
    assert find(case(model)).name == model
    if owner != "unsloth":
        assert find(case(name)).name == model


def test_unsloths_copy_of_phi_4_has_other_modules_and_as_many_parameters() -> None:
    original, copy = find("phi-4"), find("unsloth/Phi-4-unsloth-bnb-4bit")
    assert (original.fused, copy.fused) == (True, False)
    assert original.parameters() == copy.parameters()
    assert original.lora_parameters(8, ["all-linear"]) != copy.lora_parameters(8, ["all-linear"])


def test_siblings_differ_where_their_configs_do() -> None:
    positions = {name: find(f"Qwen/Qwen2.5{name}-7B").max_position_embeddings for name in ("", "-Math", "-Coder")}
    assert positions == {"": 131072, "-Math": 4096, "-Coder": 32768}
    assert find("Qwen/Qwen2.5-7B-Instruct").max_position_embeddings == 32768
    assert find("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B").tied is False
    assert find("mistralai/Mistral-7B-v0.1").sliding_window == 4096
    assert find("mistralai/Mistral-7B-v0.3").sliding_window is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen/Qwen2.5-9B", "Qwen/Qwen2.5-7B"),
        ("llama-3.2-2b", "meta-llama/Llama-3.2-1B"),
        ("Qwen2.5-7B-Instuct", "7B-I"),
    ],
)
def test_an_unknown_name_brings_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelError, match="did you mean") as caught:
        find(name)
    assert near in str(caught.value)
    assert "config.json" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "  ", "gpt-17-ultra", "someone/Qwen2.5-7B", "x" * 5000, "a\0b"])
def test_what_the_table_does_not_know_is_not_guessed(name: str) -> None:
    with pytest.raises(ModelError, match="unknown model"):
        find(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", ("AWQ", "made from, Qwen/Qwen2.5-7B-Instruct.")),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", ("GPTQ", "made from, Qwen/Qwen2.5-7B-Instruct.")),
        ("unsloth/Qwen3-8B-GGUF", ("GGUF", "made from, Qwen/Qwen3-8B.")),
        ("Qwen/Qwen3-8B-FP8", ("FP8", "made from, Qwen/Qwen3-8B.")),
        ("somebody/own-model.gguf", ("GGUF", "made from.")),
        ("Qwen/Qwen3-30B-A3B", ("mixture of experts",)),
        ("mistralai/Mixtral-8x7B-v0.1", ("mixture of experts",)),
        ("somebody/own-model", ("unknown model", "hf download somebody/own-model config.json")),
    ],
)
def test_a_copy_that_cannot_be_trained_is_not_taken_for_its_original(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        find(name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_embedded_is_counted_to_the_last_of_its_saved_weights(capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors import safe_open

    with safe_open(embedded.folder() / "model.safetensors", "np") as weights:
        saved = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118
    assert cli.main(["plan", "--model", embedded.NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == {"name": "embedded", "parameters": saved}


def test_embedded_is_not_a_folder_that_happens_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "config.json").write_text(json.dumps(hub_config("Qwen/Qwen3-0.6B")))
    monkeypatch.chdir(tmp_path)
    assert find("embedded").hidden == 128
    assert find("./embedded").hidden == 1024


def test_a_folder_and_its_config_are_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "my-qwen"
    folder.mkdir()
    config = hub_config("Qwen/Qwen3-0.6B")
    (folder / "config.json").write_text(json.dumps(config))
    assert find(str(folder)) == find(str(folder / "config.json")) == from_config(config, "my-qwen")
    assert find(str(folder)).parameters() == 596_049_920


def test_an_adapter_names_the_model_that_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen2.5-3B-Instruct"}))
    with pytest.raises(ModelError, match=r"holds no config.json.* give its base model, Qwen/Qwen2\.5-3B-Instruct"):
        find(str(tmp_path))


def test_weights_are_not_read_for_a_config(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"is a \.gguf file; wanted a model folder"):
        find(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [("config.json", "{", "not JSON"), ("config.json", "[]", "holds a list"), ("adapter_config.json", "{}", "adapter")],
)
def test_a_folder_without_a_usable_config_says_what_it_holds(tmp_path: Path, name: str, text: str, word: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=word):
        find(str(tmp_path))


def test_a_path_that_is_not_there_is_not_taken_for_an_id(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "./none", "~nobody-here/x", "none/config.json", "/" + "x" * 5000):
        with pytest.raises(ModelError, match="does not exist"):
            find(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out: refs, blobs, and snapshots that link into the blobs."""
    repository = tmp_path / "models--Acme--Own-Model"
    for folder in ("refs", "blobs", f"snapshots/{'0' * 40}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "blobs" / "1").write_text(json.dumps(hub_config("Qwen/Qwen3-0.6B")))
    (repository / "snapshots" / ("0" * 40) / "config.json").symlink_to("../../blobs/1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # for subprocesses: huggingface_hub reads it when imported
    return repository


def test_a_snapshot_folder_is_named_by_itself(cache: Path) -> None:
    (snapshot,) = (cache / "snapshots").iterdir()
    assert find(str(snapshot)).name == snapshot.name
