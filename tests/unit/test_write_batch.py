"""A batch writes what the transports would write, in the same order, with fewer calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import uvloop

from tests.harness.polling import eventually
from tickwire.schemas import kernel
from tickwire.server.rooms.write_batch import write_batch

needs_kernel = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")


class BatchConnection:
    """A connection over one end of a socket pair. Its transport only records."""

    is_congested = False

    def __init__(self) -> None:
        self.socket, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.descriptor = self.socket.fileno()
        self.held = 0
        self.written: list[bytes] = []

    def write(self, frames: bytes) -> None:
        self.written.append(frames)

    def unsent_bytes(self) -> int:
        return self.held

    def received(self, size: int = 1 << 22) -> bytes:
        found = b""
        while len(found) < size:
            try:
                found += self.peer.recv(1 << 20)
            except BlockingIOError:
                break
        return found


@pytest.fixture
def connections() -> Iterator[list[BatchConnection]]:
    made = [BatchConnection() for _ in range(3)]
    yield made
    for connection in made:
        connection.socket.close()
        connection.peer.close()


@needs_kernel
def test_frames_go_to_the_sockets_directly(connections: list[BatchConnection]) -> None:
    write_batch((connection, bytes([number]) * 10) for number, connection in enumerate(connections))
    assert [connection.received() for connection in connections] == [bytes([n]) * 10 for n in range(3)]
    assert not any(connection.written for connection in connections)


def test_a_transport_that_holds_bytes_or_has_no_plain_socket_is_written_to(
    connections: list[BatchConnection],
) -> None:
    connections[0].held = 1
    connections[1].descriptor = -1
    write_batch((connection, b"frame") for connection in connections[:2])
    assert [connection.written for connection in connections[:2]] == [[b"frame"], [b"frame"]]
    assert connections[0].received() == b""


def test_without_the_kernel_every_transport_is_written_to(
    connections: list[BatchConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "is_native", False)
    write_batch([(connections[0], b"frame")])
    assert connections[0].written == [b"frame"]


@needs_kernel
def test_transport_buffers_the_bytes_that_a_full_socket_does_not_accept(connections: list[BatchConnection]) -> None:
    frames = bytes(range(256)) * 8192
    write_batch([(connections[0], frames), (connections[1], b"short")])
    (rest,) = connections[0].written
    assert 0 < len(rest) < len(frames)
    assert connections[0].received() + rest == frames
    assert connections[1].received() == b"short"


@needs_kernel
def test_the_transport_receives_everything_for_a_broken_socket(connections: list[BatchConnection]) -> None:
    connections[0].peer.close()
    write_batch([(connections[0], b"lost"), (connections[1], b"sent")])
    assert connections[0].written == [b"lost"]
    assert connections[1].received() == b"sent"


@needs_kernel
def test_the_kernel_rejects_other_arguments() -> None:
    with pytest.raises(ValueError, match="out of range"):
        kernel.send([(-1, b"", None)])
    with pytest.raises(TypeError):
        kernel.send([(1, b"", None), (1, "text", None)])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        kernel.send(((1, b"", None),))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kernel.send([(1,)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="must be an int"):  # its conversion could run any code
        kernel.send([(np.int64(1), b"", None)])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        kernel.send([1])  # type: ignore[list-item]


class _Transported(asyncio.Protocol):
    """A connection over a real transport."""

    is_congested = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.write = transport.write
        self.unsent_bytes = transport.get_write_buffer_size
        self.descriptor = transport.get_extra_info("socket").fileno()


@needs_kernel
@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_order_is_kept_among_writes_to_transport_and_batch(new_loop: object) -> None:
    """Numbered frames, some through the batch and some through the transport, to a peer that reads slowly."""

    async def run() -> None:
        made: list[_Transported] = []

        def create() -> _Transported:
            made.append(_Transported())
            return made[-1]

        server = await asyncio.get_running_loop().create_server(create, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
        await eventually(lambda: bool(made), 20, "the server has accepted")
        sent, seen, direct = b"", b"", 0
        for number in range(400):
            frame = number.to_bytes(4, "big") * (5000 if number % 7 == 0 else 1)
            if number % 5 == 0:
                made[0].write(frame)
            else:
                direct += not made[0].unsent_bytes()
                write_batch([(made[0], frame)])
            sent += frame
            if number % 3:
                seen += await reader.read(1000) if number < 200 else await reader.read(50_000)
        while len(seen) < len(sent):
            seen += await reader.read(1 << 16)
        assert seen == sent
        assert direct > 20
        writer.close()
        made[0].transport.close()
        server.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]
        runner.run(asyncio.wait_for(run(), 60))
