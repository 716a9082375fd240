"""The example tag: rounds that its clock drives, bots, idle players, and coins at the end of a round."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire.examples import tag
from tickwire.examples.tag import PRIZES, RUNNERS_MIN, Tag
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, ErrorCode, Input, Reply
from tickwire.server.errors import InvalidArgument, NotSavable
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.task_runner import TaskRunner
from tickwire.testing.memory_ledger import MemoryLedger


@pytest.fixture(autouse=True)
def short_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag, "ROUND_S", 10.0)
    monkeypatch.setattr(tag, "IDLE_S", 1000.0)


def tag_of(runtime: RoomRuntime) -> Tag:
    assert isinstance(runtime.room, Tag)
    return runtime.room


def joined(runtime: RoomRuntime, *names: str) -> list[Seat]:
    return [runtime.seat(SeatRequest(RecordingSubscriber(name), name, {"name": name})) for name in names]


def run(runtime: RoomRuntime, seconds: float) -> None:
    for _ in range(round(seconds * Tag.tick_rate_hz)):
        runtime.step()


def events(seat: Seat, name: str) -> list[Any]:
    """Return the payloads of the events of this name that the client has received."""
    subscriber = seat.subscriber
    assert isinstance(subscriber, RecordingSubscriber)
    return [payload for event, payload in subscriber.events if event == name]


def call(seat: Seat, name: str, payload: Any) -> Reply:
    reply = seat.run_command(Command(1, name, msgspec.msgpack.encode(payload)))
    assert isinstance(reply, Reply)
    return reply


def names_of(room: Tag) -> list[str]:
    return sorted(runner.name for runner in room.runners)


def test_the_clock_drives_lobby_countdown_round_and_results() -> None:
    runtime = create_runtime(Tag)
    room = tag_of(runtime)
    (ann,) = joined(runtime, "ann")
    run(runtime, 20)
    assert room.phase == room.labels["phase"] == "lobby"
    joined(runtime, "bob")
    phases = []
    for _ in range(30):
        phases.append(room.phase)
        run(runtime, 1)
    assert phases[:5] == ["countdown"] * 5
    assert phases[6:15] == ["running"] * 9
    assert phases[16:23] == ["results"] * 7
    assert phases[24:28] == ["countdown"] * 4
    changes = [(change["phase"], change["ends_s"]) for change in events(ann, "phase_changed")]
    assert [phase for phase, _ in changes] == ["lobby", "countdown", "running", "results", "countdown", "running"]
    assert changes[0][1] is None
    assert changes[2][1] - changes[1][1] == pytest.approx(10.0, abs=0.1)
    (ended,) = events(ann, "round_ended")
    scores = [score for _, score in ended["scoreboard"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == RUNNERS_MIN
    assert max(scores) >= 8


def test_a_countdown_without_enough_players_returns_to_the_lobby() -> None:
    runtime = create_runtime(Tag)
    room = tag_of(runtime)
    _, bob = joined(runtime, "ann", "bob")
    run(runtime, 16)
    assert room.phase == "results"
    bob.leave("bye")
    run(runtime, 10)
    assert room.phase == "lobby"
    joined(runtime, "eve")
    assert room.phase == "countdown"


def test_bots_complete_the_runners() -> None:
    runtime = create_runtime(Tag)
    room = tag_of(runtime)
    assert names_of(room) == [f"bot {number}" for number in range(1, RUNNERS_MIN + 1)]
    ann, *_ = joined(runtime, "ann")
    assert names_of(room) == ["ann", "bot 1", "bot 2", "bot 3"]
    joined(runtime, "bob", "eve", "joe", "kim")
    runtime.step()
    assert names_of(room) == ["ann", "bob", "eve", "joe", "kim"]
    for name in ("ann", "bob"):
        next(seat for seat in runtime.seats if seat.player_id == name).leave("bye")
    runtime.step()
    assert names_of(room) == ["bot 1", "eve", "joe", "kim"]
    assert not ann.is_open


def test_it_is_passed_on_by_a_touch_and_replaced_when_it_leaves() -> None:
    runtime = create_runtime(Tag)
    room = tag_of(runtime)
    ann, bob, *others = joined(runtime, "ann", "bob", "eve", "joe")
    run(runtime, 6)
    for number, seat in enumerate((bob, *others)):
        seat.player.entity.position = (40.0, 10.0 * number)
    ann.player.entity.position = (40.0, 1.0)
    room.make_it(ann.player.entity.id)
    run(runtime, tag.SAFE_S - 0.2)
    assert ann.player.entity.is_it, "not at once"
    run(runtime, 0.4)
    assert bob.player.entity.is_it
    bob.leave("bye")
    run(runtime, 0.1)
    assert sum(runner.is_it for runner in room.runners) == 1


def test_exactly_one_runner_is_it_in_a_round_of_bots_and_players_that_come_and_go() -> None:
    runtime = create_runtime(Tag, seed=3)
    room = tag_of(runtime)
    joined(runtime, "ann", "bob")
    run(runtime, 6)
    for number in range(8 * 20):
        runtime.step()
        if room.phase == "running":
            its = [runner for runner in room.runners if runner.is_it]
            assert len(its) == 1 or (not its and number in (51, 90)), "the next tick replaces one that has left"
        if number == 50:
            joined(runtime, "eve")
        if number == 89:
            room.make_it(runtime.seats[0].player.entity.id)
            runtime.seats[0].leave("bye")
    assert np.abs(room.runners.position).max() <= tag.SIZE


def test_players_run_and_idle_ones_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag, "IDLE_S", 12.0)
    runtime = create_runtime(Tag)
    ann, bob = joined(runtime, "ann", "bob")
    ann.player.entity.position = (0.0, 0.0)
    for seq in range(1, 21):
        data = pack_input(Tag.input_fields, {"x": 1.0, "y": 0.0})
        ann.push_input(Input(seq, runtime.tick, data))
        run(runtime, 1)
    assert ann.player.entity.position[0] > 40
    assert "ann" in runtime.room.players
    assert not bob.is_open
    assert isinstance(bob.subscriber, RecordingSubscriber)
    assert bob.subscriber.notices == ["you have not moved for a while"]


def test_emotes_reach_the_others_and_are_limited() -> None:
    runtime = create_runtime(Tag)
    ann, bob = joined(runtime, "ann", "bob")
    assert call(ann, "emote", "wave").ok
    assert call(ann, "emote", "dance").error is ErrorCode.INVALID_ARGUMENT
    replies = [call(ann, "emote", "laugh") for _ in range(5)]
    assert replies[-1].error is ErrorCode.RATE_LIMITED
    runtime.step()
    assert events(ann, "emoted") == []
    assert events(bob, "emoted")[0] == {"runner": ann.player.entity.id, "emote": "wave"}


def test_a_name_that_is_too_long_is_refused() -> None:
    runtime = create_runtime(Tag)
    with pytest.raises(InvalidArgument, match="name"):
        joined(runtime, "a name that is too long")
    assert names_of(tag_of(runtime)) == [f"bot {number}" for number in range(1, RUNNERS_MIN + 1)]


async def test_the_best_players_of_a_round_are_paid_once() -> None:
    ledger = MemoryLedger()
    transactions = TransactionService(ledger, ledger, on_fenced=lambda key: None, timeout_s=20.0)
    service = RoomTransactionService(transactions, lambda: 0.0)
    runtime = create_runtime(Tag)
    runtime.start(service.commit, TaskRunner(RoomCounters()))
    ann, _, eve, joe = joined(runtime, "ann", "bob", "eve", "joe")
    run(runtime, 14)
    room = tag_of(runtime)
    for seat, score in ((ann, 50), (eve, 60), (joe, 40)):
        seat.player.entity.score = score
    eve.leave("bye")
    run(runtime, 3)
    assert room.phase == "results"
    await eventually(lambda: len(room.transactions) == 0)
    coins = {"ann": PRIZES[0], "bob": PRIZES[2], "joe": PRIZES[1]}
    assert ledger.all_holdings() == {player: {"coins": amount} for player, amount in coins.items()}
    assert ann.player.holdings == {"coins": PRIZES[0]}
    runtime.step()
    assert events(ann, "paid") == [{"coins": PRIZES[0]}]


async def test_players_of_a_round_that_cannot_be_paid_receive_no_message_of_it() -> None:
    ledger = MemoryLedger()
    ledger.fail_next(NotSavable("requested refusal"))
    transactions = TransactionService(ledger, ledger, on_fenced=lambda key: None, timeout_s=20.0)
    service = RoomTransactionService(transactions, lambda: 0.0)
    runtime = create_runtime(Tag)
    runtime.start(service.commit, TaskRunner(RoomCounters()))
    ann, _ = joined(runtime, "ann", "bob")
    run(runtime, 17)
    room = tag_of(runtime)
    assert room.phase == "results"
    await eventually(lambda: len(room.transactions) == 0)
    runtime.step()
    assert events(ann, "paid") == []


def test_a_round_continues_on_another_shard() -> None:
    runtime = create_runtime(Tag)
    joined(runtime, "ann", "bob")
    run(runtime, 14)
    _, checkpoint = decode_room(encode_room(runtime))
    moved = create_runtime(Tag, checkpoint)
    room = tag_of(moved)
    assert room.phase == "running"
    assert room.round == 1
    run(moved, 3)
    assert room.phase == "results"
    assert len(room.transactions) == 1
