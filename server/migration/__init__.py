"""Moves rooms and sessions between shards, and finds sessions that this shard does not know."""
