"""An open connection keeps nothing of its handshake: a shard has thousands of connections."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from websockets.http11 import Request

from tests.harness.raw_client import hello, raw_client
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Ping, Pong, Welcome
from tickwire.server.shard import Shard


def reachable(root: object) -> Iterator[object]:
    """Yield the objects that an object keeps alive."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen and not isinstance(found, type | ModuleType | FunctionType):
            seen.add(id(found))
            yield found
            waiting += gc.get_referents(found)


async def test_an_open_connection_keeps_no_http_request(shard: Shard) -> None:
    async with raw_client(shard.url, hello()) as client:
        await client.next(Welcome)
        (connection,) = shard.parts.edge.connections
        assert not [found for found in reachable(connection._library) if isinstance(found, Request)]
        assert connection._handshake_reader is None
        await (await client.socket.ping())  # control frames, fragments and the close still work
        ping = encode_client(Ping(7))
        await client.send((ping[:5], ping[5:]))
        assert isinstance(await client.next(Pong), Pong)
        await client.socket.close(1000)
        assert connection.client_close_code == 1000
