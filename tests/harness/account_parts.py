"""The services of accounts on a real MongoDB, with tokens that are kept in memory."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from tests.harness.ledger_stores import transaction
from tickwire.server.errors import Unauthorized
from tickwire.server.storage import MongoStore
from tickwire.server.storage.export_import import delete_player
from tickwire.services.accounts.account_service import AccountService
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.attempt_store import AttemptStore
from tickwire.services.accounts.ban_check import BanCheck
from tickwire.services.accounts.counters import AccountCounters
from tickwire.services.accounts.known_clients import KnownClients
from tickwire.services.accounts.login_service import LoginContext, LoginService
from tickwire.services.accounts.merge_store import MergeStore
from tickwire.services.accounts.password_hasher import PasswordHasher
from tickwire.services.accounts.password_service import PasswordContext, PasswordService
from tickwire.services.accounts.pending_operations import PendingOperations
from tickwire.services.accounts.ports import IssuedTokens, TokenHolder
from tickwire.services.accounts.settings import LockoutSettings, PasswordSettings

CHEAP = PasswordSettings(time_cost=1, memory_kib=8192, threads=2, waiting_max=8)
SECRET = "0123456789abcdef0123456789abcdef"


class MemoryTokenIssuer:
    """Issues opaque tokens. It outlives the processes of a test, as a store does."""

    def __init__(self) -> None:
        self.families: dict[str, str] = {}
        self.by_refresh: dict[str, str] = {}

    async def issue(self, player_id: str, provider: str) -> IssuedTokens:
        family, refresh = secrets.token_hex(8), secrets.token_hex(16)
        self.families[family] = player_id
        self.by_refresh[refresh] = family
        return IssuedTokens(player_id, f"access {family}", 900, refresh, 86_400)

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        holder = await self.find_holder(refresh_token)
        return await self.issue(holder.player_id, "device")

    async def find_holder(self, refresh_token: str) -> TokenHolder:
        family = self.by_refresh.get(refresh_token, "")
        if family not in self.families:
            raise Unauthorized("the refresh token is not valid")
        return TokenHolder(self.families[family], family)

    async def end_family(self, family_id: str) -> None:
        self.families.pop(family_id, None)

    async def end_all(self, player_id: str, *, except_family: str = "") -> None:
        for family, owner in list(self.families.items()):
            if owner == player_id and family != except_family:
                del self.families[family]

    async def delete_of(self, player_id: str) -> int:
        await self.end_all(player_id)
        return 0


class FixedKeys:
    """A key source with one secret."""

    current_id = "one"

    def find_key(self, secret_id: str, purpose: str) -> bytes | None:
        return self.current_key(purpose) if secret_id == self.current_id else None

    def current_key(self, purpose: str) -> bytes:
        return hmac.new(b"secret", purpose.encode(), hashlib.sha256).digest()


class AccountParts:
    """The services of one process.

    Args:
        store: the connection to MongoDB.
        tokens: issues the tokens.
        hasher: hashes passwords; closed by the caller.
        lockout: the budgets of failed logins.
        now_s: the clock of known clients.
    """

    def __init__(
        self,
        store: MongoStore,
        tokens: MemoryTokenIssuer,
        hasher: PasswordHasher,
        lockout: LockoutSettings | None = None,
        now_s: Callable[[], float] = lambda: 1_800_000_000.0,
    ) -> None:
        self.store = store
        self.tokens = tokens
        self.hasher = hasher
        self.accounts = AccountStore(store)
        self.merges = MergeStore(store)
        self.attempts = AttemptStore(store)
        self.counters = AccountCounters()
        self.pending = PendingOperations(
            self.accounts, self.merges, self.attempts, tokens, lambda player: delete_player(store, player)
        )
        context = LoginContext(
            self.accounts, self.merges, self.pending, tokens, BanCheck(store.bans, time.time), self.counters
        )
        self.login = LoginService(context)
        known = KnownClients(FixedKeys(), now_s)
        self.passwords = PasswordService(
            context, self.login, PasswordContext(hasher, self.attempts, known, lockout or LockoutSettings())
        )
        self.service = AccountService(context, self.passwords)

    async def login_device(self, device: str, *, create: bool = True) -> IssuedTokens:
        """Log in with a device by a short name."""
        outcome = await self.login.login_device(f"device-{device:0>16}", SECRET, create=create)
        return outcome.tokens

    async def grant(self, key: str, player_id: str, **items: int) -> None:
        """Give items to a player, as a room does."""
        request = transaction(key, {player_id: dict(items)}, player=player_id, session_id="", command_id=0)
        result = await self.store.ledger.commit(request)
        assert not result.refused

    async def documents(self) -> list[dict[str, Any]]:
        """Return all documents of accounts."""
        return await self.store.database["accounts"].find().to_list(None)
