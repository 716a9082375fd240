"""Several shards of one fleet in this process, and clients that move between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client.client import Client
from tickwire.server.config import Settings
from tickwire.server.shard import Shard


@asynccontextmanager
async def fleet(settings: Settings, count: int = 2) -> AsyncIterator[list[Shard]]:
    """Run shards of one fleet, and wait until they are ready."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(settings)) for _ in range(count)]


async def moves_with(client: Client, shard: Shard) -> None:
    """Wait until the client plays on a shard."""
    await client.wait_for(lambda: client.url == shard.url and client.is_connected)
    await eventually(lambda: client.core.world is not None and client.world.tick > 0)
