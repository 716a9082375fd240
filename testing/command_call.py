"""The result of a command that a simulated client has sent."""

from __future__ import annotations

from typing import Any

from tickwire.client.errors import CommandFailed
from tickwire.schemas.messages import Reply
from tickwire.schemas.payloads import decode_value


class CommandCall:
    """A command of a client, and its result once the room has run for long enough.

    Args:
        name: the name of the command.
        id: its number in the session.

    Attributes:
        reply: the reply; None before it has arrived.
        failure: why no reply will arrive: the session or the seat is lost; None otherwise.
    """

    def __init__(self, name: str, id: int) -> None:
        self.name = name
        self.id = id
        self.reply: Reply | None = None
        self.failure: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether the reply has arrived, or none will."""
        return self.reply is not None or self.failure is not None

    @property
    def value(self) -> Any:
        """The result of the command.

        Raises:
            CommandFailed: the room refused the command.
            ClientError: no reply will arrive.
            AssertionError: the reply has not arrived: run the room first.
        """
        reply = self._get_reply()
        if not reply.ok:
            raise CommandFailed(reply)
        return decode_value(reply.payload)

    @property
    def error(self) -> str:
        """The reason why the command failed; empty if it did not.

        Raises:
            AssertionError: the reply has not arrived: run the room first.
        """
        if self.failure is not None:
            return str(self.failure)
        reply = self._get_reply()
        return "" if reply.ok else reply.message

    def _get_reply(self) -> Reply:
        if self.failure is not None:
            raise self.failure
        if self.reply is None:
            raise AssertionError(f"the command {self.name!r} has no reply yet: call room.run() first")
        return self.reply

    def __repr__(self) -> str:
        state = "no reply yet" if not self.is_done else self.error or repr(self.value)
        return f"<command {self.name!r}: {state}>"
