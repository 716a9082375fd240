"""The operations of a player on their own account: link, unlink, change of password, merge and deletion.

Every operation first finishes the pending operations of the account, and is safe to repeat: its repetition finds
the work done and succeeds.

A banned player can read the account and change nothing: a deletion, or an identity that moves to a new account, would
end the ban.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from tickwire.server.errors import Conflict, InvalidArgument, Locked
from tickwire.services.accounts.account import LinkedIdentity, PlayerAccount
from tickwire.services.accounts.account_rules import PendingOperation, require_account
from tickwire.services.accounts.identities import EMAIL, identity_key, normalise_subject
from tickwire.services.accounts.login_service import LoginContext
from tickwire.services.accounts.password_service import ClientOrigin, PasswordService
from tickwire.services.accounts.pending_operations import RETRY_AFTER_MS, ROUNDS_MAX
from tickwire.services.accounts.ports import TokenHolder

T = TypeVar("T")


class AccountService:
    """Changes accounts for their players.

    Args:
        context: the stores and services.
        passwords: hashes and changes passwords.
    """

    def __init__(self, context: LoginContext, passwords: PasswordService) -> None:
        self._context = context
        self._passwords = passwords

    async def get(self, player_id: str) -> PlayerAccount:
        """Return an account, after finishing its pending operations.

        Raises:
            Unauthorized: the account does not exist any more.
            Unavailable: a store does not answer.
        """

        async def read() -> PlayerAccount:
            return require_account(await self._context.accounts.find(player_id))

        return await self._settled(player_id, read)

    async def link(self, player_id: str, identity: LinkedIdentity) -> PlayerAccount:
        """Add an identity, whose credentials were verified, to an account.

        Raises:
            IdentityTaken: another account has the identity, or this one has it with other credentials.
            Banned: the player is banned.
            Conflict: the account has too many identities.
            Unauthorized: the account does not exist any more.
            Unavailable: a store does not answer.
        """
        with self._context.counters.count("link"):
            await self._context.bans.check(player_id)
            return await self._settled(player_id, lambda: self._context.accounts.link(player_id, identity))

    async def link_email(self, player_id: str, credentials: tuple[str, str], origin: ClientOrigin) -> PlayerAccount:
        """Add an e-mail address and a password to an account.

        Args:
            player_id: the account.
            credentials: the address and the password.
            origin: the client.

        Raises:
            IdentityTaken: another account has the address, or this one has it with another password.
            RateLimited: too many addresses were taken.
            InvalidArgument: the address or the password has a wrong form.
            Banned, Conflict, Unauthorized, Unavailable: see `link`.
        """
        return await self._passwords.link_email(*credentials, origin, partial(self.link, player_id))

    async def unlink(self, player_id: str, provider: str, subject: str) -> PlayerAccount:
        """Remove an identity from an account. An identity that the account does not have is not an error.

        Tokens of earlier logins stay valid: a player who has lost a device logs out everywhere.

        Raises:
            Banned: the player is banned.
            Conflict: it is the last identity.
            Unauthorized: the account does not exist any more.
            Unavailable: a store does not answer.
        """
        with self._context.counters.count("unlink"):
            await self._context.bans.check(player_id)
            key = identity_key(provider, normalise_subject(provider, subject))
            return await self._settled(player_id, lambda: self._context.accounts.unlink(player_id, key))

    async def change_password(
        self, holder: TokenHolder, passwords: tuple[str, str], origin: ClientOrigin, *, email: str = ""
    ) -> None:
        """Replace the password of an account, and end all its logins but the caller's.

        Args:
            holder: the caller.
            passwords: the old and the new one.
            origin: the client.
            email: the address, if the account has several.

        Raises:
            Unauthorized: the old password is wrong, or the account does not exist any more.
            Banned: the player is banned.
            InvalidArgument: the account has no such address, or the new password has a wrong form.
            RateLimited: too many attempts have failed.
            Unavailable: a store does not answer, or too many logins wait.
        """
        with self._context.counters.count("change_password"):
            await self._context.bans.check(holder.player_id)
            account = await self.get(holder.player_id)
            linked = _find_email(account, email)
            await self._passwords.change_password(account, linked, passwords, origin)
            await self._context.tokens.end_all(holder.player_id, except_family=holder.family_id)

    async def merge(self, target_id: str, refresh_token: str) -> PlayerAccount:
        """Merge the account with a refresh token into the caller's account, and return the latter.

        All holdings and identities of the other account move, its tokens are revoked, and its player does not exist
        any more. The caller's profile stays.

        Args:
            target_id: the caller.
            refresh_token: proves that the caller owns the other account.

        Raises:
            Unauthorized: the refresh token is invalid, or the account does not exist any more.
            Banned: one of the players is banned.
            InvalidArgument: the refresh token is the caller's own.
            Conflict: the accounts cannot be merged: see `check_merge`.
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        with self._context.counters.count("merge"):
            await self._context.bans.check(target_id)
            proof = hashlib.sha256(refresh_token.encode()).digest()
            begun = await self._context.merges.find_by_proof(target_id, proof)
            if begun is None:
                source_id = (await self._context.tokens.find_holder(refresh_token)).player_id
                await self._context.bans.check(source_id)  # a merge does not free a player from a ban
                await self._begin_merge(source_id, target_id, proof)
                begun = await self._context.accounts.find(source_id)
            if begun is not None and begun.merging_into == target_id:
                await self._context.pending.merge(begun.player_id, target_id)
            return await self.get(target_id)

    async def delete(self, player_id: str) -> None:
        """Delete an account with all data of its player. Its repetition succeeds.

        Raises:
            Banned: the player is banned; operators can delete the player.
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        with self._context.counters.count("delete"):
            await self._context.bans.check(player_id)
            try:
                await self._context.pending.delete_player(player_id)
            except Conflict:  # it was merged: nothing of it is left
                return

    async def _begin_merge(self, source_id: str, target_id: str, proof: bytes) -> None:
        for _ in range(ROUNDS_MAX):
            try:
                await self._context.merges.begin(source_id, target_id, proof)
            except PendingOperation:
                for player_id in (source_id, target_id):
                    account = await self._context.accounts.find(player_id)
                    if account is not None:
                        await self._context.pending.finish(account)
            else:
                return
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)

    async def _settled(self, player_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run work, after finishing the pending operations of the account."""
        for _ in range(ROUNDS_MAX):
            try:
                return await work()
            except PendingOperation:
                account = await self._context.accounts.find(player_id)
                if account is not None:
                    await self._context.pending.finish(account)
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)


def _find_email(account: PlayerAccount, email: str) -> LinkedIdentity:
    address = normalise_subject(EMAIL, email) if email else ""
    found = [one for one in account.identities if one.provider == EMAIL and address in ("", one.subject)]
    if len(found) != 1:
        raise InvalidArgument("email: must be one of the addresses of the account")
    return found[0]
