"""Despawned entities stay dead when their ids are reused: for rows, inputs, saves, moves and entity fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Grid, Input, InputBatch, Player, Room, Table, entity, local, real
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.replication.entity_ids import QUARANTINE_TICKS, EntityIds
from tickwire.server.rooms.checkpoint import GONE, RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

pytestmark = pytest.mark.usefixtures("each_kernel")


class TargetingShips(Table):
    x = real(-1000, 1000, step=1 / 16)
    y = real(-1000, 1000, step=1 / 16)
    target = entity()
    speed = local(np.float64)


class SpaceInput(Input):
    dx = real(-1, 1, step=1 / 64)


class Space(Room):
    """Ships that move by their players' inputs, as most games write it."""

    room_type = "space"
    max_players = 8
    grid = Grid("ships", cell=100, view=100)
    input_type = SpaceInput
    ships: TargetingShips

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.ships.spawn(x=500.0, y=500.0)

    def on_input(self, player: Player, input: SpaceInput) -> None:
        if (ship := player.find_entity()) is not None:
            ship.x += input.dx

    def on_leave(self, player: Player) -> None:
        if (ship := player.find_entity()) is not None:
            ship.despawn()


class BatchedSpace(Space):
    """The same with all inputs of a tick at once."""

    room_type = "fleet"

    def on_inputs(self, inputs: InputBatch[SpaceInput]) -> None:
        rows, wishes = inputs.of(self.ships)
        self.ships.x[rows] += wishes.dx


def room_of(
    kind: type[Space] = Space, saved: RoomCheckpoint | None = None, **more: Any
) -> tuple[RoomRuntime, TargetingShips]:
    runtime = create_runtime(kind, saved, name="n", **more)
    return runtime, runtime.room.ships  # type: ignore[attr-defined]


def seated(runtime: RoomRuntime, player_id: str) -> Seat:
    return runtime.seat(SeatRequest(RecordingSubscriber(player_id), player_id))


def press(seat: Seat, seq: int) -> None:
    seat.push_input(InputMessage(seq, 0, pack_input(Space.input_fields, {"dx": 1.0})))


def rest(runtime: RoomRuntime, ticks: int = QUARANTINE_TICKS) -> None:
    """Advance the tick for ids in quarantine; the room itself runs two ticks."""
    runtime.step()
    runtime.room.tick += ticks
    runtime.step()


class Reviving:
    """Restores a session for every saved player."""

    def __init__(self) -> None:
        self.subscribers: dict[str, RecordingSubscriber] = {}

    def restore(self, kept: SessionCheckpoint, /) -> RecordingSubscriber:
        subscriber = self.subscribers[kept.player_id] = RecordingSubscriber(kept.player_id)
        subscriber.connection = None
        return subscriber


@pytest.mark.parametrize("kind", [Space, BatchedSpace])
def test_inputs_of_a_dead_player_do_not_reach_the_entity_that_reuses_its_id(kind: type[Space]) -> None:
    runtime, ships = room_of(kind)
    dead = seated(runtime, "dead")
    row = dead.player.entity
    assert row is not None
    old_id = row.id
    ships.despawn(old_id)
    # Nobody may be given an id that the client of a seated player takes for its own.
    rest(runtime)
    assert seated(runtime, "early").player.entity.id != old_id  # type: ignore[union-attr]
    other = seated(runtime, "other")
    other_row = other.player.entity
    assert other_row is not None
    bullet = ships.spawn()
    bullet_id = bullet.id
    ships.despawn(bullet_id)
    rest(runtime)
    newcomer = ships.spawn(x=7.0)
    assert newcomer.id == bullet_id
    dead.player.entity = bullet  # as if it had been the player's
    runtime.step()
    assert dead.player.find_entity() is None
    press(dead, 1)
    runtime.step()
    assert newcomer.x == 7.0
    dead.leave("left")
    runtime.step()
    assert newcomer.id in ships
    assert newcomer.x == 7.0


def test_row_of_a_despawned_entity_stays_dead_when_its_id_is_reused() -> None:
    runtime, ships = room_of()
    row = ships.spawn(x=1.0)
    old_id = row.id
    ships.despawn(row)
    assert row.x == 1.0, "until the end of the tick it is there"
    rest(runtime)
    assert not row.exists
    assert row.id == 0
    newcomer = ships.spawn(x=2.0)
    assert newcomer.id == old_id
    for use in (
        lambda: row.x,
        lambda: row.channel,
        lambda: setattr(row, "x", 3.0),
        lambda: setattr(row, "channel", 3),
    ):
        with pytest.raises(KeyError, match=f"entity {old_id} of TargetingShips was despawned"):
            use()
    assert row.row_in(ships) is None
    ships.despawn(row)
    ships.despawn(row.id)
    runtime.step()
    assert newcomer.x == 2.0
    assert repr(row) == f"<TargetingShips {old_id}, despawned>"


def test_rows_are_equal_when_they_are_the_same_entity() -> None:
    runtime, ships = room_of()
    row = ships.spawn()
    assert row == ships[row.id]
    assert len({row, ships[row.id]}) == 1
    assert row != ships.spawn()
    old_id = row.id
    ships.despawn(row)
    rest(runtime)
    ships.spawn()
    assert row != ships[old_id]


def test_entity_field_is_cleared_before_the_id_is_reused() -> None:
    runtime, ships = room_of()
    hunter, prey = ships.spawn(), ships.spawn()
    hunter.target = prey.id
    ships.despawn(prey)
    rest(runtime, QUARANTINE_TICKS - 3)
    assert hunter.target == prey.id or hunter.target != 0, "who it was can be seen for a while"
    rest(runtime)
    newcomer = ships.spawn()
    assert hunter.target == 0
    hunter.target = newcomer.id
    runtime.step()
    assert hunter.target == newcomer.id


def test_entity_fields_of_all_tables_are_cleared_together() -> None:
    ids = EntityIds()
    ships, others = TargetingShips(ids), TargetingShips(ids)
    prey = ships.spawn()
    for table in (ships, others):
        for _ in range(20):
            table.spawn(target=prey.id)
    ships.despawn(prey)
    ships.compact()
    ids.tick = QUARANTINE_TICKS
    ids.recycle((ships, others), in_use=())
    assert not np.any(ships.target)
    assert not np.any(others.target)
    assert ships.spawn().id == 1


def test_entity_despawned_between_two_ticks_is_not_saved() -> None:
    runtime, ships = room_of()
    seat = seated(runtime, "p")
    flower = ships.spawn(x=1.0)
    runtime.step()
    ships.despawn(flower)  # as a command does, that has given the player what it is worth
    ships.despawn(seat.player.entity)
    beside = runtime.metadata()
    assert beside.seats[0].entity == GONE
    state = runtime.checkpoint(beside)
    assert flower.id not in state.tables["ships"].ids
    assert state.seats[0].entity == GONE
    moved, state = decode_room(encode_room(runtime))
    assert moved.world.tables["ships"].count == 0
    again, ships_again = room_of(saved=state, sessions=Reviving())
    assert len(ships_again) == 0
    assert again.seats[0].player.find_entity() is None


def test_room_moves_with_its_exact_numbers_after_a_despawn() -> None:
    runtime, ships = room_of()
    ships.spawn()
    kept = ships.spawn(speed=1.2345678)
    runtime.step()
    ships.despawn(next(iter(ships)))
    _, ships_again = room_of(saved=decode_room(encode_room(runtime))[1])
    assert ships_again[kept.id].speed == 1.2345678


def test_rows_from_before_a_restore_are_dead() -> None:
    ships = TargetingShips()
    before = ships.spawn(x=1.0)
    ships.restore(ships.state())
    assert not before.exists
    assert ships[1].exists
    assert ships[1].x == 1.0


def test_ids_from_before_a_save_or_a_move_are_not_reused() -> None:
    runtime, ships = room_of()
    seated(runtime, "p")
    gone = ships.spawn()
    gone_id = gone.id
    ships.despawn(gone)
    runtime.step()
    for state in (runtime.checkpoint(), decode_room(encode_room(runtime))[1]):
        again, ships_again = room_of(saved=state, sessions=Reviving())
        rest(again)
        assert gone_id not in {ships_again.spawn().id for _ in range(50)}


def test_entity_id_in_joined_is_not_reused_while_the_player_is_seated() -> None:
    runtime, ships = room_of()
    seat = seated(runtime, "p")
    told = seat.player.entity.id
    ships.despawn(told)
    for _ in range(3):
        rest(runtime)
        assert ships.spawn().id != told
    seat.leave("left")
    rest(runtime)
    rest(runtime)
    assert told in {ships.spawn().id for _ in range(3)}
