"""The client's heartbeat, without a clock."""

from __future__ import annotations

import pytest

from tickwire.client.heartbeat import PING_INTERVAL_MS_MAX, UNANSWERED_PINGS_MAX, Heartbeat, ping_interval_ms


def test_connection_is_lost_at_the_third_beat_without_any_message() -> None:
    heartbeat = Heartbeat()
    assert [heartbeat.record_ping() for _ in range(UNANSWERED_PINGS_MAX + 1)] == [True, True, False]


def test_any_message_is_a_sign_of_life() -> None:
    heartbeat = Heartbeat()
    for _ in range(20):
        assert heartbeat.record_ping()
        assert heartbeat.record_ping()
        heartbeat.record_received()


@pytest.mark.parametrize(("asked_ms", "interval_ms"), [(0, 100), (1001, 1001), (3000, 3000), (15000, 3000)])
def test_pings_are_sent_as_often_as_the_server_asks_and_at_least_every_three_seconds(
    asked_ms: int, interval_ms: int
) -> None:
    assert ping_interval_ms(asked_ms) == interval_ms


def test_dead_path_is_noticed_within_ten_seconds_whatever_the_server_asks_for() -> None:
    assert ping_interval_ms(60_000) * (UNANSWERED_PINGS_MAX + 1) < 10_000
    assert PING_INTERVAL_MS_MAX * UNANSWERED_PINGS_MAX > 5_000, "and a stall of 5 s is not mistaken for one"
