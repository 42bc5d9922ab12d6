"""A finding says what an error says, and many come to the worst of them."""

from __future__ import annotations

import pytest

from toolkit.errors import SettingsError, first_line, is_out_of_memory
from toolkit.findings import Finding, Level, worst


def test_a_finding_reads_as_the_error_it_may_become() -> None:
    finding = Finding("disk", "red", "it is full", "2 GiB", "make room")
    assert (
        str(finding) == str(SettingsError("it is full", "2 GiB", "make room")) == "it is full; wanted 2 GiB; make room."
    )


def test_the_level_is_told_in_the_callers_words() -> None:
    words: dict[Level, str] = {"green": "PASS", "info": "INFO", "amber": "WARN", "red": "FAIL"}
    assert Finding("a", "amber", "b", "c", "d").as_json(words) == {
        "name": "a",
        "status": "WARN",
        "found": "b",
        "wanted": "c",
        "remedy": "d",
    }


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], "green"), (["green", "info"], "info"), (["red", "green", "amber"], "red"), (["info", "amber"], "amber")],
)
def test_the_worst_of_many(levels: list[Level], expected: Level) -> None:
    assert worst(levels) == expected


def test_the_first_line_of_an_error_that_is_not_ours() -> None:
    assert first_line(ValueError("  one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 160


def test_out_of_memory_is_known_through_whatever_wraps_it() -> None:
    wrapped = ValueError("cannot be loaded")
    wrapped.__cause__ = RuntimeError("CUDA error: out of memory")
    assert is_out_of_memory(wrapped)
    assert is_out_of_memory(ValueError("Free memory (3/24 GiB) is less than desired GPU memory utilization (0.6)"))
    assert not is_out_of_memory(ValueError("no such file"))
