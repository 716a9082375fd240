"""Rooms with many players migrate one after another, rooms with few at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.migration.reconnect_pace import ReconnectPace


def test_room_waits_for_the_players_of_earlier_rooms() -> None:
    pace = ReconnectPace(players_per_s=100)
    assert pace.delay_s(50, now_s=10.0) == 0
    assert pace.delay_s(50, now_s=10.0) == pytest.approx(0.5)
    assert pace.delay_s(10, now_s=10.2) == pytest.approx(0.8)


def test_room_does_not_wait_when_others_have_reconnected() -> None:
    pace = ReconnectPace(players_per_s=100)
    assert pace.delay_s(50, now_s=10.0) == 0
    assert pace.delay_s(50, now_s=10.6) == 0


def test_empty_rooms_neither_wait_nor_delay() -> None:
    pace = ReconnectPace(players_per_s=100)
    assert [pace.delay_s(0, now_s=1.0) for _ in range(1000)] == [0] * 1000
    assert pace.delay_s(1, now_s=1.0) == 0


def test_empty_room_does_not_wait_for_the_players_of_other_rooms() -> None:
    pace = ReconnectPace(players_per_s=100)
    assert pace.delay_s(50, now_s=10.0) == 0
    assert pace.delay_s(0, now_s=10.0) == 0
    assert pace.delay_s(1, now_s=10.0) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 2)), max_size=60))
def test_reconnects_never_exceed_the_rate_plus_one_room(rooms: list[tuple[int, float]]) -> None:
    pace, now_s, moves = ReconnectPace(players_per_s=200), 100.0, []
    for players, pause_s in rooms:
        now_s += pause_s
        moves.append((now_s + pace.delay_s(players, now_s), players))
    for index, (begin_s, _) in enumerate(moves):
        total = 0
        for at_s, players in moves[index:]:
            assert total <= 200 * (at_s - begin_s) + 1e-3
            total += players
