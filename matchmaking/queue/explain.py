"""Why a ticket waits: which rule keeps it waiting, and what would match it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from tickwire.matchmaking.queue.rules import MatchFunction, Rules
from tickwire.matchmaking.queue.ticket import Backfill, QueueTicket

if TYPE_CHECKING:
    import random

Keeper = Literal["nothing", "friends", "latency", "labels", "skill", "players", "parties"]


class Explanation(msgspec.Struct, frozen=True):
    """Where a ticket stands among the others, in one region.

    Args:
        kept_by: the first rule that leaves too few to play with; "friends": not all of its party have asked;
            "nothing": it is matched, or the next round matches it.
        words: the same as a sentence.
        waited_s: for how long it has waited.
        players_wanted: how many players make a match for it now.
        in_region, agreeing, in_window: players in other tickets that pass the rules up to latency, labels, skill.
        matched_in_s: when it is matched if nobody comes and nobody leaves; None: not before it times out.
    """

    kept_by: Keeper
    words: str
    waited_s: float
    players_wanted: int
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
    chance: random.Random,
) -> Explanation:
    """Explains one ticket, given the others that wait."""
    waited_s = ticket.waited_s(now_ms)
    wanted = rules.players_wanted(waited_s)
    near = [other for other in others if rules.may_play_in(other, region, now_ms)]
    agreeing = [other for other in near if _agree(ticket, other, rules)]
    within = [other for other in agreeing if _within(ticket, other, rules, now_ms)]
    matched_in_s = _matched_in_s(ticket, others, backfills, rules, match, region, now_ms, chance)
    kept_by, words = _why(ticket, near, agreeing, within, rules, region, now_ms, is_matched=matched_in_s == 0)
    return Explanation(
        kept_by=kept_by,
        words=words,
        waited_s=waited_s,
        players_wanted=wanted,
        in_region=_players(near),
        agreeing=_players(agreeing),
        in_window=_players(within),
        matched_in_s=matched_in_s,
    )


def not_in_line(ticket: QueueTicket, *, is_matched: bool, now_ms: int) -> Explanation:
    """Explains a ticket that no rule keeps: it waits for friends, or for the room of its match."""
    missing = ticket.members[0].size - ticket.size
    return Explanation(
        kept_by="nothing" if is_matched else "friends",
        words="it is matched, and gets its room" if is_matched else f"{missing} of its party have not asked yet",
        waited_s=ticket.waited_s(now_ms),
        players_wanted=0,
        in_region=0,
        agreeing=0,
        in_window=0,
        matched_in_s=0.0 if is_matched else None,
    )


def _why(
    ticket: QueueTicket,
    near: Sequence[QueueTicket],
    agreeing: Sequence[QueueTicket],
    within: Sequence[QueueTicket],
    rules: Rules,
    region: str,
    now_ms: int,
    *,
    is_matched: bool,
) -> tuple[Keeper, str]:
    waited_s = ticket.waited_s(now_ms)
    missing = rules.players_wanted(waited_s) - ticket.size
    if is_matched:
        return "nothing", "the next round matches it"
    if not rules.may_play_in(ticket, region, now_ms):
        latency = ticket.latencies.get(region)
        if latency is None:
            return "latency", f"it has not said how far {region or 'this region'} is"
        limit = rules.latency_limit_of(waited_s)
        return "latency", f"{region or 'this region'} is {latency} ms away and its limit is {limit:.0f} ms now"
    if _players(near) < missing:
        return "players", f"{missing - _players(near)} more players are wanted in {region or 'this region'}"
    if _players(agreeing) < missing:
        which = ", ".join(f"{name}={value}" for name, value in ticket.labels.items() if name in rules.labels)
        return "labels", f"{missing - _players(agreeing)} more players are wanted who agree with {which or 'it'}"
    if _players(within) < missing:
        window = rules.skill_window_of(waited_s)
        return "skill", (
            f"{missing - _players(within)} more players are wanted within {window:g} of its skill, {ticket.skill:g}, "
            "in whose windows it is too"
        )
    return "parties", "there are players enough, but their parties, or their windows among each other, do not fit"


def _matched_in_s(
    ticket: QueueTicket,
    others: Sequence[QueueTicket],
    backfills: Sequence[Backfill],
    rules: Rules,
    match: MatchFunction,
    region: str,
    now_ms: int,
    chance: random.Random,
) -> float | None:
    """Plays some of the coming seconds through, with the very function that will be asked."""

    def is_matched(after_s: int) -> bool:
        then_ms = now_ms + after_s * 1000
        open_to = [one for one in (ticket, *others) if rules.may_play_in(one, region, then_ms)]
        open_to.sort(key=lambda one: (one.since_ms, one.seq))
        found = match(open_to, backfills, rules, now_ms=then_ms, chance=chance)
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
    windows = (rules.skill_window_of(ticket.waited_s(now_ms)) for ticket in (one, other))
    return abs(one.skill - other.skill) <= min(windows)


def _players(tickets: Sequence[QueueTicket]) -> int:
    return sum(ticket.size for ticket in tickets)
