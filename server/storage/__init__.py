"""What is true, in MongoDB through Motor: worlds, written behind and fenced by epoch. All of Motor is in here."""

from server.storage.documents import SavedTable, SavedWorld, world_key
from server.storage.store import Store
from server.storage.worlds import KeptPlayer, Worlds
from server.storage.write_behind import WriteBehind

__all__ = ["KeptPlayer", "SavedTable", "SavedWorld", "Store", "Worlds", "WriteBehind", "world_key"]
