"""Places players: joins, matchmaking queues, room quotas, and this shard's entries in the directory."""
