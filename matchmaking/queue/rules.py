"""The rules of a mode: data that decides which players can play together. Pure."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tickwire.matchmaking.queue.ticket import Backfill, Match, QueueTicket

if TYPE_CHECKING:
    import random


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions that a match must meet.

    Args:
        room_type: the type of the room in which the match is played.
        teams, team_size: the number of teams, and the maximum of players in each; for a game without teams, one team
            of all players.
        players_min: the minimum of players once the oldest ticket has waited for `fill_after_s`; 0 if a match must
            always be full.
        skill_window: the maximum difference between the skills in a match, at first. The windows of all tickets in
            the match apply.
        skill_window_per_s: the growth of the window for each second of waiting.
        skill_window_max: the maximum of the window.
        latency_ms: the maximum round trip to the region, at first. The nearest region of a ticket is always open to
            it.
        latency_ms_per_s, latency_ms_max: the growth and the maximum of this limit.
        labels: keys on which all tickets of a match must agree. A ticket without a value agrees with all.
        timeout_s: the waiting time after which a ticket times out.
        backfill: whether running rooms receive new players when some have left.
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
            raise ValueError(
                f"teams: must be 1 to 255, team_size at least 1, and their product at most 1000, "
                f"not {self.teams} and {self.team_size}"
            )
        if not 0 <= self.players_min <= self.players_max:
            raise ValueError(f"players_min: must be 0 to {self.players_max}, not {self.players_min}")
        if self.timeout_s <= 0 or self.fill_after_s < 0 or self.skill_window < 0 or self.latency_ms < 0:
            raise ValueError(
                "timeout_s must be positive; fill_after_s, skill_window and latency_ms must not be negative"
            )

    @property
    def players_max(self) -> int:
        """The number of players in a full match."""
        return self.teams * self.team_size

    def skill_window_at(self, waited_s: float) -> float:
        """Return the skill window of a ticket that has waited for `waited_s`."""
        return min(self.skill_window_max, self.skill_window + self.skill_window_per_s * waited_s)

    def latency_limit_at(self, waited_s: float) -> float:
        """Return the latency limit of a ticket that has waited for `waited_s`, in ms."""
        return min(self.latency_ms_max, self.latency_ms + self.latency_ms_per_s * waited_s)

    def can_play_in(self, ticket: QueueTicket, region: str, now_ms: int) -> bool:
        """Return whether a region is open to a ticket: its nearest region, or one within its latency limit."""
        latency = ticket.latencies.get(region)
        if latency is None:
            return False
        return latency == ticket.nearest_ms or latency <= self.latency_limit_at(ticket.waited_s(now_ms))

    def players_required(self, waited_s: float) -> int:
        """Return the number of players that a match requires whose oldest ticket has waited for `waited_s`."""
        if self.players_min and waited_s >= self.fill_after_s:
            return self.players_min
        return self.players_max


class MatchFunction(Protocol):
    """Makes matches from waiting tickets. Pure: the same arguments always produce the same matches."""

    def __call__(
        self,
        tickets: Sequence[QueueTicket],
        backfills: Sequence[Backfill],
        rules: Rules,
        *,
        now_ms: int,
        rng: random.Random,
    ) -> list[Match]:
        """Return matches for one region.

        Args:
            tickets: the tickets to which the region is open, the oldest first.
            backfills: rooms of the region that request players, the oldest first.
            rules: the rules of the mode.
            now_ms: UTC, milliseconds.
            rng: the only source of randomness.

        Returns:
            Matches; each ticket and each backfill is in at most one of them.
        """
        ...


class SkillRequest(msgspec.Struct, frozen=True):
    """The player whose skill a game looks up.

    Args:
        player_id: the id of the player.
        options: of the MatchRequest; they come from the client and cannot be trusted.
        profile: the game's profile of the player, as the last transaction left it; empty for a guest.
        is_guest: whether the id is valid only for this session.
    """

    player_id: str
    options: Mapping[str, Any] = {}
    profile: Mapping[str, Any] = {}
    is_guest: bool = False


SkillOf = Callable[[SkillRequest], float | Awaitable[float]]
"""Returns the skill of a player. A coroutine function may wait for up to two seconds; a plain one must not block."""


SKILL_MAX = 1e12
"""The greatest absolute value of a skill. Sums and squares of greater ones may exceed the range of numbers."""


def is_valid_skill(skill: float) -> bool:
    """Return whether players with this skill can be matched; NaN and infinity are invalid."""
    return abs(skill) <= SKILL_MAX


def no_skill(request: SkillRequest) -> float:
    """Return the same skill for all players."""
    return 0.0
