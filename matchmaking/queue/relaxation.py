"""Finds the rules that keep a ticket from a match: those without which the match function would match it now.

Each rule is relaxed alone, then two together, and so on, until the ticket is matched. Tickets that the next round
matches with each other are left out, because they will not wait any longer. Pure.

    latency    all regions are open to all tickets
    labels     no labels need to agree
    skill      no window applies
    parties    the other parties may be divided
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import msgspec

from tickwire.matchmaking.queue.rules import MatchFunction, Rules
from tickwire.matchmaking.queue.ticket import Backfill, QueueTicket

if TYPE_CHECKING:
    import random

Rule = Literal["latency", "labels", "skill", "parties"]
RULES: tuple[Rule, ...] = ("latency", "labels", "skill", "parties")


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

    def run(
        self, tickets: Iterable[QueueTicket], rng: random.Random, *, without: Collection[Rule] = (), after_s: int = 0
    ) -> frozenset[str]:
        """Run the match function on some tickets.

        Args:
            tickets: the tickets; those to which the region is closed are left out.
            rng: the randomness of the match function.
            without: the rules that are relaxed. Parties are divided by `divide`.
            after_s: how much later than `now_ms`.

        Returns:
            The ids of the matched tickets.
        """
        now_ms, rules = self.now_ms + after_s * 1000, self.rules
        found = [one for one in tickets if "latency" in without or rules.can_play_in(one, self.region, now_ms)]
        found.sort(key=lambda one: (one.since_ms, one.seq))
        if "labels" in without:
            rules = msgspec.structs.replace(rules, labels=())
        if "skill" in without:
            rules = msgspec.structs.replace(rules, skill_window=math.inf, skill_window_max=math.inf)
        made = self.match(found, self.backfills, rules, now_ms=now_ms, rng=rng)
        return frozenset(ticket_id for match in made for ticket_id in match.tickets)


def find_blocking_rules(
    ticket: QueueTicket, queue: QueueSnapshot, rng: random.Random
) -> list[tuple[Rule, ...]] | None:
    """Return the smallest sets of rules without which a ticket that no match contains now would be matched now.

    Args:
        ticket: a ticket that the next round does not match.
        queue: the queue around it, without the tickets that the next round matches.
        rng: the randomness of the match function.

    Returns:
        Sets of equal size, any of which is enough; one empty set if only older tickets precede this one; None if too
        few players wait, whatever the rules.
    """
    relevant = [rule for rule in RULES if _is_relevant(rule, ticket, queue)]
    if not _is_matched(ticket, queue, relevant, rng):
        return None
    for size in range(len(relevant)):
        found = [some for some in combinations(relevant, size) if _is_matched(ticket, queue, some, rng)]
        if found:
            return found
    return [tuple(relevant)]


def _is_relevant(rule: Rule, ticket: QueueTicket, queue: QueueSnapshot) -> bool:
    """Return whether a rule restricts anything in this queue; relaxing it is pointless otherwise."""
    rules = queue.rules
    match rule:
        case "latency":
            return not all(rules.can_play_in(one, queue.region, queue.now_ms) for one in (ticket, *queue.others))
        case "labels":
            return bool(rules.labels)
        case "skill":
            return min(rules.skill_window, rules.skill_window_max) < math.inf
        case "parties":
            return any(other.size > 1 for other in queue.others)


def _is_matched(ticket: QueueTicket, queue: QueueSnapshot, without: Sequence[Rule], rng: random.Random) -> bool:
    """Return whether a ticket would be matched now, in its turn or as the oldest ticket.

    As the oldest, because without a rule older tickets may match each other. For that, the older tickets count as new
    as this one. No match that contains it becomes possible or impossible by that: its own window applies as well.
    """
    others = [part for other in queue.others for part in _divide(other)] if "parties" in without else queue.others
    if ticket.ticket_id in queue.run((ticket, *others), rng, without=without):
        return True
    rules, region, now_ms = queue.rules, queue.region, queue.now_ms
    open_to = [other for other in others if "latency" in without or rules.can_play_in(other, region, now_ms)]
    younger = [
        msgspec.structs.replace(other, since_ms=max(other.since_ms, ticket.since_ms), seq=number)
        for number, other in enumerate(open_to, 1)
    ]
    first = msgspec.structs.replace(ticket, seq=0)
    # The regions of the older tickets were checked with their own waiting times.
    return ticket.ticket_id in queue.run((first, *younger), rng, without={*without, "latency"}) and (
        "latency" in without or rules.can_play_in(ticket, region, now_ms)
    )


def _divide(ticket: QueueTicket) -> list[QueueTicket]:
    """Return a ticket for each member of a party."""
    if ticket.size == 1:
        return [ticket]
    return [
        QueueTicket(f"{ticket.ticket_id}/{number}", ticket.seq, ticket.since_ms, [member])
        for number, member in enumerate(ticket.members)
    ]
