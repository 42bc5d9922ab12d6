"""What the backend passes to Unsloth and vLLM is what is declared, so that the contracts are about the real calls."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.backends import unsloth as backend
from toolkit.compat import unsloth
from toolkit.compat.unsloth import CALLS, NAMES, Signature, read_signature
from toolkit.compat.unsloth_rollouts import keep_adapter_apart
from toolkit.errors import ContractError
from toolkit.machine.devices import Gpu
from toolkit.settings import Lengths, ModelSettings
from toolkit.settings.grpo_fields import UNSLOTH_GRPO_FIELDS

CARD = Gpu(0, "a card", 24.0, 23.0, (8, 6), "580")
DECLARED = {call.name.rpartition(".")[2]: call for call in CALLS}
SOURCE = ast.parse(Path(backend.__file__).read_text())


def calls_to(name: str) -> list[ast.Call]:
    """Calls in the backend of something with that last name."""
    found = [node for node in ast.walk(SOURCE) if isinstance(node, ast.Call)]
    return [node for node in found if getattr(node.func, "attr", getattr(node.func, "id", None)) == name]


@pytest.mark.parametrize("name", [name for name, call in DECLARED.items() if call.by_us and name != "from_pretrained"])
def test_a_call_passes_what_is_declared(name: str) -> None:
    declared, made = DECLARED[name], calls_to(name)
    assert made, f"{name} is declared as called and is not"
    for call in made:
        assert {keyword.arg for keyword in call.keywords} == set(declared.keywords)
        # `model.load_lora` has its model bound
        assert len(call.args) == len(declared.positional) - (name == "load_lora")


def test_loading_passes_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = backend.UnslothBackend(CARD)
    monkeypatch.setattr(ours, "rolls_out_with_vllm", lambda settings: True)
    asked = (ModelSettings(), "a model", Lengths(512, 1024))
    arguments = ours._load_arguments(*asked)
    assert set(arguments) == set(DECLARED["from_pretrained"].keywords)
    monkeypatch.setattr(ours, "rolls_out_with_vllm", lambda settings: False)
    assert set(ours._load_arguments(*asked)) == set(unsloth.OF_LOADING)


def test_no_call_of_unsloths_goes_undeclared() -> None:
    """Everything called on `fast` (FastLanguageModel) and what Unsloth binds to the model."""
    of_model = {"fast_generate", "load_lora", "save_lora", "save_pretrained_merged", "save_pretrained_gguf"}
    called = {
        node.func.attr
        for node in ast.walk(SOURCE)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (ast.unparse(node.func.value) == "fast" or node.func.attr in of_model)
    }
    assert called == {name for name, call in DECLARED.items() if call.by_us}


def test_sampling_parameters_and_config_fields_are_declared() -> None:
    declared = {name for names in NAMES for name in names.names}
    (made,) = calls_to("SamplingParams")
    passed = {keyword.arg for keyword in made.keywords if keyword.arg}
    passed |= {k.arg for call in calls_to("_sampling_params") for k in call.keywords if k.arg}
    assert passed <= declared
    assert set(UNSLOTH_GRPO_FIELDS) | {"vllm_sampling_params"} <= declared


def test_only_the_header_of_a_function_counts(tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(
        "\nclass Other:\n    def load(self, wrong): pass\n"
        "\nclass Wanted(Other):\n    @staticmethod\n    @wraps(f)\n"
        "    def load(\n        model, *args,  # a colon: here\n        mode: dict[str, int] = {'a': 1},\n"
        "        **kwargs,\n    ) -> int:\n        def load(inner): pass\n        not python at all\n"
        "\ndef free(self, x, /, y, *, z=')'): return 1\n"
    )
    assert read_signature(path, "Wanted.load") == Signature(("model",), frozenset({"model", "mode"}))
    assert read_signature(path, "free") == Signature(("x", "y"), frozenset({"y", "z"}))
    assert read_signature(path, "Wanted.missing") is None
    assert read_signature(tmp_path / "absent.py", "free") is None


def test_the_engine_gets_copies_of_what_it_scales_and_a_folder_of_its_own() -> None:
    import torch

    asked: list[str] = []
    trained = {"q.lora_A.weight": torch.ones(2), "q.lora_B.weight": torch.ones(2)}

    def load_lora(save_directory: str, load_tensors: bool = False, **more: Any) -> SimpleNamespace:
        asked.append(save_directory)
        return SimpleNamespace(lora_tensors=dict(trained) if load_tensors else None)

    for dtype, is_copied in ((torch.float32, True), (torch.bfloat16, False)):
        config = SimpleNamespace(lora_config=SimpleNamespace(lora_dtype=dtype))
        engine = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=config))
        model = SimpleNamespace(load_lora=load_lora, vllm_engine=engine)
        keep_adapter_apart(model)
        given = model.load_lora("rollout", load_tensors=True).lora_tensors
        assert given["q.lora_A.weight"] is trained["q.lora_A.weight"]
        assert (given["q.lora_B.weight"] is not trained["q.lora_B.weight"]) == is_copied
    assert model.load_lora("saved/adapter").lora_tensors is None
    assert [Path(name).name for name in asked] == ["rollout", "rollout", "adapter"]
    assert Path(asked[0]).is_absolute()
    assert asked[2] == "saved/adapter", "what is read from disk is where it was said to be"
    with pytest.raises(ContractError, match="no load_lora"):
        keep_adapter_apart(SimpleNamespace(vllm_engine=None))


def test_a_run_on_a_card_stops_at_a_difference_before_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsloth, "differences", lambda **_: ["a is called with b, which c does not take", "another"])
    with pytest.raises(ContractError, match=r"^a is called with b, .* \(and 1 more: toolkit doctor\)\.$"):
        backend.UnslothBackend(CARD).load(ModelSettings(use_vllm=False), "a model", Lengths(512, 1024), 0)
