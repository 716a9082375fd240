"""Explains why a ticket waits: the rule without which it would be matched, and when it will be matched. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from tickwire.matchmaking.queue.relaxation import QueueSnapshot, Rule, find_blocking_rules
from tickwire.matchmaking.queue.rules import Rules
from tickwire.matchmaking.queue.ticket import QueueTicket

if TYPE_CHECKING:
    import random

Blocker = Literal["nothing", "friends", "party_size", "latency", "labels", "skill", "parties", "players"]
SECONDS_TRIED = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300)
"""The times for which the match function is run to find when a ticket will be matched."""


class Explanation(msgspec.Struct, frozen=True):
    """The explanation of one ticket, in one region.

    Args:
        blocked_by: the first rule of `matched_without`; "players" if too few players wait, whatever the rules;
            "party_size" if its party is larger than a team; "friends" if its party is incomplete; "nothing" if it is
            matched, or the next round matches it.
        message: the reason as a sentence.
        waited_s: the waiting time of the ticket.
        players_required: the number of players that a match for the ticket requires now.
        in_region, agreeing, in_window: the number of players in other tickets that pass the rules up to latency,
            labels and skill.
        matched_in_s: when the ticket will be matched if no ticket enters or leaves the queue; None if it times out
            first.
        matched_without: the smallest sets of rules without which the ticket would be matched now; any is enough.
    """

    blocked_by: Blocker
    message: str
    waited_s: float
    players_required: int
    in_region: int
    agreeing: int
    in_window: int
    matched_in_s: float | None
    matched_without: Sequence[Sequence[Rule]] = ()


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
    matched_in_s: float | None = None
    without: Sequence[Sequence[Rule]] = ()
    matched = queue.run((ticket, *queue.others), rng)
    if ticket.ticket_id in matched:
        matched_in_s = 0.0
        blocked_by: Blocker = "nothing"
        message = "the next round will match it"
    elif ticket.size > queue.rules.team_size:
        blocked_by = "party_size"
        message = f"its party has {ticket.size} members, and a team only {queue.rules.team_size}"
    else:
        matched_in_s = _find_match_time(ticket, queue, rng)
        remaining = [other for other in queue.others if other.ticket_id not in matched]
        found = find_blocking_rules(ticket, msgspec.structs.replace(queue, others=remaining), rng)
        without = [] if found is None else [rules for rules in found if rules]
        blocked_by = without[0][0] if without else "players"
        message = _describe(ticket, queue, candidates, without)
    return Explanation(
        blocked_by=blocked_by,
        message=message,
        waited_s=waited_s,
        players_required=queue.rules.players_required(waited_s),
        in_region=_players(candidates.near),
        agreeing=_players(candidates.agreeing),
        in_window=_players(candidates.within),
        matched_in_s=matched_in_s,
        matched_without=without,
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


def _describe(
    ticket: QueueTicket, queue: QueueSnapshot, candidates: _Candidates, without: Sequence[Sequence[Rule]]
) -> str:
    """Return the reason as a sentence: any of the sets of rules is enough, or too few players wait."""
    if without:
        alternatives = (
            " and ".join(_describe_rule(rule, ticket, queue, candidates) for rule in rules) for rules in without
        )
        return "; or ".join(alternatives)
    rules, where = queue.rules, queue.region or "this region"
    missing = rules.players_required(ticket.waited_s(queue.now_ms)) - ticket.size - _players(queue.others)
    if missing > 0:
        return f"{missing} more players are required"
    return f"all players in {where} who fit are in other matches"


def _describe_rule(rule: Rule, ticket: QueueTicket, queue: QueueSnapshot, candidates: _Candidates) -> str:
    rules, where = queue.rules, queue.region or "this region"
    waited_s = ticket.waited_s(queue.now_ms)
    match rule:
        case "latency" if not rules.can_play_in(ticket, queue.region, queue.now_ms):
            latency = ticket.latencies.get(queue.region)
            if latency is None:
                return f"its latency to {where} is unknown"
            return f"its latency to {where} is {latency} ms, its limit {rules.latency_limit_at(waited_s):.0f} ms"
        case "latency":
            return f"{_players(queue.others) - _players(candidates.near)} other players are too far from {where}"
        case "labels":
            which = ", ".join(f"{name}={value}" for name, value in ticket.labels.items() if name in rules.labels)
            return f"too few other players agree on {which or 'labels'}"
        case "skill":
            window = rules.skill_window_at(waited_s)
            return (
                f"too few other players are within {window:g} of its skill, {ticket.skill:g}, "
                "and have windows that include it and each other"
            )
        case "parties":
            return "the other parties do not fit into the teams"


def _find_match_time(ticket: QueueTicket, queue: QueueSnapshot, rng: random.Random) -> float | None:
    """Run the match function for some of the coming seconds, for a ticket that it does not match now."""
    last = max(0, int(queue.rules.timeout_s - ticket.waited_s(queue.now_ms)))
    for after_s in (*(seconds for seconds in SECONDS_TRIED if seconds < last), last):
        if ticket.ticket_id in queue.run((ticket, *queue.others), rng, after_s=after_s):
            return float(after_s)
    return None


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
