"""The embedded model's tokenizer with a vocabulary as large as another model's, for its random weights."""

from __future__ import annotations

import json
import shutil
from itertools import count, islice, product
from pathlib import Path
from string import ascii_lowercase

from toolkit.models import embedded

SPACE = "Ġ"  # how a byte-level vocabulary writes a space
COPIED = ("tokenizer_config.json", "chat_template.jinja")


def write_tokenizer(folder: Path, n_vocab: int) -> None:
    """Write it to a folder: every id below `n_vocab` has a text of its own, as in a vocabulary that was trained.

    The ids beyond the embedded model's 471 are a space and four letters, about what a trained token has, which no
    prompt is split into: so prompts are longer in tokens than with the real tokenizer, completions as long in text.
    """
    described = json.loads((embedded.folder() / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = described["model"]["vocab"]
    words = (SPACE + "".join(letters) for n in count(4) for letters in product(ascii_lowercase, repeat=n))
    unused = (word for word in words if word not in vocabulary)
    first = max(vocabulary.values()) + 1
    vocabulary |= dict(zip(islice(unused, max(0, n_vocab - first)), count(first), strict=False))
    (folder / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    for name in COPIED:
        shutil.copy(embedded.folder() / name, folder / name)
