"""What is true, in MongoDB through Motor: worlds, written behind and fenced by epoch; players and the ledger, written
before anybody is told. All of Motor is in here."""

from tickwire.server.storage import export_import
from tickwire.server.storage.ledger import Answer, Booked, Booking, Ledger
from tickwire.server.storage.mongo import Store
from tickwire.server.storage.orders import CLOCKS_APART, Ban, Orders, TuningVersion
from tickwire.server.storage.player_store import PlayerRecord, Players
from tickwire.server.storage.quarantine import Quarantine, QuarantinedPart
from tickwire.server.storage.schema_migrations import VERSION, migrate, version_of
from tickwire.server.storage.world_document import SavedTable, SavedWorld, world_key
from tickwire.server.storage.world_store import KeptPlayer, Worlds
from tickwire.server.storage.write_behind import WriteBehind

__all__ = [
    "CLOCKS_APART",
    "VERSION",
    "Answer",
    "Ban",
    "Booked",
    "Booking",
    "KeptPlayer",
    "Ledger",
    "Orders",
    "PlayerRecord",
    "Players",
    "Quarantine",
    "QuarantinedPart",
    "SavedTable",
    "SavedWorld",
    "Store",
    "TuningVersion",
    "Worlds",
    "WriteBehind",
    "export_import",
    "migrate",
    "version_of",
    "world_key",
]
