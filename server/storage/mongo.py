"""The connection to MongoDB: one client a shard, every call with a deadline, writes acknowledged by a majority.

What is read is read from the primary and of what a majority has, so that nobody acts on what a fail-over takes back,
and whoever has had a write acknowledged reads it. Why: docs/storage.md.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
import warnings
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from tickwire.server.errors import ConfigError, Unavailable
from tickwire.server.storage import mongo_checks
from tickwire.server.storage.ledger import Ledger
from tickwire.server.storage.mongo_calls import MongoCalls, Timeout
from tickwire.server.storage.mongo_errors import address_of
from tickwire.server.storage.orders import OperatorStore
from tickwire.server.storage.player_store import PlayerStore
from tickwire.server.storage.quarantine import Quarantine
from tickwire.server.storage.schema_migrations import VERSION, migrate, version_of
from tickwire.server.storage.stale_transactions import APP_NAME, StaleTransactionKiller
from tickwire.server.storage.world_store import WorldStore

CALL_S_MAX = 5.0
SELECTION_MARGIN_MS = 600
"""The driver gives up finding a server so long before the call is over, and says why. It looks twice a second."""


class MongoStore:
    """A shard's MongoDB.

    Args:
        url: a MongoDB connection string.
        database: the database's name.
        call_s_max: the longest that one call may take, seconds.
        timeout: limits calls; a shard's does not count time in which its event loop was blocked.

    Raises:
        ConfigError: the URL or the name of the database cannot be used.
    """

    def __init__(
        self, url: str, database: str, *, call_s_max: float = CALL_S_MAX, timeout: Timeout = asyncio.timeout
    ) -> None:
        timeout_ms = int(call_s_max * 1000)
        self.client: AsyncIOMotorClient[dict[str, Any]]
        try:
            # The driver warns of options that it does not know or cannot read, and then connects without them, for
            # example without TLS.
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                self.client = AsyncIOMotorClient(
                    url,
                    serverSelectionTimeoutMS=max(timeout_ms * 2 // 5, timeout_ms - SELECTION_MARGIN_MS),
                    connectTimeoutMS=timeout_ms,
                    socketTimeoutMS=timeout_ms,
                    w="majority",
                    journal=True,
                    wTimeoutMS=timeout_ms,
                    readConcernLevel="majority",
                    retryWrites=True,
                    tz_aware=True,
                    appname=APP_NAME,
                )
        except (PyMongoError, ValueError, OSError, UserWarning) as error:  # a file of certificates is read at once
            raise ConfigError(f"mongo.url: cannot be used: {error}") from error
        self.calls = MongoCalls(call_s_max, timeout, address_of(url))
        self._url = url
        try:
            self.database = self.client[database]
        except PyMongoError as error:
            raise ConfigError(f"mongo.database: must be a name that MongoDB takes: {error}") from error
        self.abandoned = StaleTransactionKiller(self.client, self.calls)
        self.worlds = WorldStore(self.database, self.calls, self.abandoned, secrets.token_hex(8))
        self.players = PlayerStore(self.database, self.calls)
        self.orders = OperatorStore(self.database, self.calls)
        self.quarantine = Quarantine(self.database, self.calls)
        self.ledger = Ledger(self.client, self.database, self.calls, self.abandoned)

    async def check_setup(self) -> None:
        """Return when MongoDB is set up as it must be; to be called before its first use.

        Raises:
            ConfigError: it is no replica set, or another one than the URL names.
            Unavailable: it does not answer, or the user lacks a right; `detail` says which.
        """
        await mongo_checks.check_setup(self.client, self.database.name, self._url, self.calls)

    async def check(self) -> None:
        """Returns when MongoDB has a primary that answers, and takes writes as far as is known.

        Raises:
            Unavailable: it does not within the deadline.
        """
        await self.calls.read(self.client.admin.command("ping"))
        if (
            self.calls.writes_fail
        ):  # what waits is tried again in its own time: this finds out whether that is in vain
            now = datetime.datetime.now(datetime.UTC)
            await self.calls.write(
                self.database["probes"].update_one({"_id": "write"}, {"$set": {"at": now}}, upsert=True)
            )

    async def check_schema(self, *, may_migrate: bool) -> None:
        """Returns when the database is as this build wants it.

        Args:
            may_migrate: makes it so.

        Raises:
            Unavailable: it is not, or MongoDB does not answer.
            NotSavable: what is stored stands in the way of a step.
        """
        version = await version_of(self.database, self.calls)
        if version < VERSION and may_migrate:
            await migrate(self.database, self.calls)
        elif version < VERSION:
            raise Unavailable(
                f"the database is at step {version}, this build wants {VERSION}: run tickwire migrate-db"
            )

    def close(self) -> None:
        """Closes all connections."""
        self.client.close()
