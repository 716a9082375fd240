"""Events are numbered, sent once, kept until they are known to have arrived, and never more than so many."""

from __future__ import annotations

from tickwire.schemas.codec import decode_server
from tickwire.schemas.event_frames import encode_event
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Event
from tickwire.server.rooms.outbox import EVENT_BYTES_MAX, EVENTS_MAX, UNSENT_MAX, Outbox


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


def test_events_are_taken_once_and_in_order() -> None:
    outbox = filled(3)
    assert numbers(outbox.dequeue()) == [1, 2, 3]
    assert outbox.dequeue() == b""
    outbox.push(encode_event("e", b""))
    assert numbers(outbox.dequeue()) == [4]


def test_a_rewind_sends_again_what_was_not_seen() -> None:
    outbox = filled(5)
    outbox.dequeue()
    outbox.push(encode_event("e", b""))
    assert outbox.rewind(2) == 0
    assert numbers(outbox.dequeue()) == [3, 4, 5, 6]


def test_what_is_acknowledged_is_forgotten_and_what_was_not_sent_is_not() -> None:
    outbox = filled(3)
    outbox.dequeue()
    outbox.push(encode_event("e", b""))
    outbox.acknowledge(2)
    assert len(outbox) == 2
    outbox.acknowledge(99)
    assert (len(outbox), outbox.unsent) == (1, 1), "a client cannot have what it was never sent"
    outbox.acknowledge(0)
    assert numbers(outbox.dequeue()) == [4]


def test_the_oldest_are_forgotten_above_the_limit_and_counted_on_the_way_back() -> None:
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


def test_what_waits_for_a_write_has_a_bound_in_events_and_bytes() -> None:
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


def test_events_that_are_forgotten_unsent_are_noticed_until_the_client_is_told() -> None:
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


def test_a_client_that_has_seen_more_than_there_was_gets_what_comes() -> None:
    outbox = filled(2)
    outbox.dequeue()
    assert outbox.rewind(1000) == 0
    outbox.push(encode_event("e", b""))
    assert numbers(outbox.dequeue()) == [3]


def test_numbers_go_on_where_a_lost_shard_had_come_to() -> None:
    """What was kept is a moment old: the client has seen more."""
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
    assert kept.rewind(9) == 0, "once it has come back it is as any other"
    kept.push(encode_event("e", b""))
    assert numbers(kept.dequeue()) == [4]

    kept = Outbox()
    kept.restore(before.last_number, before.frames)
    kept.rewind(2**32 - 1)
    kept.push(encode_event("e", b""))
    assert kept.last_number == 4, "nobody is that far ahead"


def names(frames: bytes) -> list[tuple[int, str]]:
    found = []
    for payload in frame_payloads(frames):
        event = decode_server(payload)
        assert isinstance(event, Event)
        found.append((event.number, event.name))
    return found


def restored(last_number: int, *since: str, payload: bytes = b"") -> Outbox:
    """An outbox as it was when its shard was lost, and what has happened since."""
    outbox = Outbox()
    outbox.restore(last_number, filled(last_number).frames)
    for name in since:
        outbox.push(encode_event(name, payload))
    return outbox


def test_what_happens_after_a_crash_never_has_a_number_that_was_given_out_before_it() -> None:
    """The shard that was lost had sent 4 and 5; nobody has kept them. What happens since is other news."""
    for since in ((), ("a",), ("a", "b"), ("a", "b", "c", "d")):
        outbox = restored(3, *since)
        assert outbox.rewind(5) == 0
        assert names(outbox.dequeue()) == [(6 + at, name) for at, name in enumerate(since)]
        outbox.push(encode_event("next", b""))
        assert names(outbox.dequeue()) == [(6 + len(since), "next")]


def test_long_events_keep_what_is_in_them_under_their_new_numbers() -> None:
    outbox = restored(3, "a", "b", payload=b"x" * 70_000)
    outbox.rewind(9)
    assert names(outbox.dequeue()) == [(10, "a"), (11, "b")]


def test_what_a_crash_and_the_limit_have_cost_is_counted() -> None:
    outbox = restored(3, *["e"] * (EVENTS_MAX + 7))
    assert outbox.rewind(5) == 7
    assert numbers(outbox.dequeue())[0] == 6 + 7


def test_after_a_clean_move_numbers_go_on_also_over_a_second_loss() -> None:
    outbox = restored(3, "a")
    assert outbox.rewind(2) == 0
    assert numbers(outbox.dequeue()) == [3, 4]
    outbox.push(encode_event("b", b""))
    assert outbox.rewind(4) == 0
    assert names(outbox.dequeue()) == [(5, "b")]


def test_events_that_wait_for_a_client_over_a_loss_and_a_move_come_once() -> None:
    """Restored after a crash at 3, moved to a third shard before the client, which has seen 5, has come back."""
    recovered = restored(3, "a", "b")
    moved = Outbox()
    moved.restore(recovered.last_number, recovered.frames, restored_at=recovered.restored_at)
    moved.push(encode_event("c", b""))
    assert moved.rewind(5) == 0
    assert names(moved.dequeue()) == [(6, "a"), (7, "b"), (8, "c")]
    assert moved.restored_at is None


def test_a_stored_frame_that_cannot_be_read_costs_it_and_the_older_ones_and_the_client_is_told() -> None:
    frames = list(filled(5).frames)
    frames[2] = b"not a frame"
    outbox = Outbox()
    outbox.restore(5, frames)
    assert outbox.rewind(0) == 3
    assert numbers(outbox.dequeue()) == [4, 5]
