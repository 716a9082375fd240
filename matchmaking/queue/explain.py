"""Explains why a ticket waits: which rule blocks it, and when it would be matched. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from tickwire.matchmaking.queue.rules import MatchFunction, Rules
from tickwire.matchmaking.queue.ticket import Backfill, QueueTicket

if TYPE_CHECKING:
    import random

Blocker = Literal["nothing", "friends", "latency", "labels", "skill", "players", "parties"]


class Explanation(msgspec.Struct, frozen=True):
    """The explanation of one ticket, in one region.

    Args:
        blocked_by: the first rule that leaves too few players; "friends" if its party is incomplete; "nothing" if it
            is matched, or the next round matches it.
        message: the reason as a sentence.
        waited_s: the waiting time of the ticket.
        players_required: the number of players that a match for the ticket requires now.
        in_region, agreeing, in_window: the number of players in other tickets that pass the rules up to latency,
            labels and skill.
        matched_in_s: when the ticket will be matched if no ticket enters or leaves the queue; None if it times out
            first.
    """

    blocked_by: Blocker
    message: str
    waited_s: float
    players_required: int
    in_region: int
    agreeing: int
    in_window: int
    matched_in_s: float | None


class QueueSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The queue around one ticket, at one moment and in one region.

    Args:
        others: the other waiting tickets.
        backfills: rooms of the region that request players.
        rules: the rules of the mode.
        match: the match function of the mode.
        region: the region of the explanation.
        now_ms: UTC, milliseconds.
    """

    others: Sequence[QueueTicket]
    backfills: Sequence[Backfill]
    rules: Rules
    match: MatchFunction
    region: str
    now_ms: int


class _Candidates(msgspec.Struct, frozen=True):
    """The other tickets that pass the rules up to latency, labels and skill."""

    near: Sequence[QueueTicket]
    agreeing: Sequence[QueueTicket]
    within: Sequence[QueueTicket]


def explain(ticket: QueueTicket, queue: QueueSnapshot, rng: random.Random) -> Explanation:
    """Explain one waiting ticket.

    Args:
        ticket: the ticket.
        queue: the queue around it.
        rng: the randomness of the match function.
    """
    waited_s = ticket.waited_s(queue.now_ms)
    candidates = _find_candidates(ticket, queue)
    matched_in_s = _matched_in_s(ticket, queue, rng)
    if matched_in_s == 0:
        blocked_by: Blocker = "nothing"
        message = "the next round will match it"
    else:
        blocked_by, message = _find_blocker(ticket, queue, candidates)
    return Explanation(
        blocked_by=blocked_by,
        message=message,
        waited_s=waited_s,
        players_required=queue.rules.players_required(waited_s),
        in_region=_players(candidates.near),
        agreeing=_players(candidates.agreeing),
        in_window=_players(candidates.within),
        matched_in_s=matched_in_s,
    )


def explain_unmatchable(ticket: QueueTicket, *, is_matched: bool, now_ms: int) -> Explanation:
    """Explain a ticket that no rule blocks: it waits for members of its party, or for the room of its match."""
    missing = ticket.members[0].size - ticket.size
    message = (
        "a match was found, and its room follows" if is_matched else f"{missing} members of its party are missing"
    )
    return Explanation(
        blocked_by="nothing" if is_matched else "friends",
        message=message,
        waited_s=ticket.waited_s(now_ms),
        players_required=0,
        in_region=0,
        agreeing=0,
        in_window=0,
        matched_in_s=0.0 if is_matched else None,
    )


def _find_candidates(ticket: QueueTicket, queue: QueueSnapshot) -> _Candidates:
    rules, now_ms = queue.rules, queue.now_ms
    near = [other for other in queue.others if rules.can_play_in(other, queue.region, now_ms)]
    agreeing = [other for other in near if _agree(ticket, other, rules)]
    return _Candidates(near, agreeing, [other for other in agreeing if _within(ticket, other, rules, now_ms)])


def _find_blocker(ticket: QueueTicket, queue: QueueSnapshot, candidates: _Candidates) -> tuple[Blocker, str]:
    """Return the first rule that leaves too few players, and the reason as a sentence."""
    rules, waited_s, where = queue.rules, ticket.waited_s(queue.now_ms), queue.region or "this region"
    missing = rules.players_required(waited_s) - ticket.size
    near, agreeing, within = (_players(found) for found in msgspec.structs.astuple(candidates))
    if not rules.can_play_in(ticket, queue.region, queue.now_ms):
        latency = ticket.latencies.get(queue.region)
        if latency is None:
            return "latency", f"its latency to {where} is unknown"
        limit = rules.latency_limit_at(waited_s)
        return "latency", f"its latency to {where} is {latency} ms, its limit {limit:.0f} ms"
    if near < missing:
        return "players", f"{missing - near} more players are required in {where}"
    if agreeing < missing:
        which = ", ".join(f"{name}={value}" for name, value in ticket.labels.items() if name in rules.labels)
        return "labels", f"{missing - agreeing} more players who agree on {which or 'labels'} are required"
    if within < missing:
        window = rules.skill_window_at(waited_s)
        return "skill", (
            f"{missing - within} more players are required within {window:g} of its skill, "
            f"{ticket.skill:g}, and with windows that include it"
        )
    return "parties", "enough players wait, but their parties or the skill windows among them do not fit together"


def _matched_in_s(ticket: QueueTicket, queue: QueueSnapshot, rng: random.Random) -> float | None:
    """Run the match function of the mode for some of the coming seconds."""
    rules = queue.rules

    def is_matched(after_s: int) -> bool:
        then_ms = queue.now_ms + after_s * 1000
        open_to = [one for one in (ticket, *queue.others) if rules.can_play_in(one, queue.region, then_ms)]
        open_to.sort(key=lambda one: (one.since_ms, one.seq))
        found = queue.match(open_to, queue.backfills, rules, now_ms=then_ms, rng=rng)
        return any(ticket.ticket_id in made.tickets for made in found)

    last = max(0, int(rules.timeout_s - ticket.waited_s(queue.now_ms)))
    for after_s in (0, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300):
        if after_s > last:
            break
        if is_matched(after_s):
            return float(after_s)
    return float(last) if is_matched(last) else None


def _agree(one: QueueTicket, other: QueueTicket, rules: Rules) -> bool:
    return all(
        name not in one.labels or other.labels.get(name, one.labels[name]) == one.labels[name]
        for name in rules.labels
    )


def _within(one: QueueTicket, other: QueueTicket, rules: Rules, now_ms: int) -> bool:
    windows = (rules.skill_window_at(ticket.waited_s(now_ms)) for ticket in (one, other))
    return abs(one.skill - other.skill) <= min(windows)


def _players(tickets: Sequence[QueueTicket]) -> int:
    return sum(ticket.size for ticket in tickets)
