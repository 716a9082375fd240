"""The disconnected sessions of a shard, and which of them ends when there are too many.

A guest without a seat is a stranger. Anyone who can open connections can create any number of strangers.

    an address has too many     its own oldest stranger ends, or its oldest session if it has no strangers
    the shard has too many      the oldest stranger ends, or the oldest session if it has no strangers

So strangers evict strangers, and the strangers of one address evict each other. Pure: the caller passes the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from tickwire.server.edge.addresses import network_from_address


class Resumable(Protocol):
    """The attributes of a session that eviction depends on."""

    @property
    def is_guest(self) -> bool:
        """Whether its player has no account."""
        ...

    @property
    def room_id(self) -> str:
        """The room in which it has a seat; empty outside of a room."""
        ...

    @property
    def address(self) -> str:
        """The address of its last connection; empty if it is unknown."""
        ...


SessionT = TypeVar("SessionT", bound=Resumable)


class DisconnectedSessions(Generic[SessionT]):
    """Sessions without a connection, in the order in which they lost it.

    Args:
        most: the most sessions that the shard keeps.
        most_per_address: the most sessions of one address.
    """

    def __init__(self, *, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._since_s: dict[SessionT, float] = {}
        self._strangers: dict[SessionT, None] = {}
        self._networks: dict[SessionT, str] = {}  # of the last connection: the next one may have another address
        self._by_network: defaultdict[str, dict[SessionT, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._since_s)

    def add(self, session: SessionT, now_s: float) -> SessionT | None:
        """Add a session that has lost its connection.

        Returns:
            The session that must end to make room, which the caller ends and discards; None if there is room.
        """
        self.discard(session)
        self._since_s[session] = now_s
        if _is_stranger(session):
            self._strangers[session] = None
        if session.address:
            self._networks[session] = network = network_from_address(session.address)
            neighbours = self._by_network[network]
            neighbours[session] = None
            if len(neighbours) > self._most_per_address:
                return _first_stranger(neighbours) or next(iter(neighbours))
        if len(self._since_s) > self._most:
            return self._oldest_stranger() or next(iter(self._since_s))
        return None

    def discard(self, session: SessionT) -> None:
        """Remove a session that has a connection again, or has ended. Idempotent."""
        self._since_s.pop(session, None)
        self._strangers.pop(session, None)
        network = self._networks.pop(session, "")
        if network:
            self._by_network[network].pop(session, None)
            if not self._by_network[network]:
                del self._by_network[network]

    def expired(self, before_s: float) -> list[SessionT]:
        """Return the sessions that lost their connection at this time or before."""
        expired = []
        for session, since_s in self._since_s.items():
            if since_s > before_s:
                break
            expired.append(session)
        return expired

    def _oldest_stranger(self) -> SessionT | None:
        while self._strangers:
            session = next(iter(self._strangers))
            if _is_stranger(session):
                return session
            del self._strangers[session]  # its join ended after the connection was lost
        return None


def _first_stranger(sessions: Iterable[SessionT]) -> SessionT | None:
    return next((session for session in sessions if _is_stranger(session)), None)


def _is_stranger(session: Resumable) -> bool:
    return session.is_guest and not session.room_id
