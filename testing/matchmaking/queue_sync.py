"""The scripts of queue agents, in process: sync and reassign_agent of lua/queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.queue.ticket import Backfill, Entry
from tickwire.testing.matchmaking.queue_state import FORWARD_MS, MemoryQueue, StoredTicket

REPLACED = ("cancelled", "the player has requested another match")
PlayerEntry = tuple[str, str]
"""A player, and its entry."""


class SyncArguments(msgspec.Struct):
    """The request of sync.lua. The entries of `enqueue` follow it, packed."""

    agent: str
    region: str
    delete_up_to: int
    after: int
    notifications_max: int
    dequeue: Sequence[PlayerEntry]
    verify: Sequence[PlayerEntry]
    positions: Sequence[PlayerEntry]
    backfills: Sequence[Backfill]
    filled: Sequence[str]
    is_retry: bool = False


class ReassignArguments(msgspec.Struct):
    """The request of reassign_agent.lua: (player, entry, previous agent) of each entry."""

    agent: str
    entries: Sequence[tuple[str, str, str]]


class MemoryAgents:
    """Runs the scripts of queue agents.

    Args:
        queue: the state of the queue.
    """

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue

    def sync(self, request: SyncArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Apply the changes of an agent, and return its notifications."""
        queue = self._queue
        queue.agents[request.agent] = queue.now_ms()
        queue.last_number = max(queue.last_number, request.delete_up_to)
        inbox = queue.inboxes.setdefault(request.agent, {})
        for number in [number for number in inbox if number <= request.delete_up_to]:
            del inbox[number]
        notified = {one.entry_id for one in inbox.values()}  # before this call, as in sync.lua
        for player_id, entry_id in request.dequeue:
            self._dequeue(player_id, entry_id)
        for data in packed:
            entry = msgspec.msgpack.decode(data, type=Entry)
            # An entry that may have been enqueued before must not be enqueued again if it has a notification since.
            may_repeat = request.is_retry or entry.since_ms != 0
            if not (may_repeat and entry.entry_id in notified):
                self._enqueue(entry, request.agent, may_repeat=may_repeat)
        for backfill in request.backfills:
            queue.backfills[backfill.room_id] = msgspec.structs.replace(backfill, agent_id=request.agent)
        for room_id in request.filled:
            queue.backfills.pop(room_id, None)
        notifications = [inbox[number] for number in sorted(inbox) if number > request.after]
        return {
            "notifications": notifications[: request.notifications_max],
            "unknown": [entry_id for player, entry_id in request.verify if not self._is_known(player, entry_id)],
            "positions": self._find_positions(request.positions),
            "waiting": len(queue.waiting),
            "recent_wait_ms": queue.recent_waits_ms.get(request.region, 0),
        }

    def _dequeue(self, player_id: str, entry_id: str) -> None:
        queue = self._queue
        found, ticket_id = queue.players.get(player_id, ("", ""))
        ending = ("cancelled", "a member of the party has left the queue")
        is_cancelled = found == entry_id and queue.cancel(ticket_id, ending, but_entry=entry_id)
        if not is_cancelled and queue.is_in_match(entry_id):
            queue.mark_left(entry_id)  # the match has no room yet; it is dropped

    def _enqueue(self, entry: Entry, agent_id: str, *, may_repeat: bool) -> None:
        queue, address = self._queue, (agent_id, entry.entry_id)
        before, old = queue.players.get(entry.player_id, ("", ""))
        if before == entry.entry_id:  # a repeated call
            if entry.since_ms and queue.forwards.get(entry.entry_id) == agent_id:
                queue.rebind(entry.entry_id, old, agent_id)
            return
        if may_repeat and queue.is_in_match(entry.entry_id):
            return
        if entry.since_ms and before and self._is_newer(before, old, entry.since_ms):
            queue.notify(address, REPLACED)
            return
        is_cancelled = bool(before) and queue.cancel(old, REPLACED)
        if before and not is_cancelled and before not in queue.left and queue.is_in_match(before):
            queue.notify(address, ("cancelled", "the player is already in a match"))
            return
        ticket = self._add_to_party(entry) if entry.party else self._create_ticket(entry)
        if ticket is None:
            queue.notify(address, ("cancelled", "the members of the party sent different sizes"))
            return
        queue.players[entry.player_id] = entry.entry_id, ticket.ticket_id

    def _is_newer(self, entry_id: str, ticket_id: str, since_ms: int) -> bool:
        """Return whether an entry is newer than one that is enqueued again. One that was enqueued only once is."""
        ticket = self._queue.tickets.get(ticket_id)
        member = ticket.find_member(entry_id) if ticket is not None else None
        return member is not None and (member.since_ms == 0 or member.since_ms > since_ms)

    def _create_ticket(self, entry: Entry) -> StoredTicket:
        ticket = StoredTicket(entry.entry_id, 0, 0, [entry])
        self._add_waiting(ticket)
        return ticket

    def _add_to_party(self, entry: Entry) -> StoredTicket | None:
        """Add an entry to its party, which waits once it is complete. Return None if the sizes differ."""
        queue = self._queue
        ticket = queue.tickets.get(queue.parties.get(entry.party, ""))
        if ticket is None:
            ticket = StoredTicket(entry.entry_id, 0, queue.now_ms(), [])
            queue.tickets[ticket.ticket_id] = ticket
            queue.parties[entry.party] = ticket.ticket_id
            queue.gathering[ticket.ticket_id] = queue.now_ms()
        elif ticket.members[0].size != entry.size:
            return None
        if ticket.find_member(entry.entry_id) is None:
            ticket.members.append(entry)
        if len(ticket.members) >= entry.size:
            del queue.gathering[ticket.ticket_id], queue.parties[entry.party]
            self._add_waiting(ticket)
        return ticket

    def _add_waiting(self, ticket: StoredTicket) -> None:
        queue = self._queue
        queue.last_seq += 1
        ticket.seq = queue.last_seq
        earlier = [member.since_ms for member in ticket.members if member.since_ms]
        ticket.since_ms = min([queue.now_ms(), *earlier])
        queue.tickets[ticket.ticket_id] = ticket
        queue.waiting[ticket.ticket_id] = ticket.seq

    def _is_known(self, player_id: str, entry_id: str) -> bool:
        return self._queue.has_entry(player_id, entry_id) or self._queue.is_in_match(entry_id)

    def _find_positions(self, items: Sequence[PlayerEntry]) -> list[tuple[str, int, int]]:
        """Return (entry, position, missing members); without the tickets that have just been matched."""
        queue, found = self._queue, []
        ranks: dict[str, int] = {}
        if items:
            ranks = {ticket.ticket_id: rank for rank, ticket in enumerate(queue.list_waiting(), 1)}
        for player_id, entry_id in items:
            current, ticket_id = queue.players.get(player_id, ("", ""))
            if current != entry_id:
                continue
            if ticket_id in ranks:
                found.append((entry_id, ranks[ticket_id], 0))
            elif ticket_id in queue.gathering:
                members = queue.tickets[ticket_id].members
                found.append((entry_id, 0, members[0].size - len(members)))
        return found

    def reassign(self, request: ReassignArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Reassign queued players to another agent. Their positions are unchanged."""
        queue, reassigned = self._queue, []
        queue.agents[request.agent] = queue.now_ms()
        for player_id, entry_id, previous in request.entries:
            found, ticket_id = queue.players.get(player_id, ("", ""))
            queue.forwards.set(entry_id, request.agent, FORWARD_MS)
            if found == entry_id:
                queue.rebind(entry_id, ticket_id, request.agent)
                reassigned.append(entry_id)
            elif self._move_notification(entry_id, request.agent, previous):
                reassigned.append(entry_id)
        return {"reassigned": reassigned}

    def _move_notification(self, entry_id: str, agent_id: str, previous: str) -> bool:
        """Move a notification that an earlier agent has not delivered. Return whether there was one."""
        queue = self._queue
        others = [agent for agent in queue.inboxes if agent not in (agent_id, previous)]
        for inbox in [queue.inboxes.get(agent, {}) for agent in (previous, *others)]:
            for number, one in list(inbox.items()):
                if one.entry_id == entry_id:
                    del inbox[number]
                    room = (one.team, one.match_id, one.room) if one.room is not None else None
                    queue.notify((agent_id, entry_id), (one.kind, one.reason), room)
                    return True
        return False
