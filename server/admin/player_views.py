"""The types of the admin API's operations on players, and the interface that runs them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from tickwire.server.admin.views import Affected, BanView, Kick, Response

Position = tuple[datetime.datetime, str]
"""The time and the key of a transaction."""


class PlayerSummary(Response, frozen=True):
    """A player that a search has found; `identities` are empty without an account."""

    player_id: str
    has_account: bool
    identities: Sequence[str] = ()
    created_at: datetime.datetime | None = None


class LinkedIdentityView(Response, frozen=True):
    """An identity of an account."""

    provider: str
    subject: str
    linked_at: datetime.datetime


class AccountDetail(Response, frozen=True):
    """An account.

    Args:
        state: active, merging, merged or deleting.
        merged_into: the player into whose account this one was merged; empty if it was not.
        merged_from: the players whose accounts were merged into this one.
    """

    created_at: datetime.datetime
    state: str
    identities: Sequence[LinkedIdentityView]
    merged_into: str = ""
    merged_from: Sequence[str] = ()


class PresenceView(Response, frozen=True):
    """The session of a player, on whichever shard."""

    shard_id: str
    session_id: str
    opened_at: datetime.datetime | None
    is_connected: bool
    room_id: str = ""
    room_type: str = ""


class PlayerView(Response, frozen=True):
    """A player.

    Args:
        account: None without one: the player has tokens of an external issuer, or is a guest.
        ban: the ban in force; None without one.
        presence: None if the player has no session, or if Redis does not answer.
        is_presence_known: whether Redis has answered.
        version: the version of the stored record; 0 if there is none.
        holdings: amounts by item.
        profile: the data of the game.
    """

    player_id: str
    account: AccountDetail | None
    ban: BanView | None
    presence: PresenceView | None
    is_presence_known: bool
    version: int
    holdings: dict[str, int]
    profile: dict[str, Any]


class LedgerEntryView(Response, frozen=True):
    """A committed transaction, with the changes of one player.

    Args:
        key: the idempotency key.
        room: the fence of the room that has committed it.
        changes: amounts by item; below 0 if the player has lost them.
    """

    key: str
    at: datetime.datetime
    session_id: str
    room: str
    changes: dict[str, int]


class Deleted(Response, frozen=True):
    """The number of deleted items by kind."""

    deleted: Annotated[Mapping[str, int], msgspec.Meta(description="items by kind")]


class PlayerOperations(Protocol):
    """Runs the requests of the admin API on players.

    Methods raise NotFound if the player does not exist, and another TickwireError if the request cannot be fulfilled.
    """

    async def search(self, text: str, limit: int) -> list[PlayerSummary]:
        """Return at most `limit` players whose id or identity begins with a text."""
        ...

    async def get(self, player_id: str) -> PlayerView:
        """Return a player."""
        ...

    async def list_ledger(self, player_id: str, limit: int, after: Position | None) -> list[LedgerEntryView]:
        """Return at most `limit` transactions of a player, the newest first."""
        ...

    async def kick(self, player_id: str, request: Kick) -> Affected:
        """End the sessions of a player, on whichever shard."""
        ...

    async def unlink(self, player_id: str, provider: str, subject: str) -> AccountDetail:
        """Remove an identity from an account, and end the logins of its player."""
        ...

    async def delete(self, player_id: str) -> Deleted:
        """Delete a player with its account and all its data."""
        ...
