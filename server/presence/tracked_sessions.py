"""The sessions of a shard that presence records, and which of them have to be claimed, renewed and released. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import msgspec

from tickwire.matchmaking.presence import PARTITIONS, partition_from_player
from tickwire.server.edge.services import PresentSession


class TrackedSession(msgspec.Struct, eq=False):
    """A session of a player with an account.

    Args:
        session: the session.
        partition: the partition of its player.
        opened_s: when it was opened here, on a monotonic clock.
        is_new: whether it was opened here and never claimed.
        is_over: whether it has ended.
    """

    session: PresentSession
    partition: int
    opened_s: float
    is_new: bool
    is_over: bool = False


class TrackedSessions:
    """The sessions that presence records.

    Attributes:
        unclaimed: the sessions that have to be claimed, by id.
        ended: the players whose record has to be released, by the id of the session.
        moved: the same for sessions that continue on another shard, which claims their record.
    """

    def __init__(self) -> None:
        self.unclaimed: dict[str, TrackedSession] = {}
        self.ended: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self._by_id: dict[str, TrackedSession] = {}
        self._changed: defaultdict[int, dict[str, TrackedSession]] = defaultdict(dict)
        self._renewed_s: dict[str, float] = {}  # in the order of the renewals

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session_id: str) -> TrackedSession | None:
        """Return a session, or None."""
        return self._by_id.get(session_id)

    def add(self, session: PresentSession, now_s: float, *, is_new: bool) -> TrackedSession:
        """Add a session that has to be claimed."""
        tracked = TrackedSession(session, partition_from_player(session.player_id), now_s, is_new)
        self._by_id[session.session_id] = self.unclaimed[session.session_id] = tracked
        self.ended.pop(session.session_id, None)
        self.moved.pop(session.session_id, None)
        return tracked

    def remove(self, session: PresentSession, *, has_moved: bool) -> None:
        """Remove a session that has ended. Idempotent; a newer copy of the session remains."""
        tracked = self._by_id.get(session.session_id)
        if tracked is None or tracked.session is not session:
            return
        tracked.is_over = True
        del self._by_id[session.session_id]
        self.unclaimed.pop(session.session_id, None)
        self._changed[tracked.partition].pop(session.session_id, None)
        self._renewed_s.pop(session.session_id, None)
        (self.moved if has_moved else self.ended)[session.session_id] = session.player_id

    def mark_changed(self, session_id: str) -> bool:
        """Note that a session has changed. Return whether it has to be renewed for that."""
        tracked = self._by_id.get(session_id)
        if tracked is None or session_id in self.unclaimed:
            return False
        self._changed[tracked.partition][session_id] = tracked
        return True

    def mark_all_changed(self, partition: int, besides: Collection[str]) -> None:
        """Note that Redis may have lost the records of a partition, besides those of some players."""
        for session_id, tracked in self._by_id.items():
            if tracked.partition == partition and tracked.session.player_id not in besides:
                self.mark_changed(session_id)

    def mark_claimed(self, tracked: TrackedSession, now_s: float) -> None:
        """Note that a claim of a session was decided."""
        tracked.is_new = False
        if self.unclaimed.pop(tracked.session.session_id, None) is not None:
            self._note_renewed(tracked.session.session_id, now_s)

    def mark_renewed(self, renewed: Iterable[TrackedSession], now_s: float) -> None:
        """Note that the records of sessions were renewed, as they were when `take_changed` returned them."""
        for tracked in renewed:
            if not tracked.is_over:
                self._note_renewed(tracked.session.session_id, now_s)

    def _note_renewed(self, session_id: str, now_s: float) -> None:
        self._renewed_s.pop(session_id, None)
        self._renewed_s[session_id] = now_s

    def mark_due(self, before_s: float) -> None:
        """Mark the sessions that were renewed last at this time or before as changed."""
        due = []
        for session_id, renewed_s in self._renewed_s.items():
            if renewed_s > before_s:
                break
            due.append(session_id)
        for session_id in due:
            self.mark_changed(session_id)

    def take_changed(self, partition: int) -> list[TrackedSession]:
        """Return the changed sessions of a partition, and note that they are being renewed.

        Sessions whose room is being sent to another shard are left for a later renewal: the copy there counts.
        """
        changed = self._changed[partition]
        taken = [tracked for tracked in changed.values() if not tracked.session.is_moving]
        for tracked in taken:
            del changed[tracked.session.session_id]
        return taken

    def partitions_with_changes(self) -> list[int]:
        """Return the partitions that have changed sessions."""
        return [partition for partition in range(PARTITIONS) if self._changed[partition]]
