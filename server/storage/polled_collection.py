"""A collection that shards poll: each poll reads the documents that have changed since the poll before it.

    changed_at   MongoDB's time of the last change, which each write sets

Guarantees: a change that was acknowledged is in the answer of every later poll. A document that cannot be read does
not hide the others.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from motor.motor_asyncio import AsyncIOMotorCollection

from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage.mongo_calls import MongoCalls

T = TypeVar("T")
MARGIN = datetime.timedelta(seconds=10)
"""Polls overlap by this much, because the members of a replica set do not share one clock."""
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class PolledCollection(Generic[T]):
    """Reads the documents of a collection, and those that have changed.

    Args:
        collection: a Motor collection.
        calls: makes the calls, each with a deadline.
        isolation: guards the reading of each document, so that an invalid one does not hide the others.
        decode: returns the content of a document; raises an exception if it is invalid.
    """

    def __init__(
        self,
        collection: AsyncIOMotorCollection[dict[str, Any]],
        calls: MongoCalls,
        isolation: FaultIsolation,
        decode: Callable[[dict[str, Any]], T],
    ) -> None:
        self._collection = collection
        self._calls = calls
        self._isolation = isolation
        self._decode = decode

    async def list_changed(
        self, since: datetime.datetime | None, *, first: dict[str, Any]
    ) -> tuple[list[T], datetime.datetime]:
        """Return what has changed, and the value of `since` for the next call.

        Args:
            since: the second value that the last call returned; None on the first call.
            first: the documents that the first call returns, as a filter.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        filters = first if since is None else {"changed_at": {"$gte": since - MARGIN}}
        documents = await self._calls.read(self._collection.find(filters).to_list(None))
        changed = [at for one in documents if isinstance(at := one.get("changed_at"), datetime.datetime)]
        return self.decode_all(documents), max(changed, default=since or _BEGINNING + MARGIN)

    def decode_all(self, documents: list[dict[str, Any]]) -> list[T]:
        """Return the contents of documents, without those that are invalid."""
        found: list[T] = []
        for document in documents:
            with self._isolation.guard("operator documents", f"{self._collection.name}/{document['_id']}"):
                found.append(self._decode(document))
        return found
