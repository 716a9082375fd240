"""How many rooms a player and a client address may create in a minute, at this shard. Pure: the clock is an argument.

A room costs its shard even when nobody is in it, until it is closed. Rooms that were asked for count: by name,
private, by labels or for a party. A match counts for each of its players with that player's share of the room. A Join
for any open room does not count, since it creates one only where all others are full.

A bucket is forgotten when it is full again, so that the table holds those who have created rooms in the last minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tickwire.server.edge.addresses import network_of
from tickwire.server.edge.token_bucket import TokenBucket

BURST_S = 15.0
"""The part of a minute's rooms that may be created at once."""
KEYS_MAX = 10_000
"""Above this the oldest buckets are forgotten, which an attacker from very many addresses may achieve."""


class _Buckets:
    """One bucket for each key that has created rooms lately.

    Args:
        per_minute: the rooms of one key.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._burst = max(1.0, self._per_second * BURST_S)
        self._buckets: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, key: str, rooms: float, now_s: float) -> float:
        """Return how long a key must wait until it may create rooms, or its share of one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        bucket.refill(now_s)
        return max(0.0, (rooms - bucket.level) / self._per_second)

    def spend(self, key: str, rooms: float, now_s: float) -> None:
        """Count rooms. Joins that were under way at the same time may take the level below zero."""
        if key not in self._buckets:
            self._make_space(now_s)
            self._buckets[key] = TokenBucket(self._per_second, self._burst, now_s)
        self._buckets[key].refill(now_s)
        self._buckets[key].level -= rooms

    def _make_space(self, now_s: float) -> None:
        if len(self._buckets) >= KEYS_MAX:
            self._buckets = {key: one for key, one in self._buckets.items() if not one.is_full(now_s)}
        while len(self._buckets) >= KEYS_MAX:
            del self._buckets[next(iter(self._buckets))]


class RoomQuota:
    """The rooms that players and addresses may create.

    Args:
        per_player: rooms a minute.
        per_address: the same for an address (of an IPv6 network of 64 bits).
        now_s: a monotonic clock.
    """

    def __init__(self, *, per_player: int, per_address: int, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._players = _Buckets(per_player)
        self._addresses = _Buckets(per_address)

    def __len__(self) -> int:
        return len(self._players) + len(self._addresses)

    def wait_ms(self, player_id: str, address: str, *, share: float = 1.0) -> int:
        """Return how long the player must wait until it may create a room, or its share of one; 0: it may now."""
        now_s, network = self._now_s(), network_of(address)
        wait_s = max(self._players.wait_s(player_id, share, now_s), self._addresses.wait_s(network, share, now_s))
        return math.ceil(wait_s * 1000)

    def spend(self, player_id: str, address: str, *, share: float = 1.0) -> None:
        """Count a room that the player has created, or its share of one."""
        now_s = self._now_s()
        self._players.spend(player_id, share, now_s)
        self._addresses.spend(network_of(address), share, now_s)
