"""The tiny Qwen3 that ships in the package: a whole model in 1.5 MB, for machines without a GPU or a network.

Qwen3 architecture, hidden size 128, two layers, tied embeddings, 355,968 parameters in float32; Qwen's
pre-tokenizer (every digit a token), special tokens and ChatML. `build_embedded.py` made the files.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import ModelError

NAME = "embedded"


def folder() -> Path:
    """The folder with `config.json`, the weights and the tokenizer; a ModelError where the package lacks them."""
    path = Path(__file__).parent / "embedded_qwen3"
    if not (path / "model.safetensors").exists():
        raise ModelError(
            "the package has no embedded model files",
            "a complete installation",
            "reinstall it, or rebuild them: python -m toolkit.models.build_embedded",
        )
    return path
