"""The default match function. Pure; all randomness comes from the generator that the caller passes.

The oldest ticket is the first anchor. It collects neighbours in the order of skill, the nearest first, until its
teams are full. A neighbour is added if the skills of all tickets in the match remain within the window of each of
them, if no labels conflict, and if its party fits into one team. An anchor that cannot fill its match leaves the
tickets to the next anchor. It is the first anchor again in the next round, with a wider window.

The rules limit the cost, regardless of the labels, parties and skills of the tickets:

    index     Tickets are indexed by the labels that the rules name. A ticket is compared only with those that agree.
    looks     A match compares NEIGHBOURS_MAX tickets, a round LOOKS_MAX. The first half of these is for the oldest
              tickets. The other half is for the rest, starting at a random ticket, so that tickets that never fit do
              not block younger ones.
    steps     The work is a generator that yields after about STEP_COST looks, so that callers can run it in slices.
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
"""The indexes of the labels for which a ticket requires a value."""

NEIGHBOURS_MAX = 256
"""Tickets that are compared for one match, including those whose party or window does not fit."""
LOOKS_MAX = 100_000
STEP_COST = 100
"""Looks, or tickets that are sorted or indexed, between two yields: 0.1 to 0.2 ms."""
INDEXED_LABELS_MAX = 3
"""Labels by which tickets are indexed; each doubles the indexes to search. Further labels are compared."""


def find_matches(
    tickets: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    *,
    now_ms: int,
    rng: random.Random,
) -> list[Match]:
    """Return matches; see `tickwire.matchmaking.queue.rules.MatchFunction`. Backfills precede new matches."""
    steps = find_matches_in_steps(tickets, backfills, rules, now_ms=now_ms, rng=rng)
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
    rng: random.Random,
) -> Steps[list[Match]]:
    """Return the same matches as `find_matches`, in steps."""
    pool = _TicketPool(rules, now_ms)
    yield from pool.fill(tickets, backfills)
    budget = _WorkBudget(1 + rules.teams // 8)  # a look at a ticket searches a team for it
    found: list[Match] = []
    for backfill in backfills:
        window = rules.skill_window_at(max(0.0, (now_ms - backfill.since_ms) / 1000))
        group = _Group(rules, list(backfill.open_slots), backfill.skill, window, from_pairs(backfill.labels))
        budget.spend(pool.collect(group, pool.find_row(backfill.skill)))
        if group.members:
            found.append(_to_match(group, group.teams, backfill=backfill.room_id))
            pool.remove(group)
        if budget.is_step_over():
            yield
    for anchor in _anchors(pool.by_age, budget, rng):
        budget.spend(1)
        if not pool.is_taken[anchor]:
            match = _match_anchor(pool, anchor, budget, rng)
            if match is not None:
                found.append(match)
        if budget.is_step_over():
            yield
    return found


def _match_anchor(pool: _TicketPool, anchor: int, budget: _WorkBudget, rng: random.Random) -> Match | None:
    """Return a match for one ticket, or None if too few players fit."""
    ticket, rules = pool.tickets[anchor], pool.rules
    required = rules.players_required(ticket.waited_s(pool.now_ms))
    if pool.is_alone(anchor) and ticket.size < required:
        return None
    group = _Group(rules, [rules.team_size] * rules.teams, ticket.skill, pool.windows[anchor], {})
    if not group.add(anchor, ticket, pool.windows[anchor]):
        return None  # a party larger than a team never fits, but must not block the others
    budget.spend(pool.collect(group, anchor))
    if group.size < required:
        return None
    pool.remove(group)
    return _to_match(group, _balance(group, rules, rng))


class _WorkBudget:
    """The cost of a round so far.

    Args:
        look_cost: the cost of one look.
    """

    __slots__ = ("_look_cost", "_step", "spent")

    def __init__(self, look_cost: int) -> None:
        self.spent = self._step = 0
        self._look_cost = look_cost

    def spend(self, looks: int) -> None:
        self.spent += looks * self._look_cost

    def is_step_over(self) -> bool:
        """Return whether STEP_COST was spent since the last step."""
        if self.spent - self._step < STEP_COST:
            return False
        self._step = self.spent
        return True


def _anchors(by_age: Sequence[int], budget: _WorkBudget, rng: random.Random) -> Iterator[int]:
    """Yield the anchors: the oldest tickets first, then the rest from a random ticket on."""
    count = 0
    while count < len(by_age) and budget.spent < LOOKS_MAX // 2:
        yield by_age[count]
        count += 1
    first = rng.randrange(count, len(by_age)) if count < len(by_age) else count
    for row in (*by_age[first:], *by_age[count:first]):
        if budget.spent >= LOOKS_MAX:
            return
        yield row


class _Group:
    """A match under construction."""

    __slots__ = (
        "free",
        "high",
        "labels",
        "low",
        "members",
        "open_seats",
        "rules",
        "size",
        "team_slots_max",
        "teams",
        "window",
    )

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
        self.team_slots_max = max(free, default=0)

    @property
    def key(self) -> Key:
        """The labels that the group requires now."""
        return _key(self.labels, self.rules)

    def add(self, row: int, ticket: QueueTicket, window: float) -> bool:
        """Add a ticket to the team that it fills best. Return False if it does not fit."""
        size = ticket.size
        if size > self.team_slots_max:
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
        self.members.append((row, ticket))
        self.teams.append(team + 1)
        self.size += size
        self.open_seats -= size
        self.team_slots_max = max(self.free)
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
    """Some tickets of the pool in the order of skill. Runs of taken tickets are skipped in one step.

    Args:
        rows: the rows of the tickets in the pool, ascending.
        is_taken: whether a ticket is taken, for all tickets of the pool.
    """

    __slots__ = ("_after", "_before", "_is_taken", "rows")

    def __init__(self, rows: list[int], is_taken: list[bool]) -> None:
        self.rows = rows
        self._is_taken = is_taken
        self._after = list(range(1, len(rows) + 1))
        self._before = list(range(-1, len(rows) - 1))

    def next_free(self, at: int) -> int:
        """Return the first ticket from `at` upwards that is not taken, or len(rows)."""
        rows, is_taken, after = self.rows, self._is_taken, self._after
        end = at
        while end < len(rows) and is_taken[rows[end]]:
            end = after[end]
        while at < end:  # path compression: the next call skips the run in one step
            after[at], at = end, after[at]
        return end

    def previous_free(self, at: int) -> int:
        """Return the first ticket from `at` downwards that is not taken, or -1."""
        rows, is_taken, before = self.rows, self._is_taken, self._before
        end = at
        while end >= 0 and is_taken[rows[end]]:
            end = before[end]
        while at > end:
            before[at], at = end, before[at]
        return end


class _TicketPool:
    """All tickets in the order of skill, with indexes of those that agree on labels.

    The pattern of a ticket is the set of labels for which it requires a value. It can play with tickets that require
    the same values for these labels, or no value. For each pattern, tickets are grouped by their values for its
    labels. A ticket then reads the groups that result when any of its own values are replaced by None.
    """

    def __init__(self, rules: Rules, now_ms: int) -> None:
        self.tickets: list[QueueTicket] = []
        self.windows: list[float] = []
        self.by_age: list[int] = []
        self.is_taken: list[bool] = []
        self.rules = rules
        self.now_ms = now_ms
        self._skills: list[float] = []
        self._keys: list[Key] = []
        self._groups: dict[Pattern, dict[Key, list[int]]] = {}
        self._indexes: dict[Key, list[_SkillIndex] | None] = {}  # None: not built yet
        self._built: dict[tuple[Pattern, Key], _SkillIndex] = {}

    def fill(self, tickets: Sequence[QueueTicket], backfills: Sequence[Backfill]) -> Steps[None]:
        """Sort and index the tickets, in steps."""
        rules, now_ms = self.rules, self.now_ms
        numbers = array("d")
        for number, ticket in enumerate(tickets):
            numbers.extend((ticket.skill, ticket.since_ms, ticket.seq))
            if number % STEP_COST == 0:
                yield
        skills, sinces, seqs = np.array(numbers).reshape(-1, 3).T
        by_skill = np.lexsort((seqs, skills))  # numpy sorts 100,000 tickets within milliseconds
        self.by_age = np.lexsort((seqs[by_skill], sinces[by_skill])).tolist()
        self.is_taken = [False] * len(tickets)
        patterns = {_pattern(_key(from_pairs(backfill.labels), rules)) for backfill in backfills}
        for row, number in enumerate(by_skill.tolist()):
            ticket = tickets[number]
            self.tickets.append(ticket)
            self.windows.append(rules.skill_window_at(ticket.waited_s(now_ms)))
            self._skills.append(ticket.skill)
            key = _key(ticket.labels, rules)
            self._keys.append(key)
            if key not in self._indexes:
                self._indexes[key] = None
                patterns.add(_pattern(key))
            if row % STEP_COST == 0:
                yield
        for pattern in patterns:
            yield from self._group(pattern)

    def _group(self, pattern: Pattern) -> Steps[None]:
        groups: dict[Key, list[int]] = {}
        for row, key in enumerate(self._keys):
            groups.setdefault(tuple([key[at] for at in pattern]), []).append(row)
            if row % STEP_COST == 0:
                yield
        self._groups[pattern] = groups

    def find_row(self, skill: float) -> int:
        """Return the row of the first ticket whose skill is not below this one."""
        return bisect_left(self._skills, skill)

    def is_alone(self, row: int) -> bool:
        """Return whether no other ticket agrees with the labels of this one."""
        key = self._keys[row]
        pattern = _pattern(key)
        groups = self._groups[pattern]
        return sum(len(groups.get(values, ())) for values in _variants(key, pattern)) == 1

    def collect(self, group: _Group, start: int) -> int:
        """Add neighbours to the group, the nearest first, until it is full or no ticket is within its window.

        Args:
            group: the match under construction.
            start: the row at which the search starts. The ticket there is skipped if it is in the group.

        Returns:
            The number of looks.
        """
        centre, skills = group.low, self._skills
        indexes = self._find_indexes(group.key)
        nearest: list[tuple[float, int, int, int]] = []  # distance, -1 left or 1 right, which index, number in it
        for which, index in enumerate(indexes):
            rows = index.rows
            first = bisect_left(rows, start)
            left = index.previous_free(first - 1)
            if left >= 0:
                nearest.append((centre - skills[rows[left]], -1, which, left))
            is_anchor = bool(group.members) and first < len(rows) and rows[first] == start
            right = index.next_free(first + is_anchor)
            if right < len(rows):
                nearest.append((skills[rows[right]] - centre, 1, which, right))
        heapq.heapify(nearest)
        for looks in range(NEIGHBOURS_MAX):
            if not nearest or not group.open_seats or nearest[0][0] > group.window:
                return looks
            _, side, which, number = nearest[0]
            index = indexes[which]
            row = index.rows[number]
            group.add(row, self.tickets[row], self.windows[row])
            number = index.next_free(number + 1) if side > 0 else index.previous_free(number - 1)
            if 0 <= number < len(index.rows):
                distance = (skills[index.rows[number]] - centre) * side
                heapq.heapreplace(nearest, (distance, side, which, number))
            else:
                heapq.heappop(nearest)
        return NEIGHBOURS_MAX

    def remove(self, group: _Group) -> None:
        """Mark the tickets of a group as taken."""
        for row, _ in group.members:
            self.is_taken[row] = True

    def _find_indexes(self, key: Key) -> list[_SkillIndex]:
        indexes = self._indexes.get(key)
        if indexes is None:
            pattern = _pattern(key)
            groups = self._groups.get(pattern, {})
            names = [values for values in _variants(key, pattern) if values in groups]
            indexes = self._indexes[key] = [self._build_index(pattern, values) for values in names]
        return indexes

    def _build_index(self, pattern: Pattern, values: Key) -> _SkillIndex:
        index = self._built.get((pattern, values))
        if index is None:
            rows = self._groups[pattern][values]
            index = self._built[pattern, values] = _SkillIndex(rows, self.is_taken)
        return index


def _key(labels: Mapping[str, str], rules: Rules) -> Key:
    return tuple([labels.get(name) for name in rules.labels])


def _variants(key: Key, pattern: Pattern) -> Iterator[Key]:
    """Yield all ways to replace some of a key's values for the labels of a pattern by None."""
    return product(*((key[at], None) for at in pattern))


def _pattern(key: Key) -> Pattern:
    return tuple([at for at, value in enumerate(key[:INDEXED_LABELS_MAX]) if value is not None])


def _balance(group: _Group, rules: Rules, rng: random.Random) -> list[int]:
    """Return the team of each ticket so that teams are of similar strength.

    The largest parties are assigned first, each to the weakest team that has enough free slots. If that fails, teams
    are those of `_Group.add`. The numbers of the teams are random.
    """
    numbers = list(range(1, rules.teams + 1))
    rng.shuffle(numbers)
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


def _to_match(group: _Group, teams: Sequence[int], *, backfill: str = "") -> Match:
    tickets = [ticket.ticket_id for _, ticket in group.members]
    return Match(tickets, list(teams), dict(group.labels), backfill)
