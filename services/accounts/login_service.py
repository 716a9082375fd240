"""Logs players in: finds or creates the account of an identity, checks it, and issues tokens.

    identity ──> account ──> pending merge or deletion finished ──> credentials ──> ban ──> tokens ──> account again

The account is read again after the tokens were issued. If it was merged, deleted or lost the identity meanwhile, the
tokens are ended and the login begins again. So no token outlives a revocation that ran at the same time.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

import msgspec

from tickwire.server.errors import IdentityTaken, Locked, Unauthorized
from tickwire.services.accounts.account import LinkedIdentity, PlayerAccount
from tickwire.services.accounts.account_rules import WRONG_CREDENTIALS
from tickwire.services.accounts.account_store import AccountStore, now_utc
from tickwire.services.accounts.ban_check import BanCheck
from tickwire.services.accounts.counters import AccountCounters
from tickwire.services.accounts.identities import DEVICE, digest_secret, is_same_digest
from tickwire.services.accounts.merge_store import MergeStore
from tickwire.services.accounts.pending_operations import RETRY_AFTER_MS, ROUNDS_MAX, PendingOperations
from tickwire.services.accounts.ports import IssuedTokens, TokenIssuer


class LoginOutcome(msgspec.Struct, frozen=True):
    """A successful login.

    Args:
        tokens: the first tokens of a new refresh family.
        is_new: whether the account was created.
        known_client: a token of the client for its next login with a password; empty for other providers.
    """

    tokens: IssuedTokens
    is_new: bool
    known_client: str = ""


class LoginContext(msgspec.Struct, frozen=True):
    """The stores and services of a login."""

    accounts: AccountStore
    merges: MergeStore
    pending: PendingOperations
    tokens: TokenIssuer
    bans: BanCheck
    counters: AccountCounters
    now: Callable[[], datetime.datetime] = now_utc


class LoginService:
    """Logs players in with a device, or with an identity that a provider has verified.

    Args:
        context: the stores and services.
    """

    def __init__(self, context: LoginContext) -> None:
        self._context = context

    async def login_device(self, device_id: str, secret: str, *, create: bool) -> LoginOutcome:
        """Log in with a device.

        Args:
            device_id: the id that the client has made.
            secret: the secret that the client has made.
            create: whether to create an account if no account has the device.

        Raises:
            Unauthorized: no account has the device, or the secret is wrong.
            InvalidArgument: the secret is not random.
            Banned: the player is banned.
            Unavailable: a store does not answer.
        """
        digest = digest_secret(secret)
        identity = LinkedIdentity(DEVICE, device_id, self._context.now(), secret=digest)

        def check(linked: LinkedIdentity) -> None:
            if not is_same_digest(linked.secret, digest):
                raise Unauthorized(WRONG_CREDENTIALS)

        with self._context.counters.count("login_device"):
            return await self._login(identity, create=create, check=check)

    async def login_verified(self, provider: str, subject: str, *, create: bool) -> LoginOutcome:
        """Log in with an identity that its provider has just verified.

        Raises:
            Unauthorized: no account has the identity.
            Banned: the player is banned.
            Unavailable: a store does not answer.
        """
        identity = LinkedIdentity(provider, subject, self._context.now())
        with self._context.counters.count(f"login_{provider.partition('-')[0]}"):
            return await self._login(identity, create=create, check=lambda linked: None)

    async def find_ready(self, key: str) -> PlayerAccount | None:
        """Return the account that has an identity, or None, after finishing its pending operations.

        Raises:
            Unavailable: a store does not answer.
        """
        for _ in range(ROUNDS_MAX):
            account = await self._context.accounts.find_by_identity(key)
            if account is None or not account.is_pending:
                return account
            await self._context.pending.finish(account)
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)

    async def create(self, identity: LinkedIdentity) -> PlayerAccount | None:
        """Return a new account with an identity; None if another request has just created one with it.

        Raises:
            Unavailable: a store does not answer; the account may have been created.
        """
        try:
            return await self._context.accounts.create(identity)
        except IdentityTaken:
            return None

    async def admit(self, account: PlayerAccount, linked: LinkedIdentity) -> IssuedTokens | None:
        """Issue tokens to a player whose credentials were verified; None if the account has changed meanwhile.

        Args:
            account: the account.
            linked: the identity of the account that the credentials belong to.

        Raises:
            Banned: the player is banned.
            Unavailable: a store does not answer.
        """
        context = self._context
        await context.bans.check(account.player_id)
        if account.merged_from:
            await context.merges.collect(account.player_id, account.merged_from)
        tokens = await context.tokens.issue(account.player_id, linked.provider)
        newest = await context.accounts.find(account.player_id)
        if newest is not None and newest.is_active and _has_same(newest, linked):
            return tokens
        try:
            holder = await context.tokens.find_holder(tokens.refresh_token)
        except Unauthorized:  # the change of the account has ended them already
            return None
        await context.tokens.end_family(holder.family_id)
        return None

    async def _login(
        self, identity: LinkedIdentity, *, create: bool, check: Callable[[LinkedIdentity], None]
    ) -> LoginOutcome:
        is_new = False
        for _ in range(ROUNDS_MAX):
            account = await self.find_ready(identity.key)
            if account is None and not create:
                raise Unauthorized(WRONG_CREDENTIALS)
            if account is None:
                account = await self.create(identity)
                is_new = account is not None
            linked = account.find_identity(identity.key) if account else None
            if account is None or linked is None:
                continue
            check(linked)
            tokens = await self.admit(account, linked)
            if tokens is not None:
                return LoginOutcome(tokens, is_new)
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)


def _has_same(account: PlayerAccount, linked: LinkedIdentity) -> bool:
    """Return whether an account still has an identity with the credentials that were verified."""
    newest = account.find_identity(linked.key)
    return newest is not None and newest.secret == linked.secret and newest.password == linked.password
