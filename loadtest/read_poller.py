"""Waits for the bytes of all connections of a process with one epoll descriptor, which gevent's event loop watches.

A tick of the server makes a thousand sockets readable at once. The event loop itself would call back all of them
before it runs a due input. A poller calls back READS_MAX of them, and then the event loop continues; the kernel
returns the others next. It also saves the event loop's own work for each readable socket.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent import monkey

READS_MAX = 128
"""The number of sockets that are read before other greenlets run."""
_EVENT_LOOP_READ = 1
_epoll: Any = monkey.get_original("select", "epoll")


class ReadPoller:
    """The readable sockets of one event loop.

    Args:
        loop: gevent's event loop.
    """

    def __init__(self, loop: Any) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = _epoll()
        self._watcher = loop.io(self._epoll.fileno(), _EVENT_LOOP_READ)

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back whenever the socket is readable or broken. Idempotent."""
        if not self._callbacks:
            self._watcher.start(self._poll)
        if descriptor not in self._callbacks:
            self._epoll.register(descriptor, select.POLLIN)
        self._callbacks[descriptor] = callback

    def remove(self, descriptor: int) -> None:
        """Stop the calls for a socket, before it is closed. Idempotent."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
            if not self._callbacks:  # a loop without other work then ends
                self._watcher.stop()

    def _poll(self) -> None:
        for descriptor, _ in self._epoll.poll(0, READS_MAX):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # the callback of another socket may have removed it
                callback()


_pollers: WeakKeyDictionary[Any, ReadPoller] = WeakKeyDictionary()


def get_read_poller() -> ReadPoller:
    """Return the poller of this thread's event loop. It is created at the first call."""
    hub = gevent.get_hub()
    poller = _pollers.get(hub)
    if poller is None:
        poller = _pollers[hub] = ReadPoller(hub.loop)
    return poller
