"""Sessions restored from another shard: their owner, and the resume tokens that are accepted."""

from __future__ import annotations

import msgspec
import pytest

from tests.harness.runtimes import create_runtime
from tests.harness.session_simulator import FakeSessionContext
from tickwire import Room
from tickwire.limits import REPLIES_MAX
from tickwire.schemas.event_frames import encode_event
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.session import Session
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.persistence.world_codec import encode_world, recover_world
from tickwire.server.rooms.checkpoint import SeatCheckpoint, SessionCheckpoint

FRAMES = tuple(encode_event(name, b"1").with_number(number) for number, name in ((6, "one"), (7, "two")))
KEPT = SessionCheckpoint("s", "p", False, 3, 5, 3, 2, 7, FRAMES, (Reply(1, ok=True, payload=b"\1"),))


def settled(context: FakeSessionContext, kept: SessionCheckpoint) -> Session | None:
    """A session that has come from another shard, for good."""
    session = context.registry.restore(kept)
    if session is not None:
        context.registry.settle(session)
    return session


async def test_restored_session_is_disconnected_and_unchanged() -> None:
    context = FakeSessionContext(EdgeSettings())
    session = settled(context, KEPT)
    assert session is not None
    assert (session.session_id, session.player_id, session.is_guest, session.connection) == ("s", "p", False, None)
    assert session.to_checkpoint() == msgspec.structs.replace(KEPT, events_restored_at=7)
    assert context.registry.disconnected_count == 1
    assert settled(context, KEPT) is None, "there is one of that name"
    context.registry.expire(context.settings.resume_window_s + 1)
    assert len(context.registry) == 0, "the resume window has passed"


@pytest.mark.parametrize(
    ("generation", "is_good"),
    [(2, False), (3, True), (4, False), (5, True), (6, True), (9, True)],
    ids=["long used", "used last", "skipped", "given last", "given since", "given long since"],
)
async def test_tokens_issued_after_the_checkpoint_are_accepted(generation: int, is_good: bool) -> None:
    context = FakeSessionContext(EdgeSettings())
    session = settled(context, KEPT)
    assert session is not None
    token = context.tokens.sign("s", generation)
    assert (context.registry.find(token) is session) == is_good
    if is_good:
        assert session.generations.reserve() > max(generation, 5), "the next one is newer than any"


async def test_restored_session_runs_no_command_twice() -> None:
    context = FakeSessionContext(EdgeSettings())
    session = settled(context, KEPT)
    assert session is not None
    for id in range(2, REPLIES_MAX + 5):
        session.commands.replies.add(Reply(id, ok=True))
    elsewhere = FakeSessionContext(EdgeSettings())
    again = settled(elsewhere, session.to_checkpoint())
    assert again is not None
    sent: list[Reply] = []
    again.commands.handle(Command(2, "spend"), None, sent.append)
    again.commands.handle(Command(REPLIES_MAX + 4, "spend"), None, sent.append)
    assert [(reply.ok, reply.error) for reply in sent] == [(False, ErrorCode.COMMAND_TOO_OLD), (True, ErrorCode(0))]


def context_of(policy: str) -> FakeSessionContext:
    context = FakeSessionContext(EdgeSettings(duplicate_sessions=policy))  # type: ignore[arg-type]
    context.registry._duplicate_sessions = policy  # type: ignore[assignment]
    return context


def opened(context: FakeSessionContext, at_us: int) -> Session:
    session = Session(Identity("p", False), schema_version=3, context=context)  # type: ignore[arg-type]
    session.session_id, session.opened_us = "here", at_us
    context.registry._insert(session)
    return session


@pytest.mark.parametrize(
    ("policy", "opened_here_us", "stay"),
    [
        ("replace", 10, {"s"}),
        ("replace", 30, {"here"}),
        ("refuse", 10, {"s"}),
        ("refuse", 30, {"here"}),
        ("allow", 10, {"s", "here"}),
    ],
)
async def test_policy_applies_to_sessions_of_a_player_that_meet(
    policy: str, opened_here_us: int, stay: set[str]
) -> None:
    context = context_of(policy)
    opened(context, opened_here_us)
    restored = context.registry.restore(msgspec.structs.replace(KEPT, opened_us=20))
    assert restored is not None
    assert context.registry.find(context.tokens.sign("s", 5)) is None, "before the room is ours no client finds it"
    assert len(context.registry) == 1, "and nothing is decided"
    context.registry.settle(restored)
    alive = {session.session_id for session in context.registry.find_by_player("p")}
    assert alive == stay


@pytest.mark.parametrize("policy", ["replace", "refuse"])
async def test_redirected_session_ends_when_its_player_returns(policy: str) -> None:
    context = context_of(policy)
    left_behind = opened(context, 30)  # by a shard whose clock is ahead
    left_behind.is_redirected = True
    restored = settled(context, msgspec.structs.replace(KEPT, opened_us=20))
    assert restored is not None
    assert context.registry.find_by_player("p") == [restored]
    restored.is_redirected = True
    context.registry.add(newer := Session(Identity("p", False), schema_version=3, context=context))  # type: ignore[arg-type]
    assert context.registry.find_by_player("p") == [newer]


@pytest.mark.parametrize(
    ("seat_changes", "generation", "is_restored"),
    [(2, 9, False), (3, 4, False), (3, 5, False), (3, 6, True), (4, 1, True)],
)
async def test_newer_copy_of_a_session_replaces_the_older(
    seat_changes: int, generation: int, is_restored: bool
) -> None:
    context = context_of("replace")
    kept = msgspec.structs.replace(KEPT, seat_changes=3)
    first = settled(context, kept)
    other = msgspec.structs.replace(kept, seat_changes=seat_changes, generation=generation)
    second = settled(context, other)
    assert (second is not None) == is_restored
    assert context.registry.get("s") is (second if is_restored else first)
    assert len(context.registry) == 1


async def test_session_of_a_room_that_was_not_restored_leaves_no_trace() -> None:
    context = context_of("replace")
    here = opened(context, 10)
    copy = context.registry.restore(msgspec.structs.replace(KEPT, session_id="here"))
    assert copy is not None
    copy.end("the room did not come", counted_as="moved")
    assert context.registry.get("here") is here
    assert not context.counters.ended


async def test_events_after_a_restored_save_are_not_sent_twice() -> None:
    """Restored at 5, saved with 6 and 7 waiting, resumed: the client has both when the shard is lost."""
    kept = msgspec.structs.replace(KEPT, events_restored_at=5)
    room = create_runtime(Room, name="n")
    state = msgspec.structs.replace(room.checkpoint(), seats=(SeatCheckpoint("p", kept),))
    (seat,) = recover_world(encode_world("room", "n", "r", state)).seats
    session = settled(FakeSessionContext(EdgeSettings()), seat.session)
    assert session is not None
    assert session.outbox.rewind(7) == 0
    assert session.outbox.unsent == 0
