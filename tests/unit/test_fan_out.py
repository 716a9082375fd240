"""The events that a player's messages cause are charged to that player only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, Player, Room, Transaction, boolean
from tickwire.schemas.event_frames import PAYLOAD_BYTES_MAX, encode_event
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.schemas.messages import Input as InputMessage
from tickwire.schemas.payloads import encode_payload
from tickwire.server.rooms.outbox import EVENT_BYTES_MAX, EVENTS_MAX, UNSENT_MAX
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import Decision


class ShoutInput(Input):
    is_shouting = boolean()


class Chat(Room):
    """Says to all what one says."""

    room_type = "chat"
    max_players = 100
    fan_out_max = 100.0
    uses_ledger = True
    input_type = ShoutInput

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.lines_a_tick = 0

    def on_input(self, player: Player, input: ShoutInput) -> None:
        if input.is_shouting:
            self.broadcast("shout")

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        if name == "buy":
            return Transaction()
        self.broadcast("said", payload)
        return None

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        for _ in range(10):
            self.broadcast("bought", player.id)

    def on_tick(self, dt: float) -> None:
        for number in range(self.lines_a_tick):
            self.broadcast("news", number)


class Hall:
    """A room of some players, and its clock."""

    def __init__(self, players: int = 20) -> None:
        self.now_s = 100.0
        self.runtime: RoomRuntime = create_runtime(Chat, now_s=lambda: self.now_s)
        self.subscribers = [RecordingSubscriber(f"p{number}") for number in range(players)]
        self.seats = [self.runtime.seat(SeatRequest(one, one.player_id)) for one in self.subscribers]
        self._command_id = 0

    def say(self, seat: Seat, words: Any = "hello", name: str = "say") -> Reply | Decision:
        self._command_id += 1
        return seat.run_command(Command(self._command_id, name, msgspec.msgpack.encode(words)))


def refused(reply: Reply | Decision) -> bool:
    assert isinstance(reply, Reply)
    if reply.ok:
        return False
    assert reply.error is ErrorCode.RATE_LIMITED
    assert reply.retry_after_ms > 0
    return True


def test_a_player_over_the_fan_out_limit_is_refused_with_retry_after_and_others_are_not() -> None:
    hall = Hall()
    loud, quiet = hall.seats[0], hall.seats[1]
    told = [refused(hall.say(loud)) for _ in range(10)]
    assert told == [False] * 6 + [True] * 4, "20 receivers a line, 100 a second, and one line of debt"
    assert not refused(hall.say(quiet))
    reply = hall.say(loud)
    assert isinstance(reply, Reply)
    assert reply.retry_after_ms == 200
    hall.now_s += reply.retry_after_ms / 1000
    assert not refused(hall.say(loud))
    assert refused(hall.say(loud))
    assert hall.runtime.counters.fan_out_refusals == 6


def test_a_large_event_costs_more_than_a_small_one() -> None:
    hall = Hall()
    assert not refused(hall.say(hall.seats[0], "x" * 10_000))
    reply = hall.say(hall.seats[0])
    assert refused(reply)
    assert isinstance(reply, Reply)
    assert reply.retry_after_ms == 1000  # ten times twenty, of a hundred


def test_a_room_can_raise_its_fan_out_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "fan_out_max", 10_000.0)
    hall = Hall()
    assert not any(refused(hall.say(hall.seats[0])) for _ in range(200))


def test_events_of_a_transaction_count_too() -> None:
    hall = Hall()
    seat = hall.seats[0]
    decision = hall.say(seat, name="buy")
    assert isinstance(decision, Decision)
    hall.runtime.apply_transaction(seat, "buy", decision.transaction, {})
    assert refused(hall.say(seat))
    assert not refused(hall.say(hall.seats[1]))


def test_inputs_that_cause_events_wait_until_their_player_may_again() -> None:
    hall = Hall()
    seat = hall.seats[0]
    shout = pack_input(Chat.input_fields, {"is_shouting": True})
    for seq in range(1, 9):
        seat.push_input(InputMessage(seq, 0, shout))
    hall.runtime.step()
    assert seat.applied_seq == 8
    seat.push_input(InputMessage(9, 0, shout))
    hall.seats[1].push_input(InputMessage(1, 0, shout))
    hall.runtime.step()
    assert (seat.applied_seq, hall.seats[1].applied_seq) == (8, 1)
    hall.now_s += 1.0
    hall.runtime.step()
    assert seat.applied_seq == 9


def test_an_event_to_many_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall()
    seen: list[str] = []

    def counting(name: str, payload: bytes) -> Any:
        seen.append(name)
        return encode_event(name, payload)

    monkeypatch.setattr("tickwire.server.rooms.event_types.encode_event", counting)
    hall.say(hall.seats[0])
    hall.runtime.room.broadcast("some", to=hall.runtime.room.players.values())
    assert seen == ["said", "some"]
    frames = {one.outbox._frames[-1] for one in hall.subscribers}
    assert len(frames) == 1, "and kept once for all"


@pytest.mark.parametrize("lines", [UNSENT_MAX - 1, UNSENT_MAX, 2 * UNSENT_MAX + 1, 3 * EVENTS_MAX])
def test_a_fast_client_receives_all_events_of_a_tick(lines: int) -> None:
    hall = Hall(players=3)
    room = hall.runtime.room
    hall.runtime.step()
    room.lines_a_tick = lines  # type: ignore[attr-defined]
    hall.runtime.step()
    for subscriber in hall.subscribers:
        assert subscriber.notices == []
        assert subscriber.events == [("news", number) for number in range(lines)]
        assert subscriber.core.events_missed == 0


def test_a_fast_client_receives_events_that_exceed_the_outbox_together() -> None:
    hall = Hall(players=2)
    hall.runtime.step()
    large = "x" * (EVENT_BYTES_MAX // 2)
    for number in range(5):
        hall.runtime.room.broadcast("large", [number, large])
    largest = "x" * (PAYLOAD_BYTES_MAX - len(encode_payload(large)) + len(large))
    assert len(encode_payload(largest)) == PAYLOAD_BYTES_MAX
    hall.runtime.room.broadcast("too large", largest)  # with its name
    hall.runtime.room.broadcast("small")
    hall.runtime.step()
    names = [name for name, _ in hall.subscribers[0].events]
    assert names == [*["large"] * 5, "too large", "small"]
    assert hall.subscribers[0].notices == []


def test_events_since_the_last_tick_are_not_a_backlog() -> None:
    hall = Hall(players=2)
    slow, quick = hall.subscribers
    hall.runtime.step()
    slow.is_congested = True
    for _ in range(UNSENT_MAX + 50):
        hall.runtime.room.broadcast("news")
    assert slow.notices == []
    hall.runtime.step()
    assert slow.notices == [], "one tick in which it could not be written to"
    slow.is_congested = False
    hall.runtime.step()
    hall.runtime.step()
    assert slow.notices == []
    assert len(slow.events) == len(quick.events) == UNSENT_MAX + 50


def test_a_backlog_for_two_ticks_closes_the_session_resumable() -> None:
    hall = Hall(players=2)
    slow, quick = hall.subscribers
    slow.is_congested = True
    for _ in range(UNSENT_MAX + 50):
        hall.runtime.room.broadcast("news")
    hall.runtime.step()
    hall.runtime.step()
    assert (slow.notices, quick.notices) == (["slow"], [])
    assert hall.runtime.counters.slow_clients["closed"] == 1


def test_few_events_of_a_slow_client_are_not_a_backlog() -> None:
    hall = Hall(players=2)
    slow, _ = hall.subscribers
    slow.is_congested = True
    for _ in range(100):
        hall.runtime.room.broadcast("news")
        hall.runtime.step()
    assert slow.notices == []
    slow.is_congested = False
    for _ in range(100):  # it is sent less for a while
        hall.runtime.step()
    assert len(slow.events) == 100


def test_a_discarded_unsent_event_closes_the_connection() -> None:
    hall = Hall(players=2)
    slow, _ = hall.subscribers
    hall.runtime.step()
    slow.is_congested = True
    for _ in range(EVENTS_MAX + 1):
        hall.runtime.room.broadcast("news")
    slow.is_congested = False
    hall.runtime.step()
    assert slow.notices == ["slow"], "the client reconnects and learns of the gap"
    assert slow.events == []


def test_events_of_a_join_follow_joined() -> None:
    hall = Hall(players=1)
    original = hall.runtime.room.on_join
    written: list[int] = []

    def on_join(player: Player, options: Mapping[str, Any]) -> None:
        original(player, options)
        for number in range(UNSENT_MAX * 2):
            player.send("welcome", number)
        written.append(newcomer.writes)

    hall.runtime.room.on_join = on_join  # type: ignore[method-assign]
    newcomer = RecordingSubscriber("new")
    hall.runtime.seat(SeatRequest(newcomer, "new"))
    assert written == [0]
    hall.runtime.step()
    assert len(newcomer.events) == UNSENT_MAX * 2
