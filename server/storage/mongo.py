"""The connection to MongoDB: one client per shard, a deadline for each call, writes acknowledged by a majority.

Reads go to the primary with read concern majority. So a shard never acts on data that a fail-over rolls back, and it
reads every write that was acknowledged before. Reasons: docs/storage.md.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
import warnings
from collections.abc import Callable
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from tickwire.server.errors import ConfigError, Unavailable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import mongo_checks
from tickwire.server.storage.audit import AuditStore
from tickwire.server.storage.bans import BanStore
from tickwire.server.storage.holdings_transfer import HoldingsTransfer
from tickwire.server.storage.ledger import Ledger
from tickwire.server.storage.mongo_calls import MongoCalls, Timeout
from tickwire.server.storage.mongo_errors import hosts_from_url
from tickwire.server.storage.player_store import PlayerStore
from tickwire.server.storage.quarantine import Quarantine
from tickwire.server.storage.revocations import RevocationStore
from tickwire.server.storage.schema_migrations import VERSION, get_database_version, migrate
from tickwire.server.storage.stale_transactions import APP_NAME, StaleTransactionKiller
from tickwire.server.storage.tunings import TuningStore
from tickwire.server.storage.world_store import WorldStore

SELECTION_MARGIN_MS = 600
"""The driver stops looking for a server this long before the call's deadline, so that its error names the reason. It
looks twice a second."""


class CallSettings(msgspec.Struct, frozen=True):
    """How a store calls MongoDB.

    Args:
        deadline_s: the deadline of each call, seconds.
        timeout: limits calls; a shard's does not count time in which its event loop was blocked.
        observe: receives the duration of each call, seconds.
    """

    deadline_s: float = 5.0
    timeout: Timeout = asyncio.timeout
    observe: Callable[[float], object] | None = None


_DEFAULT_CALLS = CallSettings()


class MongoStore:
    """Owns the MongoDB client of one shard and the stores on top of it.

    Args:
        url: a MongoDB connection string.
        database: the name of the database.
        calls: the deadline of calls, and how it is enforced.
        isolation: guards the reading of bans and tunings, document by document.

    Raises:
        ConfigError: the URL or the name of the database is invalid.
    """

    def __init__(
        self,
        url: str,
        database: str,
        *,
        calls: CallSettings = _DEFAULT_CALLS,
        isolation: FaultIsolation | None = None,
    ) -> None:
        timeout_ms = int(calls.deadline_s * 1000)
        self.client: AsyncIOMotorClient[dict[str, Any]]
        try:
            # The driver warns of options that are unknown or unreadable, and then connects without them, for example
            # without TLS.
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
        except (PyMongoError, ValueError, OSError, UserWarning) as error:  # the driver reads certificate files here
            raise ConfigError(f"mongo.url: must be a MongoDB connection string: {error}") from error
        self.calls = MongoCalls(calls.deadline_s, calls.timeout, hosts_from_url(url), calls.observe)
        self._url = url
        try:
            self.database = self.client[database]
        except PyMongoError as error:
            raise ConfigError(f"mongo.database: must be a valid MongoDB database name: {error}") from error
        self.stale_transactions = StaleTransactionKiller(self.client, self.calls)
        self.worlds = WorldStore(self.database, self.calls, self.stale_transactions, secrets.token_hex(8))
        self.players = PlayerStore(self.database, self.calls)
        isolation = isolation or FaultIsolation()
        self.bans = BanStore(self.database, self.calls, isolation)
        self.revocations = RevocationStore(self.database, self.calls, isolation)
        self.audit = AuditStore(self.database, self.calls)
        self.tunings = TuningStore(self.database, self.calls, isolation)
        self.quarantine = Quarantine(self.database, self.calls)
        self.ledger = Ledger(self.client, self.database, self.calls, self.stale_transactions)
        self.transactions = self.ledger.transactions
        self.holdings_transfer = HoldingsTransfer(self.database)

    async def check_setup(self) -> None:
        """Check that MongoDB is a replica set that this user may write to. Call it before the first use.

        Raises:
            ConfigError: MongoDB is not a replica set, or not the one that the URL names.
            Unavailable: MongoDB does not answer, or the user lacks a right; `detail` has the reason.
        """
        await mongo_checks.check_setup(self.client, self.database.name, self._url, self.calls)

    async def check(self) -> None:
        """Check that MongoDB has a primary that answers and, if the last write failed, that it accepts writes again.

        Raises:
            Unavailable: it does not within the deadline.
        """
        await self.calls.read(self.client.admin.command("ping"))
        if self.calls.write_error:  # pending writes are retried later; this probe finds out sooner
            now = datetime.datetime.now(datetime.UTC)
            await self.calls.write(
                self.database["probes"].update_one({"_id": "write"}, {"$set": {"at": now}}, upsert=True)
            )

    async def check_schema(self, *, may_migrate: bool) -> None:
        """Check that the database has the schema version that this build requires.

        Args:
            may_migrate: run the missing migration steps instead of refusing an older database.

        Raises:
            Unavailable: the database is older and may not be migrated, or MongoDB does not answer.
            NotSavable: stored documents prevent a migration step.
        """
        version = await get_database_version(self.database, self.calls)
        if version < VERSION and may_migrate:
            await migrate(self.database, self.calls)
        elif version < VERSION:
            message = (
                f"the database is at schema version {version}; this build needs {VERSION}: run tickwire migrate-db"
            )
            raise Unavailable(message)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
