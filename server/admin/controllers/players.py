"""Players of the whole fleet, for support: accounts, sessions, holdings and transactions."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter, SkipValidation

from tickwire.server.admin.controllers.sessions import KICK
from tickwire.server.admin.player_views import (
    AccountDetail,
    Deleted,
    LedgerEntryView,
    PlayerOperations,
    PlayerSummary,
    PlayerView,
)
from tickwire.server.admin.views import Affected, Kick
from tickwire.server.http.cursors import PAGE_ITEMS, CursorCodec, Page, PageCursor, PageLimit
from tickwire.server.http.optional_body import OptionalBody

Players = NamedDependency[SkipValidation[PlayerOperations]]
Search = Annotated[
    str,
    QueryParameter(min_length=1, max_length=256, description="the beginning of a player id or of an identity"),
]
_Key = Annotated[str, msgspec.Meta(max_length=512)]
_LEDGER: CursorCodec[tuple[datetime.datetime, str]] = CursorCodec("player ledger", tuple[datetime.datetime, _Key])


class PlayerController(Controller):
    """Finds players, and acts on them."""

    path = "/players"
    tags = ("players",)

    @get("/", summary="Find players by the beginning of their id or of an identity", role="read")
    async def search_players(
        self, players: Players, search: Search, limit: PageLimit = PAGE_ITEMS
    ) -> list[PlayerSummary]:
        """Return players; an identity is `provider:subject`, or a subject such as an e-mail address."""
        return await players.search(search, limit)

    @get("/{player_id:str}", summary="Describe a player", role="read")
    async def get_player(self, players: Players, player_id: FromPath[str]) -> PlayerView:
        """Return the account, the ban, the session, the holdings and the profile of a player."""
        return await players.get(player_id)

    @get("/{player_id:str}/ledger", summary="List the transactions of a player, the newest first", role="read")
    async def list_player_ledger(
        self, players: Players, player_id: FromPath[str], limit: PageLimit = PAGE_ITEMS, cursor: PageCursor = ""
    ) -> Page[LedgerEntryView]:
        """Return the committed transactions that have changed the holdings of a player."""
        found = await players.list_ledger(player_id, limit + 1, _LEDGER.decode(cursor))
        return _LEDGER.page(found, limit, lambda entry: (entry.at, entry.key))

    @post(
        "/{player_id:str}/kick",
        summary="End the sessions of a player, on whichever shard; the player may open another",
        status_code=200,
        operation_class=OptionalBody,
        role="support",
    )
    async def kick_player(self, players: Players, player_id: FromPath[str], data: JSONBody[Kick] = KICK) -> Affected:
        """End the sessions of a player within a second."""
        return await players.kick(player_id, data)

    @delete(
        "/{player_id:str}/identities/{provider:str}/{subject:str}",
        summary="Remove an identity from the account of a player, and end all logins of the player",
        status_code=200,
        role="support",
    )
    async def unlink_player_identity(
        self, players: Players, player_id: FromPath[str], provider: FromPath[str], subject: FromPath[str]
    ) -> AccountDetail:
        """Remove an identity; the last one of an account cannot be removed."""
        return await players.unlink(player_id, provider, subject)

    @delete(
        "/{player_id:str}",
        summary="Delete a player with its account and all its data",
        status_code=200,
        role="admin",
    )
    async def delete_player(self, players: Players, player_id: FromPath[str]) -> Deleted:
        """Delete a player. It cannot be undone; the audit trail stays."""
        return await players.delete(player_id)
