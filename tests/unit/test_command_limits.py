"""Rate limits of single commands, for each player."""

from __future__ import annotations

import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Player, Room, Transaction, command, grant
from tickwire.schemas.codec import decode_server, encode_server
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.command_declarations import RATE_PER_S_MIN
from tickwire.server.rooms.command_limits import PLAYERS_MAX, CommandLimits, RecentLimits
from tickwire.server.rooms.command_methods import CommandOptions
from tickwire.server.rooms.declarations import TICK_RATE_HZ_MAX, TICK_RATE_HZ_MIN
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import Decision


class Steeple(Room):
    """20 ticks a second."""

    room_type = "steeple"
    uses_ledger = True

    @command(rate_per_s=2.0, burst=3)
    def ring(self, player: Player, times: int = 1) -> int:
        return times

    @command
    def listen(self, player: Player) -> None: ...

    @command(rate_per_s=0.1)
    def collect(self, player: Player) -> Transaction:
        return Transaction(grant(player.id, "coin"))


def enter(runtime: RoomRuntime, name: str) -> Seat:
    return runtime.seat(SeatRequest(RecordingSubscriber(name), name))


def ring(seat: Seat, name: str = "ring") -> int:
    """Return 0 if the command ran, else the time to wait."""
    reply = seat.run_command(Command(1, name))
    assert isinstance(reply, Reply)
    assert reply.ok or (reply.error, bool(reply.retry_after_ms)) == (ErrorCode.RATE_LIMITED, True)
    return reply.retry_after_ms


def test_a_player_may_call_a_burst_and_then_at_the_rate() -> None:
    runtime = create_runtime(Steeple)
    ann, bob = enter(runtime, "ann"), enter(runtime, "bob")
    assert [ring(ann) for _ in range(5)] == [0, 0, 0, 500, 500]
    assert [ring(ann, "listen") for _ in range(20)] == [0] * 20
    assert ring(bob) == 0, "each player has a limit of its own"
    for _ in range(4):
        runtime.step()
    assert ring(ann) == 300
    for _ in range(6):
        runtime.step()
    assert [ring(ann), ring(ann)] == [0, 500], "the call is possible after the time in the reply"
    for _ in range(20 * 60):
        runtime.step()
    assert [ring(ann) for _ in range(4)] == [0, 0, 0, 500]
    assert runtime.counters.command_refusals == {"RATE_LIMITED": 5}


def test_a_player_who_leaves_and_joins_again_keeps_its_limits() -> None:
    runtime = create_runtime(Steeple)
    ann = enter(runtime, "ann")
    assert [ring(ann) for _ in range(4)] == [0, 0, 0, 500]
    ann.leave("left")
    ann = enter(runtime, "ann")
    assert [ring(ann), ring(enter(runtime, "bob"))] == [500, 0]
    ann.leave("left")
    for _ in range(20 * 60):
        runtime.step()
    assert ring(enter(runtime, "ann")) == 0


def test_the_limits_of_players_who_have_left_are_bounded() -> None:
    recent = RecentLimits()
    first = recent.renew("p0", None)
    for number in range(1, PLAYERS_MAX):
        recent.renew(f"p{number}", None)
    assert recent.renew("p0", None) is first, "the oldest one, which is now the newest"
    second = recent.renew("p1", None)
    for number in range(PLAYERS_MAX, 2 * PLAYERS_MAX - 1):
        recent.renew(f"p{number}", None)
    assert recent.renew("p1", None) is second
    assert len(recent) == PLAYERS_MAX
    assert recent.renew("p0", None) is not first
    assert recent.renew("p0", first) is first, "the limits of a seat"


def test_a_call_that_was_refused_for_its_arguments_counts() -> None:
    runtime = create_runtime(Steeple)
    ann = enter(runtime, "ann")
    for _ in range(3):
        reply = ann.run_command(Command(1, "ring", b"\xa1x"))
        assert isinstance(reply, Reply)
        assert reply.error is ErrorCode.INVALID_ARGUMENT
    assert ring(ann) == 500


def test_a_room_that_decides_again_does_not_count_the_call_again() -> None:
    runtime = create_runtime(Steeple)
    ann = enter(runtime, "ann")
    assert isinstance(ann.run_command(Command(1, "collect")), Decision)
    assert isinstance(ann.run_command(Command(1, "collect"), is_again=True), Decision)
    assert ring(ann, "collect") == 10_000


@pytest.mark.parametrize("way", ["moved", "saved"])
def test_a_limit_moves_with_the_room_and_is_saved(way: str) -> None:
    runtime = create_runtime(Steeple)
    ann = enter(runtime, "ann")
    enter(runtime, "bob")
    for _ in range(10):
        runtime.step()
    assert [ring(ann) for _ in range(3)] == [0, 0, 0]
    checkpoint = runtime.checkpoint()
    assert [len(seat.limits) for seat in checkpoint.seats] == [1, 0]
    state = decode_room(encode_room(runtime))[1] if way == "moved" else saved(checkpoint)
    again = create_runtime(Steeple, state, sessions=Ringers())
    ann, bob = again.seats
    assert (ring(ann), ring(bob)) == (500, 0)


def saved(checkpoint: RoomCheckpoint) -> RoomCheckpoint:
    return decode_world(encode_world("steeple", "", "r", checkpoint))


class Ringers:
    """Restores all sessions."""

    def restore(self, checkpoint: SessionCheckpoint, /) -> RecordingSubscriber:
        return RecordingSubscriber(checkpoint.player_id)


@pytest.mark.parametrize("tick_rate_hz", [TICK_RATE_HZ_MIN, TICK_RATE_HZ_MAX])
def test_the_wait_of_the_slowest_limit_fits_a_reply_and_a_timer_of_a_browser(tick_rate_hz: float) -> None:
    limits, options = CommandLimits(), CommandOptions(rate_per_s=RATE_PER_S_MIN)
    assert limits.take("ring", options, tick=5, tick_rate_hz=tick_rate_hz) == 0
    wait_ms = limits.take("ring", options, tick=5, tick_rate_hz=tick_rate_hz)
    assert 86_400_000 <= wait_ms < 2**31
    reply = Reply(1, ok=False, error=ErrorCode.RATE_LIMITED, retry_after_ms=wait_ms)
    assert decode_server(encode_server(reply)) == reply


def test_a_slow_limit_of_a_slow_room_waits_for_whole_ticks() -> None:
    limits, options = CommandLimits(), CommandOptions(rate_per_s=3.0)
    assert limits.take("ring", options, tick=5, tick_rate_hz=2.0) == 0
    assert limits.take("ring", options, tick=5, tick_rate_hz=2.0) == 500
    assert limits.take("ring", options, tick=6, tick_rate_hz=2.0) == 0
