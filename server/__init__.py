"""The room shard: edge, rooms, replication, storage and operations in one process."""

__version__ = "0.1.0"
