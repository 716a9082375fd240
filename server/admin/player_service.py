"""Runs the requests of the admin API on players: their accounts, sessions, holdings and transactions.

A shard without `accounts.secret` shows accounts, and cannot change them.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable

import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.matchmaking import MatchmakingError
from tickwire.matchmaking.presence import Presence, PresenceRecord
from tickwire.server.admin.player_views import (
    AccountDetail,
    Deleted,
    LedgerEntryView,
    LinkedIdentityView,
    PlayerSummary,
    PlayerView,
    Position,
    PresenceView,
)
from tickwire.server.admin.presenters import to_ban_view
from tickwire.server.admin.views import Affected, Kick
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import Conflict, InvalidArgument, Locked, Malformed, NotFound, Unauthorized, Unavailable
from tickwire.server.placement.client_errors import to_client_error
from tickwire.server.storage import MongoStore, PlayerSearch
from tickwire.server.storage.export_import import delete_player
from tickwire.services.accounts.account import PlayerAccount
from tickwire.services.accounts.account_rules import PendingOperation
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.identities import EMAIL, identity_key, normalise_email, normalise_subject
from tickwire.services.accounts.pending_operations import PendingOperations
from tickwire.services.accounts.ports import TokenIssuer

KICK_REASON = "the account was deleted"


class AccountChanges(msgspec.Struct, frozen=True, eq=False):
    """The parts that change accounts."""

    pending: PendingOperations
    tokens: TokenIssuer


class PlayerContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts of a shard that the operations on players use.

    Args:
        shard_id: this shard.
        store: MongoDB.
        accounts: the accounts.
        changes: changes accounts; None without `accounts.secret`.
        presence: the sessions of the fleet.
        sessions: those of this shard.
        now_s: the fleet's clock: UTC, seconds since 1970.
    """

    shard_id: str
    store: MongoStore
    accounts: AccountStore
    changes: AccountChanges | None
    presence: Presence
    sessions: SessionRegistry
    now_s: Callable[[], float]


class PlayerService:
    """Implements `tickwire.server.admin.player_views.PlayerOperations`, which describes the methods.

    Args:
        context: the parts of the shard.
    """

    def __init__(self, context: PlayerContext) -> None:
        self._context = context
        self._search = PlayerSearch(context.store.database, context.store.calls)

    async def search(self, text: str, limit: int) -> list[PlayerSummary]:
        found = {
            document["_id"]: PlayerSummary(
                document["_id"],
                True,
                [one["key"] for one in document.get("identities", ())],
                document.get("created_at"),
            )
            for document in await self._search.find_accounts(_prefixes(text), limit)
        }
        for player_id in await self._search.find_players(text, limit):
            found.setdefault(player_id, PlayerSummary(player_id, False))
        return list(found.values())[:limit]

    async def get(self, player_id: str) -> PlayerView:
        _check_id(player_id)
        context = self._context
        account = await context.accounts.find(player_id)
        record = (await context.store.players.load([player_id]))[player_id]
        ban = await context.store.bans.find(player_id)
        now = datetime.datetime.fromtimestamp(context.now_s(), datetime.UTC)
        in_force = to_ban_view(ban) if ban is not None and ban.until > now else None
        presence, is_known = await self._find_presence(player_id)
        if account is None and not record.version and ban is None and presence is None:
            raise _no_player(player_id)
        return PlayerView(
            player_id,
            to_account_view(account) if account is not None else None,
            in_force,
            presence,
            is_known,
            record.version,
            record.holdings,
            record.profile,
        )

    async def list_ledger(self, player_id: str, limit: int, after: Position | None) -> list[LedgerEntryView]:
        _check_id(player_id)
        found = []
        for document in await self._search.list_ledger(player_id, limit, after):
            changes: Counter[str] = Counter()
            for entry in document["entries"]:
                changes[entry["item"]] += int(entry["amount"])
            session_id, room = document.get("session_id", ""), str(document.get("fence", ""))
            found.append(LedgerEntryView(document["_id"], document["at"], session_id, room, dict(changes)))
        return found

    async def kick(self, player_id: str, request: Kick) -> Affected:
        _check_id(player_id)
        sessions = list(self._context.sessions.find_by_player(player_id))
        for session in sessions:
            session.kick(request.reason)
        try:
            record = await self._context.presence.get(player_id)
            if record is None or record.shard_id == self._context.shard_id:
                return Affected(len(sessions))
            delivery = await self._context.presence.kick(player_id, request.reason)
        except MatchmakingError as error:
            raise to_client_error(error) from error
        if delivery.status == "full":
            raise Unavailable("the shard of the player has too many notices, retry", retry_after_ms=1000)
        return Affected(len(sessions) + (delivery.status == "sent"))

    async def unlink(self, player_id: str, provider: str, subject: str) -> AccountDetail:
        _check_id(player_id)
        changes = self._changes()
        try:
            key = identity_key(provider, normalise_subject(provider, subject))
            account = await self._context.accounts.unlink(player_id, key)
        except Unauthorized as error:
            raise _no_player(player_id) from error
        except PendingOperation as error:
            raise Locked("a merge or a deletion of the account is under way, retry", retry_after_ms=1000) from error
        await changes.tokens.end_all(player_id)
        return to_account_view(account)

    async def delete(self, player_id: str) -> Deleted:
        _check_id(player_id)
        await self.kick(player_id, Kick(KICK_REASON))
        if self._context.changes is None and await self._context.accounts.find(player_id) is None:
            return Deleted(await delete_player(self._context.store, player_id))
        return Deleted(dict(await self._changes().pending.delete_player(player_id)))

    def _changes(self) -> AccountChanges:
        if self._context.changes is None:
            raise Conflict("this shard cannot change accounts: accounts.secret is not set")
        return self._context.changes

    async def _find_presence(self, player_id: str) -> tuple[PresenceView | None, bool]:
        """Return the session of a player, and whether it is known."""
        try:
            record = await self._context.presence.get(player_id)
        except MatchmakingError:
            return None, False
        if record is not None:
            return _to_presence_view(record), True
        for session in self._context.sessions.find_by_player(player_id):  # a guest, or a shard that keeps no presence
            is_connected = session.connection is not None
            view = PresenceView(self._context.shard_id, session.session_id, None, is_connected, session.room_id)
            return view, True
        return None, True


def to_account_view(account: PlayerAccount) -> AccountDetail:
    """Return the view of an account, without its secrets."""
    state = "active"
    if account.is_deleting:
        state = "deleting"
    elif account.merged_into:
        state = "merged"
    elif account.merging_into:
        state = "merging"
    return AccountDetail(
        account.created_at,
        state,
        [LinkedIdentityView(one.provider, one.subject, one.linked_at) for one in account.identities],
        account.merged_into or account.merging_into,
        account.merged_from,
    )


def _to_presence_view(record: PresenceRecord) -> PresenceView:
    opened_at = datetime.datetime.fromtimestamp(record.opened_us / 1e6, datetime.UTC)
    return PresenceView(
        record.shard_id, record.session_id, opened_at, record.is_connected, record.room_id, record.room_type
    )


def _prefixes(text: str) -> list[str]:
    """Return the beginnings of ids and identity keys that match a search text."""
    prefixes = [text]
    if "@" in text and ":" not in text:
        try:
            prefixes.append(identity_key(EMAIL, normalise_email(text)))
        except InvalidArgument:
            prefixes.append(identity_key(EMAIL, text.casefold()))
    elif ":" not in text:
        prefixes += [identity_key(provider, text) for provider in ("device", "email", "steam", "apple")]
    return prefixes


def _check_id(player_id: str) -> None:
    if not 0 < len(player_id) <= PLAYER_CHARACTERS_MAX:
        raise Malformed(f"a player id must have 1 to {PLAYER_CHARACTERS_MAX} characters, not {len(player_id)}")


def _no_player(player_id: str) -> NotFound:
    return NotFound(f"player {player_id!r} does not exist")
