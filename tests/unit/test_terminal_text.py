"""Text that a peer chose does nothing to a terminal, and JSON stays JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tickwire.schemas.terminal_text import escape_controls

LIKELY = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x07\x9b\n\r\t\x7f\u202e\u2066\u2028\ufeff\udcff"))
)


@given(LIKELY)
def test_escaped_text_cannot_move_the_cursor_or_begin_a_line(text: str) -> None:
    escaped = escape_controls(text)
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 or one in "\u202e\u2066\u2028\ufeff" for one in escaped)
    escaped.encode()  # a stream takes it


@given(LIKELY)
def test_a_block_keeps_only_line_feeds_and_tabs_of_its_control_characters(text: str) -> None:
    escaped = escape_controls(text, is_block=True)
    assert escaped.count("\n") == text.count("\n")
    assert escape_controls(escaped.replace("\n", "").replace("\t", "")) == escaped.replace("\n", "").replace("\t", "")


@given(LIKELY)
def test_escaped_json_decodes_to_the_same_value(text: str) -> None:
    line = json.dumps({"name": text}, ensure_ascii=False)
    assert json.loads(escape_controls(line)) == {"name": text}


def test_plain_text_is_left_alone() -> None:
    for text in ("", "a room", "Grüße, 東京 🎮", "\\x1b"):
        assert escape_controls(text) == text
