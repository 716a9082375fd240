"""Events are numbered, sent once, kept until they are acknowledged, and limited in number and size."""

from __future__ import annotations

import pytest

from tickwire.schemas.codec import decode_server
from tickwire.schemas.event_frames import encode_event
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Event
from tickwire.server.rooms.outbox import EVENT_BYTES_MAX, EVENTS_MAX, UNSENT_MAX, Outbox

pytestmark = pytest.mark.usefixtures("each_kernel")


def numbers(frames: bytes) -> list[int]:
    found = []
    for payload in frame_payloads(frames):
        event = decode_server(payload)
        assert isinstance(event, Event)
        found.append(event.number)
    return found


def filled(count: int, payload: bytes = b"") -> Outbox:
    outbox = Outbox()
    for _ in range(count):
        outbox.push(encode_event("e", payload))
    return outbox


def test_events_are_dequeued_once_and_in_order() -> None:
    outbox = filled(3)
    assert numbers(outbox.dequeue()) == [1, 2, 3]
    assert outbox.dequeue() == b""
    outbox.push(encode_event("e", b""))
    assert numbers(outbox.dequeue()) == [4]


def test_an_outbox_that_becomes_empty_shares_no_events_with_others() -> None:
    first, second = filled(1), filled(1)
    first.dequeue()
    second.dequeue()
    first.acknowledge(1)
    second.acknowledge(1)
    first.push(encode_event("e", b""))
    assert (len(first), len(second), len(Outbox())) == (1, 0, 0)
    assert numbers(first.dequeue()) == [2]


def test_a_rewind_sends_unseen_events_again() -> None:
    outbox = filled(5)
    outbox.dequeue()
    outbox.push(encode_event("e", b""))
    assert outbox.rewind(2) == 0
    assert numbers(outbox.dequeue()) == [3, 4, 5, 6]


def test_an_acknowledgement_discards_sent_events_only() -> None:
    outbox = filled(3)
    outbox.dequeue()
    outbox.push(encode_event("e", b""))
    outbox.acknowledge(2)
    assert len(outbox) == 2
    outbox.acknowledge(99)
    assert (len(outbox), outbox.unsent) == (1, 1), "a client cannot have what it was never sent"
    outbox.acknowledge(0)
    assert numbers(outbox.dequeue()) == [4]


def test_the_oldest_events_above_the_limit_are_discarded_and_counted_on_resume() -> None:
    outbox = filled(EVENTS_MAX + 7)
    assert len(outbox) == EVENTS_MAX
    assert outbox.rewind(3) == 4
    assert numbers(outbox.dequeue())[0] == 8


def test_the_limit_is_of_bytes_too_but_the_newest_stays() -> None:
    outbox = filled(10, bytes(EVENT_BYTES_MAX // 4))
    assert 0 < len(outbox) < 5
    outbox.push(encode_event("e", bytes(EVENT_BYTES_MAX)))
    assert len(outbox) == 1
    assert outbox.rewind(0) == 10


def test_unsent_events_are_bounded_in_number_and_bytes() -> None:
    small, large = encode_event("e", b"1"), encode_event("e", bytes(EVENT_BYTES_MAX // 2))
    assert filled(UNSENT_MAX - 1).can_hold(small)
    outbox = filled(UNSENT_MAX)
    assert not outbox.can_hold(small)
    outbox.dequeue()
    assert outbox.can_hold(small)
    outbox.push(large)
    assert outbox.can_hold(small)
    assert not outbox.can_hold(large)
    outbox.retract(outbox.last_number - 1)
    assert outbox.can_hold(large)


def test_discarded_unsent_events_are_flagged_until_the_client_resumes() -> None:
    outbox = filled(EVENTS_MAX)
    assert not outbox.has_lost_unsent
    outbox.dequeue()
    outbox.push(encode_event("e", b"1"))
    assert not outbox.has_lost_unsent, "what was forgotten had been sent"
    for _ in range(EVENTS_MAX):
        outbox.push(encode_event("e", b"1"))
    assert outbox.has_lost_unsent
    assert outbox.rewind(EVENTS_MAX) == 1
    assert not outbox.has_lost_unsent
    assert len(numbers(outbox.dequeue())) == EVENTS_MAX


def test_an_outbox_continues_with_the_events_of_another() -> None:
    outbox = filled(3)
    outbox.dequeue()
    outbox.append(filled(2))
    assert numbers(outbox.dequeue()) == [4, 5]
    assert outbox.rewind(1) == 0
    assert numbers(outbox.dequeue()) == [2, 3, 4, 5]


@pytest.mark.parametrize("is_sent", [True, False])
def test_events_that_another_outbox_has_lost_are_missing_in_the_numbers(is_sent: bool) -> None:
    outbox = filled(3)
    if is_sent:
        outbox.dequeue()
    outbox.append(filled(EVENTS_MAX + 10))
    assert numbers(outbox.dequeue()) == list(range(14, 14 + EVENTS_MAX))
    assert outbox.rewind(3) == 10
    assert numbers(outbox.dequeue()) == list(range(14, 14 + EVENTS_MAX))


def test_a_client_ahead_of_a_restored_outbox_receives_all_new_events() -> None:
    outbox = filled(2)
    outbox.dequeue()
    assert outbox.rewind(1000) == 0
    outbox.push(encode_event("e", b""))
    assert numbers(outbox.dequeue()) == [3]


def test_numbers_continue_after_those_of_a_lost_shard() -> None:
    """The saved events are older than the client: it has received later ones."""
    before = filled(3)
    kept = Outbox()
    kept.restore(before.last_number, before.frames)
    assert (kept.last_number, len(kept)) == (3, 3)
    assert kept.rewind(5) == 0
    kept.push(encode_event("e", b""))
    assert numbers(kept.dequeue()) == [6], "a number that the client has seen is never given again"

    kept = Outbox()
    kept.restore(before.last_number, before.frames)
    assert kept.rewind(1) == 0
    assert numbers(kept.dequeue()) == [2, 3]
    assert kept.rewind(9) == 0, "after a resume it is like any other"
    kept.push(encode_event("e", b""))
    assert numbers(kept.dequeue()) == [4]

    kept = Outbox()
    kept.restore(before.last_number, before.frames)
    kept.rewind(2**32 - 1)
    kept.push(encode_event("e", b""))
    assert kept.last_number == 4, "no client is that far ahead"


def names(frames: bytes) -> list[tuple[int, str]]:
    found = []
    for payload in frame_payloads(frames):
        event = decode_server(payload)
        assert isinstance(event, Event)
        found.append((event.number, event.name))
    return found


def restored(last_number: int, *since: str, payload: bytes = b"") -> Outbox:
    """Return an outbox restored after the loss of its shard, with later events."""
    outbox = Outbox()
    outbox.restore(last_number, filled(last_number).frames)
    for name in since:
        outbox.push(encode_event(name, payload))
    return outbox


def test_events_after_a_crash_never_reuse_a_number() -> None:
    """The lost shard had sent 4 and 5 without saving them. Later events are different ones."""
    for since in ((), ("a",), ("a", "b"), ("a", "b", "c", "d")):
        outbox = restored(3, *since)
        assert outbox.rewind(5) == 0
        assert names(outbox.dequeue()) == [(6 + at, name) for at, name in enumerate(since)]
        outbox.push(encode_event("next", b""))
        assert names(outbox.dequeue()) == [(6 + len(since), "next")]


def test_renumbered_long_events_keep_their_payload() -> None:
    outbox = restored(3, "a", "b", payload=b"x" * 70_000)
    outbox.rewind(9)
    assert names(outbox.dequeue()) == [(10, "a"), (11, "b")]


def test_events_lost_to_a_crash_and_to_the_limit_are_counted() -> None:
    outbox = restored(3, *["e"] * (EVENTS_MAX + 7))
    assert outbox.rewind(5) == 7
    assert numbers(outbox.dequeue())[0] == 6 + 7


def test_numbers_continue_after_a_move_and_a_later_crash() -> None:
    outbox = restored(3, "a")
    assert outbox.rewind(2) == 0
    assert numbers(outbox.dequeue()) == [3, 4]
    outbox.push(encode_event("b", b""))
    assert outbox.rewind(4) == 0
    assert names(outbox.dequeue()) == [(5, "b")]


def test_events_waiting_over_a_crash_and_a_move_are_sent_once() -> None:
    """Restored after a crash at 3, and moved to a third shard before the client, which has seen 5, resumes."""
    recovered = restored(3, "a", "b")
    moved = Outbox()
    moved.restore(recovered.last_number, recovered.frames, restored_at=recovered.restored_at)
    moved.push(encode_event("c", b""))
    assert moved.rewind(5) == 0
    assert names(moved.dequeue()) == [(6, "a"), (7, "b"), (8, "c")]
    assert moved.restored_at is None


def test_an_undecodable_stored_frame_discards_it_and_older_ones_and_is_reported() -> None:
    frames = list(filled(5).frames)
    frames[2] = b"not a frame"
    outbox = Outbox()
    outbox.restore(5, frames)
    assert outbox.rewind(0) == 3
    assert numbers(outbox.dequeue()) == [4, 5]
