"""Which repository Unsloth loads for a Hub id: its own 4-bit or 16-bit copy, by a table in its source.

- Symptom: after `--model Qwen/Qwen2.5-3B-Instruct` the local cache holds `unsloth/...-bnb-4bit`, so whoever looks for
  the id that was asked for does not find it without a network.
- Source: `models/mapper.py` and `BAD_MAPPINGS` in `models/loader_utils.py`, which are read here without importing
  Unsloth: that takes half a minute and must not happen before the environment is set.
- Remove when Unsloth says what it will load.
"""

from __future__ import annotations

import re
import runpy
from functools import cache
from typing import Any

from toolkit.compat.unsloth import folder_of


def loaded_for(model: str, *, in_4bit: bool) -> str:
    """The Hub id that Unsloth takes the weights from; `model` itself where it has no copy, or is not installed."""
    tables = _tables()
    if not tables or (in_4bit and model.lower().endswith("-bnb-4bit")):
        return model
    names = ("FLOAT_TO_INT_MAPPER",) if in_4bit else ("INT_TO_FLOAT_MAPPER", "MAP_TO_UNSLOTH_16bit")
    found = next((tables[name][model.lower()] for name in names if model.lower() in tables[name]), model)
    return tables["BAD_MAPPINGS"].get(found.lower(), found)


@cache
def _tables() -> dict[str, dict[str, str]]:
    folder = folder_of("unsloth")
    if folder is None:
        return {}
    try:
        tables: dict[str, Any] = runpy.run_path(str(folder / "models" / "mapper.py"))
        text = (folder / "models" / "loader_utils.py").read_text(encoding="utf-8")
    except OSError:
        return {}
    exceptions = re.findall(r'^ +"([^"]+)"\.lower\(\): "([^"]+)"', text, re.MULTILINE)
    return tables | {"BAD_MAPPINGS": {name.lower(): other for name, other in exceptions}}
