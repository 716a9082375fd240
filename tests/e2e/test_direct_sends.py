"""State goes to plain sockets directly, and to TLS connections through their transports."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.certificates import make_certificate
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.schemas import kernel
from tickwire.server.config import Settings
from tickwire.server.edge.connection import Connection
from tickwire.server.rooms.write_batch import write_batch
from tickwire.server.shard import Shard

pytestmark = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")


@pytest.fixture
def sent_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of frames that each call of the kernel has sent to sockets."""
    counts: list[int] = []
    send_state = kernel.send_state

    def record(*args: Any) -> tuple[int, int, list[Any]]:
        writes = args[-1]
        sent, size, others = send_state(*args)
        counts.append(sent - len(writes))
        return sent, size, others

    monkeypatch.setattr(kernel, "send_state", record)
    return counts


def connections_of(shard: Shard) -> set[Connection]:
    return shard.parts.edge.connections


async def test_state_of_plain_connections_is_sent_in_one_call_a_tick(shard: Shard, sent_counts: list[int]) -> None:
    async with connect(shard.url) as walker, connect(shard.url) as watcher:
        me = (await walker.join("garden")).entity
        await watcher.join("garden")
        await walker.send_input({"dx": 1.0})
        await watcher.wait_for(lambda: me in watcher.world.table("walkers"))
        await eventually(lambda: 2 in sent_counts, what="one call for both")
        assert all(connection.descriptor >= 0 for connection in connections_of(shard))
        await eventually(lambda: walker.world.checksum() == watcher.world.checksum())
        assert walker.core.mismatches == walker.core.resyncs == 0


async def test_state_of_tls_connections_goes_through_the_transport(
    shard_settings: Settings, tmp_path: Path, sent_counts: list[int]
) -> None:
    certificate, key = make_certificate(tmp_path)
    listen = msgspec.structs.replace(
        shard_settings.listen, certificate=str(certificate), key=str(key), plaintext=False
    )
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    settings = msgspec.structs.replace(shard_settings, listen=listen)
    async with running(settings) as shard, connect(shard.url, tls=context) as client:
        me = (await client.join("garden")).entity
        await client.wait_for(lambda: me in client.world.table("walkers"))
        assert {connection.descriptor for connection in connections_of(shard)} == {-1}
    assert set(sent_counts) == {0}


async def test_writes_to_the_transport_and_to_the_socket_are_in_order(shard: Shard, sent_counts: list[int]) -> None:
    """Answers to pings go through the transport, between the ticks. The client checks the order of both."""
    async with connect(shard.url) as client:
        await client.join("garden")
        (connection,) = connections_of(shard)
        for number in range(1, 30):
            await client.send_input({"dx": 0.5 if number % 2 else -0.5})
            connection.ping()
            assert connection.may_hold_bytes
            await eventually(lambda: not connection.may_hold_bytes, what="a tick has found the transport empty")
            await client.wait_for(lambda number=number: client.core.acknowledged_seq >= number)  # type: ignore[misc]
        assert client.core.mismatches == client.core.resyncs == 0
        assert 1 in sent_counts


async def test_a_connection_that_closes_has_no_descriptor(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        (connection,) = connections_of(shard)
        assert connection.descriptor >= 0
        connection.close(4000, "test")
        assert connection.descriptor == -1
    async with connect(shard.url) as client:
        await client.join("garden")
        (connection,) = (one for one in connections_of(shard) if one.is_open)
        connection.abort()
        assert connection.descriptor == -1
        connection._flush()
        assert connection.descriptor == -1
        write_batch([(connection, b"a frame for a closed connection")])
        await eventually(lambda: connection not in connections_of(shard))
