"""Requests players for running matches that have lost some, if the rules of their mode allow backfill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from tickwire.matchmaking.labels import check_labels, to_pairs
from tickwire.matchmaking.queue import Backfill, Mode, Queues
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime


class BackfillService:
    """Keeps the backfill requests of this shard's rooms up to date in the queues.

    Args:
        region: the region of this shard.
        queues: the queues of this shard.
        host: the rooms of this shard.
        isolation: contains faults while one room is checked.
        now_s: the fleet's clock, UTC, seconds since 1970.
    """

    def __init__(
        self,
        *,
        region: str,
        queues: Queues,
        host: RoomHost,
        isolation: FaultIsolation,
        now_s: Callable[[], float],
    ) -> None:
        self._region = region
        self._queues = queues
        self._host = host
        self._isolation = isolation
        self._now_s = now_s
        self._requests: dict[str, tuple[str, Backfill]] = {}  # by room id: the mode's name, the request

    def update(self) -> None:
        """Request players for all rooms with free seats, and withdraw requests of other rooms. Call it once a second.

        A request that has not changed keeps its time: older requests are served first, and accept more skills.
        """
        requests = {}
        for runtime in self._host:
            room_id = runtime.room.room_id
            with self._isolation.guard("upkeep", room_id):
                mode = self._queues.modes.get(runtime.room.mode)
                if mode is not None and mode.rules.backfill and any(_count_free_seats(runtime, mode)):
                    requests[room_id] = (mode.name, self._create_request(runtime, mode))
        for room_id, (mode_name, _) in self._requests.items():
            if room_id not in requests:
                self._queues.agents[mode_name].remove_backfill(room_id)
        for room_id, (mode_name, request) in requests.items():
            previous = self._requests.get(room_id)
            if previous is not None and msgspec.structs.replace(previous[1], since_ms=request.since_ms) == request:
                requests[room_id] = previous
            else:
                self._queues.agents[mode_name].set_backfill(request)
        self._requests = requests

    def _create_request(self, runtime: RoomRuntime, mode: Mode) -> Backfill:
        return Backfill(
            room_id=runtime.room.room_id,
            region=self._region,
            skill=_mean_skill(runtime),
            open_slots=_count_free_seats(runtime, mode),
            since_ms=int(self._now_s() * 1000),
            labels=to_pairs(check_labels(runtime.room.labels)),
        )


def _count_free_seats(runtime: RoomRuntime, mode: Mode) -> list[int]:
    """Return the free seats of each team; 0 for all teams if the room is locked or empty."""
    room, rules = runtime.room, mode.rules
    if room.access == "locked" or not room.players:
        return [0] * rules.teams
    sizes = Counter(player.team for player in room.players.values())
    return [max(0, rules.team_size - sizes[team]) for team in range(1, rules.teams + 1)]


def _mean_skill(runtime: RoomRuntime) -> float:
    skill = float(np.mean([player.skill for player in runtime.room.players.values()]))
    if not np.isfinite(skill):
        raise ValueError(f"a player's skill must be finite; the mean of the room is {skill}")
    return skill
