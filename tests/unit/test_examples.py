"""The examples do what they say: arena without a socket, the bots over a real one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import bson
import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from examples import arena, minimal
from examples.arena import Arena
from examples.bots import run_bots
from schemas import SUBPROTOCOL
from schemas.codec import encode_server
from schemas.messages import Joined, Left, Message, Welcome
from server.rooms import Player, Room
from server.rooms.counters import RoomCounters
from server.rooms.outbox import Outbox
from server.rooms.simulation import RoomState, Simulation, create
from tests.waiting import eventually


class Spectator:
    """A subscriber that hears nothing."""

    session_id = player_id = "p"
    wire = None
    outbox = Outbox()

    def send_message(self, message: Message) -> None: ...
    def slow_consumer(self, reason: str) -> None: ...
    def seat_lost(self, reason: str) -> None: ...


def made(kind: type[Room], saved: RoomState | None = None) -> Simulation:
    return create(kind, room_id="r", name="lobby", epoch=1, seed=1, counters=RoomCounters(), options={}, saved=saved)


def playing(*names: str) -> tuple[Simulation, Arena, list[Player]]:
    simulation = made(Arena)
    room = simulation.room
    assert isinstance(room, Arena)
    seats = [simulation.seat(Spectator(), f"p{n}", {"name": name}, lambda seat: None) for n, name in enumerate(names)]
    return simulation, room, [seat.player for seat in seats]


def ship_of(player: Player) -> Any:
    assert player.entity is not None
    return player.entity


def face_to_face(shooter: Player, *targets: Player) -> None:
    ship_of(shooter).x = ship_of(shooter).y = ship_of(shooter).heading = 0.0
    for target in targets:
        ship_of(target).x, ship_of(target).y = 30.0, 0.0


def test_a_ship_thrusts_where_it_points_and_stays_in_the_arena() -> None:
    simulation, room, (pilot,) = playing("ann")
    ship_of(pilot).x, ship_of(pilot).y, ship_of(pilot).heading = 400.0, 0.0, 0.0
    room.on_input(pilot, {"thrust": 1.0, "turn": 0.0, "fire": 0.0})
    for _ in range(20 * 10):
        simulation.step()
    assert (ship_of(pilot).x, ship_of(pilot).y) == (arena.SIZE, pytest.approx(0.0, abs=1e-3))


def test_shots_hit_score_and_are_told() -> None:
    simulation, room, (shooter, target) = playing("ann", "bob")
    told: list[tuple[str, Any]] = []
    room.broadcast = lambda name, payload=None: told.append((name, payload))  # type: ignore[method-assign]
    room.on_input(shooter, {"thrust": 0.0, "turn": 0.0, "fire": 1.0})
    for _ in range(20 * 4):
        face_to_face(shooter, target)
        simulation.step()
        if told:
            break
    assert told == [("scored", {"name": "ann", "score": 1})]
    assert room.on_command(shooter, "scores", None) == {"ann": 1}
    assert ship_of(shooter).score == 1
    assert ship_of(target).hp == 100, "shot down, and up again elsewhere"


def test_one_bullet_hits_one_ship() -> None:
    simulation, room, (shooter, *targets) = playing("ann", "bob", "cid")
    face_to_face(shooter, *targets)
    room.on_input(shooter, {"thrust": 0.0, "turn": 0.0, "fire": 1.0})
    simulation.step()
    room.on_input(shooter, {"thrust": 0.0, "turn": 0.0, "fire": 0.0})
    for _ in range(20):
        simulation.step()
    assert sorted(ship_of(target).hp for target in targets) == [100 - arena.DAMAGE, 100]


def test_bullets_end() -> None:
    simulation, room, (shooter,) = playing("ann")
    room.on_input(shooter, {"thrust": 0.0, "turn": 1.0, "fire": 1.0})
    for _ in range(20 * 10):
        simulation.step()
    assert 1 <= len(room.bullets) <= 2 * arena.BULLET_S + 1


@pytest.mark.parametrize("name", ["a\0b", "$where", "a.b", ""])
def test_whatever_a_pilot_is_called_the_arena_can_be_saved_and_found_again(name: str) -> None:
    simulation, room, (pilot,) = playing(name)
    room._score(ship_of(pilot).id)
    state = simulation.state()
    saved = bson.decode(bson.encode({"state": state.state}))["state"]
    again = made(Arena, msgspec.structs.replace(state, state=saved)).room
    assert isinstance(again, Arena)
    assert again.on_command(pilot, "scores", None) == {name: 1}
    assert len(again.ships) == 0, "ships without a pilot are not kept"


def test_the_arena_keeps_the_best_scores_only() -> None:
    _, room, (pilot,) = playing("ann")
    for number in range(50):
        pilot.data["name"] = f"pilot {number}"
        room._score(ship_of(pilot).id)
    assert len(room.best) == arena.SCORES_KEPT
    assert max(room.best.values()) == 50


def test_the_smallest_room_moves_its_square() -> None:
    simulation = made(minimal.Field)
    seat = simulation.seat(Spectator(), "p", {}, lambda seat: None)
    for _ in range(3):
        simulation.room.on_input(seat.player, {"dx": 1.0})
        simulation.step()
    assert ship_of(seat.player).x == pytest.approx(3.0)
    seat.leave("left")
    simulation.step()
    assert len(simulation.room.all_tables()[0]) == 0


async def test_bots_whose_room_ends_come_again() -> None:
    joins = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal joins
        with suppress(ConnectionClosed):
            await socket.recv()
            await socket.send(encode_server(Welcome("s", heartbeat_interval_ms=5000)))
            await socket.recv()
            joins += 1
            await socket.send(encode_server(Joined("r", description=Arena.describe())))
            await socket.send(encode_server(Left("the room has ended")))
            await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        bots = asyncio.create_task(run_bots(f"ws://127.0.0.1:{port}", 3, seed=1))
        try:
            await eventually(lambda: joins >= 6 or bots.done(), 10)
            assert not bots.done()
        finally:
            bots.cancel()
            with suppress(asyncio.CancelledError):
                await bots
