"""Merges one account into another one, in two MongoDB transactions.

    begin     marks the source `merging_into` the target, and names the source in the `absorbing` of the target
    finish    moves all holdings by the ledger entry `merge:SOURCE:TARGET` and all identities, and marks the source
              `merged_into` the target: one transaction, so that a crash leaves all of it done or nothing

Between the two, the tokens of the source are revoked. Each step is safe to repeat by any process. `cancel` undoes
`begin`; it and `finish` exclude each other, because both write the two accounts.

A room may still grant an item to the source after the merge. Such holdings are moved at the next login, by ledger
entries with the key `merge:SOURCE:TARGET/VERSION`, VERSION being that of the source's record.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from tickwire.server.errors import Conflict
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.account import PlayerAccount, account_from_document, document_from_identity
from tickwire.services.accounts.account_rules import check_merge
from tickwire.services.accounts.account_store import now_utc


class MergeStore:
    """Writes the collections `accounts`, `players` and `ledger`.

    Args:
        store: the connection to MongoDB.
        now: returns the time, UTC; the clock by which interrupted merges are resumed.
    """

    def __init__(self, store: MongoStore, now: Callable[[], datetime.datetime] = now_utc) -> None:
        self._now = now
        self._accounts = store.database["accounts"]
        self._players = store.database["players"]
        self._transactions = store.transactions
        self._transfer = store.holdings_transfer
        self._calls = store.calls

    async def begin(self, source_id: str, target_id: str, proof: bytes) -> None:
        """Mark the source as merging into the target, unless it is already.

        Args:
            source_id: the player whose account ends.
            target_id: the player whose account remains.
            proof: identifies the request, so that its repetition is recognised.

        Raises:
            InvalidArgument, Unauthorized, Conflict, PendingOperation: see `check_merge`.
            Unavailable: MongoDB does not answer; the merge may have begun.
        """

        async def steps(session: Any) -> None:
            source, target = await self._find(source_id, session), await self._find(target_id, session)
            if check_merge(source, target):
                return
            await self._transfer.check(source_id, target_id, session)
            now = self._now()
            mark = {"merging_into": target_id, "merge_proof": proof, "pending_since": now}
            await self._update(source_id, {"$set": mark}, session)
            absorbing = {"$addToSet": {"absorbing": source_id}, "$set": {"pending_since": now}}
            await self._update(target_id, absorbing, session)

        await self._transactions.run(steps)

    async def finish(self, source_id: str, target_id: str) -> None:
        """Move all holdings and identities, unless that is done or the merge was cancelled.

        Raises:
            Conflict: the target cannot hold all holdings; cancel the merge.
            Unavailable: MongoDB does not answer; the merge may be finished.
        """

        async def steps(session: Any) -> None:
            source, target = await self._find(source_id, session), await self._find(target_id, session)
            if source is None or target is None or source.merging_into != target_id:
                return
            await self._transfer.move(f"merge:{source_id}:{target_id}", source_id, target_id, session)
            gone = {"$set": {"identities": [], "merged_into": target_id, "merged_from": []}}
            await self._update(source_id, gone | {"$unset": {"merging_into": "", "pending_since": ""}}, session)
            await self._accounts.update_many(
                {"merged_into": source_id},
                {"$set": {"merged_into": target_id}, "$inc": {"version": 1}},
                session=session,
            )
            moved = [document_from_identity(identity) for identity in source.identities]
            change = {
                "$push": {
                    "identities": {"$each": moved},
                    "merged_from": {"$each": [source_id, *source.merged_from]},
                },
                "$pull": {"absorbing": source_id},
                "$unset": {"pending_since": ""},
            }
            await self._update(target_id, change, session)

        await self._transactions.run(steps)

    async def cancel(self, source_id: str, target_id: str) -> None:
        """Undo `begin`, unless the merge is finished.

        Raises:
            Unavailable: MongoDB does not answer.
        """

        async def steps(session: Any) -> None:
            source = await self._find(source_id, session)
            if source is None or source.merging_into != target_id:
                return
            await self._update(
                source_id, {"$unset": {"merging_into": "", "merge_proof": "", "pending_since": ""}}, session
            )
            await self._update(
                target_id, {"$pull": {"absorbing": source_id}, "$unset": {"pending_since": ""}}, session
            )

        await self._transactions.run(steps)

    async def find_by_proof(self, target_id: str, proof: bytes) -> PlayerAccount | None:
        """Return the account that a request has begun to merge into the target, or has merged, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        found = await self._calls.read(self._accounts.find_one({"_id": target_id}))
        if found is None:
            return None
        target = account_from_document(found)
        # By id: a query for the proof alone reads all accounts.
        filters = {"_id": {"$in": [*target.absorbing, *target.merged_from]}, "merge_proof": proof}
        document = await self._calls.read(self._accounts.find_one(filters))
        return account_from_document(document) if document else None

    async def collect(self, target_id: str, source_ids: Sequence[str]) -> None:
        """Move holdings that merged players have received after the merge.

        Raises:
            Unavailable: MongoDB does not answer; the call is safe to repeat.
        """
        cursor = self._players.find({"_id": {"$in": list(source_ids)}}, {"holdings": True, "version": True})
        for player in await self._calls.read(cursor.to_list(len(source_ids))):
            if any(player["holdings"].values()):
                await self._collect(target_id, player["_id"], int(player["version"]))

    async def _collect(self, target_id: str, source_id: str, version: int) -> None:
        async def steps(session: Any) -> None:
            source = await self._find(source_id, session)
            if source is not None and source.merged_into == target_id:
                key = f"merge:{source_id}:{target_id}/{version}"
                await self._transfer.move(key, source_id, target_id, session)

        try:
            await self._transactions.run(steps)
        except Conflict:  # the target holds the most already; the rest stays with the merged player
            return

    async def _find(self, player_id: str, session: Any) -> PlayerAccount | None:
        document = await self._accounts.find_one({"_id": player_id}, session=session)
        return account_from_document(document) if document else None

    async def _update(self, player_id: str, change: dict[str, Any], session: Any) -> None:
        await self._accounts.update_one({"_id": player_id}, change | {"$inc": {"version": 1}}, session=session)
