"""Decodes state frames for tests, and applies them to a world without a client core."""

from __future__ import annotations

from tickwire.client.world import World
from tickwire.schemas.codec import decode_server
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import ServerMessage, StateFrame
from tickwire.schemas.parts import IS_COMPLETE, decode_parts


def messages_in(data: bytes) -> list[ServerMessage]:
    """Return the messages in unmasked WebSocket frames."""
    return [decode_server(payload) for payload in frame_payloads(data)]


def frames_in(data: bytes) -> list[StateFrame]:
    """Return the state frames in unmasked WebSocket frames."""
    return [message for message in messages_in(data) if isinstance(message, StateFrame)]


def apply(world: World, frame: StateFrame) -> bool:
    """Apply a frame; return whether its checksums match."""
    parts = decode_parts(frame)
    agree = [world.apply(part, tick=frame.tick, age=frame.age) for part in parts]
    world.finish(frame.tick, keep={part.channel for part in parts} if frame.flags & IS_COMPLETE else None)
    return all(agree)
