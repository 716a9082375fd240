"""The guarantees of session handoffs, on a real Redis."""

from __future__ import annotations

import asyncio

from tests.harness.polling import eventually
from tickwire.matchmaking import Matchmaker


async def test_a_session_handoff_is_taken_once_and_expires(redis_url: str, redis_namespace: str) -> None:
    matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace)
    try:
        handoffs = matchmaker.session_handoffs
        assert await handoffs.take("a") is None
        await handoffs.put("a", b"\x93\x01\x02\x03", ttl_ms=10_000)
        await handoffs.put("b", b"\xa1x", ttl_ms=10_000)
        taken = await asyncio.gather(*(handoffs.take("a") for _ in range(5)))
        assert sorted(taken, key=bool) == [None] * 4 + [b"\x93\x01\x02\x03"]
        assert await handoffs.take("b") == b"\xa1x"
        await handoffs.put("c", b"\xc0", ttl_ms=1)

        async def is_gone() -> bool:
            return not await matchmaker.connection.client.exists(f"{{{redis_namespace}}}:session_handoff:c")

        await eventually(is_gone)
        assert await handoffs.take("c") is None
    finally:
        await matchmaker.aclose()
