"""The receiving end of a benchmark without sockets: a client's world, which applies the frames of a replicator."""

from __future__ import annotations

from tickwire.client.world import World
from tickwire.schemas.codec import decode_server
from tickwire.schemas.framing import header_bytes
from tickwire.schemas.messages import StateDescription, StateFrame
from tickwire.schemas.parts import decode_parts


class StateReader:
    """Applies frames with their WebSocket headers.

    Args:
        description: the tables.

    Attributes:
        world: the state as the client has it.
    """

    def __init__(self, description: StateDescription) -> None:
        self.world = World(description)

    def apply(self, data: bytes) -> None:
        """Apply one frame.

        Raises:
            RuntimeError: a part's checksum differs.
        """
        frame = decode_server(data[header_bytes(data) :], last_tick=self.world.tick)
        assert isinstance(frame, StateFrame)
        for part in decode_parts(frame):
            if not self.world.apply(part, tick=frame.tick, age=frame.age):
                raise RuntimeError(f"the checksum of tick {frame.tick} differs")
        self.world.finish(frame.tick, keep=None)
