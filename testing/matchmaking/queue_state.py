"""The queue of one mode, and the rules that several scripts share: the in-process form of lua/queue/_prelude.lua.

A queued player is an entry. A ticket is one entry, or the entries of a party; it waits once the party is complete.
It loses nothing, so that it has no rules for lost keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tickwire.matchmaking.queue.agent import MatchRoom, QueueNotification
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.leader import Leadership
from tickwire.matchmaking.queue.ticket import Backfill, Entry
from tickwire.testing.matchmaking.expiring_map import ExpiringMap

FORWARD_MS = 60_000
"""How long the notifications of an entry are forwarded to the agent that has attached it."""
LEFT_MS = 600_000
"""How long the queue remembers that an entry has left while its match had no room."""

Ending = tuple[str, str]
"""The kind and the reason of a final notification."""


class StoredTicket(msgspec.Struct, array_like=True):
    """A ticket as the scripts store it; `tickwire.matchmaking.queue.QueueTicket` is decoded from it."""

    ticket_id: str
    seq: int
    since_ms: int
    members: list[Entry]

    def find_member(self, entry_id: str) -> Entry | None:
        """Return the entry with this id, or None."""
        return next((member for member in self.members if member.entry_id == entry_id), None)


class MemoryQueue:
    """The state of the queue of one mode.

    Args:
        now_us: the clock, UTC, microseconds since 1970.

    Attributes:
        tickets: by id; waiting, gathering, or in a match without a room.
        players: the entry and the ticket of each player.
        parties: the ticket of each incomplete party, by code.
        gathering: when each incomplete ticket was created, ms.
        waiting: the position number of each complete ticket.
        matches: without a room, by id.
        left: when each entry has left, or its agent has failed, while its match had no room, ms.
        backfills: by room.
        agents: the last sync of each agent, ms.
        inboxes: the notifications of each agent, by number.
        forwards: the agent of each entry that another agent has enqueued.
        leaders: by region.
        recent_waits_ms: by region.
        last_seq, last_epoch, last_number: of tickets, of leaders and of notifications.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.tickets: dict[str, StoredTicket] = {}
        self.players: dict[str, tuple[str, str]] = {}
        self.parties: dict[str, str] = {}
        self.gathering: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.matches: dict[str, CommittedMatch] = {}
        self.left: ExpiringMap[str, int] = ExpiringMap(self.now_ms)
        self.backfills: dict[str, Backfill] = {}
        self.agents: dict[str, int] = {}
        self.inboxes: dict[str, dict[int, QueueNotification]] = {}
        self.forwards: ExpiringMap[str, str] = ExpiringMap(self.now_ms)
        self.leaders: ExpiringMap[str, Leadership] = ExpiringMap(self.now_ms)
        self.recent_waits_ms: dict[str, int] = {}
        self.last_seq = self.last_epoch = self.last_number = 0

    def now_ms(self) -> int:
        """Return UTC, milliseconds since 1970."""
        return self._now_us() // 1000

    def is_leader(self, region: str, leader: str, epoch: int) -> bool:
        """Return whether a leader holds the lease of a region under this epoch."""
        return self.leaders.get(region) == Leadership(leader, epoch)

    def list_waiting(self) -> list[StoredTicket]:
        """Return the complete tickets in the order of the queue."""
        return [self.tickets[ticket_id] for ticket_id in sorted(self.waiting, key=self.waiting.__getitem__)]

    def is_in_match(self, entry_id: str) -> bool:
        """Return whether an entry is in a match without a room."""
        return any(player[1] == entry_id for match in self.matches.values() for player in match.players)

    def has_entry(self, player_id: str, entry_id: str) -> bool:
        """Return whether a player waits as this entry. If not, the player has left or was enqueued again."""
        return self.players.get(player_id, ("", ""))[0] == entry_id

    def mark_left(self, entry_id: str) -> None:
        """Record that an entry has left while its match has no room yet; the match is then dropped."""
        self.left.set(entry_id, self.now_ms(), LEFT_MS)

    def rebind(self, entry_id: str, ticket_id: str, agent_id: str) -> None:
        """Set the agent of an entry."""
        ticket = self.tickets[ticket_id]
        for at, member in enumerate(ticket.members):
            if member.entry_id == entry_id:
                ticket.members[at] = msgspec.structs.replace(member, agent_id=agent_id)

    def notify(self, entry: tuple[str, str], ending: Ending, match: tuple[int, str, MatchRoom] | None = None) -> None:
        """Add the final notification of an entry to the inbox of its agent.

        Args:
            entry: the agent that has enqueued the entry, and the entry.
            ending: its kind and reason.
            match: the team, the match and the room of a player that was matched.
        """
        agent_id, entry_id = entry
        self.last_number = max(self.last_number, self._now_us()) + 1
        inbox = self.inboxes.setdefault(self.forwards.get(entry_id) or agent_id, {})
        kind, reason = ending
        inbox[self.last_number] = msgspec.convert(
            [self.last_number, entry_id, kind, reason, *(match or (0, "", None))], QueueNotification
        )

    def cancel(self, ticket_id: str, ending: Ending, *, but_entry: str = "") -> bool:
        """Cancel a ticket that is in no match, and notify its members except one. Return whether it was cancelled."""
        is_waiting = self.waiting.pop(ticket_id, None) is not None
        if not is_waiting and self.gathering.pop(ticket_id, None) is None:
            return False
        ticket = self.tickets[ticket_id]
        for member in ticket.members:
            if member.entry_id != but_entry:
                self.notify((member.agent_id, member.entry_id), ending)
        self.delete_ticket(ticket)
        return True

    def delete_ticket(self, ticket: StoredTicket) -> None:
        """Delete a ticket and the entries of its players."""
        del self.tickets[ticket.ticket_id]
        for member in ticket.members:
            if self.has_entry(member.player_id, member.entry_id):
                del self.players[member.player_id]
        party = ticket.members[0].party
        if self.parties.get(party) == ticket.ticket_id:
            del self.parties[party]

    def requeue(self, ticket_ids: Sequence[str]) -> None:
        """Return tickets to their positions in the queue. A ticket that a member has left is cancelled."""
        for ticket_id in ticket_ids:
            ticket = self.tickets.get(ticket_id)
            if ticket is None:
                continue
            self.waiting[ticket_id] = ticket.seq
            for member in ticket.members:
                if self.left.pop(member.entry_id) is not None:
                    self.cancel(ticket_id, ("cancelled", "a member of the party has left the queue"))
                    break
