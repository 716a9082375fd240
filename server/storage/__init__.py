"""Stores durable data in MongoDB.

Worlds are written behind the ticks and fenced by epoch. Players and the ledger are written before the reply. Motor is
imported in this package only.
"""

from tickwire.server.storage import export_import
from tickwire.server.storage.audit import AuditEntry, AuditFilter, AuditStore
from tickwire.server.storage.bans import CLOCKS_APART, Ban, BanStore
from tickwire.server.storage.idempotent_requests import StoredRequests
from tickwire.server.storage.ledger import Ledger
from tickwire.server.storage.ledger_documents import LedgerReply, TransactionRequest, TransactionResult
from tickwire.server.storage.mongo import CallSettings, MongoStore
from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.player_record import PlayerRecord
from tickwire.server.storage.player_search import PlayerSearch
from tickwire.server.storage.player_store import PlayerStore
from tickwire.server.storage.quarantine import Quarantine, QuarantinedPart
from tickwire.server.storage.revocations import Revocation, RevocationStore
from tickwire.server.storage.schema_migrations import VERSION, Database, get_database_version, migrate
from tickwire.server.storage.tunings import TuningStore, TuningVersion
from tickwire.server.storage.world_document import SavedTable, SavedWorld, world_key
from tickwire.server.storage.world_store import SavedLocation, WorldStore
from tickwire.server.storage.write_behind import WriteBehind

__all__ = [
    "CLOCKS_APART",
    "VERSION",
    "AuditEntry",
    "AuditFilter",
    "AuditStore",
    "Ban",
    "BanStore",
    "CallSettings",
    "Database",
    "Ledger",
    "LedgerReply",
    "MongoCalls",
    "MongoStore",
    "PlayerRecord",
    "PlayerSearch",
    "PlayerStore",
    "Quarantine",
    "QuarantinedPart",
    "Revocation",
    "RevocationStore",
    "SavedLocation",
    "SavedTable",
    "SavedWorld",
    "StoredRequests",
    "TransactionRequest",
    "TransactionResult",
    "TuningStore",
    "TuningVersion",
    "WorldStore",
    "WriteBehind",
    "export_import",
    "get_database_version",
    "migrate",
    "world_key",
]
