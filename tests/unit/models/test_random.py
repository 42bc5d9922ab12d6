"""A random checkpoint has the shape and the vocabulary of the model that it stands for, and is there whole or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import ModelError
from toolkit.models import random, random_cache
from toolkit.models.stand_in_tokenizer import write_tokenizer
from toolkit.vram.configs import from_config
from toolkit.vram.shapes import Shape

VOCAB = 3000
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "tie_word_embeddings": True,
    "max_position_embeddings": 256,
}


@pytest.fixture
def shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shape:
    monkeypatch.setattr(random_cache, "root", lambda: tmp_path / "kept")
    return from_config(CONFIG, "own/tiny")


def test_it_is_written_once_and_has_the_shape_and_the_vocabulary(shape: Shape) -> None:
    folder = random_cache.ensure(shape, "float32", in_4bit=False)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert random_cache.ensure(shape, "float32", in_4bit=False) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == VOCAB
    assert all(tokenizer.decode([token]).strip() for token in (471, VOCAB // 2, VOCAB - 1))
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert n_bytes / 2**30 == pytest.approx(random_cache.size_gib(shape, "float32", in_4bit=False), rel=0.02)


def test_every_id_of_a_large_vocabulary_has_a_text_of_its_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, 151_936)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(151_936))


def test_a_writer_that_is_ended_leaves_no_half_model(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "kept" / "tiny"
    with monkeypatch.context() as during:
        during.setattr(random, "write_tokenizer", ended)
        with pytest.raises(KeyboardInterrupt):
            random_cache.write_whole(shape, folder, dtype="float32", in_4bit=False)
    assert not folder.exists()
    random_cache.write_whole(shape, folder, dtype="float32", in_4bit=False)
    assert (folder / "config.json").exists()


def test_a_disk_without_room_is_one_line(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_cache, "ROOM_GIB", 1e6)
    with pytest.raises(ModelError, match="random weights of own/tiny take"):
        random_cache.ensure(shape, "float32", in_4bit=False)
