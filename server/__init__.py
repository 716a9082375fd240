"""The room shard: edge, rooms, replication, storage and operations in one process."""
