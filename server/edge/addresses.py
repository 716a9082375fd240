"""The client addresses of a shard: the number of connections of each, and the limits that they share.

An address is removed when its last connection has closed and its buckets are full again, so a client cannot refill
them by reconnecting. Pure: the caller passes the time.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.token_bucket import TokenBucket

BURST_S = 0.25
"""The burst of all connections of an address: about 20 ms of the loop."""
MESSAGE_TOKENS = 4
"""The cost of a message that is not an input, in addition to its frame: it takes about 30 µs, an input about 7 µs."""
REQUEST_TOKENS = 16
"""The additional cost of a Join or MatchRequest: with the work of Redis and the queue about 150 µs in all."""
OTHER_FRAME_TOKENS = 2
"""The additional cost of control frames, fragments and text frames: about 20 µs."""
HANDSHAKE_SHARE = 0.5
"""The most of the shard's handshakes, and of its admission queue, that one address can take."""


class Address:
    """One client address.

    Attributes:
        messages: the bucket that its connections share; see `tickwire.server.edge.rate_limit`.
        handshakes: the bucket of its handshakes.
        connections: the number of its connections.
    """

    __slots__ = ("connections", "handshakes", "messages")

    def __init__(self, *, messages: TokenBucket, handshakes: TokenBucket) -> None:
        self.messages = messages
        self.handshakes = handshakes
        self.connections = 0

    def is_idle(self, now_s: float) -> bool:
        """Return whether it can be removed: it has no connections, and its buckets are full."""
        return not self.connections and self.messages.is_full(now_s) and self.handshakes.is_full(now_s)


class Addresses:
    """All client addresses of a shard.

    Args:
        settings: the rates.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        self._messages_per_second = settings.messages_per_second_per_address_max
        self._handshakes_per_second = settings.handshakes_per_second_max * HANDSHAKE_SHARE
        self._handshakes_burst = max(1.0, self._handshakes_per_second * settings.admission_timeout_s)
        self._by_name: dict[str, Address] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str, now_s: float) -> Address:
        """Return the entry of an address; a new one has full buckets."""
        name = network_from_address(name)
        address = self._by_name.get(name)
        if address is None:
            rate = self._messages_per_second
            address = self._by_name[name] = Address(
                messages=TokenBucket(rate, max(1.0, rate * BURST_S), now_s),
                handshakes=TokenBucket(self._handshakes_per_second, self._handshakes_burst, now_s),
            )
        return address

    def expire(self, now_s: float) -> None:
        """Remove the addresses without connections whose buckets are full."""
        for name, address in list(self._by_name.items()):
            if address.is_idle(now_s):
                del self._by_name[name]


@lru_cache(maxsize=4096)
def network_from_address(name: str) -> str:
    """Return the network that counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address.

    Providers assign at least a network of 64 bits to every customer (RFC 6177).
    """
    try:
        address = ip_address(name)
    except ValueError:
        return name
    if not isinstance(address, IPv6Address):
        return name
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))
