"""The rate limits of one connection, and of all connections of an address; the time is a plain number."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.addresses import BURST_S as ADDRESS_BURST_S
from tickwire.server.edge.addresses import Addresses
from tickwire.server.edge.rate_limit import BURST_S, FIRST_BURST_S, LimitScope, RateLimiter
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.throttle import Throttle
from tickwire.server.edge.token_bucket import TokenBucket

SETTINGS = EdgeSettings(messages_per_second_max=100, bytes_per_second_max=10_000)


def limiter_of(address_level: float = 1e9) -> RateLimiter:
    return RateLimiter(SETTINGS, TokenBucket(1e9, address_level, 0.0), 0.0)


def is_refused(limiter: RateLimiter, now_s: float) -> bool:
    """Return whether a frame has to wait; a connection asks for a refill only when a bucket is empty."""
    return (limiter.own.tokens <= 0 or limiter.address.tokens <= 0) and limiter.refill(now_s) is not None


def taken_at(limiter: RateLimiter, now_s: float, most: int = 10_000) -> int:
    """Return how many frames of one token are handled at this time."""
    for count in range(most):
        if is_refused(limiter, now_s):
            return count
        limiter.charge(1)
    return most


def test_new_connection_may_send_one_second_of_messages_and_then_its_rate() -> None:
    limiter = limiter_of()
    assert taken_at(limiter, 0.0) == 100 * FIRST_BURST_S
    assert limiter.refill(0.0) is LimitScope.CONNECTION
    assert taken_at(limiter, 0.5) == 50


def test_silence_fills_the_bucket_up_to_a_limit() -> None:
    limiter = limiter_of()
    assert taken_at(limiter, 0.0) == 100
    assert taken_at(limiter, 5.0) == 500, "a network that held everything back for 5 s"
    assert taken_at(limiter, 1000.0) == 100 * BURST_S


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 300)), max_size=60))
def test_no_schedule_exceeds_the_burst_and_the_rate(steps: list[tuple[float, int]]) -> None:
    limiter, now_s, handled = limiter_of(), 0.0, 0
    for pause_s, frames in steps:
        now_s += pause_s
        handled += taken_at(limiter, now_s, frames)
        assert handled <= 100 * BURST_S + 100 * now_s + 1


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=60))
def test_bytes_cost_tokens_and_a_debt_is_paid(sizes: list[int]) -> None:
    limiter, now_s = limiter_of(), 0.0
    for size in sizes:
        while is_refused(limiter, now_s):
            now_s += 0.05
        limiter.charge(size)
    spent = sum(max(1, size / limiter.token_bytes) for size in sizes[:-1])
    assert spent <= 100 * FIRST_BURST_S + 100 * now_s + max(sizes) / limiter.token_bytes + 1


def test_connection_recovers_after_it_stayed_below_its_rate() -> None:
    limiter = limiter_of()
    taken_at(limiter, 0.0)
    assert not limiter.has_recovered(0.5)
    for tick in range(1, 40):  # twice the rate allows half of it: it never recovers
        taken_at(limiter, 0.5 + tick / 10)
        assert not limiter.has_recovered(0.5 + tick / 10)
    assert limiter.has_recovered(0.5 + 39 / 10 + FIRST_BURST_S + 0.01)


def test_connections_of_an_address_share_a_bucket() -> None:
    bucket = TokenBucket(1000, 150, 0.0)
    first, second = (RateLimiter(SETTINGS, bucket, 0.0) for _ in range(2))
    assert taken_at(first, 0.0) == 100
    assert taken_at(second, 0.0) == 50
    assert second.refill(0.0) is LimitScope.ADDRESS
    assert first.refill(0.0) is LimitScope.CONNECTION
    assert taken_at(second, 0.04) == 40


def test_address_keeps_its_buckets_until_they_are_full() -> None:
    addresses = Addresses(SETTINGS)
    address = addresses.get("192.0.2.1", 0.0)
    address.connections = 1
    addresses.expire(100.0)
    assert len(addresses) == 1, "it has a connection"
    address.connections, address.messages.tokens = 0, -SETTINGS.messages_per_second_per_address_max
    address.messages.refill(100.0)
    address.messages.tokens = -SETTINGS.messages_per_second_per_address_max
    addresses.expire(101.0)
    assert addresses.get("192.0.2.1", 101.0) is address, "a client that reconnects finds its debt"
    addresses.expire(101.0 + ADDRESS_BURST_S)
    assert len(addresses) == 0


def test_address_gets_at_most_half_of_the_handshakes() -> None:
    address = Addresses(EdgeSettings(handshakes_per_second_max=100, admission_timeout_s=2)).get("192.0.2.1", 0.0)
    assert sum(address.handshakes.try_take(0.0) for _ in range(500)) == 100, "half of those that can wait"
    assert sum(address.handshakes.try_take(1.0) for _ in range(500)) == 50


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "", True),
        ("unix", "192.0.2.1", False),
    ],
)
def test_ipv6_network_counts_as_one_address(one: str, other: str, is_same: bool) -> None:
    addresses = Addresses(SETTINGS)
    assert (addresses.get(one, 0.0) is addresses.get(other, 0.0)) == is_same


class Turns:
    """A paused connection that records its turns; it handles something while there are tokens."""

    tokens = 0

    def __init__(self, name: str, turns: list[str]) -> None:
        self._name = name
        self._turns = turns

    def proceed(self) -> bool:
        if Turns.tokens:
            Turns.tokens -= 1
            self._turns.append(self._name)
            return True
        return False


async def test_paused_connections_of_a_busy_address_advance_alike() -> None:
    throttle, turns = Throttle(), list[str]()
    for name in "abc":
        throttle.add(Turns(name, turns))
    for _ in range(6):
        Turns.tokens = 2
        throttle._run_slot()
    throttle.close()
    assert "".join(turns) == "abcabcabcabc"


async def test_the_timer_runs_only_while_a_connection_is_paused() -> None:
    throttle = Throttle()
    turns: list[str] = []
    connection = Turns("a", turns)
    throttle.add(connection)
    Turns.tokens = 1
    async with asyncio.timeout(20):
        while not turns:
            await asyncio.sleep(0.01)
    throttle.remove(connection)
    throttle._run_slot()
    assert throttle._timer is None
    assert len(throttle) == 0
