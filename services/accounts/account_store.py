"""Reads and writes accounts: the collection `accounts`. Their documents: account.py; the rules: account_rules.py.

Guarantees: each method changes all that it changes or nothing, and is safe to repeat: a call that failed with
Unavailable may have been executed. An identity is in one account at most, by a unique index. Reads return every write
that was acknowledged before.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import IdentityTaken, Locked
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.account import (
    Document,
    LinkedIdentity,
    PlayerAccount,
    account_from_document,
    create_account_document,
    create_player_id,
    document_from_identity,
)
from tickwire.services.accounts.account_rules import (
    IDENTITIES_MAX,
    check_link,
    check_same_identity,
    check_unlink,
    require_account,
)

ATTEMPTS_MAX = 10
"""How often a write is repeated when other processes change the account at the same time."""
RETRY_AFTER_MS = 500
TAKEN = "the identity belongs to another account"
UNCHANGED: Document = {
    "merging_into": {"$exists": False},
    "merged_into": {"$exists": False},
    "deleting_since": {"$exists": False},
    "absorbing": [],
}
"""The filter for accounts that may be changed: `PlayerAccount.is_active`, and no merge into it is pending."""


def now_utc() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.UTC)


class AccountStore:
    """Reads and writes the collection `accounts`.

    Args:
        store: the connection to MongoDB.
        now: returns the time, UTC.
    """

    def __init__(self, store: MongoStore, now: Callable[[], datetime.datetime] = now_utc) -> None:
        self._accounts = store.database["accounts"]
        self._calls = store.calls
        self._now = now

    async def find(self, player_id: str) -> PlayerAccount | None:
        """Return the account of a player, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return _read(await self._calls.read(self._accounts.find_one({"_id": player_id})))

    async def find_by_identity(self, key: str) -> PlayerAccount | None:
        """Return the account that has an identity, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return _read(await self._calls.read(self._accounts.find_one({"identities.key": key})))

    async def create(self, identity: LinkedIdentity) -> PlayerAccount:
        """Create an account with one identity.

        Raises:
            IdentityTaken: an account has the identity already, possibly by an earlier call.
            Unavailable: MongoDB does not answer; the account may have been created.
        """
        document = create_account_document(create_player_id(), identity)
        try:
            await self._calls.write(self._accounts.insert_one(document))
        except DuplicateKeyError as error:
            raise IdentityTaken(TAKEN) from error
        return account_from_document(document)

    async def link(self, player_id: str, identity: LinkedIdentity) -> PlayerAccount:
        """Add an identity to an account.

        Raises:
            IdentityTaken: another account has the identity, or this one has it with other credentials.
            Conflict: the account has too many identities.
            Unauthorized: the account does not exist any more.
            PendingOperation: a merge or deletion of the account must be finished first.
            Unavailable: MongoDB does not answer.
        """
        filters = {"identities.key": {"$ne": identity.key}, f"identities.{IDENTITIES_MAX - 1}": {"$exists": False}}
        change = {"$push": {"identities": document_from_identity(identity)}}

        def check(account: PlayerAccount) -> bool:
            check_link(account, identity)
            linked = account.find_identity(identity.key)
            if linked is not None:
                check_same_identity(linked, identity)
            return linked is not None

        try:
            return await self._change(player_id, filters, change, check)
        except DuplicateKeyError as error:
            raise IdentityTaken(TAKEN) from error

    async def unlink(self, player_id: str, key: str) -> PlayerAccount:
        """Remove an identity from an account. An account that does not have it is left as it is.

        Raises:
            Conflict: it is the last identity.
            Unauthorized: the account does not exist any more.
            PendingOperation: a merge or deletion of the account must be finished first.
            Unavailable: MongoDB does not answer.
        """
        filters = {"identities.key": key, "identities.1": {"$exists": True}}
        change = {"$pull": {"identities": {"key": key}}}

        def check(account: PlayerAccount) -> bool:
            check_unlink(account, key)
            return account.find_identity(key) is None

        return await self._change(player_id, filters, change, check)

    async def set_password(self, player_id: str, key: str, old: str, new: str) -> bool:
        """Replace the hash of a password; return False if the hash is not the old one.

        Args:
            player_id: the account.
            key: the identity with the password.
            old: the hash that was verified.
            new: the new hash.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        filters = {"_id": player_id, "identities": {"$elemMatch": {"key": key, "password": {"$in": [old, new]}}}}
        change = {"$set": {"identities.$.password": new}, "$inc": {"version": 1}}
        result = await self._calls.write(self._accounts.update_one(filters, change))
        return bool(result.matched_count)

    async def list_pending(self, before: datetime.datetime, limit: int) -> list[PlayerAccount]:
        """Return accounts whose merge or deletion began before a time and has not been finished, the oldest first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._accounts.find({"pending_since": {"$lt": before}}).sort("pending_since", 1).limit(limit)
        return [account_from_document(one) for one in await self._calls.read(cursor.to_list(limit))]

    async def begin_deletion(self, player_id: str) -> PlayerAccount:
        """Mark an account as being deleted. From then on it only can be deleted.

        Raises:
            Unauthorized: the account does not exist any more.
            PendingOperation: a merge of the account must be finished first.
            Unavailable: MongoDB does not answer.
        """
        now = self._now()
        change = {"$set": {"deleting_since": now, "pending_since": now}}
        account = await self.find(player_id)
        if account is not None and account.is_deleting:
            return account
        return await self._change(player_id, {}, change, lambda account: False)

    async def delete(self, account: PlayerAccount) -> None:
        """Delete the document of an account that is being deleted, and those of the accounts merged into it.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        await self._calls.write(self._accounts.delete_many({"merged_into": account.player_id}))
        filters = {"_id": account.player_id, "deleting_since": {"$exists": True}}
        await self._calls.write(self._accounts.delete_one(filters))

    async def _change(
        self, player_id: str, filters: Document, change: Document, is_done: Callable[[PlayerAccount], bool]
    ) -> PlayerAccount:
        """Change an account that matches; otherwise raise why it does not, or return it if nothing is to be done."""
        change = change | {"$inc": {"version": 1}}
        for _ in range(ATTEMPTS_MAX):
            call = self._accounts.find_one_and_update(
                {"_id": player_id} | UNCHANGED | filters, change, return_document=ReturnDocument.AFTER
            )
            document: Any = await self._calls.write(call)
            if document is not None:
                return account_from_document(document)
            account = require_account(await self.find(player_id))
            if is_done(account):
                return account
        raise Locked("other requests change the account at the same time, retry", retry_after_ms=RETRY_AFTER_MS)


def _read(document: Document | None) -> PlayerAccount | None:
    return account_from_document(document) if document else None
