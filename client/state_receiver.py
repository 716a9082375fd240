"""Applies state frames to the mirrored world of the room, and recovers from frames that cannot be applied. Pure.

A delta needs the frame before it. After a frame that is missing, malformed or has a wrong checksum, the receiver
requests a keyframe of the channel and ignores the channel's deltas until the keyframe arrives:

    current --wrong baseline, malformed, wrong checksum--> awaiting a keyframe --keyframe, resume, new room--> current
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tickwire.client.updates import StateApplied
from tickwire.client.world import World, WrongBaseline
from tickwire.schemas.codec import encode_client
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Joined, Resync, StateFrame
from tickwire.schemas.parts import IS_COMPLETE, Part, decode_parts

RESYNC_AGAIN_TICKS = 64
"""The number of ticks after which a keyframe that did not arrive is requested again."""


def create_world(joined: Joined) -> World:
    """Create the mirrored world of a room."""
    return World(joined.description)


class StateReceiver:
    """The state of a session's room, as the client received it.

    Args:
        outgoing: the requests for keyframes are appended to it.
        create_world: creates the mirrored world of a joined room.

    Attributes:
        world: the mirrored state of the room; None outside of a room.
        joined: the room's Joined message; None outside of a room.
        resyncs, mismatches: the numbers of requested keyframes and of wrong checksums over all sessions.
    """

    def __init__(self, outgoing: deque[bytes], create_world: Callable[[Joined], World] = create_world) -> None:
        self.world: World | None = None
        self.joined: Joined | None = None
        self.resyncs = 0
        self.mismatches = 0
        self._outgoing = outgoing
        self._create_world = create_world
        self._awaiting_keyframe: dict[int, int] = {}  # by channel: the tick of the request

    @property
    def room_id(self) -> str:
        """The id of the room; empty outside of a room."""
        return self.joined.room_id if self.joined is not None else ""

    @property
    def baseline_tick(self) -> int:
        """The tick that the server may send a delta to after a resume; 0 if the world is absent or incorrect."""
        return self.world.tick if self.world is not None and not self._awaiting_keyframe else 0

    @property
    def is_awaiting_keyframe(self) -> bool:
        """Whether a channel's deltas are ignored until its keyframe arrives."""
        return bool(self._awaiting_keyframe)

    def enter(self, joined: Joined) -> None:
        """Begin the state of a room. A room that moved to another shard keeps its World object, without entities."""
        world = self.world
        if world is not None and self.room_id == joined.room_id and world.description == joined.description:
            world.clear()
        else:
            self.world = self._create_world(joined)
        self.joined = joined
        self._awaiting_keyframe.clear()

    def leave(self) -> None:
        """Discard the room and its state."""
        self.world = self.joined = None
        self._awaiting_keyframe.clear()

    def resumed(self, room_id: str) -> None:
        """Continue the state on a new connection.

        Args:
            room_id: the room in which the session has a seat, from Welcome; empty: the seat was lost.
        """
        self._awaiting_keyframe.clear()
        if not self.room_id:
            return
        if not room_id:
            self.leave()
        elif room_id == self.room_id and self.world is not None:
            self.world.clear_history()

    def receive(self, frame: StateFrame) -> StateApplied | None:
        """Apply a frame. Return None if the client is in no room, or none of the frame's parts could be applied."""
        if self.world is None:
            return None
        parts = decode_parts(frame)
        applied = [self._apply_part(self.world, part, frame) for part in parts]
        named = {part.channel for part in parts}
        is_complete = bool(frame.flags & IS_COMPLETE)
        self.world.finish(frame.tick, keep=named if is_complete else None)
        if is_complete:
            self._awaiting_keyframe = {c: tick for c, tick in self._awaiting_keyframe.items() if c in named}
        if parts and all(agrees is None for agrees in applied):
            return None
        is_keyframe = all(part.is_keyframe for part in parts)
        return StateApplied(frame.tick, tuple(part.channel for part in parts), is_keyframe, False not in applied)

    def _apply_part(self, world: World, part: Part, frame: StateFrame) -> bool | None:
        """Apply one part. Return whether its checksum agrees; None if it could not be applied."""
        requested_tick = self._awaiting_keyframe.get(part.channel)
        if not part.is_keyframe and requested_tick is not None:
            if frame.tick - requested_tick >= RESYNC_AGAIN_TICKS:
                self._request_keyframe(part.channel, frame.tick)
            return None
        try:
            agrees = world.apply(part, tick=frame.tick, age=frame.age)
        except WrongBaseline:  # a frame is missing, and it may have changed other channels
            for channel in world.channels | {part.channel}:
                self._request_keyframe(channel, frame.tick)
            return None
        except MalformedMessage:
            self._request_keyframe(part.channel, frame.tick)
            return None
        self._awaiting_keyframe.pop(part.channel, None)
        if not agrees:
            self.mismatches += 1
            self._request_keyframe(part.channel, frame.tick)
        return agrees

    def _request_keyframe(self, channel: int, tick: int) -> None:
        self.resyncs += 1
        self._awaiting_keyframe[channel] = tick
        self._outgoing.append(encode_client(Resync(channel, tick)))
