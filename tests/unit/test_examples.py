"""The examples do what they say: arena without a socket, the bots over a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bson
import msgspec
import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.harness.polling import eventually
from tests.harness.runtimes import create_runtime
from tickwire import InputBatch, Player, Room
from tickwire.client.core import ClientCore
from tickwire.client.world import TableView
from tickwire.examples import arena, cards, minimal
from tickwire.examples.arena import Arena
from tickwire.examples.cards import DECK, HAND, CardTable
from tickwire.examples.plaza import VIEW, Plaza
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL, messages
from tickwire.schemas.codec import encode_server
from tickwire.schemas.fields import pack_input
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Command, Joined, Left, Message, Redirect, Reply, Welcome
from tickwire.server.dev.bots import run_bots
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest


class Spectator:
    """A subscriber that discards everything."""

    session_id = player_id = "p"
    schema_version = SCHEMA_VERSION
    connection = None
    outbox = Outbox()

    def send_message(self, message: Message) -> None: ...
    def slow_consumer(self, reason: str) -> None: ...
    def seat_lost(self, reason: str) -> None: ...
    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None: ...
    def seat_restored(self, seat: Seat) -> None: ...
    def start_move(self, request: MoveRequest) -> Callable[[], object]:
        raise AssertionError(request)

    def to_checkpoint(self) -> SessionCheckpoint:
        return SessionCheckpoint(self.session_id, self.player_id, True, self.schema_version)


def made(kind: type[Room], saved: RoomCheckpoint | None = None) -> RoomRuntime:
    return create_runtime(kind, saved, name="lobby")


def playing(*names: str) -> tuple[RoomRuntime, Arena, list[Player]]:
    runtime = made(Arena)
    room = runtime.room
    assert isinstance(room, Arena)
    seats = [runtime.seat(SeatRequest(Spectator(), f"p{n}", {"name": name})) for n, name in enumerate(names)]
    return runtime, room, [seat.player for seat in seats]


def ship_of(player: Player) -> Any:
    return player.entity


def wish(room: Room, player: Player, wanted: dict[str, float]) -> None:
    columns = {name: np.array([value]) for name, value in wanted.items()}
    room.on_inputs(InputBatch([player], room.input_type(**columns)))


def face_to_face(shooter: Player, *targets: Player) -> None:
    ship_of(shooter).x = ship_of(shooter).y = ship_of(shooter).heading = 0.0
    for target in targets:
        ship_of(target).x, ship_of(target).y = 30.0, 0.0


def test_a_ship_thrusts_where_it_points_and_stays_in_the_arena() -> None:
    runtime, room, (pilot,) = playing("ann")
    ship_of(pilot).x, ship_of(pilot).y, ship_of(pilot).heading = 400.0, 0.0, 0.0
    wish(room, pilot, {"thrust": 1.0, "turn": 0.0, "fire": 0.0})
    for _ in range(20 * 10):
        runtime.step()
    assert (ship_of(pilot).x, ship_of(pilot).y) == (arena.SIZE, pytest.approx(0.0, abs=1e-3))


def test_shots_hit_score_and_are_broadcast() -> None:
    runtime, room, (shooter, target) = playing("ann", "bob")
    told: list[Any] = []
    room.broadcast = told.append  # type: ignore[method-assign, assignment]
    wish(room, shooter, {"thrust": 0.0, "turn": 0.0, "fire": 1.0})
    for _ in range(20 * 4):
        face_to_face(shooter, target)
        runtime.step()
        if told:
            break
    assert told == [arena.Scored("ann", 1)]
    assert room.scores(shooter) == {"ann": 1}
    assert ship_of(shooter).score == 1
    assert ship_of(target).hp == 100, "shot down, and up again elsewhere"


def test_one_bullet_hits_one_ship() -> None:
    runtime, room, (shooter, *targets) = playing("ann", "bob", "cid")
    face_to_face(shooter, *targets)
    wish(room, shooter, {"thrust": 0.0, "turn": 0.0, "fire": 1.0})
    runtime.step()
    wish(room, shooter, {"thrust": 0.0, "turn": 0.0, "fire": 0.0})
    for _ in range(20):
        runtime.step()
    assert sorted(ship_of(target).hp for target in targets) == [100 - arena.Pace().damage, 100]


@pytest.mark.parametrize(("has_latency", "hp"), [(True, 100 - arena.Pace().damage), (False, 100)])
def test_a_bullet_hits_the_ship_that_its_pilot_saw(has_latency: bool, hp: int) -> None:
    """Bob crosses the path of the bullet when it arrives, as Ann saw it 4.5 ticks ago; by now he has passed it."""
    runtime = made(Arena)
    seat, other = (runtime.seat(SeatRequest(Spectator(), name, {"name": name})) for name in ("ann", "bob"))
    face_to_face(seat.player, other.player)
    fire = pack_input(Arena.input_fields, {"fire": 1.0})
    for tick in range(1, 20):
        ship_of(other.player).y = 3.0 * (tick - 10 + 4.5 + 1 - 30 / 7.5)
        if tick == 10:
            seat.push_input(messages.Input(1, 7 if has_latency else 0, fire))
        elif tick == 11:
            seat.push_input(messages.Input(2, 0, bytes(len(fire))))
        runtime.step()
    assert ship_of(other.player).hp == hp
    assert ship_of(seat.player).hp == 100


def test_a_bullet_does_not_hit_a_ship_that_has_respawned_since() -> None:
    runtime = made(Arena)
    seat, other = (runtime.seat(SeatRequest(Spectator(), name, {"name": name})) for name in ("ann", "bob"))
    face_to_face(seat.player, other.player)
    for _ in range(9):
        runtime.step()
    ship_of(other.player).x, ship_of(other.player).respawn_tick = -400.0, 10
    seat.push_input(messages.Input(1, 7, pack_input(Arena.input_fields, {"fire": 1.0})))
    for _ in range(5):
        runtime.step()
    assert ship_of(other.player).hp == 100


def test_chat_lines_of_a_pilot_are_rate_limited() -> None:
    runtime = made(Arena)
    seat = runtime.seat(SeatRequest(Spectator(), "p", {"name": "ann"}))

    def say(seconds: float) -> list[bool]:
        for _ in range(round(seconds * Arena.tick_rate_hz)):
            runtime.step()
        return [command(seat, number, "say", "hello").ok for number in range(12)]

    assert say(0.0) == [True] * 10 + [False] * 2
    assert say(3.0) == [True] * 3 + [False] * 9
    assert say(60.0) == [True] * 10 + [False] * 2


def test_bullets_expire() -> None:
    runtime, room, (shooter,) = playing("ann")
    wish(room, shooter, {"thrust": 0.0, "turn": 1.0, "fire": 1.0})
    for _ in range(20 * 10):
        runtime.step()
    assert 1 <= len(room.bullets) <= 2 * arena.BULLET_S + 1


@pytest.mark.parametrize("name", ["a\0b", "$where", "a.b", ""])
def test_the_arena_can_be_saved_with_any_pilot_name(name: str) -> None:
    runtime, room, (pilot,) = playing(name)
    room._score(ship_of(pilot).id)
    state = runtime.checkpoint()
    saved = bson.decode(bson.encode({"state": state.state}))["state"]
    again = made(Arena, msgspec.structs.replace(state, state=saved)).room
    assert isinstance(again, Arena)
    assert again.scores(pilot) == {name: 1}
    assert len(again.ships) == 0, "ships without a pilot are not kept"


def test_the_arena_keeps_the_best_scores_only() -> None:
    _, room, (pilot,) = playing("ann")
    for number in range(50):
        pilot.data["name"] = f"pilot {number}"
        room._score(ship_of(pilot).id)
    assert len(room.best) == arena.SCORES_KEPT
    assert max(room.best.values()) == 50


def test_the_smallest_room_moves_its_square() -> None:
    runtime = made(minimal.SquareField)
    seat = runtime.seat(SeatRequest(Spectator(), "p"))
    for _ in range(3):
        runtime.room.on_input(seat.player, minimal.SquareInput(dx=1.0))
        runtime.step()
    assert ship_of(seat.player).x == pytest.approx(3.0)
    seat.leave("left")
    runtime.step()
    assert len(runtime.room.all_tables()[0]) == 0


async def test_bots_join_again_when_their_room_ends() -> None:
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
            await eventually(lambda: joins >= 6 or bots.done())
            assert not bots.done()
        finally:
            bots.cancel()
            with suppress(asyncio.CancelledError):
                await bots


class Onlooker(Spectator):
    """A subscriber with a client core, that keeps every byte it was written."""

    def __init__(self) -> None:
        self.core = ClientCore()
        self.outbox = Outbox()
        self.is_congested = False
        self.descriptor = -1
        self.connection = self  # type: ignore[assignment]
        self.written = b""

    def write(self, frames: bytes) -> None:
        self.written += frames
        for message in frame_payloads(frames):
            self.core.receive(message, now_us=0)
        assert not self.core.outgoing

    def send_message(self, message: Message) -> None:
        self.written += encode_server(message)
        self.core.receive(encode_server(message), now_us=0)

    def table(self, name: str) -> TableView:
        assert self.core.world is not None
        return self.core.world.table(name)


def seated(runtime: RoomRuntime, name: str, **options: Any) -> tuple[Seat, Onlooker]:
    onlooker = Onlooker()
    return runtime.seat(SeatRequest(onlooker, name, {"name": name, **options})), onlooker


def command(seat: Seat, id: int, name: str, payload: Any = None) -> Reply:
    return seat.run_command(Command(id, name, msgspec.msgpack.encode(payload)))


def test_only_the_player_receives_its_hand_and_all_receive_the_pile() -> None:
    runtime = made(CardTable)
    (ann, anns), (_, bobs), (_, watchers) = (
        seated(runtime, "ann"), seated(runtime, "bob"), seated(runtime, "eve", watch=True),
    )  # fmt: skip
    runtime.step()
    room = runtime.room
    assert isinstance(room, CardTable)
    for onlooker, known in ((anns, HAND + 1), (bobs, HAND + 1), (watchers, 1)):
        assert len(onlooker.table("cards")) == known
        assert onlooker.table("hands").column("cards").tolist() == [HAND, HAND]
    assert watchers.table("cards").ids.tolist() == [room.top.id]
    assert set(anns.table("cards").ids) & set(bobs.table("cards").ids) == {room.top.id}

    card = next(iter(room._find_cards(ann.player)))
    card.suit = room.top.suit
    assert command(ann, 1, "play", card.id).ok
    assert not command(ann, 2, "draw").ok, "it is bob's turn"
    runtime.step()
    for onlooker, known in ((anns, HAND), (bobs, HAND + 1), (watchers, 1)):
        assert len(onlooker.table("cards")) == known
        assert onlooker.table("cards").entity(card.id)["holder"] == 0


def test_a_card_that_cannot_be_played_is_refused() -> None:
    runtime = made(CardTable)
    (ann, _), (bob, _) = seated(runtime, "ann"), seated(runtime, "bob")
    room = runtime.room
    assert isinstance(room, CardTable)
    bobs_card = next(iter(room._find_cards(bob.player)))
    assert "not in your hand" in command(ann, 1, "play", bobs_card.id).message
    assert "Expected `int`, got `str` - at `$.card`" in command(ann, 2, "play", "x").message
    card = next(iter(room._find_cards(ann.player)))
    card.suit, card.rank = (room.top.suit + 1) % 4, room.top.rank % 13 + 1
    assert "neither" in command(ann, 3, "play", card.id).message
    (eve, _) = seated(runtime, "eve", watch=True)
    assert "watching" in command(eve, 1, "draw").message


def test_no_card_is_lost_whatever_is_played_and_whichever_player_leaves() -> None:
    runtime = made(CardTable)
    room = runtime.room
    assert isinstance(room, CardTable)
    seats = [seated(runtime, name)[0] for name in ("ann", "bob", "eve", "joe")]
    for number in range(200):
        seat = next(seat for seat in seats if seat.player is room.order[room.turn % len(room.order)])
        cards = room._find_cards(seat.player)
        fits = [card.id for card in cards if card.suit == room.top.suit or card.rank == room.top.rank]
        assert command(seat, number + 1, "play" if fits else "draw", fits[0] if fits else None).ok
        runtime.step()
        if number % 60 == 59:
            leaver = seats.pop(0)
            leaver.leave("bye")
            runtime.step()
        known = [(card.suit, card.rank) for card in room.cards]
        assert sorted(known + room.deck) == sorted(DECK)


def test_the_first_player_without_cards_wins_the_round() -> None:
    runtime = made(CardTable)
    (ann, anns), _ = seated(runtime, "ann"), seated(runtime, "bob")
    room = runtime.room
    assert isinstance(room, CardTable)
    last, *others = room._find_cards(ann.player)
    for card in others:
        room.cards.despawn(card.id)
    last.suit = room.top.suit
    runtime.step()
    assert command(ann, 1, "play", last.id).ok
    runtime.step()
    assert anns.table("hands").column("score").tolist() == [1, 0]
    assert anns.table("hands").column("cards").tolist() == [HAND, 2 * HAND]


def test_a_player_that_does_not_play_in_time_draws_a_card() -> None:
    runtime = made(CardTable)
    (ann, anns), (bob, _) = seated(runtime, "ann"), seated(runtime, "bob")
    runtime.step()
    assert command(ann, 1, "draw").ok
    for _ in range(round(cards.TURN_S * CardTable.tick_rate_hz) - 1):
        runtime.step()
    assert anns.table("hands").column("has_turn").tolist() == [False, True]
    for _ in range(2):
        runtime.step()
    assert anns.table("hands").column("has_turn").tolist() == [True, False]
    assert anns.table("hands").column("cards").tolist() == [HAND + 1, HAND + 1]
    ann.leave("bye")
    assert command(bob, 1, "draw").ok, "the turn of a player that has left passes on"
    assert len(runtime.room.clock.timers) == 1


def test_a_player_that_misses_turns_leaves_the_table() -> None:
    runtime = made(CardTable)
    (ann, _), _ = seated(runtime, "ann"), seated(runtime, "eve", watch=True)
    turn = round(cards.TURN_S * CardTable.tick_rate_hz)
    for _ in range((cards.LATE_MAX - 1) * turn):
        runtime.step()
    assert command(ann, 1, "draw").ok, "one more turn in time"
    for _ in range(cards.LATE_MAX * turn - 1):
        runtime.step()
    assert "ann" in runtime.room.players
    for _ in range(2):
        runtime.step()
    assert set(runtime.room.players) == {"eve"}
    assert runtime.room.clock.timers == ()


def test_on_the_plaza_a_player_receives_only_nearby_walkers() -> None:
    runtime = create_runtime(Plaza, options={"wanderers": 400}, seed=7)
    room = runtime.room
    assert isinstance(room, Plaza)
    (seat, onlooker), (other, others) = seated(runtime, "ann"), seated(runtime, "bob")
    me = seat.player.entity
    seen: list[set[int]] = []
    for tick in range(120):
        me.x, me.y = -900.0 + 15 * tick, 3.0 * tick
        runtime.step()
        walkers = onlooker.table("walkers")
        distance = np.hypot(room.walkers.x - me.x, room.walkers.y - me.y)
        ids = set(walkers.ids.tolist())
        assert set(room.walkers.ids[distance <= VIEW].tolist()) <= ids
        far = 2 * 100 + VIEW + 4 * 12.5
        assert ids <= set(room.walkers.ids[distance <= 1.5 * far].tolist())
        assert walkers.entity(me.id)["name"] == "ann"
        seen.append(ids)
    assert len(set.union(*seen)) > 3 * len(seen[0]), "it has come about"
    assert onlooker.core.mismatches == others.core.mismatches == 0
    near = other.player.entity
    near.x, near.y = me.x, me.y
    assert msgspec.msgpack.decode(command(seat, 1, "say", "hello").payload) == 2
    near.x = -me.x
    assert msgspec.msgpack.decode(command(seat, 2, "say", "hello").payload) == 1
    assert not command(seat, 3, "say", "").ok
