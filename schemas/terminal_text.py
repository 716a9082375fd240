r"""Escapes text of a peer before it is written to a terminal.

Escape sequences can move the cursor, change the window's title and hide lines. A line feed can imitate a line of the
program, and direction marks can reorder the text. They are written as JSON escapes (\u001b), so that a line of JSON
stays one line. Pure; imports no other module of Tickwire.
"""

from __future__ import annotations

_DIRECTION_MARKS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEPARATORS = (0x2028, 0x2029)
_SURROGATES = range(0xD800, 0xE000)
"""Headers with bytes that are not UTF-8 are decoded to these; no stream can encode them."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_ESCAPES = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_DIRECTION_MARKS, *_SEPARATORS, *_SURROGATES, 0xFEFF)}
_BLOCK_ESCAPES = {code: text for code, text in _ESCAPES.items() if chr(code) not in "\n\t"}


def escape_controls(text: str, *, is_block: bool = False) -> str:
    """Return the text with its control characters escaped.

    Args:
        text: the text.
        is_block: whether to keep line feeds and tabs, for example in a stack trace or a table.
    """
    return text if text.isprintable() else text.translate(_BLOCK_ESCAPES if is_block else _ESCAPES)
