"""A map whose entries expire, as keys of Redis with a TTL do. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringMap(Generic[K, V]):
    """A map whose entries expire.

    An expired entry is removed when it is read or iterated over.

    Args:
        now_ms: the clock.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._entries: dict[K, tuple[V, int]] = {}

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[V]:
        for key in list(self._entries):
            value = self.get(key)
            if value is not None:
                yield value

    def get(self, key: K) -> V | None:
        """Return the value, or None without one, or once it has expired."""
        value, until_ms = self._entries.get(key, (None, 0))
        if value is not None and until_ms <= self._now_ms():
            del self._entries[key]
            return None
        return value

    def set(self, key: K, value: V, ttl_ms: int) -> None:
        """Set a value that expires after `ttl_ms`."""
        self._entries[key] = value, self._now_ms() + ttl_ms

    def expire(self, key: K, ttl_ms: int) -> None:
        """Set when an entry expires, if it exists."""
        value = self.get(key)
        if value is not None:
            self.set(key, value, ttl_ms)

    def left_ms(self, key: K) -> int:
        """Return after how many milliseconds an entry expires; 0 without one."""
        return 0 if self.get(key) is None else self._entries[key][1] - self._now_ms()

    def pop(self, key: K) -> V | None:
        """Remove an entry, and return its value, or None."""
        value = self.get(key)
        self._entries.pop(key, None)
        return value
