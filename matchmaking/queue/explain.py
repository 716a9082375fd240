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


def explain(
    ticket: QueueTicket,
    others: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    match: MatchFunction,
    *,
    region: str,
    now_ms: int,
    rng: random.Random,
) -> Explanation:
    """Explain one waiting ticket, given the other waiting tickets."""
    waited_s = ticket.waited_s(now_ms)
    required = rules.players_required(waited_s)
    near = [other for other in others if rules.can_play_in(other, region, now_ms)]
    agreeing = [other for other in near if _agree(ticket, other, rules)]
    within = [other for other in agreeing if _within(ticket, other, rules, now_ms)]
    matched_in_s = _matched_in_s(ticket, others, backfills, rules, match, region, now_ms, rng)
    is_matched = matched_in_s == 0
    blocked_by, message = _find_blocker(ticket, near, agreeing, within, rules, region, now_ms, is_matched=is_matched)
    return Explanation(
        blocked_by=blocked_by,
        message=message,
        waited_s=waited_s,
        players_required=required,
        in_region=_players(near),
        agreeing=_players(agreeing),
        in_window=_players(within),
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


def _find_blocker(
    ticket: QueueTicket,
    near: Sequence[QueueTicket],
    agreeing: Sequence[QueueTicket],
    within: Sequence[QueueTicket],
    rules: Rules,
    region: str,
    now_ms: int,
    *,
    is_matched: bool,
) -> tuple[Blocker, str]:
    waited_s = ticket.waited_s(now_ms)
    missing = rules.players_required(waited_s) - ticket.size
    if is_matched:
        return "nothing", "the next round will match it"
    if not rules.can_play_in(ticket, region, now_ms):
        latency = ticket.latencies.get(region)
        if latency is None:
            return "latency", f"its latency to {region or 'this region'} is unknown"
        limit = rules.latency_limit_at(waited_s)
        return "latency", f"its latency to {region or 'this region'} is {latency} ms, its limit {limit:.0f} ms"
    if _players(near) < missing:
        return "players", f"{missing - _players(near)} more players are required in {region or 'this region'}"
    if _players(agreeing) < missing:
        which = ", ".join(f"{name}={value}" for name, value in ticket.labels.items() if name in rules.labels)
        return "labels", f"{missing - _players(agreeing)} more players who agree on {which or 'labels'} are required"
    if _players(within) < missing:
        window = rules.skill_window_at(waited_s)
        return "skill", (
            f"{missing - _players(within)} more players are required within {window:g} of its skill, "
            f"{ticket.skill:g}, and with windows that include it"
        )
    return "parties", "enough players wait, but their parties or the skill windows among them do not fit together"


def _matched_in_s(
    ticket: QueueTicket,
    others: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    match: MatchFunction,
    region: str,
    now_ms: int,
    rng: random.Random,
) -> float | None:
    """Run the match function of the mode for some of the coming seconds."""

    def is_matched(after_s: int) -> bool:
        then_ms = now_ms + after_s * 1000
        open_to = [one for one in (ticket, *others) if rules.can_play_in(one, region, then_ms)]
        open_to.sort(key=lambda one: (one.since_ms, one.seq))
        found = match(open_to, backfills, rules, now_ms=then_ms, rng=rng)
        return any(ticket.ticket_id in made.tickets for made in found)

    last = max(0, int(rules.timeout_s - ticket.waited_s(now_ms)))
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
