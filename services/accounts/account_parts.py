"""Wires the accounts of players: their services, their HTTP operations, and their background task."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable

import msgspec
import structlog

from tickwire.server.errors import Unavailable
from tickwire.server.http.application import HttpRoutes
from tickwire.server.storage import MongoStore
from tickwire.server.storage.export_import import delete_player, export_player
from tickwire.services.accounts.account_controller import AccountController, OwnAccountParts
from tickwire.services.accounts.account_service import AccountService
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.attempt_store import AttemptStore
from tickwire.services.accounts.ban_check import BanCheck
from tickwire.services.accounts.bearer import BearerMiddleware
from tickwire.services.accounts.counters import AccountCounters
from tickwire.services.accounts.known_clients import KnownClients
from tickwire.services.accounts.login_controller import LoginController, LoginParts
from tickwire.services.accounts.login_service import LoginContext, LoginService
from tickwire.services.accounts.merge_store import MergeStore
from tickwire.services.accounts.password_hasher import PasswordHasher
from tickwire.services.accounts.password_service import PasswordContext, PasswordService
from tickwire.services.accounts.pending_operations import PendingOperations
from tickwire.services.accounts.ports import TokenIssuer
from tickwire.services.accounts.provider_controller import (
    ProviderLinkController,
    ProviderLoginController,
    ProviderParts,
)
from tickwire.services.accounts.providers.registry import ProviderRegistry, create_providers
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.token_parts import TokenParts

log = structlog.get_logger(__name__)

RESUME_S = 30.0
"""How often each process looks for merges and deletions that another one has begun and not finished."""


class PlayerAccounts(msgspec.Struct, frozen=True, eq=False):
    """The accounts of one process. `run` is its background task, which also ends the threads.

    Args:
        login: logs players in with a device, or with an identity that a provider has verified.
        passwords: logs players in with a password.
        service: changes accounts.
        pending: finishes and deletes accounts.
        counters: the results of all operations.
        hasher: hashes passwords.
        bearer: authenticates requests.
        routes: the HTTP operations.
        now: returns the time, UTC.
    """

    login: LoginService
    passwords: PasswordService
    service: AccountService
    pending: PendingOperations
    counters: AccountCounters
    hasher: PasswordHasher
    bearer: BearerMiddleware
    routes: HttpRoutes
    now: Callable[[], datetime.datetime]

    async def run(self) -> None:
        """Finish interrupted merges and deletions until cancelled."""
        try:
            while True:
                await asyncio.sleep(RESUME_S)
                try:
                    count = await self.pending.resume(self.now())
                except Unavailable as error:
                    log.warning("account_resume_failed", error=error.detail)
                    continue
                if count:
                    log.info("account_operations_resumed", accounts=count)
        finally:
            self.hasher.close()


def create_player_accounts(
    store: MongoStore, tokens: TokenParts, settings: AccountSettings, player_url: str, now_s: Callable[[], float]
) -> PlayerAccounts:
    """Create the accounts of a process; nothing is connected.

    Args:
        store: the connection to MongoDB.
        tokens: issues and verifies tokens.
        settings: the section `accounts`.
        player_url: the URL of the shards, which a login returns.
        now_s: the fleet's clock: UTC, seconds since 1970.
    """

    def now() -> datetime.datetime:
        return datetime.datetime.fromtimestamp(now_s(), datetime.UTC)

    accounts = AccountStore(store, now)
    merges, attempts = MergeStore(store, now), AttemptStore(store)
    pending = create_pending_operations(store, tokens.service, accounts)
    counters, bans = AccountCounters(), BanCheck(store.bans, now_s)
    context = LoginContext(accounts, merges, pending, tokens.service, bans, counters, now)
    login = LoginService(context)
    hasher = PasswordHasher(settings.passwords)
    passwords = PasswordService(
        context, login, PasswordContext(hasher, attempts, KnownClients(tokens.secrets, now_s), settings.lockouts)
    )
    service = AccountService(context, passwords)
    providers = ProviderRegistry(create_providers(settings.providers, now_s), counters)
    routes = HttpRoutes(
        handlers=[LoginController, AccountController, ProviderLoginController, ProviderLinkController],
        dependencies={
            "login_parts": LoginParts(login, passwords, tokens.service, player_url),
            "provider_parts": ProviderParts(providers, login, service, player_url),
            "account_parts": OwnAccountParts(service, lambda player: export_player(store, player)),
        },
    )
    bearer = BearerMiddleware(tokens.check)
    return PlayerAccounts(login, passwords, service, pending, counters, hasher, bearer, routes, now)


def create_pending_operations(
    store: MongoStore, tokens: TokenIssuer, accounts: AccountStore | None = None
) -> PendingOperations:
    """Create the part that finishes merges and deletions; the command line uses it, too.

    Args:
        store: the connection to MongoDB.
        tokens: revokes tokens.
        accounts: the accounts; by default a store with the clock of this machine.
    """
    return PendingOperations(
        accounts or AccountStore(store),
        MergeStore(store),
        AttemptStore(store),
        tokens,
        lambda player_id: delete_player(store, player_id),
    )
