"""The match function that is used unless a game has its own. Pure, and seeded.

The oldest ticket comes first and looks around itself, in the order of skill, the nearer neighbour before the farther
one, until its teams are full. A neighbour is taken when the skills of all in the match still lie within the window of
each of them, when nobody's labels are against it, and when its party fits into a team as a whole. What it cannot fill
now it leaves to the next; it comes first again in the next round, with a wider window.

The rules bound the cost, whatever labels, parties and skills the tickets have:

    index     Tickets are indexed by the labels that the rules look at. A ticket meets only those that agree with it.
    looks     A match looks at NEIGHBOURS_MAX tickets, a round at LOOKS_MAX. The first half of these belongs to the
              oldest tickets. The other half belongs to the rest, from a random one on, so that tickets which never
              fit do not keep younger ones waiting.
    steps     The work is a generator that yields after about STEP_COST looks. The caller can do it in slices.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tickwire.matchmaking.labels import from_pairs
from tickwire.matchmaking.queue.rules import Rules
from tickwire.matchmaking.queue.ticket import Backfill, Match, QueueTicket

if TYPE_CHECKING:
    import random

T = TypeVar("T")
Steps = Generator[None, None, T]
Key = tuple[str | None, ...]
"""A ticket's labels on which all of a match must agree, in the order of the rules; None agrees with all."""
Pattern = tuple[int, ...]
"""The numbers of the labels for which a ticket wants a value."""

NEIGHBOURS_MAX = 256
"""So many are looked at for one match: those whose party or window does not fit are looked at in vain."""
LOOKS_MAX = 100_000
STEP_COST = 100
"""Looks, or tickets that are sorted or indexed, between two yields: a tenth of a millisecond, or two."""
INDEXED_LABELS_MAX = 3
"""Labels by which tickets are indexed; each doubles the indexes that a ticket looks into. The others are compared."""


def find_matches(
    tickets: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    *,
    now_ms: int,
    chance: random.Random,
) -> list[Match]:
    """See `tickwire.matchmaking.queue.rules.MatchFunction`. Rooms that want players come before new matches."""
    steps = find_matches_in_steps(tickets, backfills, rules, now_ms=now_ms, chance=chance)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: list[Match] = done.value
            return found


def find_matches_in_steps(
    tickets: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    *,
    now_ms: int,
    chance: random.Random,
) -> Steps[list[Match]]:
    """The same, in steps."""
    pool = _TicketPool(rules, now_ms)
    yield from pool.fill(tickets, backfills)
    budget = _WorkBudget(1 + rules.teams // 8)  # to look at a ticket is to look for a team for it
    found: list[Match] = []
    for wanted in backfills:
        window = rules.skill_window_of(max(0.0, (now_ms - wanted.since_ms) / 1000))
        group = _Group(rules, list(wanted.open), wanted.skill, window, from_pairs(wanted.labels))
        budget.spend(pool.gather(group, pool.place_of(wanted.skill)))
        if group.members:
            found.append(_match(group, group.teams, backfill=wanted.room_id))
            pool.remove(group)
        if budget.is_step_over():
            yield
    for anchor in _anchors(pool.by_age, budget, chance):
        budget.spend(1)
        if not pool.is_taken[anchor]:
            match = _match_of(pool, anchor, rules, now_ms, budget, chance)
            if match is not None:
                found.append(match)
        if budget.is_step_over():
            yield
    return found


def _match_of(
    pool: _TicketPool, anchor: int, rules: Rules, now_ms: int, budget: _WorkBudget, chance: random.Random
) -> Match | None:
    """The match of one ticket, if there are enough players for it."""
    ticket = pool.tickets[anchor]
    wanted = rules.players_wanted(ticket.waited_s(now_ms))
    if pool.is_alone(anchor) and ticket.size < wanted:
        return None
    group = _Group(rules, [rules.team_size] * rules.teams, ticket.skill, pool.windows[anchor], {})
    if not group.take(anchor, ticket, pool.windows[anchor]):
        return None  # a party larger than a team: it is never let in, but it must not stop the others
    budget.spend(pool.gather(group, anchor))
    if group.size < wanted:
        return None
    pool.remove(group)
    return _match(group, _balanced(group, rules, chance))


class _WorkBudget:
    """How much a round has cost.

    Args:
        look_cost: of one look.
    """

    __slots__ = ("_look_cost", "_step", "spent")

    def __init__(self, look_cost: int) -> None:
        self.spent = self._step = 0
        self._look_cost = look_cost

    def spend(self, looks: int) -> None:
        self.spent += looks * self._look_cost

    def is_step_over(self) -> bool:
        """Whether it is time to yield."""
        if self.spent - self._step < STEP_COST:
            return False
        self._step = self.spent
        return True


def _anchors(by_age: Sequence[int], budget: _WorkBudget, chance: random.Random) -> Iterator[int]:
    """Yield the tickets for which matches are made: the oldest first, and the rest from a random one on."""
    count = 0
    while count < len(by_age) and budget.spent < LOOKS_MAX // 2:
        yield by_age[count]
        count += 1
    first = chance.randrange(count, len(by_age)) if count < len(by_age) else count
    for place in (*by_age[first:], *by_age[count:first]):
        if budget.spent >= LOOKS_MAX:
            return
        yield place


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

    @property
    def key(self) -> Key:
        """Its labels as they are now."""
        return _key(self.labels, self.rules)

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


class _SkillIndex:
    """Some of the tickets, in the order of their skill; those that are taken are skipped in one step.

    Args:
        places: of the tickets in the pool, ascending.
        is_taken: of all in the pool.
    """

    __slots__ = ("_after", "_before", "_is_taken", "places")

    def __init__(self, places: list[int], is_taken: list[bool]) -> None:
        self.places = places
        self._is_taken = is_taken
        self._after = list(range(1, len(places) + 1))
        self._before = list(range(-1, len(places) - 1))

    def right_of(self, at: int) -> int:
        """The first that is not taken, from `at` on upwards; len(places) when there is none."""
        places, is_taken, after = self.places, self._is_taken, self._after
        end = at
        while end < len(places) and is_taken[places[end]]:
            end = after[end]
        while at < end:  # the next one goes all the way in one step
            after[at], at = end, after[at]
        return end

    def left_of(self, at: int) -> int:
        """The first that is not taken, from `at` on downwards; -1 when there is none."""
        places, is_taken, before = self.places, self._is_taken, self._before
        end = at
        while end >= 0 and is_taken[places[end]]:
            end = before[end]
        while at > end:
            before[at], at = end, before[at]
        return end


class _TicketPool:
    """All tickets in the order of their skill, with indexes of those that agree on labels.

    The pattern of a ticket is the set of labels for which it wants a value. It may play with tickets that want the
    same values for these labels, or none. For each pattern the tickets are grouped by their values for its labels. A
    ticket then reads the groups that result from its own values when any of them are replaced by None.
    """

    def __init__(self, rules: Rules, now_ms: int) -> None:
        self.tickets: list[QueueTicket] = []
        self.windows: list[float] = []
        self.by_age: list[int] = []
        self.is_taken: list[bool] = []
        self._rules = rules
        self._now_ms = now_ms
        self._skills: list[float] = []
        self._keys: list[Key] = []
        self._places: dict[Pattern, dict[Key, list[int]]] = {}
        self._indexes: dict[Key, list[_SkillIndex] | None] = {}  # None: not made yet
        self._made: dict[tuple[Pattern, Key], _SkillIndex] = {}

    def fill(self, tickets: Sequence[QueueTicket], backfills: Sequence[Backfill]) -> Steps[None]:
        """Sorts and indexes the tickets."""
        rules, now_ms = self._rules, self._now_ms
        numbers = array("d")
        for number, ticket in enumerate(tickets):
            numbers.extend((ticket.skill, ticket.since_ms, ticket.seq))
            if number % STEP_COST == 0:
                yield
        skills, sinces, seqs = np.array(numbers).reshape(-1, 3).T
        by_skill = np.lexsort((seqs, skills))  # numpy sorts a hundred thousand within some milliseconds
        self.by_age = np.lexsort((seqs[by_skill], sinces[by_skill])).tolist()
        self.is_taken = [False] * len(tickets)
        patterns = {_pattern(_key(from_pairs(wanted.labels), rules)) for wanted in backfills}
        for place, number in enumerate(by_skill.tolist()):
            ticket = tickets[number]
            self.tickets.append(ticket)
            self.windows.append(rules.skill_window_of(ticket.waited_s(now_ms)))
            self._skills.append(ticket.skill)
            key = _key(ticket.labels, rules)
            self._keys.append(key)
            if key not in self._indexes:
                self._indexes[key] = None
                patterns.add(_pattern(key))
            if place % STEP_COST == 0:
                yield
        for pattern in patterns:
            yield from self._group(pattern)

    def _group(self, pattern: Pattern) -> Steps[None]:
        groups: dict[Key, list[int]] = {}
        for place, key in enumerate(self._keys):
            groups.setdefault(tuple([key[at] for at in pattern]), []).append(place)
            if place % STEP_COST == 0:
                yield
        self._places[pattern] = groups

    def place_of(self, skill: float) -> int:
        """Where one of this skill would stand: the first that is not below it."""
        return bisect_left(self._skills, skill)

    def is_alone(self, place: int) -> bool:
        """Whether no other ticket agrees with the labels of this one."""
        key = self._keys[place]
        pattern = _pattern(key)
        groups = self._places[pattern]
        return sum(len(groups.get(values, ())) for values in _variants(key, pattern)) == 1

    def gather(self, group: _Group, start: int) -> int:
        """Takes neighbours into the group, the nearer first, until it is full or nobody is within its window.

        Args:
            start: the place around which it looks. The ticket there is skipped if it is in the group.

        Returns:
            How many were looked at.
        """
        centre, skills = group.low, self._skills
        indexes = self._indexes_for(group.key)
        nearest: list[tuple[float, int, int, int]] = []  # distance, -1 left or 1 right, which index, number in it
        for which, index in enumerate(indexes):
            places = index.places
            first = bisect_left(places, start)
            left = index.left_of(first - 1)
            if left >= 0:
                nearest.append((centre - skills[places[left]], -1, which, left))
            is_anchor = bool(group.members) and first < len(places) and places[first] == start
            right = index.right_of(first + is_anchor)
            if right < len(places):
                nearest.append((skills[places[right]] - centre, 1, which, right))
        heapq.heapify(nearest)
        for looks in range(NEIGHBOURS_MAX):
            if not nearest or not group.open_seats or nearest[0][0] > group.window:
                return looks
            _, side, which, number = nearest[0]
            index = indexes[which]
            place = index.places[number]
            group.take(place, self.tickets[place], self.windows[place])
            number = index.right_of(number + 1) if side > 0 else index.left_of(number - 1)
            if 0 <= number < len(index.places):
                distance = (skills[index.places[number]] - centre) * side
                heapq.heapreplace(nearest, (distance, side, which, number))
            else:
                heapq.heappop(nearest)
        return NEIGHBOURS_MAX

    def remove(self, group: _Group) -> None:
        """Those in the group are taken."""
        for place, _ in group.members:
            self.is_taken[place] = True

    def _indexes_for(self, key: Key) -> list[_SkillIndex]:
        indexes = self._indexes.get(key)
        if indexes is None:
            pattern = _pattern(key)
            groups = self._places.get(pattern, {})
            names = [values for values in _variants(key, pattern) if values in groups]
            indexes = self._indexes[key] = [self._index(pattern, values) for values in names]
        return indexes

    def _index(self, pattern: Pattern, values: Key) -> _SkillIndex:
        index = self._made.get((pattern, values))
        if index is None:
            places = self._places[pattern][values]
            index = self._made[pattern, values] = _SkillIndex(places, self.is_taken)
        return index


def _key(labels: Mapping[str, str], rules: Rules) -> Key:
    return tuple([labels.get(name) for name in rules.labels])


def _variants(key: Key, pattern: Pattern) -> Iterator[Key]:
    """Yield all ways to replace some of a key's values for the labels of a pattern by None."""
    return product(*((key[at], None) for at in pattern))


def _pattern(key: Key) -> Pattern:
    return tuple([at for at, wish in enumerate(key[:INDEXED_LABELS_MAX]) if wish is not None])


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
