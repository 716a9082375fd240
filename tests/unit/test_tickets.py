"""A ticket grants exactly the right that it was signed for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.matchmaking import BadTicket, Ticket, TicketKeys, UsedTickets, sign, verify
from tickwire.server.rooms.move_request import OPTIONS_BYTES_MAX

OLD = TicketKeys({"k1": b"one" * 11}, "k1")
BOTH = TicketKeys({"k1": b"one" * 11, "k2": b"two" * 11}, "k2")
TICKET = Ticket("room", "player", "shard", 3, 1000.0)


@given(st.text(max_size=40), st.text(max_size=40), st.integers(1, 2**53))
def test_a_signed_ticket_is_verified_unchanged(room: str, player: str, epoch: int) -> None:
    ticket = Ticket(room, player, "shard", epoch, 1000.0)
    assert verify(sign(ticket, BOTH), BOTH, 999.0) == ticket


def test_an_old_key_verifies_until_it_is_retired() -> None:
    text = sign(TICKET, OLD)
    assert verify(text, BOTH, 0.0) == TICKET
    with pytest.raises(BadTicket, match="known key"):
        verify(text, TicketKeys({"k2": b"two" * 11}, "k2"), 0.0)


def test_an_expired_ticket_is_refused() -> None:
    with pytest.raises(BadTicket, match="expired"):
        verify(sign(TICKET, BOTH), BOTH, 1000.0)


def test_any_changed_character_is_refused() -> None:
    text = sign(TICKET, BOTH)
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(BadTicket):
            verify(changed, BOTH, 0.0)


@given(st.text(max_size=200))
def test_any_other_text_raises_bad_ticket(text: str) -> None:
    with pytest.raises(BadTicket):
        verify(text, BOTH, 0.0)


def test_keys_are_not_shown() -> None:
    assert "two" not in repr(BOTH)


def test_a_ticket_is_accepted_once_unless_no_seat_was_taken() -> None:
    admissions = UsedTickets()
    admissions.mark_used(TICKET, 0.0)
    with pytest.raises(BadTicket, match="used"):
        admissions.mark_used(TICKET, 1.0)
    admissions.mark_unused(TICKET)
    admissions.mark_used(TICKET, 2.0)


def test_expired_tickets_are_removed() -> None:
    admissions = UsedTickets()
    for second in range(100):
        admissions.mark_used(Ticket("r", "p", "s", 1, second + 10.0), float(second))
    assert len(admissions) <= 11


def test_ticket_ids_are_unique() -> None:
    assert Ticket("r", "p", "s", 1, 1.0).ticket_id != Ticket("r", "p", "s", 1, 1.0).ticket_id


def test_the_largest_ticket_can_be_verified() -> None:
    labels = {f"{n}" + "k" * 63: "v" * 64 for n in range(8)}
    ticket = Ticket("r" * 12, "p" * 128, "s" * 64, 2**53, 1.0, room_type="t" * 64, name="🏰" * 64, labels=labels)
    assert verify(sign(ticket, BOTH), BOTH, 0.0) == ticket
    ticket = msgspec.structs.replace(ticket, options=bytes(OPTIONS_BYTES_MAX))  # of a player whom a room has moved
    assert verify(sign(ticket, BOTH), BOTH, 0.0) == ticket
