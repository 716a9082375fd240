"""The poller of a swarm: it reads sockets in turns, so that other greenlets run in between."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import gevent
import pytest

from tickwire.loadtest.read_poller import READS_MAX, ReadPoller, ReadWaiter, SocketWatchers, get_read_waiter

WAIT_S_MAX = 10.0


class Peers:
    """Pairs of sockets; one of each is read by the poller."""

    def __init__(self, stack: ExitStack, poller: ReadWaiter) -> None:
        self.poller = poller
        self.received: list[int] = []
        self._stack = stack
        self._own: list[socket.socket] = []
        self._other: list[socket.socket] = []

    def add(self) -> None:
        """Add a pair."""
        own, other = (self._stack.enter_context(closing(each)) for each in socket.socketpair())
        own.setblocking(False)
        number = len(self._own)
        self._own.append(own)
        self._other.append(other)
        self.poller.add(own.fileno(), lambda: self.read(number))

    def send(self) -> None:
        """Make all sockets readable."""
        for other in self._other:
            other.send(b"x")

    def read(self, number: int) -> None:
        """Read a socket."""
        self._own[number].recv(10)
        self.received.append(number)

    def remove(self, number: int) -> None:
        """Remove and close a socket."""
        self.poller.remove(self._own[number].fileno())
        self._own[number].close()

    def wait(self, count: int) -> None:
        """Wait until `count` sockets were read."""
        with gevent.Timeout(WAIT_S_MAX):
            while len(self.received) < count:
                gevent.sleep(0.001)


@pytest.fixture
def peers() -> Iterator[Peers]:
    yield from create_peers(ReadPoller(gevent.get_hub().loop))


@pytest.fixture(params=[ReadPoller, SocketWatchers])
def peers_of_each(request: pytest.FixtureRequest) -> Iterator[Peers]:
    yield from create_peers(request.param(gevent.get_hub().loop))


def create_peers(poller: ReadWaiter) -> Iterator[Peers]:
    with ExitStack() as stack:
        made = Peers(stack, poller)
        yield made
        for own in made._own:
            if own.fileno() >= 0:
                poller.remove(own.fileno())


def test_other_greenlets_run_before_all_sockets_were_read(peers: Peers) -> None:
    turns = 3
    for _ in range(turns * READS_MAX):
        peers.add()
    peers.send()
    found: list[int] = []

    def watch() -> None:
        while len(peers.received) < turns * READS_MAX:
            found.append(len(peers.received))
            gevent.sleep(0)

    with gevent.Timeout(WAIT_S_MAX):
        gevent.spawn(watch).join()
    assert {READS_MAX, 2 * READS_MAX} <= set(found)
    assert sorted(peers.received) == list(range(turns * READS_MAX)), "each was read once"


def test_socket_that_another_callback_removes_is_not_read(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        peers.add()

    def read(number: int) -> None:
        Peers.read(peers, number)
        peers.remove(1 - number)

    monkeypatch.setattr(peers, "read", read)
    peers.send()
    peers.wait(1)
    assert isinstance(peers.poller, ReadPoller)
    peers.poller._poll()
    assert len(peers.received) == 1


def test_paused_socket_is_read_after_it_was_added_again(peers_of_each: Peers) -> None:
    for _ in range(2):
        peers_of_each.add()
    peers_of_each.poller.remove(peers_of_each._own[0].fileno())
    peers_of_each.poller.remove(peers_of_each._own[0].fileno())
    peers_of_each.send()
    peers_of_each.wait(1)
    assert peers_of_each.received == [1]
    peers_of_each.poller.add(peers_of_each._own[0].fileno(), lambda: peers_of_each.read(0))
    peers_of_each.wait(2)
    assert peers_of_each.received == [1, 0]


def test_closed_connection_is_reported(peers_of_each: Peers) -> None:
    peers_of_each.add()
    peers_of_each._other[0].close()
    peers_of_each.wait(1)


def test_event_loop_ends_without_sockets(peers_of_each: Peers) -> None:
    peers_of_each.add()
    assert not gevent.wait(timeout=0.01), "a socket may become readable"
    peers_of_each.remove(0)
    assert gevent.wait(timeout=WAIT_S_MAX)


def test_event_loop_has_one_poller() -> None:
    assert get_read_waiter() is get_read_waiter()
