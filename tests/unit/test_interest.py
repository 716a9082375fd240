"""Rooms with channels: players receive the channels of their interest set and nothing else; inputs as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import (
    EVERYONE,
    NOBODY,
    Grid,
    Input,
    InputBatch,
    Player,
    Room,
    Table,
    angle,
    blob,
    boolean,
    real,
    sint,
    text,
    uint,
)
from tickwire.schemas.fields import pack_input
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import Input as InputMessage
from tickwire.schemas.messages import Resync
from tickwire.server.errors import RoomFailed
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

pytestmark = pytest.mark.usefixtures("each_kernel")

SECRET = b"\xa5\x5a\xc3\x3c"


class Spies(Table):
    x = real(-100, 100, step=0.25)
    y = real(-100, 100, step=0.25)


class Orders(Table):
    """The orders that the members of a team can read."""

    words = text(bytes_max=24)
    key = blob(bytes_max=8)
    code = uint(bits=32)


class SpyInput(Input):
    dx = real(-4, 4, step=0.25)
    dy = real(-4, 4, step=0.25)


class Front(Room):
    """Two teams, one map; orders are a team's, a diary its player's."""

    room_type = "front"
    max_players = 20
    checksum_ticks = 3
    input_type = SpyInput
    grid = Grid("spies", cell=20, view=30)
    spies: Spies
    orders: Orders

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.teams = [self.open_channel(), self.open_channel()]

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        team = options["team"]
        player.entity = self.spies.spawn(x=options.get("x", 0.0), y=0.0)
        player.watch(self.teams[team])
        player.data["diary"] = self.orders.spawn(words=f"diary of {player.id}", channel=player.private)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()
        self.orders.despawn(player.data["diary"].id)

    def on_inputs(self, inputs: InputBatch[SpyInput]) -> None:
        rows, wishes = inputs.of(self.spies)
        self.spies.x[rows] += wishes.dx.astype(np.float32)
        self.spies.y[rows] += wishes.dy.astype(np.float32)


class Mute(RecordingSubscriber):
    """A connection that loses all that is written to it."""

    def write(self, frames: bytes) -> None:
        pass


class Wiretap(RecordingSubscriber):
    """A subscriber that keeps every byte that it is written."""

    def __init__(self, player_id: str) -> None:
        super().__init__(player_id)
        self.bytes = b""

    def write(self, frames: bytes) -> None:
        self.bytes += frames
        super().write(frames)
        assert not self.core.outgoing, "nothing has to be asked for again"

    def ids(self, table: str) -> list[int]:
        assert self.core.world is not None
        return self.core.world.table(table).ids.tolist()

    def words(self) -> list[str]:
        assert self.core.world is not None
        return sorted(self.core.world.table("orders").column("words").tolist())


def front() -> tuple[RoomRuntime, Front]:
    runtime = create_runtime(Front)
    assert isinstance(runtime.room, Front)
    return runtime, runtime.room


def seated(runtime: RoomRuntime, name: str, team: int, **options: Any) -> tuple[Seat, Wiretap]:
    tap = Wiretap(name)
    return runtime.seat(SeatRequest(tap, name, {"team": team, **options})), tap


def step(runtime: RoomRuntime, ticks: int = 1) -> None:
    for _ in range(ticks):
        runtime.step()


def test_no_sent_byte_contains_state_outside_of_the_players_interest() -> None:
    runtime, room = front()
    players = [seated(runtime, name, team) for team, names in enumerate(("ab", "cd")) for name in names]
    (_, ann), (bob_seat, bob), (_, cat), (_, dan) = players
    room.orders.spawn(words="attack at dawn", key=SECRET, code=0xDEADBEEF, channel=room.teams[0])
    hidden = room.orders.spawn(words="nobody knows this", channel=NOBODY)
    step(runtime, 12)
    for number in range(12):
        hidden.words = f"secret text {number}"
        step(runtime)
    assert ann.words() == ["attack at dawn", "diary of a"]
    assert cat.words() == ["diary of c"]
    for tap, told, untold in (
        (ann, [b"attack", SECRET, b"diary of a"], [b"nobody", b"diary of b", b"diary of c"]),
        (bob, [b"attack", SECRET, b"diary of b"], [b"nobody", b"diary of a", b"diary of d"]),
        (cat, [b"diary of c"], [b"attack", SECRET, b"nobody", b"diary of a", b"diary of d"]),
        (dan, [b"diary of d"], [b"attack", SECRET, b"nobody", b"diary of a", b"diary of c"]),
    ):
        for words in told:
            assert words in tap.bytes
        for words in untold:
            assert words not in tap.bytes
    silent = len(cat.bytes)
    for number in range(9):
        room.orders[int(room.orders.ids[room.orders.channels == room.teams[0]][0])].code = number
        step(runtime)
    checks = cat.bytes[silent:]
    assert SECRET not in checks
    assert len(checks) < len(ann.bytes) / 4, "that a team's orders change is not to be seen in the other's traffic"
    bob_seat.player.unwatch(room.teams[0])
    step(runtime)
    assert bob.words() == ["diary of b"]


def test_actions_of_another_team_change_neither_bytes_nor_timing() -> None:
    runtime, room = front()
    _, _ = seated(runtime, "a", 0)
    _, cat = seated(runtime, "c", 1, x=90.0)
    step(runtime, 2)

    def traffic(code: int) -> list[int]:
        sizes = []
        for number in range(6):
            order.code = code * number
            before = len(cat.bytes)
            step(runtime)
            sizes.append(len(cat.bytes) - before)
        return sizes

    order = room.orders.spawn(channel=room.teams[0])
    step(runtime)
    quiet = [traffic(0) for _ in range(2)]
    busy = [traffic(7) for _ in range(2)]
    assert sum(map(sum, busy)) == sum(map(sum, quiet))


def test_a_moving_player_sees_others_appear_and_disappear() -> None:
    runtime, _ = front()
    walker, tap = seated(runtime, "a", 0, x=-90.0)
    seated(runtime, "b", 1, x=90.0)
    step(runtime)
    assert tap.ids("spies") == [1]
    seen = []
    for seq in range(1, 46):
        walker.push_input(InputMessage(seq, 0, pack_input(Front.input_fields, {"dx": 4.0})))
        step(runtime)
        seen.append(tuple(tap.ids("spies")))
    assert seen[0] == (1,)
    assert seen[-1] == (1, 3)
    assert tap.core.acknowledged_seq == 45


def test_a_players_focus_may_be_another_entity() -> None:
    runtime, _ = front()
    watcher, tap = seated(runtime, "a", 0, x=-90.0)
    other, _ = seated(runtime, "b", 1, x=90.0)
    step(runtime)
    assert tap.ids("spies") == [1]
    watcher.player.focus = other.player.entity
    step(runtime)
    assert tap.ids("spies") == [3]
    watcher.player.focus = None
    step(runtime)
    assert tap.ids("spies") == [1]


def test_a_resumed_client_has_the_current_state_of_all_its_channels() -> None:
    runtime, room = front()
    seat, tap = seated(runtime, "a", 0)
    order = room.orders.spawn(words="hold", channel=room.teams[0])
    step(runtime, 4)
    for away_ticks, changes in ((3, True), (3, False), (60, True), (300, True)):
        assert tap.core.world is not None
        last_tick, keyframes = tap.core.world.tick, runtime.counters.keyframes
        tap.connection = None
        seat.disconnected()
        for number in range(away_ticks):
            if changes:
                order.words = f"hold {number}"
            step(runtime)
        if changes:
            seat.player.entity.x = -seat.player.entity.x - 40.0
        tap.connection = tap
        tap.core.world.clear_history()
        seat.resumed("r", last_tick)
        step(runtime, 2)
        assert tap.words() == sorted(["diary of a", order.words])
        assert tap.ids("spies") == [1]
        assert tap.core.mismatches == tap.core.resyncs == 0
        if not changes:
            assert runtime.counters.keyframes - keyframes <= 4, "state that the client has is not sent again"


def test_a_client_that_lost_the_last_frames_catches_up() -> None:
    runtime, room = front()
    seat, tap = seated(runtime, "a", 0)
    _, other = seated(runtime, "b", 0)
    order = room.orders.spawn(words="hold", channel=room.teams[0])
    step(runtime, 4)
    assert tap.core.world is not None
    seat.connection = Mute("a")
    for number in range(5):
        order.words = f"hold {number}"
        step(runtime)
    seat.disconnected()
    tap.connection = tap
    tap.core.world.clear_history()
    seat.resumed("r", tap.core.world.tick)
    step(runtime, 2)
    assert set(tap.words()) - {"diary of a"} == set(other.words()) - {"diary of b"} == {"hold 4"}
    assert tap.core.mismatches == tap.core.resyncs == 0


def test_a_client_that_lost_an_interest_change_receives_keyframes_of_its_new_channels() -> None:
    runtime, room = front()
    seat, tap = seated(runtime, "a", 0)
    seated(runtime, "b", 1)
    room.orders.spawn(words="of the others", channel=room.teams[1])
    step(runtime, 4)
    assert tap.core.world is not None
    last_tick = tap.core.world.tick
    seat.connection = Mute("a")
    seat.player.watch(room.teams[1])
    step(runtime, 2)
    seat.disconnected()
    tap.connection = tap
    tap.core.world.clear_history()
    seat.resumed("r", last_tick)
    step(runtime)
    assert tap.words() == ["diary of a", "of the others"]
    assert tap.core.resyncs == 0


def test_a_quick_resume_drops_the_prediction_history() -> None:
    runtime, _ = front()
    seat, tap = seated(runtime, "a", 0)
    others = [seated(runtime, f"o{number}", 1, x=number / 2)[0] for number in range(16)]
    for tick in range(12):
        for number, other in enumerate(others):
            other.player.entity.x += number % 4 / 4 + (tick == number) * 5
        step(runtime)
        assert tap.core.world is not None
        seat.disconnected()
        tap.core.world.clear_history()
        seat.resumed("r", tap.core.world.tick)
        assert sorted(tap.core.world.table("spies").column("x")) == sorted(runtime.room.spies.x)  # type: ignore[attr-defined]


def test_a_corrupted_channel_is_detected_and_repaired_without_the_others() -> None:
    runtime, room = front()
    seat, tap = seated(runtime, "a", 0)
    order = room.orders.spawn(code=5, channel=room.teams[0])
    step(runtime, 2)
    assert tap.core.world is not None
    tick, tables = tap.core.world.state.channels[room.teams[0]]
    tables[1].values[0, 0] += 3
    keyframes = runtime.counters.keyframes
    Wiretap.write, write = RecordingSubscriber.write, Wiretap.write  # type: ignore[method-assign]
    try:
        for number in range(8):
            order.code = number
            step(runtime)
            while tap.core.outgoing:
                tap.core.outgoing.popleft()
                seat.resync(Resync(room.teams[0], tick))
    finally:
        Wiretap.write = write  # type: ignore[method-assign]
    assert tap.core.mismatches == 1
    assert runtime.counters.resyncs == 1
    assert runtime.counters.keyframes - keyframes == 1
    assert tap.core.world.table("orders").entity(order.id)["code"] == 7


def test_a_resumed_client_joins_channels_that_others_subscribed_to_meanwhile() -> None:
    runtime, room = front()
    first, tap = seated(runtime, "a", 0)
    step(runtime, 2)
    assert tap.core.world is not None
    last_tick = tap.core.world.tick
    first.disconnected()
    second, other = seated(runtime, "b", 0)
    second.player.unwatch(second.player.private)
    second.player.watch(first.player.private)
    step(runtime, 2)
    tap.core.world.clear_history()
    first.resumed("r", last_tick)
    step(runtime, 2)
    assert first.interest is second.interest
    assert tap.words() == other.words() == ["diary of a"]
    for seat in (second, first):
        seat.leave("bye")
        step(runtime, 2)
    assert runtime.replicator.everyone.subscribers == 0
    assert room.players == {}


def test_private_channels_are_closed_and_are_empty_when_reused() -> None:
    runtime, room = front()
    seat, _ = seated(runtime, "a", 0)
    step(runtime)
    private = seat.player.private
    left = room.orders.spawn(words="left behind", channel=private)
    seat.leave("bye")
    assert left.channel == NOBODY
    _, tap = seated(runtime, "b", 1)
    step(runtime, 2)
    assert room.orders.channels.tolist().count(private) == 1, "its number is used again"
    assert tap.words() == ["diary of b"]
    room.close_channel(private)
    room.close_channel(private)
    assert room.open_channel() == private
    assert room.open_channel() != private


def test_a_refused_player_leaves_no_subscription_and_no_channel() -> None:
    runtime, room = front()
    room.on_join = _join_and_fail.__get__(room)  # type: ignore[method-assign]
    opened = room.next_channel
    for _ in range(2):
        with pytest.raises(RoomFailed):
            seated(runtime, "a", 0)
        step(runtime)
    assert runtime.replicator.everyone.subscribers == 0
    assert room.open_channel() == opened, "the one that was opened for it is given back, once"


def _join_and_fail(room: Front, player: Player, options: Mapping[str, Any]) -> None:
    Front.on_join(room, player, options)
    raise RuntimeError("told to fail")


FIELDS = {
    "thrust": real(-1, 1, step=1 / 64),
    "aim": angle(bits=12),
    "fire": boolean(),
    "weapon": uint(bits=3),
    "tilt": sint(bits=10),
}


def test_many_inputs_at_once_are_read_as_one_by_one() -> None:
    fields = tuple(column.field(name) for name, column in FIELDS.items())
    reader = InputReader(fields)
    chance = np.random.default_rng(1)
    payloads = [chance.bytes(reader.size) for _ in range(50)]
    together = reader.read_many(payloads)
    for place, payload in enumerate(payloads):
        one = reader.read(payload)
        assert [values[place] for values in together] == pytest.approx(one)


def test_only_the_newest_input_of_a_player_counts_and_players_without_an_entity_are_left_out() -> None:
    runtime, _ = front()
    seat, tap = seated(runtime, "a", 0)
    ghost, _ = seated(runtime, "b", 0)
    ghost.player.entity = None
    for seq, dx in enumerate((1.0, 2.0, 4.0), 1):
        for each in (seat, ghost):
            each.push_input(InputMessage(seq, 0, pack_input(Front.input_fields, {"dx": dx})))
    step(runtime)
    assert seat.player.entity.x == 4.0
    assert tap.core.acknowledged_seq == 3
    assert (runtime.counters.inputs_applied, seat.inputs_superseded, ghost.inputs_superseded) == (2, 2, 2)
    ghost.push_input(InputMessage(9, 0, pack_input(Front.input_fields, {"dx": 1.0})))
    ghost.leave("bye")
    step(runtime)
    assert runtime.counters.inputs_applied == 2, "who has left wishes for nothing"
    assert EVERYONE == 0


def test_a_recorded_game_replays_to_the_same_bytes_for_every_player() -> None:
    def play() -> list[bytes]:
        runtime, room = front()
        players = [seated(runtime, f"p{number}", number % 2, x=30.0 * number - 60) for number in range(5)]
        chance = np.random.default_rng(5)
        for seq in range(1, 60):
            for seat, _ in players:
                wish = {"dx": chance.uniform(-4, 4), "dy": chance.uniform(-4, 4)}
                seat.push_input(InputMessage(seq, 0, pack_input(Front.input_fields, wish)))
            if seq % 9 == 0:
                room.orders.spawn(words=f"order {seq}", channel=room.teams[seq % 2])
            step(runtime)
        return [tap.bytes for _, tap in players]

    assert play() == play()
