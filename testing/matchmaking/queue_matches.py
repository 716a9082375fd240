"""The scripts of queue leaders, in process: all of lua/queue but those of agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.queue.agent import MatchRoom
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.leader import Leadership
from tickwire.testing.matchmaking.queue_state import MemoryQueue, StoredTicket


class LeaderArguments(msgspec.Struct):
    """The request of acquire_leadership.lua and resign.lua."""

    region: str
    leader: str
    epoch: int = 0
    lease_ms: int = 0
    recent_wait_ms: int = 0


class ReadArguments(msgspec.Struct):
    """The request of read.lua."""

    after: int
    limit: int
    with_matches: bool
    backfills_max: int


class CommitArguments(msgspec.Struct):
    """The request of commit.lua: (match, tickets, backfill, players, entries) of each match.

    The matches follow it, packed.
    """

    region: str
    leader: str
    epoch: int
    matches: Sequence[tuple[str, Sequence[str], str, Sequence[str], Sequence[str]]]


class FoundRoom(msgspec.Struct):
    """A match, and its room."""

    match_id: str
    room: MatchRoom


class AssignArguments(msgspec.Struct):
    """The request of assign.lua."""

    found: Sequence[FoundRoom]
    failed: Sequence[str]


class SweepArguments(msgspec.Struct):
    """The request of sweep.lua, without the cursors of its search."""

    region: str
    leader: str
    epoch: int
    agent_ms: int
    gather_ms: int
    overdue: Sequence[str]


class InspectArguments(msgspec.Struct):
    """The request of inspect.lua."""

    limit: int
    regions: Sequence[str]
    player_id: str


class MemoryLeaders:
    """Runs the scripts of queue leaders.

    Args:
        queue: the state of the queue.
    """

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue

    def acquire(self, request: LeaderArguments, packed: Sequence[bytes]) -> Leadership:
        """Acquire or renew the lease of the leader of a region."""
        queue, region = self._queue, request.region
        held = queue.leaders.get(region)
        if held is None:
            queue.last_epoch += 1
            held = Leadership(request.leader, queue.last_epoch)
        if held.owner == request.leader:
            queue.leaders.set(region, held, request.lease_ms)
            if request.recent_wait_ms:
                queue.recent_waits_ms[region] = request.recent_wait_ms
        return held

    def resign(self, request: LeaderArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Release the lease of the leader of a region."""
        if self._queue.is_leader(request.region, request.leader, request.epoch):
            self._queue.leaders.pop(request.region)
        return {"status": "ok"}

    def read(self, request: ReadArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Return waiting tickets, backfills, and matches without a room."""
        queue = self._queue
        tickets = [ticket for ticket in queue.list_waiting() if ticket.seq > request.after]
        return {
            "tickets": tickets[: request.limit],
            "backfills": list(queue.backfills.values())[: request.backfills_max],
            "matches": list(queue.matches.values()) if request.with_matches else [],
            "now_ms": queue.now_ms(),
        }

    def commit(self, request: CommitArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Commit matches: each removes all of its tickets from the queue, or is not made."""
        queue = self._queue
        made: list[str] = []
        gone: list[str] = []
        if not queue.is_leader(request.region, request.leader, request.epoch):
            return {"status": "stale", "made": made, "gone": gone}
        for (match_id, tickets, backfill, _, _), data in zip(request.matches, packed, strict=True):
            missing = [ticket_id for ticket_id in tickets if ticket_id not in queue.waiting]
            if match_id in queue.matches:
                made.append(match_id)  # a repeated call
            elif missing:
                gone += missing
            elif not backfill or backfill in queue.backfills:
                for ticket_id in tickets:
                    queue.waiting.pop(ticket_id, None)
                queue.backfills.pop(backfill, None)  # the room updates its request when these players have joined
                queue.matches[match_id] = msgspec.msgpack.decode(data, type=CommittedMatch)
                made.append(match_id)
        return {"status": "ok", "made": made, "gone": gone}

    def assign(self, request: AssignArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Make matches final and notify their players of the room, or return their tickets to the queue."""
        queue = self._queue
        assigned: list[str] = []
        dropped: list[CommittedMatch] = []
        for found in request.found:
            match = queue.matches.pop(found.match_id, None)
            if match is None:
                continue
            if any(entry_id in queue.left for _, entry_id, _, _ in match.players):
                dropped.append(match)
            else:
                assigned.append(match.match_id)
                self._notify_match(match, found.room)
        failed = [match for match_id in request.failed if (match := queue.matches.pop(match_id, None)) is not None]
        for match in (*dropped, *failed):
            queue.requeue(match.tickets)
        return {
            "assigned": assigned,
            "returned": [match.match_id for match in failed],
            "dropped": [match.match_id for match in dropped],
        }

    def _notify_match(self, match: CommittedMatch, room: MatchRoom) -> None:
        for agent_id, entry_id, _, team in match.players:
            self._queue.notify((agent_id, entry_id), ("found", ""), (team, match.match_id, room))
        for ticket_id in match.tickets:
            self._queue.delete_ticket(self._queue.tickets[ticket_id])

    def sweep(self, request: SweepArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Remove overdue tickets, tickets of failed agents, and parties that are not complete in time."""
        queue, reply = self._queue, {"agents": [], "cursor": "0", "check_cursor": "0"}
        if not queue.is_leader(request.region, request.leader, request.epoch):
            return reply | {"status": "stale", "cancelled": []}
        now_ms, cancelled = queue.now_ms(), []
        gone = {agent for agent, seen_ms in queue.agents.items() if seen_ms <= now_ms - request.agent_ms}
        for ticket in list(queue.tickets.values()):
            if gone and self._end_failed(ticket, gone):
                cancelled.append(ticket.ticket_id)
        for room_id in [room_id for room_id, one in queue.backfills.items() if one.agent_id in gone]:
            del queue.backfills[room_id]
        late = [one for one, since_ms in queue.gathering.items() if since_ms <= now_ms - request.gather_ms]
        overdue = [one for one in request.overdue if one in queue.waiting]
        for tickets, reason in (
            (late, "the party was not complete in time"),
            (overdue, "no match was found in time"),
        ):
            cancelled += [one for one in tickets if queue.cancel(one, ("timed_out", reason))]
        for agent in gone:
            # An agent that only slept gets no notifications. It finds that its players are unknown.
            queue.inboxes.pop(agent, None)
            del queue.agents[agent]
        return reply | {"status": "ok", "cancelled": cancelled}

    def _end_failed(self, ticket: StoredTicket, gone: set[str]) -> bool:
        """End a ticket if the agent of a member has failed. Return whether it was cancelled."""
        failed = [member for member in ticket.members if member.agent_id in gone]
        for member in failed:
            if self._queue.is_in_match(member.entry_id):
                self._queue.mark_left(member.entry_id)
        reason = "the server of a member of the party has failed"
        return bool(failed) and self._queue.cancel(ticket.ticket_id, ("cancelled", reason))

    def inspect(self, request: InspectArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Return the state of the queue for operators."""
        queue = self._queue
        _, ticket_id = queue.players.get(request.player_id, ("", ""))
        own = queue.tickets.get(ticket_id)
        leaders = [(region, held) for region in request.regions if (held := queue.leaders.get(region)) is not None]
        state = "gathering" if ticket_id in queue.gathering else "matched"
        return {
            "tickets": queue.list_waiting()[: request.limit],
            "own": [] if own is None else [own],
            "state": "waiting" if ticket_id in queue.waiting else state,
            "backfills": list(queue.backfills.values())[: request.limit],
            "leaders": [(region, held.owner, held.epoch) for region, held in leaders],
            "waiting": len(queue.waiting),
            "gathering": len(queue.gathering),
            "matches": len(queue.matches),
            "agents": len(queue.agents),
            "backfill_count": len(queue.backfills),
            "now_ms": queue.now_ms(),
        }
