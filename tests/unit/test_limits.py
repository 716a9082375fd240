"""Buckets, the gate, the ladder, the table of replies: each limit by itself; time and ticks are plain numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.limits import REPLIES_MAX
from tickwire.schemas.messages import ErrorCode, Reply
from tickwire.server.edge.admission import SLOT_S, AdmissionQueue
from tickwire.server.edge.reply_cache import REPLY_BYTES_MAX, ReplyCache
from tickwire.server.edge.token_bucket import TokenBucket
from tickwire.server.rooms.send_rate import AdaptiveSendRate, SendLevel


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=100))
def test_bucket_never_exceeds_its_burst_and_rate(steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(10, 20, 0.0)
    now_s, given_out = 0.0, 0.0
    for pause_s, count in steps:
        now_s += pause_s
        given_out += count if bucket.try_take(now_s, count) else 0
        assert given_out <= 20 + 10 * now_s + 1e-6


def test_bucket_fills_up_to_its_burst() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert bucket.try_take(100.0, 20)
    assert not bucket.try_take(100.0)
    assert not bucket.try_take(100.4, 5)
    assert bucket.try_take(100.5, 5)


def test_admission_queue_releases_at_its_rate_and_in_order() -> None:
    gate: AdmissionQueue[int] = AdmissionQueue(per_second=100, wait_s_max=1.0, now_s=0.0)
    passed = [number for number in range(50) if gate.offer(number, 0.0)]
    assert passed == [0, 1, 2, 3], "two slots' worth at once"
    assert gate.wait_s == pytest.approx(0.46)
    now_s = 0.0
    while len(gate):
        now_s += SLOT_S
        passed += gate.release_due(now_s)
    assert passed == list(range(50))
    assert now_s == pytest.approx(0.46, abs=SLOT_S)


def test_new_item_waits_behind_waiting_items() -> None:
    gate: AdmissionQueue[str] = AdmissionQueue(per_second=100, wait_s_max=1.0, now_s=0.0)
    for name in ("1", "2", "3", "4", "c"):
        gate.offer(name, 0.0)
    assert not gate.offer("late", 10.0), "there is room, but others were first"
    assert list(gate.release_due(10.0)) == ["c", "late"]


def test_full_admission_queue_is_full() -> None:
    gate: AdmissionQueue[int] = AdmissionQueue(per_second=100, wait_s_max=0.1, now_s=0.0)
    for number in range(14):
        assert not gate.is_full
        gate.offer(number, 0.0)
    assert gate.is_full
    assert len(gate.clear()) == 10
    assert len(gate) == 0


def congest(rate: AdaptiveSendRate, ticks: int) -> None:
    for _ in range(ticks):
        rate.record_congested()


def clear(rate: AdaptiveSendRate, ticks: int) -> None:
    for _ in range(ticks):
        rate.record_clear()


def test_the_send_level_falls_after_congested_seconds_and_ends_in_a_close() -> None:
    rate = AdaptiveSendRate(20)
    levels = [rate.level]
    for _ in range(10):
        congest(rate, 20)
        levels.append(rate.level)
    assert levels[:4] == [SendLevel.FULL, SendLevel.HALVED, SendLevel.KEYFRAMES, SendLevel.KEYFRAMES]
    assert rate.is_closed
    assert not rate.record_congested(), "the close is reported once"


def test_short_congestion_is_ignored_and_a_clear_connection_recovers() -> None:
    rate = AdaptiveSendRate(20)
    for _ in range(10):
        congest(rate, 10)
        clear(rate, 60)
    assert rate.is_recovered
    congest(rate, 40)
    assert rate.level is SendLevel.KEYFRAMES
    clear(rate, 60)
    assert rate.level is SendLevel.HALVED
    clear(rate, 59)
    congest(rate, 1)
    clear(rate, 59)
    assert rate.level is SendLevel.HALVED, "the connection must be clear without a break"
    clear(rate, 1)
    assert rate.level is SendLevel.FULL


@pytest.mark.parametrize(("level", "due"), [(SendLevel.FULL, 40), (SendLevel.HALVED, 20), (SendLevel.KEYFRAMES, 2)])
def test_each_send_level_has_its_interval(level: SendLevel, due: int) -> None:
    rate = AdaptiveSendRate(20)
    congest(rate, 20 * level)
    assert rate.level is level
    assert sum(rate.is_due(tick) for tick in range(40)) == due


def test_reply_is_repeated_until_it_is_evicted_and_then_rejected() -> None:
    replies = ReplyCache()
    for number in range(1, REPLIES_MAX + 4):
        assert replies.find(number) is None
        replies.add(Reply(number, ok=True))
    assert len(replies) == REPLIES_MAX
    assert replies.find(4) == Reply(4, ok=True)
    for forgotten in (1, 3):
        reply = replies.find(forgotten)
        assert reply is not None
        assert (reply.ok, reply.error) == (False, ErrorCode.COMMAND_TOO_OLD)
    assert replies.find(0) is not None, "an id below those that were forgotten may have been one of them"


def test_reply_cache_is_bounded_in_bytes() -> None:
    replies = ReplyCache()
    for number in range(100):
        replies.add(Reply(number, ok=True, payload=bytes(REPLY_BYTES_MAX // 8)))
    assert len(replies) == 8
