"""Match quality: waiting times, differences in skill, and latencies of matches. Pure."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from tickwire.matchmaking.queue.ticket import Match, QueueTicket

RECENT_MATCHES = 200


class MatchQuality(msgspec.Struct, frozen=True):
    """The quality of one match.

    Args:
        waits_s: the waiting time of each player.
        skill_spread: the difference between the skills of the best and the worst ticket.
        team_gap: the difference between the mean skills of the strongest and the weakest team.
        latencies_ms: the latency of each ticket to the region; for a party, that of its farthest member.
        parties: the number of tickets with more than one player; all players of a ticket are in one team.
    """

    players: int
    waits_s: Sequence[float]
    skill_spread: float
    team_gap: float
    latencies_ms: Sequence[int]
    parties: int


def measure_quality(match: Match, tickets: Mapping[str, QueueTicket], *, region: str, now_ms: int) -> MatchQuality:
    """Return the quality of a match; `tickets` must contain those of the match."""
    inside = [tickets[ticket_id] for ticket_id in match.tickets]
    skills = [ticket.skill for ticket in inside]
    by_team: dict[int, list[float]] = {}
    for ticket, team in zip(inside, match.teams, strict=True):
        by_team.setdefault(team, []).extend(member.skill for member in ticket.members)
    means = [statistics.fmean(team) for team in by_team.values()]
    return MatchQuality(
        players=sum(ticket.size for ticket in inside),
        waits_s=[ticket.waited_s(now_ms) for ticket in inside for _ in ticket.members],
        skill_spread=max(skills) - min(skills),
        team_gap=max(means) - min(means),
        latencies_ms=[ticket.latencies[region] for ticket in inside if region in ticket.latencies],
        parties=sum(ticket.size > 1 for ticket in inside),
    )


class RecentWaits:
    """The median wait of recent matches, which new players receive as an estimate."""

    def __init__(self) -> None:
        self._waits_s: deque[float] = deque(maxlen=RECENT_MATCHES)

    def add(self, quality: MatchQuality) -> None:
        """Add a match."""
        self._waits_s.append(statistics.median(quality.waits_s))

    @property
    def median_ms(self) -> int:
        """The median in milliseconds, at least 1; 0 if unknown."""
        return max(1, round(statistics.median(self._waits_s) * 1000)) if self._waits_s else 0
