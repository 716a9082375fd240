"""The clocks and the chance of a matchmaker. A test passes its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from tickwire.matchmaking.room_ids import RoomIds


class MatchmakerEnvironment(msgspec.Struct, frozen=True):
    """The clocks and the chance of a matchmaker.

    Args:
        monotonic_s: this machine's monotonic clock.
        wall_s: UTC, seconds since 1970; used only until Redis has returned its time.
        rng: picks the shards that are compared for a new room, and seeds match functions.
        ids: creates the ids and the codes of rooms, and the ids of matches.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    rng: random.Random = msgspec.field(default_factory=random.Random)
    ids: RoomIds = msgspec.field(default_factory=RoomIds)
