"""Encodes messages with contents from the game, and checks the limits of the server before. Pure."""

from __future__ import annotations

from tickwire.client.errors import MessageTooLarge
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Message

TEXT_BYTES_MAX = 4096
"""The longest text in a message, as UTF-8. The server closes the session of a client that sends a longer one."""


class MessageEncoder:
    """The encoder of one session.

    Attributes:
        message_bytes_max: the size of the largest message that the server accepts, from Welcome; 0: unknown.
    """

    def __init__(self) -> None:
        self.message_bytes_max = 0

    def encode(self, message: Message) -> bytes:
        """Encode a message.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        kind = type(message).__name__
        for name in message.__struct_fields__:
            value = getattr(message, name)
            if isinstance(value, str) and len(value) > TEXT_BYTES_MAX // 4:
                size = len(value.encode())
                if size > TEXT_BYTES_MAX:
                    raise MessageTooLarge(f"the {name} of a {kind}", size, TEXT_BYTES_MAX)
        data = encode_client(message)
        if 0 < self.message_bytes_max < len(data):
            raise MessageTooLarge(f"the {kind}", len(data), self.message_bytes_max)
        return data
