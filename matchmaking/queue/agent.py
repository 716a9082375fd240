"""The queue agent of one shard and mode: enqueues and dequeues its players, and delivers their notifications.

enqueue, dequeue    are collected and sent with the next sync; repeating one has no effect
dequeue             is decided in Redis (lua/queue/assign.lua): the listener receives "left", or an earlier match
sync                one script: sends all changes and receives all notifications. Notifications stay in Redis until
                    the agent acknowledges them
verification        every VERIFY_INTERVAL_S the agent checks that Redis still has all of its players. It enqueues a
                    player that Redis has lost again, with the time that the player has waited
detach, attach      move a player to the agent of another shard without a gap: a decision that is made meanwhile
                    reaches the new agent
silence             an agent that has not synced for AGENT_TIMEOUT_S is removed with its players
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import count, islice
from typing import Literal, Protocol

import msgspec
import structlog

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError
from tickwire.matchmaking.queue.slices import run_in_slices
from tickwire.matchmaking.queue.ticket import Backfill, Entry
from tickwire.matchmaking.scripts import Scripts
from tickwire.retry_delay import RetryDelay

log = structlog.get_logger(__name__)

SYNC_INTERVAL_S = 0.2
AGENT_TIMEOUT_S = 10.0
POSITION_INTERVAL_S = 1.0
VERIFY_INTERVAL_S = 5.0
ENQUEUED_PER_SYNC_MAX = DEQUEUED_PER_SYNC_MAX = 250
"""Limits the duration of one script, because other calls wait while it runs."""
POSITIONS_PER_INTERVAL_MAX = 100
POSITIONS_PER_SYNC_MAX = 20
"""Players whose position is requested in one POSITION_INTERVAL_S, and in one sync."""
VERIFIED_PER_SYNC_MAX = 1000
"""Players that one sync verifies."""
NOTIFICATIONS_PER_SYNC_MAX = 500
PLAYERS_MAX = 20_000


class MatchRoom(msgspec.Struct, frozen=True):
    """The room of a match."""

    room_id: str
    room_type: str
    shard_id: str
    url: str
    epoch: int
    until_ms: int
    labels: Sequence[str] = ()


class QueueNotification(msgspec.Struct, frozen=True, array_like=True):
    """The final notification for one player. Packed by `notify` in lua/queue/_prelude.lua.

    Args:
        number: grows with each notification; 0 for one that the agent creates itself.
        kind: "left" is the reply to `QueueAgent.dequeue`; if the dequeue came too late, the reply is "found".
    """

    number: int
    entry_id: str
    kind: Literal["found", "cancelled", "timed_out", "left"]
    reason: str = ""
    team: int = 0
    match_id: str = ""
    room: MatchRoom | None = None


class QueuePosition(msgspec.Struct, frozen=True):
    """The position of a player in the queue.

    Args:
        position: from 1; 0 while members of the party are missing.
        missing: the number of members of the party who have not requested a match yet.
        recent_wait_ms: how long other players have waited recently; 0 if unknown.
    """

    position: int
    missing: int
    recent_wait_ms: int


class QueueListener(Protocol):
    """A callback for one queued player: receives position updates, and one final notification."""

    def __call__(self, news: QueuePosition | QueueNotification, /) -> None:
        """Handle an update of the position, or the final notification."""


class QueueRequest(msgspec.Struct, frozen=True):
    """The match that a player requests.

    Args:
        skill: on the scale of the mode's rules.
        latencies: round trips in ms, by region.
        labels: KEY=VALUE.
        party: the code and the size of the party.
    """

    skill: float
    latencies: Mapping[str, float]
    labels: Sequence[str] = ()
    party: tuple[str, int] | None = None


class _Reassigned(msgspec.Struct, frozen=True):
    reassigned: Sequence[str]


class _EnqueuedPlayer(msgspec.Struct, frozen=True):
    """A player that this agent has enqueued."""

    entry: Entry
    enqueued_ms: int
    listener: QueueListener


class _SyncReply(msgspec.Struct, frozen=True):
    notifications: Sequence[QueueNotification]
    unknown: Sequence[str]
    positions: Sequence[tuple[str, int, int]]
    waiting: int
    recent_wait_ms: int


class QueueAgent:
    """Represents the players of one shard in the queue of one mode. Run `run` as a task. Not thread-safe.

    Args:
        shard_id: the shard of the agent.
        region: the region of the shard.
        scripts: runs scripts on the keys of the queue.
        now_s: a monotonic clock.
        now_ms: UTC, milliseconds.

    Attributes:
        agent_id: changes with each run of the shard.
        waiting_total: the number of waiting tickets of all agents, at the last sync.
    """

    def __init__(
        self,
        shard_id: str,
        region: str,
        scripts: Scripts,
        *,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self.waiting_total = 0
        # A new id for each run: a restarted shard with the same name does not represent its earlier players.
        self._run_id = secrets.token_hex(4)
        self._entry_numbers = count(1)
        self.agent_id = f"{shard_id}/{self._run_id}"
        self._region = region
        self._scripts = scripts
        self._now_s = now_s
        self._now_ms = now_ms
        self._players: dict[str, _EnqueuedPlayer] = {}
        self._to_enqueue: deque[Entry] = deque()
        self._to_dequeue: dict[str, _EnqueuedPlayer] = {}  # until Redis has decided
        self._to_attach: list[tuple[str, str, str]] = []  # (player, entry, previous agent) of calls that have failed
        self._backfills: dict[str, Backfill] = {}
        self._backfills_to_send: dict[str, None] = {}
        self._backfills_to_remove: dict[str, None] = {}
        self._position_turns: deque[str] = deque()
        self._positions_left = 0
        self._to_verify: deque[str] = deque()
        # Notifications up to these numbers were received here, and may be deleted in Redis.
        self._received = self._deleted = 0
        self._is_retry = self._is_detaching = False
        self._positions_s = self._verified_s = now_s()
        self._has_changes = asyncio.Event()

    def __len__(self) -> int:
        return len(self._players)

    def enqueue(self, player_id: str, request: QueueRequest, listener: QueueListener) -> str:
        """Enqueue a player with the next sync.

        Args:
            player_id: the player.
            request: the match that the player requests.
            listener: receives the player's positions and one notification.

        Returns:
            The id of the entry, for `dequeue`.

        Raises:
            MatchmakerUnavailable: this agent has PLAYERS_MAX players.
        """
        if len(self._players) + len(self._to_dequeue) >= PLAYERS_MAX:
            raise MatchmakerUnavailable(
                f"more than {PLAYERS_MAX} players of this shard wait in the queue", retry_after_ms=5000
            )
        code, size = request.party or ("", 1)
        latencies = [(region, max(0, round(ms))) for region, ms in request.latencies.items()]
        entry_id = f"{self._run_id}.{next(self._entry_numbers):x}"
        entry = Entry(entry_id, player_id, self.agent_id, code, size, 0, request.skill, latencies, request.labels)
        self._players[entry_id] = _EnqueuedPlayer(entry, self._now_ms(), listener)
        self._to_enqueue.append(entry)
        self._position_turns.append(entry_id)
        self._has_changes.set()
        return entry_id

    def dequeue(self, entry_id: str) -> None:
        """Dequeue a player with the next sync. Idempotent.

        The listener receives the reply as its final notification: "left", or an earlier decision such as "found".
        """
        found = self._players.pop(entry_id, None)
        if found is not None:
            self._to_dequeue[entry_id] = found
            self._has_changes.set()

    def get_entry(self, entry_id: str) -> tuple[Entry, int] | None:
        """Return an entry of this agent and when it was enqueued (UTC, ms), for `attach` on another shard."""
        found = self._players.get(entry_id)
        return (found.entry, found.enqueued_ms) if found is not None else None

    def detach(self, entry_id: str) -> None:
        """Detach a player, who waits at the agent of another shard from now on. Idempotent.

        The listener receives nothing more. From now on this agent acknowledges no notifications, so that one for the
        player is still in Redis when the other agent attaches the player.
        """
        self._is_detaching = True
        self._players.pop(entry_id, None)

    async def attach(self, entry: Entry, enqueued_ms: int, listener: QueueListener) -> None:
        """Represent a player that an agent of another shard has enqueued; position and waiting time are preserved.

        A player that Redis has lost is enqueued again.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the next sync repeats the attempt.
        """
        before, entry = entry.agent_id, msgspec.structs.replace(entry, agent_id=self.agent_id)
        self._players[entry.entry_id] = _EnqueuedPlayer(entry, enqueued_ms, listener)
        self._position_turns.append(entry.entry_id)
        self._has_changes.set()
        await self._reassign([(entry.player_id, entry.entry_id, before)])

    async def _reassign(self, entries: list[tuple[str, str, str]]) -> None:
        """Reassign entries of other agents to this one, and enqueue those that Redis has lost again.

        Args:
            entries: (player, entry, previous agent) of each.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the next sync repeats the call.
        """
        try:
            request = {"agent": self.agent_id, "entries": entries}
            found = await self._scripts.run("queue/reassign_agent", request, _Reassigned)
        except MatchmakingError:
            self._to_attach += entries
            raise
        for _, entry_id, _ in entries:
            player = self._players.get(entry_id)
            if player is not None and entry_id not in found.reassigned:
                self._to_enqueue.append(msgspec.structs.replace(player.entry, since_ms=player.enqueued_ms))
                self._has_changes.set()

    def set_backfill(self, backfill: Backfill) -> None:
        """Request players for a room; call again when the request changes."""
        self._backfills[backfill.room_id] = backfill
        self._backfills_to_send[backfill.room_id] = None
        self._backfills_to_remove.pop(backfill.room_id, None)
        self._has_changes.set()

    def remove_backfill(self, room_id: str) -> None:
        """Withdraw the request of a room for players. Idempotent."""
        if self._backfills.pop(room_id, None) is not None:
            self._backfills_to_send.pop(room_id, None)
            self._backfills_to_remove[room_id] = None
            self._has_changes.set()

    async def run(self) -> None:
        """Sync while the agent has players or changes, until cancelled."""
        delay = RetryDelay(SYNC_INTERVAL_S)
        while True:
            if not (self._players or self._backfills or self._to_dequeue or self._backfills_to_remove):
                self._has_changes.clear()
                await self._has_changes.wait()
            try:
                has_more = await self.sync()
                delay.succeeded()
                pause_s = 0.0 if has_more else delay.seconds
            except MatchmakingError as error:
                delay.failed()
                pause_s = delay.seconds
                log.warning("queue_unavailable", error=error.detail, retry_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)

    async def sync(self) -> bool:
        """Send all changes and receive all notifications.

        Returns:
            Whether more changes or notifications are pending.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the next sync repeats the changes.
        """
        if self._to_attach:
            to_attach, self._to_attach = self._to_attach, []
            # A player that was detached meanwhile waits at the agent of a third shard.
            await self._reassign([one for one in to_attach if one[1] in self._players or one[1] in self._to_dequeue])
        enqueued = [entry for entry in self._take_to_enqueue() if entry.entry_id in self._players]
        dequeued = [player.entry for player in islice(self._to_dequeue.values(), DEQUEUED_PER_SYNC_MAX)]
        changed, removed = list(self._backfills_to_send), list(self._backfills_to_remove)
        request = {
            "agent": self.agent_id,
            "region": self._region,
            "delete_up_to": self._deleted,
            "after": self._received,
            "is_retry": self._is_retry,
            "enqueue": [(e.entry_id, e.player_id, e.party, e.size, e.since_ms) for e in enqueued],
            "dequeue": [(entry.player_id, entry.entry_id) for entry in dequeued],
            "verify": self._entries_to_verify(),
            "positions": self._entries_to_locate(),
            "backfills": [self._backfills[room_id] for room_id in changed],
            "filled": removed,
            "notifications_max": NOTIFICATIONS_PER_SYNC_MAX,
        }
        try:
            reply = await self._scripts.run(
                "queue/sync", request, _SyncReply, [msgspec.msgpack.encode(entry) for entry in enqueued]
            )
        except MatchmakingError:
            self._to_enqueue.extendleft(reversed(enqueued))
            self._is_retry = True
            self._verified_s = 0.0  # Redis may have lost players
            raise
        self._is_retry = False
        for pending, sent in ((self._backfills_to_send, changed), (self._backfills_to_remove, removed)):
            for room_id in sent:
                pending.pop(room_id, None)
        self.waiting_total = reply.waiting
        await run_in_slices(self._apply(reply, dequeued))  # a ticket is signed and sent for each player
        has_changes = bool(self._to_enqueue or self._to_dequeue or self._to_verify)
        return has_changes or len(reply.notifications) >= NOTIFICATIONS_PER_SYNC_MAX

    def _take_to_enqueue(self) -> list[Entry]:
        return [self._to_enqueue.popleft() for _ in range(min(len(self._to_enqueue), ENQUEUED_PER_SYNC_MAX))]

    def _entries_to_verify(self) -> list[tuple[str, str]]:
        """Return the (player, entry) to verify with this sync: all in turn, once in VERIFY_INTERVAL_S."""
        if self._now_s() - self._verified_s >= VERIFY_INTERVAL_S:
            self._verified_s = self._now_s()
            self._backfills_to_send |= dict.fromkeys(self._backfills)
            to_enqueue = {entry.entry_id for entry in self._to_enqueue}
            self._to_verify.clear()
            self._to_verify.extend(entry_id for entry_id in self._players if entry_id not in to_enqueue)
        checked = [self._to_verify.popleft() for _ in range(min(len(self._to_verify), VERIFIED_PER_SYNC_MAX))]
        players = self._players
        return [(players[entry_id].entry.player_id, entry_id) for entry_id in checked if entry_id in players]

    def _entries_to_locate(self) -> list[tuple[str, str]]:
        """Return the (player, entry) to locate with this sync: all in turn, limited per interval."""
        if self._now_s() - self._positions_s >= POSITION_INTERVAL_S:
            self._positions_s = self._now_s()
            self._positions_left = min(len(self._position_turns), POSITIONS_PER_INTERVAL_MAX)
        located: list[tuple[str, str]] = []
        count = min(self._positions_left, len(self._position_turns), POSITIONS_PER_SYNC_MAX)
        self._positions_left -= count
        for _ in range(count):
            entry_id = self._position_turns.popleft()
            if entry_id in self._players:
                located.append((self._players[entry_id].entry.player_id, entry_id))
                self._position_turns.append(entry_id)
        return located

    def _apply(self, reply: _SyncReply, dequeued: Sequence[Entry]) -> Generator[None, None, None]:
        notified = set()
        for notification in reply.notifications:
            if notification.number > self._received:
                self._received = notification.number
                notified.add(notification.entry_id)
                self._deliver(notification)
                yield
        if not self._is_detaching:
            self._deleted = self._received
        # If notifications are still unread, an entry that was dequeued or is unknown may have been matched. It is
        # requested again when all notifications have been read.
        if len(reply.notifications) < NOTIFICATIONS_PER_SYNC_MAX:
            for entry in dequeued:
                self._deliver(QueueNotification(0, entry.entry_id, "left"))
            for entry_id in reply.unknown:
                if entry_id in self._players and entry_id not in notified:
                    player = self._players[entry_id]
                    self._to_enqueue.append(msgspec.structs.replace(player.entry, since_ms=player.enqueued_ms))
        for entry_id, position, missing in reply.positions:
            if entry_id in self._players:
                self._notify(self._players[entry_id], QueuePosition(position, missing, reply.recent_wait_ms))

    def _deliver(self, notification: QueueNotification) -> None:
        """Deliver the final notification of a player, at most once."""
        entry_id = notification.entry_id
        player = self._players.pop(entry_id, None) or self._to_dequeue.pop(entry_id, None)
        if player is not None:
            self._notify(player, notification)

    def _notify(self, player: _EnqueuedPlayer, news: QueuePosition | QueueNotification) -> None:
        try:
            player.listener(news)
        except Exception:  # an error for one player must not affect the others
            log.exception("queue_listener_failed", player_id=player.entry.player_id)
