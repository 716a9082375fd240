"""Clients of the schema version before: keyframes that they read, of just what they watch."""

from __future__ import annotations

from tests.harness.frames import frames_in, read_keyframe_v2
from tickwire.schemas.messages import StateDescription
from tickwire.server.replication.client_view import ClientView
from tickwire.server.replication.columns import angle, real, sint
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import Table


class HeadingShips(Table):
    x = real(-100, 100, step=0.5)
    heading = angle(bits=8)


class DepthMines(Table):
    depth = sint(bits=9)


DESCRIPTION = StateDescription((HeadingShips.describe("ships"), DepthMines.describe("mines")))


def test_client_of_version_2_receives_keyframes_and_clears_unsubscribed_channels() -> None:
    ships, mines = HeadingShips(), DepthMines()
    replication = Replicator((ships, mines))
    both = replication.get_interest(frozenset((0, 5)))
    replication.subscribe(both)
    ship = ships.spawn(x=1.0)
    mines.spawn(depth=-3, channel=5)
    told: list[dict[int, dict[str, dict[int, list[int]]]]] = []
    holding: ClientView | None = None
    for tick, interest in ((1, both), (2, both), (3, both), (4, replication.everyone)):
        ship.x += 1.0 if tick == 3 else 0.0
        replication.capture(tick)
        data, holding = replication.update_v2(holding, interest)
        frames = frames_in(data)
        assert all(frame.age == 0 for frame in frames)
        told.append({frame.channel: read_keyframe_v2(DESCRIPTION, frame.packed) for frame in frames})
    assert told == [
        {0: {"ships": {1: [202, 0]}}, 5: {"mines": {1: [-3]}}},
        {},
        {0: {"ships": {1: [204, 0]}}},
        {5: {}},
    ]
