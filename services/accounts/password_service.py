"""Logs players in with an e-mail address and a password, and changes passwords.

A login to an address without an account and one with a wrong password do the same work and return the same answer:
the budgets are charged by address, whether an account has it or not, and a hash is verified in both cases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from tickwire.server.errors import (
    Banned,
    IdentityTaken,
    InvalidArgument,
    Locked,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from tickwire.services.accounts.account import LinkedIdentity, PlayerAccount
from tickwire.services.accounts.account_rules import WRONG_CREDENTIALS
from tickwire.services.accounts.attempt_budget import Budget, list_budgets
from tickwire.services.accounts.attempt_store import AttemptStore
from tickwire.services.accounts.identities import EMAIL, identity_key, normalise_email, normalise_password
from tickwire.services.accounts.known_clients import KnownClients
from tickwire.services.accounts.login_service import (
    LoginContext,
    LoginOutcome,
    LoginService,
)
from tickwire.services.accounts.password_hasher import PasswordHasher
from tickwire.services.accounts.pending_operations import RETRY_AFTER_MS, ROUNDS_MAX
from tickwire.services.accounts.settings import LockoutSettings

LinkIdentity = Callable[[LinkedIdentity], Awaitable[PlayerAccount]]


class ClientOrigin(msgspec.Struct, frozen=True):
    """The client of a login with a password.

    Args:
        address: its IP address.
        known_client: the token of its last login to the account; empty if it has none.
    """

    address: str
    known_client: str = ""


class PasswordContext(msgspec.Struct, frozen=True):
    """The parts of a login with a password."""

    hasher: PasswordHasher
    attempts: AttemptStore
    known_clients: KnownClients
    lockout: LockoutSettings


class PasswordService:
    """Logs players in with a password.

    Args:
        context: the stores and services of every login.
        login: admits players and creates accounts.
        passwords: the parts that only passwords need.
    """

    def __init__(self, context: LoginContext, login: LoginService, passwords: PasswordContext) -> None:
        self._context = context
        self._login = login
        self._passwords = passwords

    async def login_email(self, email: str, password: str, origin: ClientOrigin, *, create: bool) -> LoginOutcome:
        """Log in with an e-mail address and a password.

        Args:
            email: the address, in any form.
            password: the password.
            origin: the client.
            create: whether to create an account if no account has the address. If an account has it, the password is
                verified as in any login.

        Raises:
            Unauthorized: no account has the address, or the password is wrong.
            InvalidArgument: the address or the password has a wrong form.
            RateLimited: too many logins have failed.
            Banned: the player is banned.
            Unavailable: a store does not answer, or too many logins wait.
        """
        with self._context.counters.count("login_email"):
            address, secret = normalise_email(email), normalise_password(password)
            key = identity_key(EMAIL, address)
            budgets = await self._charge_login(key, origin)
            try:
                outcome = await self._login_address(address, secret, create=create)
            except (Unavailable, Banned):  # the password was not wrong
                await self._passwords.attempts.refund(budgets)
                raise
            await self._passwords.attempts.refund(budgets)
            return msgspec.structs.replace(outcome, known_client=self._passwords.known_clients.issue(key))

    async def create_identity(self, email: str, password: str) -> LinkedIdentity:
        """Return the identity of an address with a new password, to link it to an account.

        Raises:
            InvalidArgument: the address or the password has a wrong form.
            Unavailable: too many logins wait.
        """
        address, secret = normalise_email(email), normalise_password(password)
        return LinkedIdentity(EMAIL, address, self._context.now(), password=await self._passwords.hasher.hash(secret))

    async def link_email(self, email: str, password: str, origin: ClientOrigin, link: LinkIdentity) -> PlayerAccount:
        """Link an address with a new password. A repetition with the same password succeeds.

        The client's address pays for an e-mail address that is taken, as it pays for a failed login. Otherwise a
        guest could find out which addresses have accounts.

        Args:
            email: the address.
            password: the password.
            origin: the client.
            link: adds the identity to the account.

        Raises:
            IdentityTaken: another account has the address, or this one has it with another password.
            InvalidArgument: the address or the password has a wrong form.
            RateLimited: too many attempts have failed.
            Unavailable: a store does not answer, or too many logins wait.
        """
        key = identity_key(EMAIL, normalise_email(email))
        budgets = await self._charge(list_budgets(self._passwords.lockout, key, origin.address, "")[:1])
        try:
            identity = await self.create_identity(email, password)
            account = await link(identity)
        except (Unavailable, Banned, InvalidArgument):  # the answer says nothing about the address
            await self._passwords.attempts.refund(budgets)
            raise
        linked = account.find_identity(identity.key)
        if linked is not None and linked.password != identity.password:  # it was linked before
            budgets += await self._charge_login(key, origin)
            if not await self._passwords.hasher.verify(linked.password, normalise_password(password)):
                raise IdentityTaken("the address is linked already, with another password")
        await self._passwords.attempts.refund(budgets)
        return account

    async def change_password(
        self, account: PlayerAccount, linked: LinkedIdentity, passwords: tuple[str, str], origin: ClientOrigin
    ) -> None:
        """Replace a password. A repetition with the same two passwords succeeds.

        Args:
            account: the account.
            linked: its identity with the password.
            passwords: the old and the new one.
            origin: the client; wrong old passwords count as failed logins.

        Raises:
            Unauthorized: the old password is wrong.
            InvalidArgument: the new password has a wrong form.
            RateLimited: too many attempts have failed.
            Unavailable: a store does not answer, or too many logins wait.
        """
        old, new = (normalise_password(password) for password in passwords)
        budgets = await self._charge_login(linked.key, origin)
        hasher = self._passwords.hasher
        if await hasher.verify(linked.password, old):
            changed = await hasher.hash(new)
            if not await self._context.accounts.set_password(account.player_id, linked.key, linked.password, changed):
                raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)
        elif not await hasher.verify(linked.password, new):  # an earlier attempt may have changed it
            raise Unauthorized("the old password is wrong")
        await self._passwords.attempts.refund(budgets)

    async def _charge_login(self, key: str, origin: ClientOrigin) -> list[Budget]:
        """Charge the budgets of a login, and return them.

        Raises:
            RateLimited: one of them is empty.
        """
        client_id = self._passwords.known_clients.verify(origin.known_client, key)
        return await self._charge(list_budgets(self._passwords.lockout, key, origin.address, client_id))

    async def _charge(self, budgets: list[Budget]) -> list[Budget]:
        """Charge budgets, and return them.

        Raises:
            RateLimited: one of them is empty.
        """
        for at, budget in enumerate(budgets):
            wait_ms = await self._passwords.attempts.charge([budget])
            if wait_ms:
                self._context.counters.locked_out[budget.budget_id.partition(":")[0]] += 1
                await self._passwords.attempts.refund(budgets[1:at])  # the address alone pays for a refused attempt
                raise RateLimited("too many logins have failed, retry later", retry_after_ms=wait_ms)
        return budgets

    async def _login_address(self, address: str, secret: bytes, *, create: bool) -> LoginOutcome:
        for _ in range(ROUNDS_MAX):
            outcome = await self._try_login(address, secret, create=create)
            if outcome is not None:
                return outcome
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)

    async def _try_login(self, address: str, secret: bytes, *, create: bool) -> LoginOutcome | None:
        key = identity_key(EMAIL, address)
        account = await self._login.find_ready(key)
        linked = account.find_identity(key) if account else None
        hasher = self._passwords.hasher
        if account is None and create:
            identity = LinkedIdentity(EMAIL, address, self._context.now(), password=await hasher.hash(secret))
            account = await self._login.create(identity)
            tokens = await self._login.admit(account, identity) if account else None
            return LoginOutcome(tokens, is_new=True) if tokens else None
        is_right = await hasher.verify(linked.password if linked else "", secret)
        if account is None or linked is None or not is_right:
            raise Unauthorized(WRONG_CREDENTIALS)
        if hasher.needs_rehash(linked.password):
            linked = await self._rehash(account, linked, secret)
        tokens = await self._login.admit(account, linked)
        return LoginOutcome(tokens, is_new=False) if tokens else None

    async def _rehash(self, account: PlayerAccount, linked: LinkedIdentity, secret: bytes) -> LinkedIdentity:
        """Store the password under the present parameters; the login does not depend on it."""
        try:
            changed = await self._passwords.hasher.hash(secret)
            is_done = await self._context.accounts.set_password(
                account.player_id, linked.key, linked.password, changed
            )
        except Unavailable:
            return linked
        return msgspec.structs.replace(linked, password=changed) if is_done else linked
