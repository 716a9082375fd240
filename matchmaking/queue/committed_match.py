"""A match that is stored in Redis until it has a room. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class CommittedMatch(msgspec.Struct, frozen=True, array_like=True):
    """A match without a room. lua/queue/assign.lua depends on the order of the fields.

    Args:
        players: (agent, entry, player, team) of each player.
        made_ms: when the match was made, by the clock of Redis.
    """

    match_id: str
    region: str
    tickets: Sequence[str]
    players: Sequence[tuple[str, str, str, int]]
    teams: Sequence[int]
    labels: Sequence[str]
    backfill: str = ""
    made_ms: int = 0
