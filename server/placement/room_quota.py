"""Limits the rooms that a player and a client address may create on this shard in a minute.

A room costs its shard CPU time and memory until it is closed, even if it is empty. Rooms that a request describes
count: by name, private, by labels, or for a party. A match counts for each of its players with that player's share of
the room. A Join for any open room does not count, because it creates a room only if all others are full.

A bucket is deleted when it is full again, so that the table holds only keys that created rooms in the last minute.

Pure: the clock is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tickwire.server.edge.addresses import network_from_address
from tickwire.server.edge.token_bucket import TokenBucket

BURST_S = 15.0
"""A key may create the rooms of this many seconds at once."""
KEYS_MAX = 10_000
"""Above this the oldest buckets are deleted. Only an attacker with very many addresses reaches it."""


class _Buckets:
    """One token bucket for each key that has created rooms in the last minute.

    Args:
        per_minute: the rooms that one key may create.
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
        return max(0.0, (rooms - bucket.tokens) / self._per_second)

    def spend(self, key: str, rooms: float, now_s: float) -> None:
        """Count rooms. Concurrent joins may take the level below zero."""
        if key not in self._buckets:
            self._make_space(now_s)
            self._buckets[key] = TokenBucket(self._per_second, self._burst, now_s)
        self._buckets[key].refill(now_s)
        self._buckets[key].tokens -= rooms

    def _make_space(self, now_s: float) -> None:
        if len(self._buckets) >= KEYS_MAX:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now_s)}
        while len(self._buckets) >= KEYS_MAX:
            del self._buckets[next(iter(self._buckets))]


class RoomQuota:
    """Limits the rooms that players and addresses may create.

    Args:
        per_player: rooms a minute for each player.
        per_address: rooms a minute for each address, or IPv6 network of 64 bits.
        now_s: a monotonic clock.
    """

    def __init__(self, *, per_player: int, per_address: int, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._players = _Buckets(per_player)
        self._addresses = _Buckets(per_address)

    def __len__(self) -> int:
        return len(self._players) + len(self._addresses)

    def wait_ms(self, player_id: str, address: str, *, share: float = 1.0) -> int:
        """Return how long the player must wait before it may create a room, in ms; 0 if it may create one now.

        Args:
            player_id: the player.
            address: the address of its client.
            share: the player's share of the room, for a match.
        """
        now_s, network = self._now_s(), network_from_address(address)
        wait_s = max(self._players.wait_s(player_id, share, now_s), self._addresses.wait_s(network, share, now_s))
        return math.ceil(wait_s * 1000)

    def spend(self, player_id: str, address: str, *, share: float = 1.0) -> None:
        """Count a room that the player has created.

        Args:
            player_id: the player.
            address: the address of its client.
            share: the player's share of the room, for a match.
        """
        now_s = self._now_s()
        self._players.spend(player_id, share, now_s)
        self._addresses.spend(network_from_address(address), share, now_s)
