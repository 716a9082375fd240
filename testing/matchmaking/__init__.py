"""The in-process store of the matchmaker: the contract of its scripts without Redis; the clock is an argument."""

from tickwire.testing.matchmaking.connection import MemoryConnection, create_matchmaker

__all__ = ["MemoryConnection", "create_matchmaker"]
