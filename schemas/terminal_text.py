"""Text that a peer chose, made safe for a terminal.

Escape sequences move the cursor, retitle the window and hide lines; a line feed begins a line that looks like one of
ours; marks of writing direction reorder what is read. All of them are written as JSON's escapes (\\u001b), so that a
line of JSON stays one. Pure; imports nothing of ours.
"""

from __future__ import annotations

_DIRECTION_MARKS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEPARATORS = (0x2028, 0x2029)
_SURROGATES = range(0xD800, 0xE000)
"""What a header with bytes that are not UTF-8 is decoded to; no stream takes them."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_ESCAPES = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_DIRECTION_MARKS, *_SEPARATORS, *_SURROGATES, 0xFEFF)}
_ESCAPES_OF_BLOCKS = {code: text for code, text in _ESCAPES.items() if chr(code) not in "\n\t"}


def escape_controls(text: str, *, is_block: bool = False) -> str:
    """Return the text with its control characters escaped.

    Args:
        is_block: whether line feeds and tabs stay as they are, as in a stack trace or a table.
    """
    return text if text.isprintable() else text.translate(_ESCAPES_OF_BLOCKS if is_block else _ESCAPES)
