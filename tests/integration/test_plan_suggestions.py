"""Suggestions of `toolkit plan`, typed as they are printed."""

from __future__ import annotations

import json

import pytest

from tests.integration.commands import toolkit
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.request import Request
from toolkit.vram.search.suggest import nearest_that_fits


def test_the_flags_as_printed_make_the_plan_fit() -> None:
    request, shape, card = Request(upcast_embeddings=True, lora_rank=256), find("Qwen/Qwen3-8B"), find_card("16")
    nearest = nearest_that_fits(request, shape, card)
    assert nearest is not None
    words = [word for change in nearest[1] for word in str(change).split()]
    asked = ["--model", "Qwen/Qwen3-8B", "--gpu", "16", "--upcast_embeddings", "--lora_rank", "256"]
    answer = json.loads(toolkit("plan", *asked, *words, "--json").stdout)
    assert answer["fits"] is True
    assert answer["peak_process_gib"] == pytest.approx(nearest[0].peak_process_gib, abs=1e-4)
