"""How good the matches are: how long players waited, how far their skills lie apart, how far away they play. Pure."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from tickwire.matchmaking.queue.ticket import Match, QueueTicket

LATELY_MATCHES = 200


class MatchQuality(msgspec.Struct, frozen=True):
    """One match.

    Args:
        waits_s: of each player.
        skill_spread: between the best and the worst ticket.
        team_gap: between the means of the strongest and the weakest team.
        latencies_ms: of each ticket to the region; of the member who is farthest away.
        parties: tickets of more than one player; a ticket is in one team as a whole, so this counts friends who play
            together.
    """

    players: int
    waits_s: Sequence[float]
    skill_spread: float
    team_gap: float
    latencies_ms: Sequence[int]
    parties: int


def quality_of(match: Match, tickets: Mapping[str, QueueTicket], *, region: str, now_ms: int) -> MatchQuality:
    """Judges a match, given at least the tickets in it."""
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
    """The median wait of the last matches: what a newcomer is told to expect."""

    def __init__(self) -> None:
        self._waits_s: deque[float] = deque(maxlen=LATELY_MATCHES)

    def add(self, quality: MatchQuality) -> None:
        """One more match."""
        self._waits_s.append(statistics.median(quality.waits_s))

    @property
    def wait_ms(self) -> int:
        """Milliseconds, at least 1; 0: nobody knows."""
        return max(1, round(statistics.median(self._waits_s) * 1000)) if self._waits_s else 0
