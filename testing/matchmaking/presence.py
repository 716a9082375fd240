"""Presence: the in-process form of the scripts of lua/presence. Each method has the contract of its script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tickwire.matchmaking.presence import Notice, NoticeKind, PresenceRecord, SessionPolicy
from tickwire.testing.matchmaking.expiring_map import ExpiringMap

INBOX_MS = 60_000
INBOX_NOTICES_MAX = 1000


class ClaimArguments(msgspec.Struct):
    """The arguments of claim.lua."""

    player_id: str
    record: PresenceRecord
    age_us: int
    policy: SessionPolicy
    challenges: bool
    record_ms: int


class PresenceRenewArguments(msgspec.Struct):
    """The arguments of renew.lua."""

    shard_id: str
    players: Sequence[str]
    policy: SessionPolicy
    acknowledged: int
    notices_max: int
    alive_ms: int
    record_ms: int


class PresenceReleaseArguments(msgspec.Struct):
    """The arguments of release.lua."""

    shard_id: str
    players: Sequence[str]
    sessions: Sequence[str]
    kept_ms: int
    leaves: bool


class PlayersArguments(msgspec.Struct):
    """The arguments of get.lua."""

    players: Sequence[str]


class NotifyArguments(msgspec.Struct):
    """The arguments of notify.lua."""

    player_id: str
    session_id: str
    kind: NoticeKind
    text: str
    forwards: int


class MemoryPresence:
    """The presence of the players of one partition.

    Args:
        now_us: the clock, UTC, microseconds since 1970.

    Attributes:
        shards: the shards that are alive.
        players: the record of each player's session.
        inboxes: the notices of each shard.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._last_number = 0
        self.shards: ExpiringMap[str, bool] = ExpiringMap(self._now_ms)
        self.players: ExpiringMap[str, PresenceRecord] = ExpiringMap(self._now_ms)
        self.inboxes: ExpiringMap[str, list[Notice]] = ExpiringMap(self._now_ms)

    def _now_ms(self) -> int:
        return self._now_us() // 1000

    def clear(self) -> None:
        """Lose everything."""
        self.shards = ExpiringMap(self._now_ms)
        self.players = ExpiringMap(self._now_ms)
        self.inboxes = ExpiringMap(self._now_ms)

    def _get_record(self, player_id: str) -> PresenceRecord | None:
        found = self.players.get(player_id)
        return found if found is not None and found.shard_id in self.shards else None

    def claim(self, request: ClaimArguments, packed: Sequence[bytes]) -> dict[str, object]:
        """See lua/presence/claim.lua."""
        mine, found = request.record, self._get_record(request.player_id)
        is_new = request.age_us >= 0
        if is_new:
            mine = _opened_at(mine, self._now_us() - request.age_us)
        status = "claimed"
        if found is not None and found.session_id == mine.session_id:
            if is_new:
                mine = _opened_at(mine, found.opened_us)
            if found.shard_id != mine.shard_id and mine.generation < found.generation:
                return {"status": "elsewhere", "record": found}
        elif found is not None:
            if is_new and request.policy == "refuse":
                if request.challenges:
                    self._push(found.shard_id, Notice(0, "challenged", request.player_id, found.session_id))
                return {"status": "refused", "record": found}
            if is_new and found.opened_us > self._now_us():
                mine = _opened_at(mine, found.opened_us + 1)
            if not _is_later(mine, found):
                return {"status": "superseded", "record": found}
            self._report_replaced(request.player_id, mine, found, request.policy)
            status = "taken_over"
        self.players.set(request.player_id, mine, request.record_ms)
        return {"status": status, "record": mine}

    def renew(self, request: PresenceRenewArguments, packed: Sequence[bytes]) -> dict[str, object]:
        """See lua/presence/renew.lua."""
        was_alive, restored = request.shard_id in self.shards, 0
        self.shards.set(request.shard_id, True, request.alive_ms)
        elsewhere: list[int] = []
        superseded: dict[int, PresenceRecord] = {}
        records = [msgspec.msgpack.decode(each, type=PresenceRecord) for each in packed]
        for at, (player, mine) in enumerate(zip(request.players, records, strict=True), 1):
            found = self._get_record(player)
            if found is None:
                restored += 1
            elif found.session_id == mine.session_id:
                if found.shard_id != mine.shard_id and not _is_newer_copy(mine, found):
                    elsewhere.append(at)
                    continue
            elif _is_later(mine, found):
                self._report_replaced(player, mine, found, request.policy)
            else:
                superseded[at] = found
                continue
            self.players.set(player, mine, request.record_ms)
        return {
            "was_alive": was_alive,
            "restored": restored,
            "elsewhere": elsewhere,
            "superseded": list(superseded),
            "winners": list(superseded.values()),
            "notices": self._read_inbox(request),
        }

    def release(self, request: PresenceReleaseArguments, packed: Sequence[bytes]) -> dict[str, int]:
        """See lua/presence/release.lua."""
        released = 0
        for player, session_id in zip(request.players, request.sessions, strict=True):
            found = self.players.get(player)
            if found is not None and (found.shard_id, found.session_id) == (request.shard_id, session_id):
                self.players.expire(player, request.kept_ms)
                released += 1
        if request.leaves:
            self.shards.pop(request.shard_id)
            self.inboxes.pop(request.shard_id)
        return {"released": released}

    def get(self, request: PlayersArguments, packed: Sequence[bytes]) -> dict[str, object]:
        """See lua/presence/get.lua."""
        found = {player: record for player in request.players if (record := self._get_record(player))}
        return {"players": list(found), "records": list(found.values())}

    def notify(self, request: NotifyArguments, packed: Sequence[bytes]) -> dict[str, object]:
        """See lua/presence/notify.lua."""
        found = self._get_record(request.player_id)
        if found is None or request.session_id not in ("", found.session_id):
            return {"status": "absent", "record": found}
        notice = Notice(0, request.kind, request.player_id, found.session_id, request.text, request.forwards)
        is_sent = self._push(found.shard_id, notice)
        return {"status": "sent" if is_sent else "full", "record": found}

    def _report_replaced(
        self, player_id: str, mine: PresenceRecord, found: PresenceRecord, policy: SessionPolicy
    ) -> None:
        if policy != "allow" and found.shard_id != mine.shard_id:
            self._push(found.shard_id, Notice(0, "replaced", player_id, found.session_id, mine.shard_id))

    def _push(self, shard_id: str, notice: Notice) -> bool:
        inbox = self.inboxes.get(shard_id) or []
        if len(inbox) >= INBOX_NOTICES_MAX:
            return False
        self._last_number = max(self._last_number + 1, self._now_us())
        numbered = msgspec.structs.replace(notice, number=self._last_number)
        self.inboxes.set(shard_id, [*inbox, numbered], INBOX_MS)
        return True

    def _read_inbox(self, request: PresenceRenewArguments) -> Sequence[Notice]:
        inbox = self.inboxes.get(request.shard_id)
        if inbox is None:
            return []
        inbox[:] = [notice for notice in inbox if notice.number > request.acknowledged]
        return inbox[: request.notices_max]


def _opened_at(record: PresenceRecord, opened_us: int) -> PresenceRecord:
    return msgspec.structs.replace(record, opened_us=opened_us)


def _is_later(mine: PresenceRecord, other: PresenceRecord) -> bool:
    return (mine.opened_us, mine.session_id) > (other.opened_us, other.session_id)


def _is_newer_copy(mine: PresenceRecord, other: PresenceRecord) -> bool:
    return (mine.generation, mine.is_connected) > (other.generation, other.is_connected)
