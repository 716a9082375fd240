"""Presence of this shard's players in the fleet: one session a player, on whichever shard."""
