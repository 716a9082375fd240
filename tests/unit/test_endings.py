"""A game removes players and closes its room; clients receive the reason, and no hook sees a change in its middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tickwire import Input, Player, Room, Table, real
from tickwire.schemas.messages import Command
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.errors import RoomClosed
from tickwire.server.rooms.containment import REASON_CHARACTERS_MAX
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest


class Stools(Table):
    x = real(-10, 10, step=0.5)


class BarInput(Input):
    x = real(-1, 1, step=0.5)


class Bar(Room):
    """Removes players in the hook that a test names, and notes its hooks."""

    room_type = "bar"
    input_type = BarInput
    stools: Stools

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.kick_in = ""
        self.noted: list[str] = []

    def _note(self, hook: str, player: Player | None = None) -> None:
        self.noted.append(hook if player is None else f"{hook} {player.id}")
        if self.kick_in == hook:
            for each in self.players.values():
                each.send("bye")
                each.kick(f"in {hook}")
                each.kick("once more")

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.stools.spawn()
        self._note("on_join", player)

    def on_input(self, player: Player, input: BarInput) -> None:
        self._note("on_input", player)

    def on_tick(self, dt: float) -> None:
        self._note("on_tick")

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        self._note("on_command", player)

    def on_disconnect(self, player: Player) -> None:
        self._note("on_disconnect", player)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()
        self._note("on_leave", player)

    def on_dispose(self) -> None:
        self._note("on_dispose")

    def ring(self) -> None:
        self._note("ring")


def bar_with(*names: str, kick_in: str = "") -> tuple[RoomRuntime, Bar, list[Seat], list[RecordingSubscriber]]:
    runtime = create_runtime(Bar)
    room = runtime.room
    assert isinstance(room, Bar)
    subscribers = [RecordingSubscriber(name) for name in names]
    seats = [runtime.seat(SeatRequest(subscriber, subscriber.player_id)) for subscriber in subscribers]
    room.kick_in = kick_in
    return runtime, room, seats, subscribers


def trigger(hook: str, runtime: RoomRuntime, seat: Seat) -> None:
    """Make a hook run, and a tick end after it."""
    match hook:
        case "on_input":
            seat.push_input(InputMessage(1, runtime.tick, bytes(runtime.input_size)))
        case "on_command":
            seat.run_command(Command(1, "any", b""))
        case "on_disconnect":
            seat.disconnected()
        case "ring":
            runtime.room.clock.after(0, runtime.room.ring)  # type: ignore[attr-defined]
    runtime.step()


@pytest.mark.parametrize("hook", ["on_input", "on_tick", "on_command", "on_disconnect", "ring"])
def test_players_leave_at_the_end_of_the_tick_in_whichever_hook_they_are_kicked(hook: str) -> None:
    runtime, room, seats, subscribers = bar_with("ann", "bob", kick_in=hook)
    for seat in seats:
        seat.push_input(InputMessage(1, runtime.tick, bytes(runtime.input_size)))
    with capture_logs() as logs:
        trigger(hook, runtime, seats[0])
    leaves = [note for note in room.noted if note.startswith("on_leave")]
    assert leaves == ["on_leave ann", "on_leave bob"]
    assert room.noted[-3:] == ["on_tick", *leaves], "no hook of the tick sees the players leave"
    assert room.noted.count("on_input bob") == 1
    assert [subscriber.notices for subscriber in subscribers] == [[f"in {hook}"]] * 2
    assert [entry["player_id"] for entry in logs if entry["event"] == "player_kicked"] == ["ann", "bob"]
    assert (room.players, runtime.seats, len(room.stools)) == ({}, [], 0)


def test_a_player_that_is_kicked_in_on_join_has_joined_first() -> None:
    runtime, _room, _, _ = bar_with(kick_in="on_join")
    subscriber = RecordingSubscriber("ann")
    runtime.seat(SeatRequest(subscriber, "ann"))
    assert subscriber.core.joined is not None
    assert subscriber.notices == []
    runtime.step()
    assert subscriber.notices == ["in on_join"]


def test_players_kicked_in_on_leave_leave_in_the_same_tick() -> None:
    runtime, _room, seats, subscribers = bar_with("ann", "bob", "cid", kick_in="on_leave")
    seats[0].player.kick("first")
    runtime.step()
    assert [subscriber.notices for subscriber in subscribers] == [["first"], ["in on_leave"], ["in on_leave"]]
    assert runtime.is_idle


def test_a_player_that_has_left_cannot_be_kicked() -> None:
    runtime, _, (ann, _bob), (subscriber, _) = bar_with("ann", "bob")
    ann.player.kick("too late")
    ann.leave("by itself")
    again = RecordingSubscriber("ann")
    runtime.seat(SeatRequest(again, "ann"))
    ann.player.kick("also too late")
    runtime.step()
    assert subscriber.notices == again.notices == []
    assert set(runtime.room.players) == {"ann", "bob"}


def test_a_room_that_moves_lets_kicked_players_go_first() -> None:
    runtime, _, (ann, bob), (anns, bobs) = bar_with("ann", "bob")
    ann.player.kick("before the move")
    runtime.freeze()
    assert anns.notices == ["before the move"]
    bob.player.kick("while frozen")
    runtime.seal()
    assert bobs.notices == ["while frozen"]
    runtime.unfreeze()
    assert runtime.seats == []


@pytest.mark.parametrize("reason", ["", "  ", None, 5, "\ud800"])
def test_a_reason_is_a_text(reason: Any) -> None:
    runtime, room, (seat,), (subscriber,) = bar_with("ann")
    for end in (seat.player.kick, room.close):
        with pytest.raises((TypeError, ValueError)):
            end(reason)
    runtime.step()
    assert (subscriber.notices, room.close_reason) == ([], None)


def test_a_long_reason_is_truncated() -> None:
    runtime, room, (seat,), (subscriber,) = bar_with("ann")
    seat.player.kick("é" * 5000)
    room.close("é" * 5000)
    runtime.step()
    assert subscriber.notices == ["é" * REASON_CHARACTERS_MAX]
    assert room.close_reason == "é" * REASON_CHARACTERS_MAX


# -- closing -----------------------------------------------------------------------------------------------------


class ClosingBar(Bar):
    """Closes itself in the hook that the class names."""

    room_type = "closing"
    close_in = "on_tick"
    empty_timeout_s = float("inf")

    def _note(self, hook: str, player: Player | None = None) -> None:
        super()._note(hook, player)
        if hook == self.close_in:
            self.broadcast("closing")
            self.close(f"in {hook}")
            self.close("once more")


@pytest.mark.parametrize(
    "hook", ["on_join", "on_input", "on_tick", "on_command", "on_disconnect", "on_leave", "ring"]
)
async def test_a_room_closes_at_the_end_of_the_tick_in_whichever_hook_it_is_closed(hook: str) -> None:
    closed: list[tuple[str, int]] = []
    kind = type("Closing", (ClosingBar,), {"close_in": hook})
    host = create_host(kind, on_closed=lambda runtime, reason: closed.append((reason, runtime.tick)))
    runtime = host.create(RoomSpec("r", "closing"), {})
    ann, bob = RecordingSubscriber("ann"), RecordingSubscriber("bob")
    seat = host.seat("r", SeatRequest(ann, "ann"), lambda seat: None)
    if hook != "on_join":
        host.seat("r", SeatRequest(bob, "bob"), lambda seat: None)
    if hook == "on_leave":
        seat.leave("by itself")
    trigger(hook, runtime, seat)
    assert len(host) == 1
    with pytest.raises(RoomClosed, match="the room has ended"):
        host.seat("r", SeatRequest(RecordingSubscriber("cid"), "cid"), lambda seat: None)
    host._tick_done(runtime, False)
    assert closed == [(f"in {hook}", 1)]
    assert runtime.room.noted[-1] == "on_dispose"  # type: ignore[attr-defined]
    left = ann if hook in ("on_join", "on_input", "on_tick", "on_command", "ring") else bob
    assert left.notices == [f"in {hook}"]
    assert left.events == [("closing", None)], "with the state of the last tick"


async def test_an_idle_room_that_is_closed_ends_with_its_next_tick() -> None:
    host = create_host(Bar)
    runtime = host.create(RoomSpec("r", "bar"), {})
    runtime.step()
    assert runtime.is_idle
    runtime.room.close("for maintenance")
    assert not runtime.is_idle
    runtime.step()
    host._tick_done(runtime, False)
    assert len(host) == 0


def test_a_room_that_is_closed_does_not_move() -> None:
    runtime, room, _, _ = bar_with("ann")
    runtime.freeze()
    room.close("the match is over")
    with pytest.raises(RoomClosed, match="the game closes the room"):
        runtime.seal()
    assert not runtime.handover.is_sealed
