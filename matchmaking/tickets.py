"""Tickets: a signed, short-lived right to take a seat. A shard checks one without asking Redis.

Text: KID.BODY.MAC, where BODY is base64url of the ticket as msgpack and MAC is HMAC-SHA256 over "KID.BODY".
A key signs while it is the current one and verifies until it is taken out of the set. Pure: the time comes in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

import msgspec

from matchmaking.errors import BadTicket

TICKET_CHARACTERS_MAX = 1024


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """The right of one player to one seat.

    Args:
        expires_at_s: UTC, seconds since 1970.
    """

    room_id: str
    player_id: str
    shard_id: str
    epoch: int
    expires_at_s: float


class TicketKeys(msgspec.Struct, frozen=True):
    """Keys by id, and which one signs."""

    keys: Mapping[str, bytes]
    current: str

    def __repr__(self) -> str:
        return f"TicketKeys({', '.join(sorted(self.keys))}; current {self.current})"


def sign(ticket: Ticket, keys: TicketKeys) -> str:
    """The ticket as text for a Redirect."""
    signed = f"{keys.current}.{_to_text(msgspec.msgpack.encode(ticket))}"
    return f"{signed}.{_mac(signed, keys.keys[keys.current])}"


def verify(text: str, keys: TicketKeys, now_s: float) -> Ticket:
    """The ticket that a text holds.

    Raises:
        BadTicket: it is not one of ours, was changed, or has expired.
    """
    key_id, _, rest = text.partition(".")
    body, _, mac = rest.partition(".")
    key = keys.keys.get(key_id)
    if len(text) > TICKET_CHARACTERS_MAX or key is None:
        raise BadTicket("signed with no key of ours")
    if not hmac.compare_digest(mac.encode(), _mac(f"{key_id}.{body}", key).encode()):
        raise BadTicket("the signature does not fit")
    try:
        ticket = msgspec.msgpack.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Ticket)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise BadTicket("its body cannot be read") from error
    if now_s >= ticket.expires_at_s:
        raise BadTicket("it has expired")
    return ticket


def _mac(signed: str, key: bytes) -> str:
    return _to_text(hmac.digest(key, signed.encode(), "sha256"))


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
