"""The stored replies of a session: the id of a command is its idempotency key for the life of the session.

Ids must increase. An id that is not above the highest evicted id may belong to a command that was answered before, so
it is rejected and never run. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tickwire.limits import REPLIES_MAX
from tickwire.schemas.messages import ErrorCode, Reply

REPLY_BYTES_MAX = 64 * 1024


class ReplyCache:
    """The last REPLIES_MAX replies, with at most REPLY_BYTES_MAX of payload in all.

    Args:
        replies: the replies of the same session on another shard, the oldest first.
        evicted_id: its `evicted_id` there.
    """

    __slots__ = ("_by_id", "_bytes", "_evicted_id")

    def __init__(self, replies: Iterable[Reply] = (), *, evicted_id: int = -1) -> None:
        self._by_id: dict[int, Reply] = {}
        self._bytes = 0
        self._evicted_id = evicted_id
        for reply in replies:
            self.add(reply)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Reply]:
        return iter(self._by_id.values())

    @property
    def evicted_id(self) -> int:
        """The highest id whose reply was evicted; -1 before the first."""
        return self._evicted_id

    def find(self, id: int) -> Reply | None:
        """Return the reply to a command that must not be run again, or None if the command is new."""
        reply = self._by_id.get(id)
        if reply is None and id <= self._evicted_id:
            text = f"command {id} is too old: its reply is not stored any more; use increasing ids"
            return Reply(id, ok=False, error=ErrorCode.COMMAND_TOO_OLD, message=text)
        return reply

    def add(self, reply: Reply) -> None:
        """Store a reply; the oldest replies are evicted to make room."""
        self._by_id[reply.id] = reply
        self._bytes += len(reply.payload)
        while len(self._by_id) > 1 and (len(self._by_id) > REPLIES_MAX or self._bytes > REPLY_BYTES_MAX):
            id = next(iter(self._by_id))
            self._bytes -= len(self._by_id.pop(id).payload)
            self._evicted_id = max(self._evicted_id, id)
