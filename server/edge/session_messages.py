"""Creates the messages that a session sends about itself. Pure, except for the log."""

from __future__ import annotations

import structlog

from tickwire.schemas import SERVER_MESSAGE_BYTES_MAX
from tickwire.schemas.codec import encode_server
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import ErrorCode, Message, Reply, Welcome
from tickwire.server.edge.context import SessionContext

log = structlog.get_logger(__name__)


def create_welcome(
    context: SessionContext, session_id: str, generation: int, room_id: str, *, is_joining: bool
) -> Welcome:
    """Return the Welcome for a new connection of a session, with its next resume token."""
    settings = context.settings
    return Welcome(
        session_id=session_id,
        resume_token=context.tokens.sign(session_id, generation),
        server_time_us=context.now_us(),
        heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
        message_bytes_max=settings.message_bytes_max,
        inputs_per_second_max=settings.inputs_per_second_max,
        generation=generation,
        resume_window_ms=int(settings.resume_window_s * 1000),
        room_id=room_id,
        is_joining=is_joining,
        messages_per_second_max=settings.messages_per_second_max,
        bytes_per_second_max=settings.bytes_per_second_max,
    )


def encode_message(message: Message, session_id: str, room_id: str) -> bytes:
    """Return a message as a WebSocket frame. A Reply that is too large for any client loses its payload.

    Args:
        message: the message.
        session_id: the session, for the log.
        room_id: its room, for the log.
    """
    frame = binary_frame(encode_server(message))
    if len(frame) <= SERVER_MESSAGE_BYTES_MAX or not isinstance(message, Reply):
        return frame
    size, limit = len(message.payload), SERVER_MESSAGE_BYTES_MAX
    log.error("reply_too_large", session_id=session_id, room_id=room_id, bytes=size, bytes_max=limit)
    text = f"the room's answer has {size} bytes; a message has at most {limit}"
    return binary_frame(encode_server(Reply(message.id, ok=False, error=ErrorCode.COMMAND_FAILED, message=text)))
