"""The answers a session has given to commands: an id is a command's idempotency key as long as the session lives.

Ids must grow. An answer that was pushed out of the table is gone, and so an id that is not above the highest of
those cannot be told from one that was answered before: it is refused, and never run. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tickwire.limits import REPLIES_MAX
from tickwire.schemas.messages import ErrorCode, Reply

REPLY_BYTES_MAX = 64 * 1024


class ReplyCache:
    """The last REPLIES_MAX answers, of at most REPLY_BYTES_MAX in all.

    Args:
        replies: of the same session on another shard, the oldest first.
        forgotten_id: the same: its `forgotten_id`.
    """

    __slots__ = ("_by_id", "_bytes", "_forgotten_id")

    def __init__(self, replies: Iterable[Reply] = (), *, forgotten_id: int = -1) -> None:
        self._by_id: dict[int, Reply] = {}
        self._bytes = 0
        self._forgotten_id = forgotten_id
        for reply in replies:
            self.keep(reply)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Reply]:
        return iter(self._by_id.values())

    @property
    def forgotten_id(self) -> int:
        """The highest id whose answer is gone; -1 if none is."""
        return self._forgotten_id

    def find(self, id: int) -> Reply | None:
        """What a command is to be answered without running it; None when it is new."""
        reply = self._by_id.get(id)
        if reply is None and id <= self._forgotten_id:
            text = f"command {id} is too old: whether it was run is not remembered any more; ids must grow"
            return Reply(id, ok=False, error=ErrorCode.COMMAND_TOO_OLD, message=text)
        return reply

    def keep(self, reply: Reply) -> None:
        """Remembers an answer; the oldest are forgotten for it."""
        self._by_id[reply.id] = reply
        self._bytes += len(reply.payload)
        while len(self._by_id) > 1 and (len(self._by_id) > REPLIES_MAX or self._bytes > REPLY_BYTES_MAX):
            id = next(iter(self._by_id))
            self._bytes -= len(self._by_id.pop(id).payload)
            self._forgotten_id = max(self._forgotten_id, id)
