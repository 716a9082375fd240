"""The guarantees of session handoffs, on a real Redis and on the in-process store of `tickwire.testing`."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.matchmaker_stores import MatchmakerStore
from tests.harness.polling import eventually
from tickwire.matchmaking import Matchmaker


@pytest.fixture
def matchmaker(store: MatchmakerStore) -> Matchmaker:
    return store.create()


async def test_a_session_handoff_is_taken_once_and_expires(matchmaker: Matchmaker, store: MatchmakerStore) -> None:
    handoffs = matchmaker.session_handoffs
    assert await handoffs.take("a", "shard-1") is None
    await handoffs.put("a", b"\x93\x01\x02\x03", ttl_ms=10_000)
    await handoffs.put("b", b"\xa1x", ttl_ms=10_000)
    taken = await asyncio.gather(*(handoffs.take("a", f"shard-{number}") for number in range(5)))
    assert sorted(taken, key=bool) == [None] * 4 + [b"\x93\x01\x02\x03"]
    assert await handoffs.take("b", "shard-1") == b"\xa1x"
    await handoffs.put("c", b"\xc0", ttl_ms=1)

    async def is_gone() -> bool:
        return await handoffs.get("c") is None

    await store.wait(0.01)
    await eventually(is_gone)
    assert await handoffs.take("c", "shard-1") is None


async def test_a_session_handoff_is_taken_again_by_the_same_shard_until_it_is_discarded(
    matchmaker: Matchmaker,
) -> None:
    """The reply to a take may be lost, so the shard repeats it; no other shard may take the session in between."""
    handoffs = matchmaker.session_handoffs
    assert await handoffs.find_taker("a") == ""
    await handoffs.put("a", b"\x01", ttl_ms=10_000)
    assert await handoffs.find_taker("a") == ""
    assert [await handoffs.take("a", shard) for shard in ("one", "two", "one")] == [b"\x01", None, b"\x01"]
    assert await handoffs.find_taker("a") == "one"
    await handoffs.discard("a", "two")
    assert await handoffs.take("a", "one") == b"\x01", "only its taker discards it"
    await handoffs.discard("a", "one")
    assert await handoffs.take("a", "one") is None
    assert await handoffs.find_taker("a") == ""


async def test_a_session_handoff_that_is_stored_again_may_be_taken_by_any_shard(
    matchmaker: Matchmaker,
) -> None:
    handoffs = matchmaker.session_handoffs
    await handoffs.put("a", b"\x01", ttl_ms=10_000)
    assert await handoffs.take("a", "one") == b"\x01"
    await handoffs.put("a", b"\x02", ttl_ms=10_000)
    await handoffs.put("b", b"\x03", ttl_ms=10_000)
    assert await handoffs.take("a", "two") == b"\x02"
    await handoffs.discard("a", "one")
    await handoffs.discard("b", "one")
    assert await handoffs.take("a", "two") == b"\x02", "an earlier taker does not discard it"
    assert await handoffs.take("b", "two") is None, "a handoff without a taker is discarded by any shard"


async def test_a_session_handoff_is_taken_in_its_last_millisecond(matchmaker: Matchmaker) -> None:
    handoffs = matchmaker.session_handoffs
    for number in range(300):
        await handoffs.put(f"session {number}", b"\x01", ttl_ms=1)
        await handoffs.take(f"session {number}", "one")
