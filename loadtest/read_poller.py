"""Waits for the bytes of all connections of a process with one epoll descriptor, which gevent's event loop watches.

A tick of the server makes a thousand sockets readable at once. The event loop itself would call back all of them
before it runs a due input. A poller calls back READS_MAX of them, and then the event loop continues; the kernel
returns the others next. It also saves the event loop's own work for each readable socket. On systems without epoll
the event loop watches each socket.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import gevent
from gevent import monkey

READS_MAX = 128
"""The number of sockets that are read before other greenlets run."""
_EVENT_LOOP_READ = 1
HAS_EPOLL = sys.platform == "linux"
_epoll: Any = monkey.get_original("select", "epoll") if HAS_EPOLL else None


class ReadWaiter(Protocol):
    """Waits for the bytes of the sockets of one event loop."""

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back whenever the socket is readable or broken. Idempotent."""
        ...

    def remove(self, descriptor: int) -> None:
        """Stop the calls for a socket, before it is closed. Idempotent."""
        ...


class ReadPoller:
    """The readable sockets of one event loop, in turns. Implements `ReadWaiter`.

    Args:
        loop: gevent's event loop.
    """

    def __init__(self, loop: Any) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = _epoll()
        self._watcher = loop.io(self._epoll.fileno(), _EVENT_LOOP_READ)

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """See `ReadWaiter.add`."""
        if not self._callbacks:
            self._watcher.start(self._poll)
        if descriptor not in self._callbacks:
            self._epoll.register(descriptor, select.POLLIN)
        self._callbacks[descriptor] = callback

    def remove(self, descriptor: int) -> None:
        """See `ReadWaiter.remove`."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
            if not self._callbacks:  # a loop without other work then ends
                self._watcher.stop()

    def _poll(self) -> None:
        for descriptor, _ in self._epoll.poll(0, READS_MAX):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # the callback of another socket may have removed it
                callback()


class SocketWatchers:
    """The sockets of one event loop, each with a watcher of its own. Implements `ReadWaiter`.

    Args:
        loop: gevent's event loop.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._watchers: dict[int, Any] = {}

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """See `ReadWaiter.add`."""
        self.remove(descriptor)
        watcher = self._watchers[descriptor] = self._loop.io(descriptor, _EVENT_LOOP_READ)
        watcher.start(callback)

    def remove(self, descriptor: int) -> None:
        """See `ReadWaiter.remove`."""
        watcher = self._watchers.pop(descriptor, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()


_waiters: WeakKeyDictionary[Any, ReadWaiter] = WeakKeyDictionary()


def get_read_waiter() -> ReadWaiter:
    """Return what waits for the sockets of this thread's event loop. It is created at the first call."""
    hub = gevent.get_hub()
    waiter = _waiters.get(hub)
    if waiter is None:
        waiter = _waiters[hub] = ReadPoller(hub.loop) if HAS_EPOLL else SocketWatchers(hub.loop)
    return waiter
