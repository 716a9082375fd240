"""A room and its seats without a socket, a clock or a store: conversations with a subscriber that only listens."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tests.harness.sample_rooms import Duel, Garden, GardenOptions, GardenSave
from tickwire import Player, Transaction, grant
from tickwire.client.core import ClientCore
from tickwire.client.updates import SeatTaken
from tickwire.schemas.codec import encode_server
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, Input, Joined, Rate, Redirect, Reply, Resync
from tickwire.schemas.payloads import encode_payload
from tickwire.server.errors import Malformed, RoomClosed, RoomFailed, RoomFull
from tickwire.server.replication.replicator import AGE_TICKS_MAX
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.outbox import UNSENT_MAX
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import INBOX_MAX, Seat, SeatRequest
from tickwire.server.rooms.transactions import Decision, RecordVersion

pytestmark = pytest.mark.usefixtures("each_kernel")


def garden(kind: type[Garden] = Garden) -> RoomRuntime:
    return create_runtime(kind)


def seated(runtime: RoomRuntime, player_id: str = "p", **options: Any) -> tuple[Seat, RecordingSubscriber]:
    subscriber = RecordingSubscriber(player_id)
    return runtime.seat(SeatRequest(subscriber, player_id, options)), subscriber


def step_input(seq: int, **wish: float) -> Input:
    return Input(seq, 0, pack_input(Garden.input_fields, wish))


def x_of(subscriber: RecordingSubscriber) -> float:
    assert subscriber.core.world is not None
    assert subscriber.core.joined is not None
    return float(subscriber.core.world.table("walkers").entity(subscriber.core.joined.entity)["x"])


def test_joined_precedes_the_state_and_describes_it() -> None:
    runtime = garden()
    subscriber = RecordingSubscriber("p")
    updates: list[object] = []
    subscriber.send_message = lambda message: updates.append(
        subscriber.core.receive(encode_server(message), now_us=0)
    )  # type: ignore[method-assign]
    runtime.seat(SeatRequest(subscriber, "p"))
    (update,) = updates
    assert isinstance(update, SeatTaken)
    assert isinstance(update.joined, Joined)
    assert [table.name for table in update.joined.description.tables] == ["walkers", "flowers"]
    runtime.step()
    assert x_of(subscriber) == 0.0


def test_a_tick_is_one_write_with_state_acknowledgement_and_events() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    runtime.step()
    seat.push_input(step_input(1, dx=1.0))
    seat.player.send("hit", {"by": 3})
    before = subscriber.writes
    runtime.step()
    assert subscriber.writes == before + 1
    assert subscriber.core.acknowledged_seq == 1
    assert x_of(subscriber) == 1.0


def test_the_newest_inputs_win_and_older_ones_are_ignored() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    for seq in range(1, INBOX_MAX + 4):
        seat.push_input(step_input(seq, dx=1.0))
    seat.push_input(step_input(2, dx=1.0))
    runtime.step()
    assert x_of(subscriber) == INBOX_MAX
    assert seat.inputs_superseded == 3
    assert subscriber.core.acknowledged_seq == INBOX_MAX + 3


def test_an_input_of_the_wrong_size_is_refused_at_once() -> None:
    seat, _ = seated(garden())
    with pytest.raises(Malformed):
        seat.push_input(Input(1, 0, b"too short"))


def test_a_congested_session_is_skipped_and_receives_one_cumulative_delta() -> None:
    runtime = garden()
    (slow_seat, slow), (_, quick) = seated(runtime, "slow"), seated(runtime, "quick")
    runtime.step()
    slow.is_congested = True
    for seq in range(1, 15):
        slow_seat.push_input(step_input(seq, dx=1.0))
        runtime.step()
    assert slow.writes == 1
    slow.is_congested = False
    runtime.step()
    assert slow.writes == 2
    assert slow.core.world is not None
    assert quick.core.world is not None
    assert slow.core.world.checksum() == quick.core.world.checksum()
    assert slow.core.resyncs == slow.core.mismatches == 0


def test_a_session_that_stays_congested_is_closed_resumable() -> None:
    runtime = garden()
    _, subscriber = seated(runtime)
    subscriber.is_congested = True
    for _ in range(int(10 * Garden.tick_rate_hz)):
        runtime.step()
    assert subscriber.notices == ["slow"]


def test_events_are_kept_for_a_disconnected_session() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    subscriber.connection = None
    seat.disconnected()
    for _ in range(UNSENT_MAX + 1):
        seat.player.send("noise")
    runtime.step()
    assert subscriber.notices == []
    assert subscriber.outbox.unsent == UNSENT_MAX + 1 + 1  # and that the player came


def slow_down(subscriber: RecordingSubscriber, runtime: RoomRuntime, seconds: float) -> None:
    subscriber.is_congested = True
    for _ in range(round(seconds * Garden.tick_rate_hz)):
        runtime.step()
    subscriber.is_congested = False


def test_a_slow_client_receives_its_send_rate_and_recovers() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    _, quick = seated(runtime, "quick")

    def updates_in(seconds: float, seq: int) -> tuple[int, int]:
        writes, keyframes = subscriber.writes, runtime.counters.keyframes
        for number in range(round(seconds * Garden.tick_rate_hz)):
            seat.push_input(step_input(seq + number, dx=1 / 16))
            runtime.step()
        return subscriber.writes - writes, runtime.counters.keyframes - keyframes

    assert updates_in(1, 1) == (20, 1)
    slow_down(subscriber, runtime, 1.2)
    assert subscriber.core.rate == Rate(1), "Rate is sent once the connection is clear, not before"
    assert updates_in(1, 100) == (10, 0)
    assert subscriber.core.rate == Rate(2)
    slow_down(subscriber, runtime, 1.2)
    assert updates_in(2, 200) == (2, 2), "a keyframe a second"
    assert subscriber.core.rate == Rate(20, keyframes_only=True)
    updates_in(3, 300)
    assert subscriber.core.rate == Rate(2)
    updates_in(3.1, 400)
    assert subscriber.core.rate == Rate(1)
    assert updates_in(1, 500) == (20, 0)
    updates_in(3, 600)
    assert seat.send_rate is None, "as if it had never been slow"
    assert subscriber.core.world is not None
    assert quick.core.world is not None
    assert subscriber.core.world.checksum() == quick.core.world.checksum()
    assert dict(runtime.counters.slow_clients) == {"coalesced": 1, "halved": 1, "keyframes": 1, "raised": 2}


def test_a_quick_resume_receives_a_delta_and_a_late_one_a_keyframe() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    seat.push_input(step_input(1, dx=1.0))
    runtime.step()
    for away_ticks, wanted_keyframes in ((10, 0), (AGE_TICKS_MAX + 10, 1)):
        assert subscriber.core.world is not None
        last_tick, keyframes = subscriber.core.world.tick, runtime.counters.keyframes
        subscriber.connection = None
        seat.disconnected()
        assert not seat.player.is_connected
        for _ in range(away_ticks):
            seat.player.entity.x += 1 / 16
            runtime.step()
        subscriber.connection = subscriber
        subscriber.core.world.clear_history()
        seat.resumed("r", last_tick)
        runtime.step()
        assert runtime.counters.keyframes - keyframes == wanted_keyframes
        assert x_of(subscriber) == seat.player.entity.x
    assert subscriber.core.resyncs == subscriber.core.mismatches == 0


def test_joined_is_sent_again_to_a_client_of_another_room() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    subscriber.connection = None
    subscriber.core = ClientCore()
    seat.disconnected()
    subscriber.connection = subscriber
    seat.resumed("", 0)
    runtime.step()
    assert x_of(subscriber) == 0.0


def test_every_command_that_reaches_a_seat_is_run() -> None:
    runtime = garden()
    seat, _ = seated(runtime)
    plant = Command(7, "plant", msgspec.msgpack.encode({"x": 1.0}))
    assert seat.run_command(plant).ok
    runtime.step()
    assert len(runtime.room.all_tables()[1]) == 1


class Meter(Garden):
    """Says what its columns hold: numpy's numbers."""

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        player.send("measured", {"x": np.float32(0.5)})
        self.broadcast("counted", np.int64(3))
        return [np.uint8(7), {"at": self.walkers.x.max()}]

    def save(self) -> GardenSave:
        return GardenSave(np.int64(4))  # type: ignore[arg-type]


def test_numbers_of_numpy_reach_clients_and_the_store_as_numbers() -> None:
    runtime = garden(Meter)
    seat, subscriber = seated(runtime)
    reply = seat.run_command(Command(1, "measure"))
    assert isinstance(reply, Reply)
    assert msgspec.msgpack.decode(reply.payload) == [7, {"at": 0.0}]
    seat.player.data["best"] = np.int64(5)
    runtime.step()
    assert subscriber.core._event_number == 3, "the greeting and both"
    state = runtime.checkpoint()
    assert type(state.state["planted"]) is type(state.seats[0].data["best"]) is int


class Till(Garden):
    """Decides with numpy's numbers, after a look at some players' records."""

    uses_ledger = True

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        for other in payload["reads"]:
            assert self.players[other].holdings == {}
        profile = {"best": np.int64(payload["best"])} if "best" in payload else None
        return Transaction(grant(player.id, "gold", np.int64(2)), reply=np.float32(0.5), profile=profile)


def decided(seat: Seat, **payload: Any) -> Decision | Reply:
    return seat.run_command(Command(1, "pay", encode_payload(payload)))


def test_a_decision_holds_plain_values_and_the_versions_of_all_records_that_it_was_based_on() -> None:
    runtime = garden(Till)
    (ann, _), (bob, _) = seated(runtime, "ann"), seated(runtime, "bob")
    ann.player.record, bob.player.record = RecordVersion(3), RecordVersion(5)
    assert bob.player.profile == {}, "what is read outside of a command is not part of a decision"
    blind = decided(ann, reads=[])
    assert isinstance(blind, Decision)
    assert (blind.versions, blind.profile, msgspec.msgpack.decode(blind.reply)) == ({}, None, 0.5)
    both = decided(ann, reads=["ann", "bob"])
    assert isinstance(both, Decision)
    assert both.versions == {"ann": 3, "bob": 5}
    profiled = decided(ann, reads=["bob"], best=7)
    assert isinstance(profiled, Decision)
    assert profiled.profile is not None
    assert type(profiled.profile["best"]) is int
    assert (profiled.versions, profiled.profile) == ({"ann": 3, "bob": 5}, {"best": 7}), "a profile replaces one"
    runtime.apply_transaction(bob, "pay", Transaction(), {})
    later = decided(ann, reads=[])
    assert isinstance(later, Decision)
    assert later.sequence == blind.sequence + 1, "the room may remember something else by now"


def test_a_full_room_and_a_second_seat_of_a_player_are_refused() -> None:
    runtime = garden(Duel)
    seated(runtime, "a")
    with pytest.raises(RoomFull, match="already"):
        seated(runtime, "a")
    seat, _ = seated(runtime, "b")
    with pytest.raises(RoomFull, match="all 2"):
        seated(runtime, "c")
    seat.leave("gone")
    seat.leave("gone again")
    seated(runtime, "c")


def test_exceptions_of_the_game_are_contained() -> None:
    runtime = garden()
    with pytest.raises(RoomFailed):
        seated(runtime, "a", is_bad_join=True)
    assert runtime.room.players == {}
    seat, _ = seated(runtime, "b")
    assert not seat.run_command(Command(1, "fail")).ok
    seat.push_input(step_input(1, is_bad=1.0))
    with pytest.raises(RoomCodeRaised):
        runtime.step()
    assert runtime.counters.room_errors.total() == 3


def test_a_nan_closes_only_its_room() -> None:
    runtime = garden()
    seat, _ = seated(runtime)
    seat.player.entity.x = float("nan")
    with pytest.raises(RoomCodeRaised) as raised:
        runtime.step()
    assert "'x' of entity 1 is not a finite number" in str(raised.value.__cause__)


def test_a_resync_is_answered_with_a_keyframe() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    runtime.step()
    assert subscriber.core.world is not None
    before = runtime.counters.keyframes
    seat.resync(Resync(0, 1))
    runtime.step()
    assert runtime.counters.keyframes == before + 1


def test_a_client_whose_world_was_corrupted_repairs_itself() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    runtime.step()
    world = subscriber.core.world
    assert world is not None
    world.table("walkers").quantised("x")[0] += 5
    for seq in range(1, 12):
        seat.push_input(step_input(seq, dx=1.0))
        runtime.step()
        while subscriber.core.outgoing:
            subscriber.core.outgoing.popleft()
            seat.resync(Resync(0, 0))
    assert subscriber.core.mismatches == 1
    assert x_of(subscriber) == 11.0


def test_a_recorded_game_replays_to_the_same_bytes() -> None:
    def play() -> tuple[int, bytes]:
        runtime = garden()
        seat, subscriber = seated(runtime)
        for seq in range(1, 40):
            seat.push_input(step_input(seq, dx=(seq % 7) / 8))
            runtime.step()
        assert subscriber.core.world is not None
        return subscriber.bytes_written, subscriber.core.world.checksum()

    assert play() == play()


def test_closing_notifies_all_sessions_and_the_state_stays_readable() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    seat.run_command(Command(1, "plant", msgspec.msgpack.encode({"x": 1.0})))
    runtime.close("over")
    assert subscriber.notices == ["over"]
    assert runtime.checkpoint().tables["flowers"].ids.size == 1
    assert runtime.checkpoint().tables["walkers"].ids.size == 0
    with pytest.raises(RoomClosed):
        seated(runtime, "late")


class Noting(Garden):
    """A garden that notes its hooks."""

    def on_create(self, options: GardenOptions) -> None:
        super().on_create(options)
        self.noted: list[str] = []

    def on_leave(self, player: Player) -> None:
        super().on_leave(player)
        self.noted.append(f"leave {player.id}")

    def on_disconnect(self, player: Player) -> None:
        self.noted.append(f"disconnect {player.id}")

    def on_resume(self, player: Player) -> None:
        self.noted.append(f"resume {player.id}")


def test_changes_in_a_sealed_room_wait_until_its_owner_is_known() -> None:
    runtime = garden(Noting)
    (ann, _), (bob, _) = seated(runtime, "ann"), seated(runtime, "bob")
    room = runtime.room
    assert isinstance(room, Noting)
    runtime.step()
    runtime.handover.freeze()
    runtime.handover.seal()
    ann.leave("gone")
    ann.leave("gone")
    bob.disconnected()
    bob.resumed("r", 0)
    assert room.noted == []
    assert [kept.player_id for kept in runtime.checkpoint().seats] == ["ann", "bob"]
    assert runtime.handover.leavers == {"ann"}
    runtime.unfreeze()
    assert room.noted == ["leave ann", "disconnect bob", "resume bob"]
    assert [seat.player_id for seat in runtime.seats] == ["bob"]
    assert not runtime.handover.leavers


def test_players_that_ended_their_session_are_not_redirected_with_the_room() -> None:
    runtime = garden(Noting)
    (ann, ann_session), (_, bob_session) = seated(runtime, "ann"), seated(runtime, "bob")
    runtime.handover.freeze()
    runtime.handover.seal()
    ann.leave("gone")
    runtime.release(Redirect("ws://elsewhere"))
    assert ann_session.notices == []
    assert bob_session.notices == ["moved: the room has moved to another shard"]
    assert runtime.room.noted == []  # type: ignore[attr-defined]
