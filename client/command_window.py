"""The commands of a session that have no reply yet, and the times to send them. Pure: the caller passes the time.

    waiting --sent--> in flight --Reply--> answered and removed
       ^                 └--RATE_LIMITED, UNAVAILABLE, resume, no answer in time--┐
       └--------------------------------------------------------------------------┘

At most the IDS_MAX ids from the oldest unanswered one on are in flight. The server keeps the replies of the last 64
ids and refuses older ids with COMMAND_TOO_OLD, so a client that is further ahead could not send a command again.
Within the window the rate of messages and bytes stays below the session's limits in Welcome. Every id may be sent
repeatedly.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

import msgspec

from tickwire.client.backoff import Backoff
from tickwire.client.errors import ClientError
from tickwire.schemas.messages import ErrorCode, Reply, Welcome

IDS_MAX = 16
"""The number of commands that the server runs for one session at a time."""
COMMANDS_MAX = 1024
"""The limit of commands without a reply, sent or not."""
ANSWER_MS_MAX = 10_000
"""A command without a reply on one connection is sent again after this time."""
RATE_SHARE = 0.5
"""The share of the session's message and byte rates for commands; inputs, pings and requests use the rest."""
UNDECIDED = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})


def is_decided(reply: Reply) -> bool:
    """Return whether a reply is final. Otherwise the command is sent again under its id."""
    return reply.ok or (not reply.retry_after_ms and reply.error not in UNDECIDED)


class _Command(msgspec.Struct):
    data: bytes
    backoff: Backoff
    due_ms: float = 0


class _Budget:
    """A token bucket of one second. A rate of 0 means no limit, and nothing is spent.

    One item may be larger than the bucket. It counts thousandths of tokens, so that whole milliseconds have whole
    results in every language.
    """

    def __init__(self) -> None:
        self._rate = self._at_ms = 0.0
        self._thousandths = inf

    def limit(self, rate: float) -> None:
        """Set the rate. Tokens that were spent before a resume stay spent."""
        self._rate = rate
        if rate:
            self._thousandths = min(self._thousandths, rate * 1000)

    def available_ms(self, now_ms: float) -> float:
        """Return the time from which tokens may be spent."""
        if self._rate:
            self._thousandths = min(self._rate * 1000, self._thousandths + (now_ms - self._at_ms) * self._rate)
        self._at_ms = now_ms
        return now_ms if not self._rate or self._thousandths >= 0 else now_ms + ceil(-self._thousandths / self._rate)

    def spend(self, amount: float) -> None:
        if self._rate:
            self._thousandths -= amount * 1000


class CommandWindow:
    """One session's commands.

    Args:
        random: returns random numbers from 0 to 1; spreads the pauses before a command is sent again.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._commands: dict[int, _Command] = {}  # by id, ascending
        self._messages, self._bytes = _Budget(), _Budget()

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, command_id: int, data: bytes) -> None:
        """Add a command.

        Args:
            command_id: greater than all ids that were added before.
            data: the message.

        Raises:
            ClientError: COMMANDS_MAX commands have no reply yet.
        """
        if len(self._commands) >= COMMANDS_MAX:
            raise ClientError(f"{COMMANDS_MAX} commands have no reply yet: wait for some before sending more")
        self._commands[command_id] = _Command(data, Backoff(self._random))

    def remove(self, command_id: int) -> None:
        """Remove a command that was answered or abandoned. Idempotent."""
        self._commands.pop(command_id, None)

    def clear(self) -> None:
        """Remove all commands, when the session ends and no reply can arrive."""
        self._commands.clear()

    def welcomed(self, welcome: Welcome) -> None:
        """Begin a connection: all commands are due on it, within the server's limits."""
        self._messages.limit(welcome.messages_per_second_max * RATE_SHARE)
        self._bytes.limit(welcome.bytes_per_second_max * RATE_SHARE)
        for command in self._commands.values():
            command.due_ms = 0

    def replied(self, reply: Reply, now_ms: float) -> None:
        """Record a reply. If the outcome is unknown, the command is due again after a pause."""
        if is_decided(reply):
            self.remove(reply.id)
        elif reply.id in self._commands:
            command = self._commands[reply.id]
            command.due_ms = now_ms + command.backoff.next_ms(reply.retry_after_ms)

    def due(self, now_ms: float) -> list[bytes]:
        """Return the messages to send now, in the order of their ids. They count as sent."""
        messages: list[bytes] = []
        for command in self._in_window():
            if self._next_ms(command, now_ms) <= now_ms:
                messages.append(command.data)
                self._messages.spend(1)
                self._bytes.spend(len(command.data))
                command.due_ms = now_ms + ANSWER_MS_MAX
        return messages

    def next_due_ms(self, now_ms: float) -> float | None:
        """Return the time of the next due command, if no reply arrives before; None without commands."""
        return min((self._next_ms(command, now_ms) for command in self._in_window()), default=None)

    def _in_window(self) -> list[_Command]:
        oldest = next(iter(self._commands), 0)
        window: list[_Command] = []
        for command_id, command in self._commands.items():
            if command_id >= oldest + IDS_MAX:
                break
            window.append(command)
        return window

    def _next_ms(self, command: _Command, now_ms: float) -> float:
        return max(command.due_ms, self._messages.available_ms(now_ms), self._bytes.available_ms(now_ms))
