"""The test kit for games: rooms without sockets, stores and sleeps.

    from tickwire.testing import RoomHarness, Network, seeds

The names are imported when the first of them is used, so that the pytest plugin costs other projects nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickwire.testing.convergence import Difference as Difference
    from tickwire.testing.convergence import NotConverged as NotConverged
    from tickwire.testing.determinism import NotDeterministic as NotDeterministic
    from tickwire.testing.determinism import check_determinism as check_determinism
    from tickwire.testing.harness_client import HarnessClient as HarnessClient
    from tickwire.testing.ledger_entry import LedgerEntry as LedgerEntry
    from tickwire.testing.ledger_faults import LedgerFault as LedgerFault
    from tickwire.testing.memory_ledger import MemoryLedger as MemoryLedger
    from tickwire.testing.random_play import disconnect_or_reconnect as disconnect_or_reconnect
    from tickwire.testing.random_play import random_input as random_input
    from tickwire.testing.replayed_room import ReplayDiverged as ReplayDiverged
    from tickwire.testing.replayed_room import replay as replay
    from tickwire.testing.room_harness import RoomHarness as RoomHarness
    from tickwire.testing.schedule import Choice as Choice
    from tickwire.testing.schedule import Schedule as Schedule
    from tickwire.testing.seeds import seeds as seeds
    from tickwire.testing.simulated_network import Network as Network

_MODULES = {
    "Choice": "schedule",
    "Difference": "convergence",
    "HarnessClient": "harness_client",
    "LedgerEntry": "ledger_entry",
    "LedgerFault": "ledger_faults",
    "MemoryLedger": "memory_ledger",
    "Network": "simulated_network",
    "NotConverged": "convergence",
    "NotDeterministic": "determinism",
    "ReplayDiverged": "replayed_room",
    "RoomHarness": "room_harness",
    "Schedule": "schedule",
    "check_determinism": "determinism",
    "disconnect_or_reconnect": "random_play",
    "random_input": "random_play",
    "replay": "replayed_room",
    "seeds": "seeds",
}
"""The modules of the public names. The imports above repeat them for type checkers."""

__all__ = [
    "Choice",
    "Difference",
    "HarnessClient",
    "LedgerEntry",
    "LedgerFault",
    "MemoryLedger",
    "Network",
    "NotConverged",
    "NotDeterministic",
    "ReplayDiverged",
    "RoomHarness",
    "Schedule",
    "check_determinism",
    "disconnect_or_reconnect",
    "random_input",
    "replay",
    "seeds",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
