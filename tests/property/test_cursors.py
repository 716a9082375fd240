"""Cursors return to the same position, and no text breaks them."""

from __future__ import annotations

import base64
import datetime
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from tickwire.server.errors import InvalidArgument
from tickwire.server.http.cursors import CURSOR_CHARACTERS_MAX, CursorCodec, Page


class ScorePosition(msgspec.Struct, frozen=True):
    score: Annotated[int, Meta(ge=0, le=1000)]
    player_id: Annotated[str, Meta(max_length=32)]


CODEC = CursorCodec("scores", ScorePosition)
PLACES = st.builds(ScorePosition, st.integers(0, 1000), st.text(st.characters(codec="utf-8"), max_size=32))


@given(PLACES)
def test_cursor_returns_to_its_position(place: ScorePosition) -> None:
    cursor = CODEC.encode(place)
    assert CODEC.decode(cursor) == place
    assert len(cursor) <= CURSOR_CHARACTERS_MAX
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(PLACES)
def test_cursor_of_another_list_or_version_is_refused(place: ScorePosition) -> None:
    for other in (CursorCodec("friends", ScorePosition), CursorCodec("scores", ScorePosition, version=2)):
        with pytest.raises(InvalidArgument):
            CODEC.decode(other.encode(place))


def check_harmless(cursor: str) -> None:
    """A text is refused, or selects a position within the bounds."""
    try:
        place = CODEC.decode(cursor)
    except InvalidArgument:
        return
    assert place is None or (0 <= place.score <= 1000 and len(place.player_id) <= 32)
    assert (place is None) == (not cursor)


TIMES = CursorCodec("times", datetime.datetime)


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_cursor_returns_to_its_time(at: datetime.datetime) -> None:
    assert TIMES.decode(TIMES.encode(at)) == at


@pytest.mark.parametrize(
    "position",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00Z"],
)
def test_time_in_a_form_that_no_cursor_has_is_refused(position: str) -> None:
    data = msgspec.msgpack.encode((1, "times", position))
    with pytest.raises(InvalidArgument):
        TIMES.decode(base64.urlsafe_b64encode(data).rstrip(b"=").decode())


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    check_harmless(text)


@given(st.binary(max_size=600))
def test_any_bytes_are_harmless(data: bytes) -> None:
    check_harmless(base64.urlsafe_b64encode(data).rstrip(b"=").decode())
    check_harmless(base64.urlsafe_b64encode(data).decode())


@given(PLACES, st.data())
def test_changed_cursor_is_harmless(place: ScorePosition, data: st.DataObject) -> None:
    cursor = CODEC.encode(place)
    at = data.draw(st.integers(0, len(cursor) - 1))
    check_harmless(cursor[:at] + data.draw(st.characters()) + cursor[at + 1 :])
    check_harmless(cursor[:at])


@pytest.mark.parametrize(
    "value", [{"score": -1, "player_id": ""}, {"score": 1, "player_id": "x" * 33}, {"score": 1}, 5]
)
def test_forged_position_outside_of_its_type_is_refused(value: object) -> None:
    forged = base64.urlsafe_b64encode(msgspec.msgpack.encode((1, "scores", value))).rstrip(b"=").decode()
    with pytest.raises(InvalidArgument):
        CODEC.decode(forged)


def test_deeply_nested_and_long_cursors_are_refused() -> None:
    for data in (b"\x93\x01\xa6scores" + b"\x91" * 370, b"\x00" * 100_000):
        with pytest.raises(InvalidArgument, match=r"^cursor: "):
            CODEC.decode(base64.urlsafe_b64encode(data).rstrip(b"=").decode())
    with pytest.raises(ValueError, match="does not fit"):
        CursorCodec("scores", str).encode("x" * 1000)


@given(st.lists(st.integers(0, 1000), unique=True, max_size=60).map(sorted), st.integers(1, 20))
def test_pages_visit_each_item_once(items: list[int], limit: int) -> None:
    codec = CursorCodec("numbers", int)
    seen: list[int] = []
    cursor = ""
    for _ in range(len(items) + 2):
        after = codec.decode(cursor)
        found = [one for one in items if after is None or one > after][: limit + 1]
        page: Page[int] = codec.page(found, limit, lambda item: item)
        assert len(page.items) <= limit
        seen += page.items
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == items
