"""What is true, in MongoDB through Motor: worlds, written behind and fenced by epoch; players and the ledger, written
before anybody is told. All of Motor is in here."""

from server.storage import archive
from server.storage.documents import SavedTable, SavedWorld, world_key
from server.storage.ledger import Answer, Booked, Booking, Ledger
from server.storage.migrations import VERSION, migrate, version_of
from server.storage.orders import CLOCKS_APART, Ban, Orders, TuningVersion
from server.storage.players import PlayerRecord, Players
from server.storage.quarantine import Quarantine, QuarantinedPart
from server.storage.store import Store
from server.storage.worlds import KeptPlayer, Worlds
from server.storage.write_behind import WriteBehind

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
    "archive",
    "migrate",
    "version_of",
    "world_key",
]
