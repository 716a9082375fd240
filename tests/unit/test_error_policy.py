"""The error policy of a room: for each policy and hook, what becomes of the room and of its players."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host
from tests.harness.tick_simulation import SimulatedClock
from tickwire import Input, InputBatch, Player, Room, Table, boolean, real
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, Reply
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room_restart import LEFT_REASON, RESTORED_S
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

POLICIES = ("close", "restore", "ignore")
RATE_HZ = 20.0


class Pebbles(Table):
    x = real(-100, 100, step=1 / 16)


class Press(Input):
    is_pressed = boolean()


class BrittleRoom(Room):
    """Raises an exception in one hook, as long as `fails` names it."""

    room_type = "fragile"
    tick_rate_hz = RATE_HZ
    ticks_when_empty = True
    input_type = Press
    pebbles: Pebbles
    fails = ""
    is_once = False
    failures = 0

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.rounds: list[str] = []

    def visit(self, hook: str) -> None:
        if type(self).fails == hook:
            type(self).failures += 1
            if type(self).is_once:
                type(self).fails = ""
            raise ZeroDivisionError("planned failure")

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.clock.every(0.1, self.spawn_wave, 7)

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.pebbles.spawn(x=1.0)
        self.rounds.append(player.id)
        self.visit("on_join")

    def on_input(self, player: Player, values: Any) -> None:
        self.visit("on_input")
        player.entity.x += 1.0

    def spawn_wave(self, size: int) -> None:
        self.visit("spawn_wave")

    def on_tick(self, dt: float) -> None:
        self.visit("on_tick")

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        self.visit("on_command")

    def on_disconnect(self, player: Player) -> None:
        self.visit("on_disconnect")

    def on_resume(self, player: Player) -> None:
        self.visit("on_resume")

    def on_leave(self, player: Player) -> None:
        self.visit("on_leave")
        player.entity.despawn()

    def on_tuned(self) -> None:
        self.visit("on_tuned")


class Played:
    """A host with one room of a policy and one player, on a simulated clock."""

    def __init__(self, policy: str, *, takes_batches: bool = False) -> None:
        members: dict[str, Any] = {"error_policy": policy}
        if takes_batches:

            def on_inputs(room: BrittleRoom, inputs: InputBatch[Press]) -> None:
                room.visit("on_inputs")

            members["on_inputs"] = on_inputs
        self.kind: Any = type("Chosen", (BrittleRoom,), members)
        self.closed: list[str] = []
        self.clock = SimulatedClock()
        self.host: RoomHost = create_host(
            self.kind, on_closed=lambda runtime, reason: self.closed.append(reason), clock=self.clock
        )
        self.host.create(RoomSpec("r", "fragile", epoch=1), {})
        self.ann = RecordingSubscriber("ann")
        self.seat_of(self.ann)
        self.clock.run(2.0)

    @property
    def runtime(self) -> RoomRuntime:
        found = self.host.get("r")
        assert found is not None
        return found

    def seat_of(self, subscriber: RecordingSubscriber) -> Seat:
        return self.host.seat("r", SeatRequest(subscriber, subscriber.player_id), lambda seat: None)

    def press(self, number: int) -> None:
        (seat, *_) = self.runtime.seats
        payload = pack_input(BrittleRoom.input_fields, {"is_pressed": True})
        seat.push_input(InputMessage(number, 0, payload))

    def fail_once(self, hook: str) -> None:
        """Let the hook fail once, in one of the next ticks."""
        self.kind.fails, self.kind.failures, self.kind.is_once = hook, 0, True
        for number in range(1, 10):
            if self.host.get("r") is not None:
                self.press(number)
            self.clock.run(1 / RATE_HZ)
            if self.kind.failures:
                break
        assert self.kind.failures == 1
        self.kind.is_once = False
        self.clock.run(0.5)


@pytest.mark.parametrize("hook", ["on_input", "on_inputs", "spawn_wave", "on_tick"])
@pytest.mark.parametrize("policy", POLICIES)
def test_exception_in_a_tick_has_the_consequence_of_the_policy(policy: str, hook: str) -> None:
    played = Played(policy, takes_batches=hook == "on_inputs")
    room = played.runtime.room
    played.fail_once(hook)
    result = {"close": "closed", "restore": "restored", "ignore": "ignored"}[policy]
    assert played.host.counters.tick_failures == {result: 1}
    assert played.host.counters.room_errors == {"fragile": 1}
    (error,) = played.host.counters.recent_errors.list_errors("r")
    assert error.hook == hook
    assert error.player_id == ("ann" if hook == "on_input" else "")
    assert error.message == "ZeroDivisionError: planned failure"
    assert any("planned failure" in frame for frame in error.frames)
    if policy == "close":
        assert played.closed == ["the room's code failed"]
        assert played.ann.notices == ["the room's code failed"]
        return
    assert played.closed == []
    tick = played.runtime.tick
    played.clock.run(0.5)
    assert played.runtime.tick > tick
    assert (played.runtime.room is room) == (policy == "ignore")
    assert list(played.runtime.room.players) == ["ann"]
    assert played.ann.notices == []


@pytest.mark.parametrize("hook", ["on_join", "on_command", "on_disconnect", "on_resume", "on_leave", "on_tuned"])
@pytest.mark.parametrize("policy", POLICIES)
def test_exception_outside_of_a_tick_has_the_same_consequence_under_each_policy(policy: str, hook: str) -> None:
    played = Played(policy)
    room = played.runtime.room
    (seat,) = played.runtime.seats
    played.kind.fails = hook
    if hook == "on_join":
        with pytest.raises(Exception, match="failed to run the join"):
            played.seat_of(RecordingSubscriber("bob"))
    reply = seat.run_command(Command(1, "look"))
    assert isinstance(reply, Reply)
    assert reply.ok == (hook != "on_command")
    seat.disconnected()
    seat.resumed("r", 0)
    played.runtime.notify_tuned()
    seat.leave("left")
    played.kind.fails = ""
    played.clock.run(0.5)
    assert played.runtime.room is room
    assert played.host.counters.room_errors == {"fragile": 1}
    assert played.host.counters.tick_failures == {}
    (error,) = played.host.counters.recent_errors.list_errors()
    assert error.hook == hook
    assert error.player_id == {"on_join": "bob", "on_tuned": ""}.get(hook, "ann")


def test_a_restarted_room_continues_with_its_world_attributes_timers_and_players() -> None:
    played = Played("restore")
    room: Any = played.runtime.room
    ann = room.players["ann"]
    ann.entity.x = 42.0625
    ann.data["deaths"] = 3
    room.label(map="ice")
    room.lock()
    played.clock.run(2.0)
    drawn = room.random.bit_generator.state
    played.fail_once("on_tick")
    again: Any = played.runtime.room
    assert again is not room
    assert again.players["ann"].entity.x == 42.0625
    assert again.players["ann"].data == {"deaths": 3}
    assert again.rounds == ["ann"]
    assert again.random.bit_generator.state == drawn
    assert again.access == "locked"
    assert again.labels == {"map": "ice"}
    assert again.clock.find(again.spawn_wave) is not None
    assert played.ann.core.world is not None
    assert played.ann.core.world.table("pebbles").entity(again.players["ann"].entity.id) == {"x": 42.0625}
    assert played.ann.core.mismatches == 0


def test_a_room_that_fails_soon_after_a_restart_closes() -> None:
    played = Played("restore")
    played.fail_once("on_tick")
    played.kind.fails = "on_tick"
    played.clock.run(1.0)
    assert played.closed == ["the room's code failed"]
    assert played.host.counters.tick_failures == {"restored": 1, "closed": 1}


def test_a_room_that_fails_long_after_a_restart_restarts_again() -> None:
    played = Played("restore")
    for _ in range(3):
        played.fail_once("on_tick")
        played.clock.run(RESTORED_S + 1.0)
    assert played.closed == []
    assert played.host.counters.tick_failures == {"restored": 3}


def test_a_checkpoint_is_used_once() -> None:
    played = Played("restore")

    def save(room: BrittleRoom) -> Any:
        raise LookupError("planned failure")

    played.kind.save = save  # no newer checkpoint
    played.fail_once("on_tick")
    assert played.closed == []
    played.clock.run(RESTORED_S + 1.0)
    played.fail_once("on_tick")
    assert played.closed == ["the room's code failed"], "its state would be older than the first restart"


def test_a_room_without_a_checkpoint_closes() -> None:
    played = Played("restore")
    played.kind.fails = "on_tick"
    played.host.create(RoomSpec("new", "fragile", epoch=1), {})
    played.clock.run(0.2)
    assert played.host.get("new") is None


def test_players_who_came_or_went_since_the_checkpoint_are_not_in_the_restarted_room() -> None:
    played = Played("restore")
    bob, eve = RecordingSubscriber("bob"), RecordingSubscriber("eve")
    leaver = played.seat_of(bob)
    played.clock.run(1.5)
    snapshot_tick = played.runtime.tick
    played.host._restart_points.update(played.runtime, played.clock.now_s() + 100.0)
    leaver.leave("left")
    played.seat_of(eve)
    played.host._restart_points._restarts["r"].created_s += 200.0  # no newer checkpoint
    played.fail_once("on_tick")
    assert played.runtime.tick - snapshot_tick < RATE_HZ
    assert list(played.runtime.room.players) == ["ann"]
    assert len(played.runtime.room.pebbles) == 1  # type: ignore[attr-defined]
    assert eve.notices == [LEFT_REASON]
    again = played.seat_of(eve)
    assert again.is_open


def test_a_room_whose_restore_fails_closes_and_its_players_keep_their_sessions() -> None:
    played = Played("restore")

    def restore(room: BrittleRoom, saved: Any) -> None:
        raise LookupError("no such map")

    played.kind.restore = restore
    played.kind.fails = "on_tick"
    played.clock.run(0.2)
    assert played.host.get("r") is None
    assert played.closed == ["the room could not restart"]
    assert "the room could not be restored" in played.ann.notices


def test_other_inputs_and_timers_of_a_tick_run_although_one_is_ignored() -> None:
    played = Played("ignore")
    played.kind.fails = "on_input"
    for number in range(1, 4):
        played.press(number)
    played.clock.run(1 / RATE_HZ)
    played.kind.fails = ""
    assert played.host.counters.tick_failures == {"ignored": 3}
    (error,) = played.host.counters.recent_errors.list_errors("r")
    assert error.count == 3
    assert error.arguments == ["<Player 'ann'>", "Press(is_pressed=True)"]
    x = played.runtime.room.players["ann"].entity.x
    played.press(4)
    played.clock.run(2 / RATE_HZ)
    assert played.runtime.room.players["ann"].entity.x == x + 1.0


def test_nan_in_a_column_is_not_ignored() -> None:
    played = Played("ignore")
    played.runtime.room.players["ann"].entity.x = float("nan")
    played.clock.run(0.2)
    assert played.closed == ["the room's code failed"]


@pytest.mark.parametrize("policy", ["retry", "", None, 3, ["close"]])
def test_unknown_policy_is_refused_when_the_class_is_defined(policy: Any) -> None:
    with pytest.raises(TypeError, match=r'error_policy is .*; must be one of "close", "restore", "ignore"'):
        type("Odd", (BrittleRoom,), {"error_policy": policy})
