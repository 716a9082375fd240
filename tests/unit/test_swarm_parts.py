"""A swarm's parts that move bytes and time: frames, shared worlds, the metronome. No socket."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rooms import Fan
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire.client.core import ClientCore
from tickwire.client.world_cache import SharedWorlds
from tickwire.loadtest import open_loop_scheduler
from tickwire.loadtest.frames import FrameReader, find_frame, masked_frame
from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.metrics import Measures, PlayerCounts
from tickwire.loadtest.open_loop_scheduler import BATCH_S_MAX, LATENESS_S_MAX, OpenLoopScheduler
from tickwire.loadtest.session import SwarmSession
from tickwire.loadtest.swarm import MEMBERS_AT_ONCE, Habits, Swarm, SwarmSettings, Tokens
from tickwire.schemas.codec import encode_server
from tickwire.schemas.columns import Columns, checksum
from tickwire.schemas.delta import create_codecs, encode_channel
from tickwire.schemas.fields import real as real_field
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import Joined, Message, StateDescription, TableDescription
from tickwire.schemas.parts import HAS_CHECKSUM
from tickwire.schemas.state_messages import encode_state, frame_ack
from tickwire.server.edge.frame_splitter import FrameSplitter, payload_from_frame
from tickwire.server.replication import channel
from tickwire.server.rooms.seat import SeatRequest

# -- frames -------------------------------------------------------------------------------------------------


class RecordedFrames:
    def __init__(self, payload_bytes_max: int = 1 << 20) -> None:
        self.messages: list[bytes] = []
        self.other: list[bytes] = []
        self.cutter = FrameReader(
            payload_bytes_max=payload_bytes_max, on_message=self.messages.append, on_other=self.other.append
        )


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50), min_size=1), st.booleans())
def test_messages_do_not_depend_on_the_chunks_of_bytes(messages: list[bytes], cuts: list[int], is_long: bool) -> None:
    if is_long:
        messages = [*messages, bytes(70_000)]
    recorded, stream = RecordedFrames(), b"".join(map(binary_frame, messages))
    at, turn = 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        recorded.cutter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
        if is_long and at > 20_000:
            size = len(stream)
            recorded.cutter.feed(stream[at:])
            break
    assert recorded.messages == messages
    assert recorded.other == []


def test_control_frames_are_passed_whole_to_the_library() -> None:
    recorded = RecordedFrames()
    stream = binary_frame(b"a") + b"\x89\x02hi" + binary_frame(b"b") + b"\x88\x02\x03\xe8"
    for byte in stream:
        recorded.cutter.feed(bytes([byte]))
    assert recorded.messages == [b"a", b"b"]
    assert recorded.other == [b"\x89\x02hi", b"\x88\x02\x03\xe8"]


@pytest.mark.parametrize("wrong", [b"\x82\x81\0\0\0\0x", binary_frame(bytes(2000))])
def test_invalid_frame_is_passed_to_the_library_with_all_later_bytes(wrong: bytes) -> None:
    recorded = RecordedFrames(payload_bytes_max=1000)
    recorded.cutter.feed(binary_frame(b"a") + wrong[:7])
    recorded.cutter.feed(wrong[7:] + binary_frame(b"b"))
    assert recorded.messages == [b"a"]
    assert b"".join(recorded.other).endswith(binary_frame(b"b"))


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_server_reads_the_frames_of_a_swarm(payload: bytes, key: bytes) -> None:
    splitter = FrameSplitter(payload_bytes_max=1 << 20)
    splitter.feed(masked_frame(payload, key))
    frame = splitter.next()
    assert frame is not None
    assert payload_from_frame(frame) == payload
    assert splitter.is_between_frames


def test_reader_returns_whether_the_next_bytes_begin_a_frame() -> None:
    frame = binary_frame(b"a message")
    for at in range(1, len(frame)):
        cutter = RecordedFrames().cutter
        assert [cutter.feed(frame[:at]), cutter.feed(frame[at:]), cutter.feed(frame * 2)] == [False, True, True]
    assert not RecordedFrames().cutter.feed(b"\x82\x81\0\0\0\0x"), "a server does not mask its frames"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 70_000])
def test_whole_frame_at_a_position_is_found(size: int) -> None:
    frame, before = binary_frame(bytes(size)), b"before"
    at, end = len(before), len(before) + len(frame)
    assert find_frame(before + frame, at) == find_frame(before + frame * 2, at) == (end - size, end)
    for other in (
        frame[:1],
        frame[:-1],
        b"\x02" + frame[1:],
        b"\x89" + frame[1:],
        masked_frame(bytes(size), b"mask"),
    ):
        assert find_frame(before + other, at) == (0, 0), other[:12]


# -- worlds -------------------------------------------------------------------------------------------------


class Watching(RecordingSubscriber):
    """A subscriber that keeps the messages it receives."""

    def __init__(self, player_id: str) -> None:
        super().__init__(player_id)
        self.received: list[bytes] = []

    def write(self, frames: bytes) -> None:
        cutter = RecordedFrames()
        cutter.cutter.feed(frames)
        self.received += cutter.messages

    def send_message(self, message: Message) -> None:
        self.received.append(encode_server(message))


def frames_of_a_room(players: int, ticks: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number of a player and a message that the room sends to it; players join one after the other."""
    room = create_runtime(Fan)
    watching: list[Watching] = []
    for tick in range(ticks):
        if tick % 7 == 0 and len(watching) < players:
            watching.append(Watching(f"p{tick}"))
            room.seat(SeatRequest(watching[-1], f"p{tick}"))
        room.step()
        for number, one in enumerate(watching):
            for message in one.received:
                yield number, message
            one.received = []


@pytest.mark.usefixtures("each_kernel")
def test_shared_worlds_equal_separate_ones() -> None:
    """Five players join one after the other, and decode the room's frames separately and shared."""
    shared = SharedWorlds()
    together = [ClientCore(shared.create_world) for _ in range(5)]
    alone = [ClientCore() for _ in range(5)]
    for number, message in frames_of_a_room(players=5, ticks=300):
        a, b = together[number], alone[number]
        assert shared.receive(a, message, now_us=0) == b.receive(message, now_us=0)
        assert (a.world is None) == (b.world is None)
        if a.world is None or b.world is None:
            continue
        assert (a.world.tick, a.world.checksum()) == (b.world.tick, b.world.checksum())
        mine, other = a.world.table("movers"), b.world.table("movers")
        assert np.array_equal(mine.ids, other.ids)
        assert all(np.array_equal(mine.quantised(field), other.quantised(field)) for field in ("x", "y", "heading"))
    assert [core.mismatches for core in together] == [0] * 5
    assert shared.frames_shared > 2 * shared.decoded, "players with equal baselines decode once"


def test_part_that_several_players_receive_in_different_frames_is_decoded_once() -> None:
    shared = SharedWorlds()
    cores = [ClientCore(shared.create_world) for _ in range(3)]
    for number, message in frames_of_a_room(players=3, ticks=100):
        cores[number].receive(message, now_us=0)
    assert [core.mismatches for core in cores] == [0] * 3
    assert shared.shared > shared.decoded


def test_wrong_bytes_are_detected_by_every_player(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "checksum", lambda tables: b"lies")
    shared = SharedWorlds()
    cores = [ClientCore(shared.create_world) for _ in range(2)]
    for number, message in frames_of_a_room(players=2, ticks=110):
        shared.receive(cores[number], message, now_us=0)
    assert [core.mismatches for core in cores] == [1, 1]


SHIPS = (real_field("x", 0, 200, 1.0),)
CODECS = create_codecs((SHIPS,))


def seated(shared: SharedWorlds, low: float = 0.0) -> ClientCore:
    """Return the client of a player in a room of ships, whose positions begin at `low`."""
    field = real_field("x", low, low + 200, 1.0)
    core = ClientCore(shared.create_world)
    joined = Joined("room", description=StateDescription((TableDescription("ships", (field.describe(),)),)))
    core.receive(encode_server(joined), now_us=0)
    return core


def ships_at(*xs: int) -> tuple[Columns, ...]:
    return (Columns(np.arange(1, 1 + len(xs), dtype=np.uint32), np.array([xs]), np.array([xs])),)


def ships_frame(
    tick: int, base: tuple[Columns, ...], now: tuple[Columns, ...], *, has_checksum: bool = False
) -> bytes:
    packed = encode_channel(CODECS, base, now)
    if has_checksum:
        return encode_state(tick, 0, int(tick > 1), HAS_CHECKSUM, packed + checksum(now))
    return encode_state(tick, 0, int(tick > 1), 0, packed)


@pytest.mark.parametrize("victim", range(3))
@pytest.mark.parametrize("ship", [0, 1, 20, 39])
@pytest.mark.usefixtures("each_kernel")
def test_one_wrong_value_is_detected_by_the_player_that_received_it(victim: int, ship: int) -> None:
    """One player receives one value that is 1 too large. Its next checksum differs, and those of all others agree."""
    shared = SharedWorlds()
    cores = [seated(shared) for _ in range(3)]
    right, wrong = list(range(40)), list(range(40))
    wrong[ship] += 1
    keyframe = ships_frame(1, (CODECS[0].empty,), ships_at(*right))
    base = ships_at(*right)
    steady = ships_frame(3, base, base, has_checksum=True)
    for number, core in enumerate(cores):
        shared.receive(core, keyframe, now_us=0)
        shared.receive(core, ships_frame(2, base, ships_at(*(wrong if number == victim else right))), now_us=0)
    assert [core.mismatches for core in cores] == [0, 0, 0]
    for core in cores:
        shared.receive(core, steady, now_us=0)
    assert [core.mismatches for core in cores] == [int(number == victim) for number in range(3)]
    assert [core.state.is_awaiting_keyframe for core in cores] == [number == victim for number in range(3)]


def test_worlds_with_different_descriptions_share_nothing() -> None:
    """The same bytes are other positions if the field begins at another one."""
    shared = SharedWorlds()
    cores = [seated(shared, low) for low in (0.0, 100.0)]
    base = (CODECS[0].empty,)
    for tick in range(1, 4):
        now = ships_at(tick)
        for core in cores:
            shared.receive(core, ships_frame(tick, base, now), now_us=0)
        base = now
    assert [core.world.table("ships").column("x").tolist() for core in cores if core.world] == [[3.0], [103.0]]
    assert (shared.shared, shared.frames_shared) == (0, 0)


class Listener:
    """A player's session without a socket; reads are passed to it as its connection does."""

    def __init__(self, swarm: Swarm, name: str) -> None:
        self.session = SwarmSession(swarm, name, random.Random(1), wanted_since_s=0.0)
        self.session._connection = GeventConnection(self.session._receive, lambda: None)
        self.reader = FrameReader(
            payload_bytes_max=1 << 20, on_message=self.session._receive, on_other=lambda data: pytest.fail(repr(data))
        )
        self.known_reads = 0

    def read(self, data: bytes, at_s: float) -> None:
        """Handle a read."""
        assert self.session._connection is not None
        self.session._connection.read_at_s = at_s
        handled = self.session._receive_read(data)
        if handled == len(data):
            self.known_reads += 1
        else:
            self.reader.feed(data[handled:])


def listeners(count: int) -> tuple[Swarm, list[Listener]]:
    """Return players in one room, whose inputs 1 to 9 are not acknowledged yet."""
    swarm = Swarm(SwarmSettings(urls=["ws://localhost"], tokens=Tokens(), habits=Habits()))
    made = [Listener(swarm, f"p{number}") for number in range(count)]
    joined = Joined("room", description=StateDescription((TableDescription("ships", (SHIPS[0].describe(),)),)))
    for one in made:
        one.read(binary_frame(encode_server(joined)), 0.0)
        one.session.observer.joined(20.0)
        for seq in range(1, 10):
            one.session.core.input_from_payload(b"")
            one.session.observer.input_sent(seq, 0.9)
    return swarm, made


def test_known_read_has_the_effects_of_its_messages() -> None:
    """Three players receive the same states, and their own acknowledgements: only the first one decodes."""
    swarm, players = listeners(3)
    base: tuple[Columns, ...] = (CODECS[0].empty,)
    for tick in range(1, 9):
        now = ships_at(tick, 2 * tick)
        frame = binary_frame(ships_frame(tick, base, now, has_checksum=True))
        for number, player in enumerate(players):
            seq = tick if number == 2 else 1
            player.read(frame_ack(tick, seq) + frame if tick % 2 else frame, 1.0 + tick / 20)
        base = now
    assert [player.known_reads for player in players] == [0, 7, 7], "each player decodes its first state"
    worlds = [player.session.core.world for player in players]
    assert [world.table("ships").column("x").tolist() for world in worlds if world] == [[8.0, 16.0]] * 3
    assert [player.session.core.acknowledged_seq for player in players] == [1, 1, 7]
    measures = swarm.measures
    assert (measures.get_count("states"), measures.get_count("missed_ticks")) == (3 * 8, 0)
    assert (measures.times["tick"].count, measures.times["input"].count) == (3 * 7, 1 + 1 + 7)
    assert measures.times["tick"].max_s == pytest.approx(0.05)
    assert not measures.failures


def test_late_read_of_several_ticks_is_handled_until_an_unknown_frame() -> None:
    swarm, (first, second) = listeners(2)
    states = [ships_at(tick, 2 * tick) for tick in range(7)]
    frames = [
        binary_frame(ships_frame(tick, states[tick - 1] if tick > 1 else (CODECS[0].empty,), states[tick]))
        for tick in range(1, 7)
    ]
    for frame in frames[:5]:
        first.read(frame, 1.0)
    second.read(frames[0], 1.0)
    read = frames[1] + frame_ack(3, 2) + frames[2] + frames[3] + frame_ack(5, 4) + frames[4]
    assert second.session._receive_read(read + frames[5] + frame_ack(6, 5)) == len(read)
    second.reader.feed(frames[5] + frame_ack(6, 5))
    assert (second.session.core.acknowledged_seq, swarm.measures.get_count("states")) == (5, 5 + 6)
    assert second.session.core.world is not None
    assert second.session.core.world.table("ships").column("x").tolist() == [6.0, 12.0]
    assert second.session._receive_read(frames[0][:5]) == 0


def test_read_with_one_wrong_value_is_not_known() -> None:
    swarm, players = listeners(2)
    empty, first, right, wrong = (CODECS[0].empty,), ships_at(1, 1), ships_at(2, 2), ships_at(2, 3)
    for player, second in zip(players, (right, wrong), strict=True):
        player.read(binary_frame(ships_frame(1, empty, first)), 1.0)
        player.read(binary_frame(ships_frame(2, first, second)), 1.05)
    for player in players:
        player.read(binary_frame(ships_frame(3, right, ships_at(3, 3), has_checksum=True)), 1.1)
    assert [player.session.core.mismatches for player in players] == [0, 1]
    assert players[1].known_reads == 0
    swarm.finish_second(1)
    assert [player.session.core.state.is_awaiting_keyframe for player in players] == [False, True]


# -- the metronome ------------------------------------------------------------------------------------------


class Actions:
    def __init__(self) -> None:
        self.late: list[float] = []
        self.skipped = 0
        self.due: list[float] = []
        self.scheduler = OpenLoopScheduler(self.late.append, self._skip)

    def _skip(self, count: int) -> None:
        self.skipped += count


def test_late_action_receives_its_due_time() -> None:
    actions = Actions()
    before_s = time.monotonic()
    actions.scheduler.every(0.1, actions.due.append, first_s=0.0)
    after_s = time.monotonic()
    while len(actions.due) < 4:  # it is now a second later; each run does some
        actions.scheduler.run_due(time.monotonic() + 1.0)
    steps = np.diff(actions.due[:4])
    assert np.allclose(steps, 0.1), "none was skipped, and each knows when it was due"
    assert before_s <= actions.due[0] <= after_s + 0.001, "all actions of a millisecond are due at its end"
    assert 0.999 <= actions.late[0] <= 1.0 + time.monotonic() - before_s


def test_actions_that_are_too_late_are_skipped_and_counted() -> None:
    actions = Actions()
    actions.scheduler.every(0.1, actions.due.append, first_s=0.0)
    actions.scheduler.run_due(time.monotonic() + 10 * LATENESS_S_MAX)
    assert actions.skipped == pytest.approx(10 * LATENESS_S_MAX / 0.1, abs=3)


def test_action_that_stops_itself_or_adds_another_leaves_the_rest_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = time.monotonic()
    monkeypatch.setattr(open_loop_scheduler, "time", SimpleNamespace(monotonic=lambda: now_s))
    actions = Actions()
    scheduler = actions.scheduler

    def once(due_s: float) -> None:
        actions.due.append(due_s)
        first.stop()
        scheduler.every(1.0, actions.due.append, first_s=-0.5)

    first = scheduler.every(1.0, once, first_s=-0.2)
    scheduler.every(1.0, actions.due.append, first_s=-0.1)
    scheduler.run_due(now_s)
    assert [due_s - now_s for due_s in actions.due] == pytest.approx([-0.2, -0.5, -0.1], abs=0.01)
    for _ in range(3):  # each run does at least one due action
        scheduler.run_due(now_s + 0.95)
    assert [due_s - now_s for due_s in actions.due[3:]] == pytest.approx([0.5, 0.9], abs=0.01)


def test_stopped_action_does_not_run() -> None:
    actions = Actions()
    action = actions.scheduler.every(10.0, actions.due.append, first_s=-0.001)
    actions.scheduler.run_due(time.monotonic())
    action.stop()
    actions.scheduler.run_due(time.monotonic() + 10.0)
    assert len(actions.due) == 1


def test_many_due_actions_yield_to_other_greenlets() -> None:
    actions = Actions()

    def slow(due_s: float) -> None:
        actions.due.append(due_s)
        time.sleep(BATCH_S_MAX)

    for _ in range(5):
        actions.scheduler.every(1.0, slow, first_s=-0.5)  # most are due in the same millisecond
    actions.scheduler.run_due(time.monotonic())
    assert 1 <= len(actions.due) <= 2
    for _ in range(5):
        actions.scheduler.run_due(time.monotonic())
    assert len(actions.due) == 5, "the others stay due"


# -- seconds ------------------------------------------------------------------------------------------------


class CountedMember:
    """A member that counts one drop each time it is collected."""

    is_expected = True

    def __init__(self, *, is_seated: bool) -> None:
        self.is_seated = is_seated

    def drop(self) -> None:
        """Unused."""

    def record_unacknowledged_inputs(self) -> None:
        """Unused."""

    def collect(self, measures: Measures) -> None:
        """Count one drop."""
        measures.count("drops")


def test_second_is_finished_in_parts_while_members_leave_and_join() -> None:
    swarm = Swarm(SwarmSettings(urls=["ws://localhost"], tokens=Tokens(), habits=Habits()))
    members = [CountedMember(is_seated=number % 2 == 0) for number in range(3 * MEMBERS_AT_ONCE)]
    swarm.members.update(members)
    pauses: list[int] = []

    def pause() -> None:
        pauses.append(int(swarm.measures.get_count("drops")))
        swarm.members.discard(members[len(pauses)])
        swarm.members.add(CountedMember(is_seated=True))
        swarm.measures.count("joins")

    second = swarm.finish_second(7, pause=pause)
    assert pauses == [MEMBERS_AT_ONCE - 1, 2 * MEMBERS_AT_ONCE - 1, 3 * MEMBERS_AT_ONCE - 1]
    assert (second.measures.get_count("drops"), second.measures.get_count("joins")) == (3 * MEMBERS_AT_ONCE, 3)
    assert second.player_counts == PlayerCounts(len(members), len(members), len(members) // 2)
    assert swarm.measures == Measures(), "later measurements belong to the next second"
