"""The rules of a mode: who may play whom, in data. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tickwire.matchmaking.queue.ticket import Backfill, Match, QueueTicket

if TYPE_CHECKING:
    import random


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a match must be.

    Args:
        room_type: of the room that it is played in.
        teams, team_size: how many teams, and how many players at most in each; one team of all for a game without.
        players_min: with so few players a match is made once its oldest ticket has waited for `fill_after_s`; 0: it
            must be full.
        skill_window: how far the skills in a match may lie apart, at first; every ticket's own window must hold.
        skill_window_per_s: the window widens by so much for each second of waiting.
        skill_window_max: and no further.
        latency_ms: the longest round trip to the region, at first. A ticket's nearest region is open to it always.
        latency_ms_per_s, latency_ms_max: it grows likewise.
        labels: keys on which all of a match must agree; who does not say anything agrees with all.
        timeout_s: who has waited for so long is told that nothing was found.
        backfill: rooms in play take new players when some leave.
    """

    room_type: str
    teams: int = 2
    team_size: int = 1
    players_min: int = 0
    fill_after_s: float = 10.0
    skill_window: float = math.inf
    skill_window_per_s: float = 0.0
    skill_window_max: float = math.inf
    latency_ms: float = 100.0
    latency_ms_per_s: float = 5.0
    latency_ms_max: float = 250.0
    labels: Sequence[str] = ()
    timeout_s: float = 120.0
    backfill: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.teams <= 255 and self.team_size >= 1 and self.players_max <= 1000):
            raise ValueError("a match has 1 to 255 teams and at most 1,000 players")
        if not 0 <= self.players_min <= self.players_max:
            raise ValueError(f"players_min: wants 0 to {self.players_max}")
        if self.timeout_s <= 0 or self.fill_after_s < 0 or self.skill_window < 0 or self.latency_ms < 0:
            raise ValueError("timeout_s, fill_after_s, skill_window and latency_ms cannot be negative")

    @property
    def players_max(self) -> int:
        """How many play when the match is full."""
        return self.teams * self.team_size

    def skill_window_of(self, waited_s: float) -> float:
        """How far skills may lie apart for one who has waited for so long."""
        return min(self.skill_window_max, self.skill_window + self.skill_window_per_s * waited_s)

    def latency_limit_of(self, waited_s: float) -> float:
        """The longest round trip for one who has waited for so long, ms."""
        return min(self.latency_ms_max, self.latency_ms + self.latency_ms_per_s * waited_s)

    def may_play_in(self, ticket: QueueTicket, region: str, now_ms: int) -> bool:
        """Whether a region is open to a ticket: its nearest, or one within its limit."""
        latency = ticket.latencies.get(region)
        if latency is None:
            return False
        return latency == ticket.nearest_ms or latency <= self.latency_limit_of(ticket.waited_s(now_ms))

    def players_wanted(self, waited_s: float) -> int:
        """How many players are enough for a match whose oldest ticket has waited for so long."""
        if self.players_min and waited_s >= self.fill_after_s:
            return self.players_min
        return self.players_max


class MatchFunction(Protocol):
    """Makes matches out of what waits. Pure: the same arguments give the same matches."""

    def __call__(
        self,
        tickets: Sequence[QueueTicket],
        backfills: Sequence[Backfill],
        rules: Rules,
        *,
        now_ms: int,
        chance: random.Random,
    ) -> list[Match]:
        """Matches for one region.

        Args:
            tickets: those to whom the region is open, the oldest first.
            backfills: rooms of the region that want players, the oldest first.

        Returns:
            No ticket in two of them, and no backfill.
        """
        ...


SkillOf = Callable[[str, Mapping[str, Any]], float]
"""What a player's skill is: given the player's id and the options of its MatchRequest. What a client says of itself
is a wish: look the player up."""


def no_skill(player_id: str, options: Mapping[str, Any]) -> float:
    """Everybody is alike."""
    return 0.0
