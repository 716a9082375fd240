"""Finishes merges and deletions that have begun, in whichever process: every step is safe to repeat.

Each operation marks its accounts first. A login to a marked account finishes the operation before anything else, and
`resume` finishes those that no login touches.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import structlog

from tickwire.server.errors import Conflict, Locked, TickwireError, Unauthorized
from tickwire.services.accounts.account import PlayerAccount
from tickwire.services.accounts.account_rules import PendingOperation
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.attempt_budget import account_budget_id
from tickwire.services.accounts.attempt_store import AttemptStore
from tickwire.services.accounts.merge_store import MergeStore
from tickwire.services.accounts.ports import TokenIssuer

log = structlog.get_logger(__name__)

RESUME_AFTER = datetime.timedelta(seconds=30)
"""`resume` leaves younger operations to the process that has begun them."""
RESUMED_MAX = 100
ROUNDS_MAX = 10
"""How often an operation begins again because the account changes at the same time."""
RETRY_AFTER_MS = 500
DeletePlayerData = Callable[[str], Awaitable[Mapping[str, int]]]
"""Deletes all data of a player outside of the collection `accounts`. It is safe to repeat."""


class PendingOperations:
    """Finishes pending merges and deletions.

    Args:
        accounts: the accounts.
        merges: the steps of a merge.
        attempts: the budgets of failed logins.
        tokens: revokes the tokens of accounts that end.
        delete_player_data: deletes the data of an account that is deleted.
    """

    def __init__(
        self,
        accounts: AccountStore,
        merges: MergeStore,
        attempts: AttemptStore,
        tokens: TokenIssuer,
        delete_player_data: DeletePlayerData,
    ) -> None:
        self._accounts = accounts
        self._merges = merges
        self._attempts = attempts
        self._tokens = tokens
        self._delete_player_data = delete_player_data

    async def finish(self, account: PlayerAccount) -> None:
        """Finish the pending operations of an account, if there are any.

        Raises:
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        if account.merging_into:
            await self._finish_merge(account.player_id, account.merging_into)
        for source_id in account.absorbing:
            await self._finish_merge(source_id, account.player_id)
        if account.is_deleting:
            await self._delete(account)

    async def merge(self, source_id: str, target_id: str) -> None:
        """Finish a merge that has begun.

        Raises:
            Conflict: the target cannot hold all holdings; the merge is cancelled.
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        await self._tokens.end_all(source_id)
        try:
            await self._merges.finish(source_id, target_id)
        except Conflict:
            await self._merges.cancel(source_id, target_id)
            raise

    async def delete_player(self, player_id: str) -> Mapping[str, int]:
        """Delete a player with its account and all its data; return the number of deleted items by kind.

        Raises:
            Conflict: the player was merged into another one, which owns all that it had.
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        for _ in range(ROUNDS_MAX):
            account = await self._accounts.find(player_id)
            if account is None:
                return await self._delete_player_data(player_id)
            if account.merged_into:
                raise Conflict(f"the player was merged into {account.merged_into}")
            try:
                account = await self._accounts.begin_deletion(player_id)
            except PendingOperation:
                await self.finish(account)
            except Unauthorized:  # another process has just deleted or merged it
                continue
            else:
                return await self._delete(account)
        raise Locked("the account changes at the same time, retry", retry_after_ms=RETRY_AFTER_MS)

    async def _delete(self, account: PlayerAccount) -> Counter[str]:
        """Delete an account that is marked as being deleted, with all its data.

        Raises:
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        await self._tokens.end_all(account.player_id)
        deleted: Counter[str] = Counter()
        for player_id in (*account.merged_from, account.player_id):
            await self._tokens.delete_of(player_id)
            deleted.update(await self._delete_player_data(player_id))
        for identity in account.identities:
            await self._attempts.delete(account_budget_id(identity.key))
        await self._accounts.delete(account)  # last, so that a crash before it leaves the mark
        deleted["accounts"] += 1
        return deleted

    async def resume(self, now: datetime.datetime) -> int:
        """Finish operations that began some time ago; return how many accounts were finished.

        An account that cannot be finished is logged, and does not keep the others from it.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        finished = 0
        for account in await self._accounts.list_pending(now - RESUME_AFTER, RESUMED_MAX):
            try:
                await self.finish(account)
            except TickwireError as error:
                log.warning("account_operation_failed", player_id=account.player_id, error=error.detail)
            else:
                finished += 1
        return finished

    async def _finish_merge(self, source_id: str, target_id: str) -> None:
        try:
            await self.merge(source_id, target_id)
        except Conflict:
            log.warning("account_merge_cancelled", source=source_id, target=target_id)
