"""Tickets: a signed, short-lived right to take a seat. A shard verifies it without Redis, and accepts it once.

Text: KID.BODY.MAC, where BODY is base64url of the ticket as msgpack and MAC is HMAC-SHA256 over "KID.BODY".
A key signs while it is the current key, and verifies until it is removed from the set. To rotate keys, add the new
key on all shards, make it the current one, and remove the old one when its last ticket has expired. Pure: the caller
passes the time.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping

import msgspec

from tickwire.matchmaking.errors import BadTicket

TICKET_CHARACTERS_MAX = 5120
"""A ticket with the longest labels has 2,300 characters, and the options of a move 1,400 more."""


def new_ticket_id() -> str:
    """Return a unique ticket id."""
    return secrets.token_urlsafe(9)


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """The right of one player to one seat.

    Args:
        expires_at_s: UTC, seconds since 1970.
        is_guest: whether the player is a guest. The id of a guest changes with each connection, so that the ticket
            alone identifies the player.
        ticket_id: unique.
        room_type, name, code, labels, mode: of the room, which the shard creates if it does not exist yet.
        team, skill: of the player in a match.
        options: of a player whom a room has moved, encoded, for `on_join`: they replace those of the client. Empty
            for all others.
    """

    room_id: str
    player_id: str
    shard_id: str
    epoch: int
    expires_at_s: float
    is_guest: bool = False
    ticket_id: str = msgspec.field(default_factory=new_ticket_id)
    room_type: str = ""
    name: str = ""
    code: str = ""
    labels: Mapping[str, str] = {}
    mode: str = ""
    team: int = 0
    skill: float = 0.0
    options: bytes = b""


class TicketKeys(msgspec.Struct, frozen=True):
    """The keys by id, and the id of the key that signs."""

    keys: Mapping[str, bytes]
    current: str

    def __repr__(self) -> str:
        return f"TicketKeys({', '.join(sorted(self.keys))}; current {self.current})"


class UsedTickets:
    """The tickets that this shard has accepted. A ticket can be used once.

    An expired ticket is removed, because it is refused for its age. The number of entries is therefore at most the
    number of tickets that were accepted during the lifetime of one ticket.
    """

    def __init__(self) -> None:
        self._used: dict[str, float] = {}  # in the order in which they were accepted

    def __len__(self) -> int:
        return len(self._used)

    def mark_used(self, ticket: Ticket, now_s: float) -> None:
        """Record that a verified ticket is used.

        Raises:
            BadTicket: the ticket was used before.
        """
        for ticket_id, expires_at_s in list(self._used.items()):
            if expires_at_s > now_s:
                break
            del self._used[ticket_id]
        if ticket.ticket_id in self._used:
            raise BadTicket("the ticket was used before")
        self._used[ticket.ticket_id] = ticket.expires_at_s

    def mark_unused(self, ticket: Ticket) -> None:
        """Make a ticket valid again, because the player did not get the seat through a fault of the server."""
        self._used.pop(ticket.ticket_id, None)


def sign(ticket: Ticket, keys: TicketKeys) -> str:
    """Return the ticket as text for a Redirect."""
    signed = f"{keys.current}.{_to_text(msgspec.msgpack.encode(ticket))}"
    return f"{signed}.{_mac(signed, keys.keys[keys.current])}"


def verify(text: str, keys: TicketKeys, now_s: float) -> Ticket:
    """Return the ticket in a text.

    Raises:
        BadTicket: the ticket is not signed with a known key, was changed, or has expired.
    """
    key_id, _, rest = text.partition(".")
    body, _, mac = rest.partition(".")
    key = keys.keys.get(key_id)
    if len(text) > TICKET_CHARACTERS_MAX or key is None:
        raise BadTicket("the ticket is not signed with a known key")
    if not hmac.compare_digest(mac.encode(), _mac(f"{key_id}.{body}", key).encode()):
        raise BadTicket("the signature of the ticket is invalid")
    try:
        ticket = msgspec.msgpack.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Ticket)
    except (ValueError, RecursionError) as error:  # binascii and msgspec raise ValueErrors
        raise BadTicket("the body of the ticket cannot be decoded") from error
    if now_s >= ticket.expires_at_s:
        raise BadTicket("the ticket has expired")
    return ticket


def _mac(signed: str, key: bytes) -> str:
    return _to_text(hmac.digest(key, signed.encode(), "sha256"))


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
