"""Text of any origin, a model's among them, as a page can hold it."""

from __future__ import annotations

# Control characters but tab and line end get the pictures that Unicode has for them; a lone surrogate cannot be written
# as UTF-8, and XML knows neither C1 controls nor U+FFFE and U+FFFF
_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"} | {0x7F: 0x2421}
_SIGNS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)


def visible(text: str) -> str:
    """The text with a sign in place of each character that a page cannot hold."""
    return text.translate(_SIGNS)
