"""The match function that is used unless a game has its own. Pure, and seeded.

The oldest ticket comes first and looks around itself, in the order of skill, the nearer neighbour before the farther
one, until its teams are full. A neighbour is taken when the skills of all in the match still lie within the window of
each of them, when nobody's labels are against it, and when its party fits into a team as a whole. What it cannot fill
now it leaves to the next; it comes first again in the next round, with a wider window.

A ticket costs one sort and a look at its neighbours: tickets that are taken leave the list at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matchmaking.labels import from_pairs
from matchmaking.queue.rules import Rules
from matchmaking.queue.ticket import Backfill, Match, QueueTicket

if TYPE_CHECKING:
    import random

NEIGHBOURS_MAX = 256
"""So many are looked at for one match: those whose party or labels do not fit are looked at in vain."""


def find_matches(
    tickets: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    *,
    now_ms: int,
    chance: random.Random,
) -> list[Match]:
    """See `matchmaking.queue.rules.MatchFunction`. Rooms that want players come before new matches."""
    line = _Line(tickets, rules, now_ms)
    found: list[Match] = []
    for wanted in backfills:
        window = rules.skill_window_of(max(0.0, (now_ms - wanted.since_ms) / 1000))
        group = _Group(rules, list(wanted.open), wanted.skill, window, from_pairs(wanted.labels))
        line.gather(group, line.place_of(wanted.skill))
        if group.members:
            found.append(_match(group, group.teams, backfill=wanted.room_id))
            line.remove(group)
    for anchor in line.by_age:
        if line.is_taken[anchor]:
            continue
        ticket = line.tickets[anchor]
        group = _Group(rules, [rules.team_size] * rules.teams, ticket.skill, line.windows[anchor], {})
        if not group.take(anchor, ticket, line.windows[anchor]):
            continue  # a party larger than a team: it is never let in, but it must not stop the others
        line.gather(group, anchor)
        if group.size >= rules.players_wanted(ticket.waited_s(now_ms)):
            found.append(_match(group, _balanced(group, rules, chance)))
            line.remove(group)
    return found


class _Group:
    """A match that is being put together."""

    __slots__ = ("free", "high", "labels", "low", "members", "open_seats", "room", "rules", "size", "teams", "window")

    def __init__(self, rules: Rules, free: list[int], skill: float, window: float, labels: Mapping[str, str]) -> None:
        self.rules = rules
        self.free = free
        self.low = self.high = skill
        self.window = window
        self.labels = dict(labels)
        self.members: list[tuple[int, QueueTicket]] = []
        self.teams: list[int] = []
        self.size = 0
        self.open_seats = sum(free)
        self.room = max(free, default=0)

    def take(self, place: int, ticket: QueueTicket, window: float) -> bool:
        """Takes a ticket in, if it fits: into the team that it fills best."""
        size = ticket.size
        if size > self.room:
            return False
        skill = ticket.skill
        low, high = min(self.low, skill), max(self.high, skill)
        if high - low > min(self.window, window):
            return False
        if self.rules.labels and not self._agrees(ticket.labels):
            return False
        team = min((free, at) for at, free in enumerate(self.free) if free >= size)[1]
        self.free[team] -= size
        self.low, self.high, self.window = low, high, min(self.window, window)
        self.members.append((place, ticket))
        self.teams.append(team + 1)
        self.size += size
        self.open_seats -= size
        self.room = max(self.free)
        for name in self.rules.labels:
            if name in ticket.labels:
                self.labels[name] = ticket.labels[name]
        return True

    def _agrees(self, labels: Mapping[str, str]) -> bool:
        for name in self.rules.labels:
            wanted = labels.get(name)
            if wanted is not None and self.labels.get(name, wanted) != wanted:
                return False
        return True


class _Line:
    """The tickets in the order of their skill; those that are taken are skipped in one step."""

    def __init__(self, tickets: Sequence[QueueTicket], rules: Rules, now_ms: int) -> None:
        self.tickets = sorted(tickets, key=lambda ticket: (ticket.skill, ticket.seq))
        count = len(self.tickets)
        self.windows = [rules.skill_window_of(ticket.waited_s(now_ms)) for ticket in self.tickets]
        self.by_age = sorted(range(count), key=lambda at: (self.tickets[at].since_ms, self.tickets[at].seq))
        self.is_taken = [False] * count
        self._left = list(range(-1, count - 1))
        self._right = list(range(1, count + 1))

    def place_of(self, skill: float) -> int:
        """Where one of this skill would stand: the first that is above it, as a place between two."""
        low, high = 0, len(self.tickets)
        while low < high:
            middle = (low + high) // 2
            if self.tickets[middle].skill < skill:
                low = middle + 1
            else:
                high = middle
        return low

    def gather(self, group: _Group, start: int) -> None:
        """Takes neighbours into the group, the nearer first, until it is full or nobody is within its window."""
        count = len(self.tickets)
        centre = group.low
        is_anchored = bool(group.members)
        left = self._free_left(self._left[start] if is_anchored else start - 1)
        right = self._free_right(self._right[start] if is_anchored else start)
        for _ in range(NEIGHBOURS_MAX):
            if not group.open_seats:
                return
            to_left = centre - self.tickets[left].skill if left >= 0 else None
            to_right = self.tickets[right].skill - centre if right < count else None
            if to_left is not None and to_left > group.window:
                to_left = None
            if to_right is not None and to_right > group.window:
                to_right = None
            if to_left is None and to_right is None:
                return
            if to_right is None or (to_left is not None and to_left <= to_right):
                group.take(left, self.tickets[left], self.windows[left])
                left = self._free_left(self._left[left])
            else:
                group.take(right, self.tickets[right], self.windows[right])
                right = self._free_right(self._right[right])

    def remove(self, group: _Group) -> None:
        """Those in the group are taken."""
        for place, _ in group.members:
            self.is_taken[place] = True
            left, right = self._left[place], self._right[place]
            if left >= 0:
                self._right[left] = right
            if right < len(self.tickets):
                self._left[right] = left

    def _free_left(self, place: int) -> int:
        while place >= 0 and self.is_taken[place]:
            place = self._left[place]
        return place

    def _free_right(self, place: int) -> int:
        while place < len(self.tickets) and self.is_taken[place]:
            place = self._right[place]
        return place


def _balanced(group: _Group, rules: Rules, chance: random.Random) -> list[int]:
    """Teams of like strength: the largest parties first, each into the weakest team that has room; if they do not fit
    that way, as they were gathered. Which team is number one is left to chance."""
    numbers = list(range(1, rules.teams + 1))
    chance.shuffle(numbers)
    free, strength = [rules.team_size] * rules.teams, [0.0] * rules.teams
    teams = [0] * len(group.members)
    order = sorted(range(len(teams)), key=lambda at: (-group.members[at][1].size, -group.members[at][1].skill, at))
    for at in order:
        ticket = group.members[at][1]
        fitting = [team for team in range(rules.teams) if free[team] >= ticket.size]
        if not fitting:
            return [numbers[team - 1] for team in group.teams]
        team = min(fitting, key=lambda team: (rules.team_size - free[team], strength[team]))
        free[team] -= ticket.size
        strength[team] += ticket.skill * ticket.size
        teams[at] = numbers[team]
    return teams


def _match(group: _Group, teams: Sequence[int], *, backfill: str = "") -> Match:
    tickets = [ticket.ticket_id for _, ticket in group.members]
    return Match(tickets, list(teams), dict(group.labels), backfill)
