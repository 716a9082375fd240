"""The receiving end of a benchmark: a client's world, which applies frames of a replicator or recorded ones."""

from __future__ import annotations

from benchmarks.load import cut_frames
from tickwire.client.world import World
from tickwire.schemas.codec import decode_server
from tickwire.schemas.framing import header_bytes
from tickwire.schemas.messages import Joined, StateDescription, StateFrame
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
        self.apply_frame(frame)

    def apply_frame(self, frame: StateFrame) -> None:
        """Apply one decoded frame.

        Raises:
            RuntimeError: a part's checksum differs.
        """
        for part in decode_parts(frame):
            if not self.world.apply(part, tick=frame.tick, age=frame.age):
                raise RuntimeError(f"the checksum of tick {frame.tick} differs")
        self.world.finish(frame.tick, keep=None)


def count_states(data: bytes) -> int:
    """Decode all that a client received since it connected, apply every state, and return the number of states.

    Raises:
        RuntimeError: a checksum differs, or no state arrived.
        WrongBaseline: a frame is missing.
    """
    _, _, frames = data.partition(b"\r\n\r\n")
    receiver: StateReader | None = None
    count = 0
    for payload in cut_frames(frames)[0]:
        message = decode_server(payload, last_tick=0 if receiver is None else receiver.world.tick)
        if isinstance(message, Joined):
            receiver = StateReader(message.description)
        elif isinstance(message, StateFrame) and receiver is not None:
            receiver.apply_frame(message)
            count += 1
    if not count:
        raise RuntimeError("a recorded client received no state")
    return count
