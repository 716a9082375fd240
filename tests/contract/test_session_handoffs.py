"""The guarantees of session handoffs, on a real Redis."""

from __future__ import annotations

import asyncio

from tests.harness.polling import eventually
from tickwire.matchmaking import Matchmaker


async def test_a_session_handoff_is_taken_once_and_expires(redis_url: str, redis_namespace: str) -> None:
    matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace)
    try:
        parcels = matchmaker.session_handoffs
        assert await parcels.take("a") is None
        await parcels.put("a", b"\x93\x01\x02\x03", ttl_ms=10_000)
        await parcels.put("b", b"\xa1x", ttl_ms=10_000)
        taken = await asyncio.gather(*(parcels.take("a") for _ in range(5)))
        assert sorted(taken, key=bool) == [None] * 4 + [b"\x93\x01\x02\x03"]
        assert await parcels.take("b") == b"\xa1x"
        await parcels.put("c", b"\xc0", ttl_ms=1)

        async def is_gone() -> bool:
            return not await matchmaker.client.exists(f"{{{redis_namespace}}}:session_handoff:c")

        await eventually(is_gone)
        assert await parcels.take("c") is None
    finally:
        await matchmaker.aclose()
