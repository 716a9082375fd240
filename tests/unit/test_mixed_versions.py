"""One room with clients of both schema versions: the same world, each client's form, one encoding a version."""

from __future__ import annotations

import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tests.harness.sample_rooms import Garden
from tests.harness.schema_versions import assert_has_form
from tests.unit.test_runtime import step_input, x_of
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Resync
from tickwire.server.replication import replicator
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

pytestmark = pytest.mark.usefixtures("each_kernel")

OLD, NEW = 3, 4


class VersionedSubscriber(RecordingSubscriber):
    """Asserts that every message has the form of its client's schema version."""

    def __init__(self, player_id: str, version: int) -> None:
        super().__init__(player_id)
        self.schema_version = version
        self.written: list[bytes] = []

    def write(self, frames: bytes) -> None:
        for data in frame_payloads(frames):
            assert_has_form(data, self.schema_version)
        self.written.append(frames)
        super().write(frames)


def seated(runtime: RoomRuntime, name: str, version: int) -> tuple[Seat, VersionedSubscriber]:
    subscriber = VersionedSubscriber(name, version)
    return runtime.seat(SeatRequest(subscriber, name)), subscriber


def test_clients_of_both_versions_have_one_world_and_their_acknowledgements() -> None:
    runtime = create_runtime(Garden)
    both = [seated(runtime, f"p{version}", version) for version in (OLD, NEW)]
    for seq in range(1, 40):
        for seat, _ in both:
            seat.push_input(step_input(seq, dx=1.0))
        runtime.step()
        for seat, subscriber in both:
            assert subscriber.core.acknowledged_seq == seq
            assert x_of(subscriber) == seq
            if seq == 20:
                seat.resync(Resync(0, runtime.tick))
    checksums = {subscriber.core.world.checksum() for _, subscriber in both if subscriber.core.world is not None}
    assert len(checksums) == 1
    assert all(subscriber.core.mismatches == subscriber.core.resyncs == 0 for _, subscriber in both)


def test_each_frame_is_encoded_at_most_once_for_each_version(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[bytes] = []

    def counted(frame: bytes, tick: int) -> bytes:
        converted.append(frame)
        return convert(frame, tick)

    convert = replicator.to_table_frame
    monkeypatch.setattr(replicator, "to_table_frame", counted)
    runtime = create_runtime(Garden)
    new = [seated(runtime, f"new{number}", NEW) for number in range(2)]
    for _ in range(3):
        new[0][0].push_input(step_input(runtime.tick + 1, dx=1.0))
        runtime.step()
    assert converted == [], "without old clients there is nothing to convert"
    old = [seated(runtime, f"old{number}", OLD) for number in range(2)]
    runtime.step()  # with the events of the joins
    for _ in range(3):
        converted.clear()
        new[0][0].push_input(step_input(runtime.tick + 1, dx=1.0))
        runtime.step()
        assert len(converted) == len(set(converted)) == 1
        assert len({subscriber.written[-1] for _, subscriber in old}) == 1
        assert [new[1][1].written[-1]] == converted


def test_a_client_that_resumes_with_another_version_receives_the_form_of_that_version() -> None:
    runtime = create_runtime(Garden)
    seat, subscriber = seated(runtime, "p", NEW)
    for seq, version in enumerate((NEW, OLD, NEW, OLD), start=1):
        if version != subscriber.schema_version:
            seat.disconnected()
            runtime.step()
            subscriber.schema_version = version
            assert subscriber.core.world is not None
            last_tick = subscriber.core.world.tick
            subscriber.core.world.clear_history()
            seat.resumed("r", last_tick)
        seat.push_input(step_input(seq, dx=1.0))
        for _ in range(3):
            runtime.step()
        assert subscriber.core.acknowledged_seq == seq
        assert x_of(subscriber) == seq
    assert subscriber.core.resyncs == 0


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_client_that_was_passed_over_receives_its_form(version: int) -> None:
    runtime = create_runtime(Garden)
    slow_seat, slow = seated(runtime, "slow", version)
    seat, _ = seated(runtime, "other", NEW)
    for seq in range(1, 20):
        slow.is_congested = seq % 5 != 0
        seat.push_input(step_input(seq, dx=1.0))
        slow_seat.push_input(step_input(seq, dx=1.0))
        runtime.step()
    slow.is_congested = False
    runtime.step()
    assert x_of(slow) == 19
    assert slow.core.acknowledged_seq == 19
    assert slow.core.resyncs == 0
