"""Presence: the shard and the session of each player, in the whole fleet.

A record holds one session of a player: the one that was opened last. It counts while its shard is alive: a shard
renews one key a second, and each record only now and then, which costs Redis a twentieth of renewing all records.
Shards inform each other with notices, which Redis keeps in an inbox of each shard until the shard has acknowledged
them.

Players are divided among PARTITIONS slots by a hash of their ids, so that a Redis Cluster spreads them over its
nodes, and one script serves hundreds of players. A shard that finds its key missing renews all records, so that they
are complete a second after Redis was emptied.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from tickwire.matchmaking.scripts import ScriptConnection, Scripts
from tickwire.matchmaking.ttls import Ttls

PARTITIONS = 8
"""All shards of a fleet must use the same number."""
PLAYERS_A_CALL_MAX = 256
"""The most players of one script. It then takes about a millisecond of Redis."""
RECORD_TTLS = 6
"""The TTL of a record, in TTLs of its shard."""
NOTICES_A_CALL_MAX = 100

SessionPolicy = Literal["replace", "refuse", "allow"]
ClaimStatus = Literal["claimed", "taken_over", "refused", "superseded", "elsewhere"]
NoticeKind = Literal["replaced", "challenged", "kicked"]


class PresenceRecord(msgspec.Struct, frozen=True, array_like=True):
    """The session of a player.

    Args:
        shard_id: the shard that has it.
        session_id: its id.
        opened_us: when it was opened, on whichever shard: UTC, microseconds since 1970.
        generation: the number of its connections.
        is_connected: whether it has a connection; otherwise its client may resume it.
        room_id, room_type: the room in which it has a seat; empty outside of a room.
        previous_session_id: the lost session that its client tried to resume when it was opened; empty without one.
    """

    shard_id: str
    session_id: str
    opened_us: int
    generation: int = 0
    is_connected: bool = True
    room_id: str = ""
    room_type: str = ""
    previous_session_id: str = ""


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """A message to the shard of a player.

    Args:
        number: greater than the numbers of all earlier notices of the partition.
        kind: "replaced": the player has opened another session, on the shard that `text` names; "challenged": the
            player tries to open another session, so this one ends if its client has left it; "kicked": an operator
            ends the session, and `text` is the reason.
        player_id, session_id: the player and the session.
        text: see `kind`.
        forwards: how often it was sent on, because the session had moved.
    """

    number: int
    kind: NoticeKind
    player_id: str
    session_id: str
    text: str = ""
    forwards: int = 0


class Claim(msgspec.Struct, frozen=True):
    """The result of a claim; see lua/presence/claim.lua.

    Args:
        status: the decision.
        record: the record of the player after the claim.
    """

    status: ClaimStatus
    record: PresenceRecord


class PresenceRenewal(msgspec.Struct, frozen=True):
    """The result of a renewal.

    Args:
        was_alive: whether Redis still had the shard; if not, the shard must renew all of its sessions.
        restored: the number of players of whom Redis had no record.
        elsewhere: players of whose session another shard has a newer copy.
        superseded: players with a session that was opened later, and its record.
        notices: the notices of the partition, oldest first.
    """

    was_alive: bool = True
    restored: int = 0
    elsewhere: frozenset[str] = frozenset()
    superseded: Mapping[str, PresenceRecord] = {}
    notices: Sequence[Notice] = ()


class Delivery(msgspec.Struct, frozen=True):
    """The result of sending a notice.

    Args:
        status: "sent"; "absent": the player has no session, or another one; "full": the shard has too many notices.
        record: the record of the player; None if there is none.
    """

    status: Literal["sent", "absent", "full"]
    record: PresenceRecord | None = None


class _ClaimRequest(msgspec.Struct, frozen=True):
    """The request of lua/presence/claim.lua."""

    player_id: str
    record: PresenceRecord
    age_us: int
    policy: SessionPolicy
    challenges: bool
    record_ms: int


class _Renewed(msgspec.Struct, frozen=True):
    was_alive: bool
    restored: int
    elsewhere: Sequence[int]
    superseded: Sequence[int]
    winners: Sequence[PresenceRecord]
    notices: Sequence[Notice]


class _Found(msgspec.Struct, frozen=True):
    players: Sequence[str]
    records: Sequence[PresenceRecord]


class Presence:
    """Reads and writes the presence of players.

    Args:
        connection: the connection to Redis; not closed with the presence.
        namespace: the prefix of all keys.
        ttls: a shard that has not renewed its key for `lease_ms` has no sessions any more.

    Attributes:
        script_runners: the runner of each partition.
    """

    def __init__(self, connection: ScriptConnection, namespace: str, ttls: Ttls) -> None:
        self._alive_ms = ttls.lease_ms
        self._record_ms = RECORD_TTLS * ttls.lease_ms
        self.script_runners: Sequence[Scripts] = [
            connection.create_script_runner(presence_slot(namespace, number)) for number in range(PARTITIONS)
        ]

    # -- sessions of a shard --------------------------------------------------------------------------------

    async def claim(
        self,
        player_id: str,
        record: PresenceRecord,
        *,
        age_us: int = -1,
        policy: SessionPolicy = "replace",
        challenges: bool = False,
    ) -> Claim:
        """Make a session the player's session, if it was opened last.

        A shard calls it when a session opens, is resumed, or arrives from another shard. The record counts once the
        shard has renewed the partition. Safe to repeat.

        Args:
            player_id: the player.
            record: the session.
            age_us: for how long it has been open, if it was never claimed; `opened_us` does not count then, and the
                result has the time by the clock of Redis.
            policy: the policy for another session of the player; see lua/presence/claim.lua.
            challenges: whether a session because of which this one is refused receives a notice.

        Raises:
            MatchmakerUnavailable: Redis does not answer. All other methods raise it too.
        """
        request = _ClaimRequest(player_id, record, age_us, policy, challenges, self._record_ms)
        return await self._runner(player_id).run("presence/claim", request, Claim)

    async def renew(
        self,
        partition: int,
        shard_id: str,
        records: Mapping[str, PresenceRecord],
        *,
        policy: SessionPolicy = "replace",
        acknowledged: int = 0,
    ) -> PresenceRenewal:
        """Keep the shard alive in one partition, renew or restore records, and read the shard's notices.

        Call it once a second for each partition, also without records.

        Args:
            partition: a number below PARTITIONS.
            shard_id: the shard that has the sessions.
            records: at most PLAYERS_A_CALL_MAX sessions, by player.
            policy: with "allow", no notices are sent to sessions that were opened before.
            acknowledged: the number of the last notice that the shard has handled; they are returned until then.
        """
        players = list(records)
        request = {
            "shard_id": shard_id,
            "players": players,
            "policy": policy,
            "acknowledged": acknowledged,
            "notices_max": NOTICES_A_CALL_MAX,
            "alive_ms": self._alive_ms,
            "record_ms": self._record_ms,
        }
        packed = [msgspec.msgpack.encode(record) for record in records.values()]
        found = await self.script_runners[partition].run("presence/renew", request, _Renewed, packed)
        return PresenceRenewal(
            found.was_alive,
            found.restored,
            frozenset(players[at - 1] for at in found.elsewhere),
            {players[at - 1]: record for at, record in zip(found.superseded, found.winners, strict=True)},
            found.notices,
        )

    async def release(self, shard_id: str, sessions: Iterable[tuple[str, str]], *, have_moved: bool = False) -> None:
        """Delete the records of sessions that have ended. Records of other sessions, or other shards, remain.

        Args:
            shard_id: the shard that had the sessions.
            sessions: players, and the ids of their sessions.
            have_moved: whether they continue on other shards. Their records last until these claim them, and
                expire if they do not.
        """
        kept_ms = self._alive_ms if have_moved else 0
        divided: dict[int, list[tuple[str, str]]] = {}
        for player_id, session_id in sessions:
            divided.setdefault(partition_from_player(player_id), []).append((player_id, session_id))
        await asyncio.gather(
            *(self._release(partition, shard_id, ended, kept_ms) for partition, ended in divided.items()),
        )

    async def _release(self, partition: int, shard_id: str, ended: Sequence[tuple[str, str]], kept_ms: int) -> None:
        for start in range(0, len(ended), PLAYERS_A_CALL_MAX):
            part = ended[start : start + PLAYERS_A_CALL_MAX]
            request = {
                "shard_id": shard_id,
                "players": [player_id for player_id, _ in part],
                "sessions": [session_id for _, session_id in part],
                "kept_ms": kept_ms,
                "leaves": False,
            }
            await self.script_runners[partition].run("presence/release", request, dict[str, int])

    async def leave(self, shard_id: str) -> None:
        """Note that a shard stops: the records that it has not released do not count any more."""
        request = {"shard_id": shard_id, "players": [], "sessions": [], "kept_ms": 0, "leaves": True}
        await asyncio.gather(*(one.run("presence/release", request, dict[str, int]) for one in self.script_runners))

    # -- readers --------------------------------------------------------------------------------------------

    async def get(self, player_id: str) -> PresenceRecord | None:
        """Return the session of a player; None if there is none."""
        return (await self.get_many([player_id])).get(player_id)

    async def get_many(self, player_ids: Collection[str]) -> dict[str, PresenceRecord]:
        """Return the sessions of players. Players without one are missing in the result."""
        divided: dict[int, list[str]] = {}
        for player_id in player_ids:
            divided.setdefault(partition_from_player(player_id), []).append(player_id)
        calls = [
            self.script_runners[partition].run(
                "presence/get", {"players": players[start : start + PLAYERS_A_CALL_MAX]}, _Found
            )
            for partition, players in divided.items()
            for start in range(0, len(players), PLAYERS_A_CALL_MAX)
        ]
        found = await asyncio.gather(*calls)
        return {player: record for one in found for player, record in zip(one.players, one.records, strict=True)}

    async def kick(self, player_id: str, reason: str) -> Delivery:
        """End the session of a player, on whichever shard, within a second. Safe to repeat."""
        return await self.notify(player_id, "kicked", reason)

    async def notify(
        self, player_id: str, kind: NoticeKind, text: str = "", *, session_id: str = "", forwards: int = 0
    ) -> Delivery:
        """Send a notice to the shard of a player, which receives it at least once.

        Args:
            player_id: the player.
            kind: see `Notice`.
            text: see `Notice`.
            session_id: only if the player has this session; empty for any.
            forwards: see `Notice`.
        """
        request = {
            "player_id": player_id,
            "session_id": session_id,
            "kind": kind,
            "text": text,
            "forwards": forwards,
        }
        return await self._runner(player_id).run("presence/notify", request, Delivery)

    async def aclose(self) -> None:
        """Cancel all calls in flight. Idempotent."""
        for runner in self.script_runners:
            await runner.aclose()

    def _runner(self, player_id: str) -> Scripts:
        return self.script_runners[partition_from_player(player_id)]


def partition_from_player(player_id: str) -> int:
    """Return the partition of a player, the same in every process."""
    return zlib.crc32(player_id.encode()) % PARTITIONS


def presence_slot(namespace: str, partition: int) -> str:
    """Return the slot of a partition: the hash tag of its keys."""
    return f"{namespace}:presence:{partition}"


def wake_channel(namespace: str, partition: int, shard_id: str) -> str:
    """Return the channel on which Redis announces a new notice for a shard."""
    return f"{{{presence_slot(namespace, partition)}}}:wake:{shard_id}"
