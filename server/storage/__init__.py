"""What is true, in MongoDB through Motor: worlds, written behind and fenced by epoch; players and the ledger, written
before anybody is told. All of Motor is in here."""

from tickwire.server.storage import export_import
from tickwire.server.storage.ledger import Answer, Ledger, TransactionRequest, TransactionResult
from tickwire.server.storage.mongo import MongoStore
from tickwire.server.storage.orders import CLOCKS_APART, Ban, OperatorStore, TuningVersion
from tickwire.server.storage.player_store import PlayerRecord, PlayerStore
from tickwire.server.storage.quarantine import Quarantine, QuarantinedPart
from tickwire.server.storage.schema_migrations import VERSION, migrate, version_of
from tickwire.server.storage.world_document import SavedTable, SavedWorld, world_key
from tickwire.server.storage.world_store import SavedLocation, WorldStore
from tickwire.server.storage.write_behind import WriteBehind

__all__ = [
    "CLOCKS_APART",
    "VERSION",
    "Answer",
    "Ban",
    "Ledger",
    "MongoStore",
    "OperatorStore",
    "PlayerRecord",
    "PlayerStore",
    "Quarantine",
    "QuarantinedPart",
    "SavedLocation",
    "SavedTable",
    "SavedWorld",
    "TransactionRequest",
    "TransactionResult",
    "TuningVersion",
    "WorldStore",
    "WriteBehind",
    "export_import",
    "migrate",
    "version_of",
    "world_key",
]
