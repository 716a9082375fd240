"""The parts of a harness: its ledger, its matchmaker and its first shard, from the arguments of `RoomHarness`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from tickwire.matchmaking import Mode
from tickwire.schemas.messages import Redirect
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.room import Room
from tickwire.testing.harness_loop import HarnessLoop
from tickwire.testing.harness_placement import EPOCH, HarnessFleet, find_mode_seats
from tickwire.testing.harness_shard import HarnessShard, ShardContext
from tickwire.testing.memory_ledger import MemoryLedger
from tickwire.testing.room_owner import HarnessStores, RoomOwner
from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_connection import NetworkContext
from tickwire.testing.simulated_network import Deliveries

ROOM_ID = "room"


class RoomSetup(NamedTuple):
    """The settings of a harness; see the arguments of `RoomHarness`."""

    seed: int
    options: Mapping[str, Any]
    name: str | None
    raise_errors: bool
    holdings: Mapping[str, Mapping[str, int]]
    profiles: Mapping[str, Mapping[str, Any]]
    rooms: Sequence[type[Room]]
    modes: Sequence[Mode]


class HarnessCalls(NamedTuple):
    """The calls of the shards to their harness; see `ShardContext`."""

    on_tick: Callable[[], None]
    find_session: Callable[[HarnessShard, str, str], Redirect | None]


class HarnessClock(NamedTuple):
    """The time of a harness, and the chance of its network.

    Args:
        time: the event loop.
        deliveries: the messages in flight.
        schedule: the chance.
    """

    time: HarnessLoop
    deliveries: Deliveries
    schedule: Schedule


def create_ledger(setup: RoomSetup, clock: HarnessClock) -> MemoryLedger:
    """Return the ledger of a harness, with the records of its players."""
    loop = clock.time.loop
    ledger = MemoryLedger(lambda: EPOCH + timedelta(seconds=loop.time()), clock.schedule.stream("ledger"))
    ledger.set_records(setup.holdings, setup.profiles)
    return ledger


def create_owner(
    room_class: type[Room], setup: RoomSetup, clock: HarnessClock, ledger: MemoryLedger, calls: HarnessCalls
) -> RoomOwner:
    """Return the owner of the room, with a first shard that has no room yet.

    Raises:
        ValueError: a mode needs a room type that the harness does not have.
    """
    seed, loop = setup.seed, clock.time.loop
    room_types: dict[str, type[Room]] = {room_class.room_type: room_class}
    room_types |= {each.room_type: each for each in setup.rooms}
    chance = random.Random(f"{seed}/fleet")  # noqa: S311 the chance of a test
    fleet = HarnessFleet(loop, chance, find_mode_seats(setup.modes, room_types))
    context = ShardContext(
        loop,
        NetworkContext(loop, clock.deliveries, clock.schedule),
        random.Random(f"{seed}/server"),  # noqa: S311 the chance of a test
        clock.time.raised,
        calls.on_tick,
        calls.find_session,
        ledger,
        fleet,
    )
    name = room_class.room_type if setup.name is None else setup.name
    spec = RoomSpec(ROOM_ID, room_class.room_type, name, epoch=1)
    return RoomOwner(lambda url: HarnessShard(url, room_types, context), spec, HarnessStores(ledger, fleet))
