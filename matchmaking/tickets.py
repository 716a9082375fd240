"""Tickets: a signed, short-lived right to take a seat. A shard checks one without asking Redis, and admits once.

Text: KID.BODY.MAC, where BODY is base64url of the ticket as msgpack and MAC is HMAC-SHA256 over "KID.BODY".
A key signs while it is the current one and verifies until it is taken out of the set, so a new key is first given to
all shards, then made the current one, and the old one is retired when its last ticket has expired. Pure: the time
comes in.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping

import msgspec

from tickwire.matchmaking.errors import BadTicket

TICKET_CHARACTERS_MAX = 3072


def new_ticket_id() -> str:
    """Return an id that no other ticket has."""
    return secrets.token_urlsafe(9)


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """The right of one player to one seat.

    Args:
        expires_at_s: UTC, seconds since 1970.
        is_guest: the player is a guest, whose id is another on each connection: the ticket alone says who it is.
        ticket_id: no two tickets have the same.
        room_type, name, code, labels, mode: of the room, which the shard makes when it is not there yet.
        team, skill: in a match.
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


class TicketKeys(msgspec.Struct, frozen=True):
    """Keys by id, and which one signs."""

    keys: Mapping[str, bytes]
    current: str

    def __repr__(self) -> str:
        return f"TicketKeys({', '.join(sorted(self.keys))}; current {self.current})"


class UsedTickets:
    """Which tickets this shard has let in: a ticket is good once.

    A ticket that expires is forgotten: it is refused for its age from then on. So this holds as many as were let in
    during the life of a ticket, and no more.
    """

    def __init__(self) -> None:
        self._admitted: dict[str, float] = {}  # in the order in which they were let in

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, ticket: Ticket, now_s: float) -> None:
        """Takes a verified ticket.

        Raises:
            BadTicket: it was used before.
        """
        for ticket_id, expires_at_s in list(self._admitted.items()):
            if expires_at_s > now_s:
                break
            del self._admitted[ticket_id]
        if ticket.ticket_id in self._admitted:
            raise BadTicket("it was used before")
        self._admitted[ticket.ticket_id] = ticket.expires_at_s

    def withdraw(self, ticket: Ticket) -> None:
        """It did not come to a seat after all, through no fault of the player: the ticket is good again."""
        self._admitted.pop(ticket.ticket_id, None)


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
    except (ValueError, RecursionError) as error:  # binascii's and msgspec's are ValueErrors
        raise BadTicket("its body cannot be read") from error
    if now_s >= ticket.expires_at_s:
        raise BadTicket("it has expired")
    return ticket


def _mac(signed: str, key: bytes) -> str:
    return _to_text(hmac.digest(key, signed.encode(), "sha256"))


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
