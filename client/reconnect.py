"""Plans when and where a client reconnects, and which errors are final. Pure: the caller passes clock and randomness.

The rules are documented in docs/protocol.md, "Rules of a client". `tickwire.client.connection_machine` follows this
plan.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tickwire.client.backoff import Backoff
from tickwire.schemas.messages import Error, Goodbye

CONNECT_MS_MAX = 5_000
HELLO_MS_MAX = 10_000
"""The time limits of one attempt: until the WebSocket is open, and from Hello to Welcome."""
REDIRECTS_MAX = 5
"""The limit of consecutive Redirects that are followed without a pause. More of them mean that shards redirect the
session in a circle."""
INITIAL_URL_ATTEMPT_FIRST = 4
"""The first attempt that goes to the initial URL, as does every second one after it: the shard may be gone."""
STABLE_CONNECTION_MS = 5_000
"""A connection that is lost before this time continues the previous series of attempts and its deadline."""
VISIT_MS = 10_000
"""The minimum time in which a client that left its session for another shard tries to open a new one."""
FINAL_CLOSE_CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009})
FINAL_CLOSE_CODES_MIN, FINAL_CLOSE_CODES_MAX = 4500, 4999


_CLOSED_AFTER_ERROR = frozenset({4002, 4004})
"""The server cannot serve the session now; the client sent too many messages or bytes."""
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_retry_status(status: int) -> bool:
    """Return whether a first connection that was refused with this HTTP status can be retried.

    Later handshakes are always retried: a proxy may answer with any status while it is reloaded.
    """
    return status in _RETRY_STATUS


def is_final_close(code: int | None, goodbye: Goodbye | None = None) -> bool:
    """Return whether the server closed the connection for good.

    Args:
        code: the close code; None if the connection broke without a close.
        goodbye: the server's Goodbye, if it sent one; it takes precedence over the code.
    """
    if goodbye is not None:
        return not goodbye.come_back
    return code is not None and (code in FINAL_CLOSE_CODES or FINAL_CLOSE_CODES_MIN <= code <= FINAL_CLOSE_CODES_MAX)


def advice_ms(code: int | None, goodbye: Goodbye | None, refusal: Error | None) -> int:
    """Return the delay that the server advised before the next connection; 0 without advice.

    Args:
        code: the close code.
        goodbye: the server's Goodbye on the connection, if it sent one.
        refusal: the newest Error on the connection. It counts only if the close code refers to it.
    """
    if goodbye is not None:
        return goodbye.retry_after_ms
    return refusal.retry_after_ms if refusal is not None and code in _CLOSED_AFTER_ERROR else 0


class Attempt(msgspec.Struct, frozen=True):
    """The next attempt to connect.

    Args:
        url: the address.
        pause_ms: the pause before the attempt.
    """

    url: str
    pause_ms: int


class ReconnectPlan:
    """Plans the attempts to reconnect one session, over all of its connections.

    A *series* begins when a stable connection is lost. It has a deadline and growing pauses.

    Args:
        initial_url: the address that the client connected to first.
        reconnect_ms: the duration of a series; 0 disables reconnecting.
        random: returns random numbers from 0 to 1.

    Attributes:
        url: the last known address of the session's shard.
    """

    def __init__(self, initial_url: str, *, reconnect_ms: float, random: Callable[[], float]) -> None:
        self.url = initial_url
        self._initial_url = initial_url
        self._reconnect_ms = reconnect_ms
        self._random = random
        self._backoff = Backoff(random)
        self._deadline_ms: float | None = None
        self._connected_ms = 0.0
        self._attempts = self._redirects = 0
        self._advice_ms = 0
        self._was_initial_url = self._stays_at_initial_url = False
        self._next_url = ""  # the target of a Redirect, until the attempt

    def connected(self, url: str, now_ms: float) -> None:
        """Record that the session has a connection.

        Args:
            url: its address.
            now_ms: the monotonic clock.
        """
        self.url = url
        self._connected_ms = now_ms

    def lost(self, now_ms: float, advice_ms: int = 0) -> None:
        """Record that the connection was lost.

        Args:
            now_ms: the monotonic clock.
            advice_ms: how long the server asked to wait; 0 without advice.
        """
        if self._deadline_ms is None or now_ms - self._connected_ms >= STABLE_CONNECTION_MS:
            self._begin(now_ms, self._reconnect_ms)
        self._attempts = 0
        self._advice_ms = advice_ms
        self._stays_at_initial_url = False

    def _begin(self, now_ms: float, duration_ms: float) -> None:
        self._deadline_ms = now_ms + duration_ms
        self._backoff = Backoff(self._random)
        self._attempts = self._redirects = 0
        self._advice_ms = 0
        self._stays_at_initial_url = False

    def redirected(self, url: str) -> None:
        """Record that the session moved to another shard: the next attempt goes there, without a pause."""
        self.url = self._next_url = url
        self._advice_ms = 0  # it was about another shard

    def visit(self, url: str, now_ms: float) -> None:
        """Begin a series for a new session on another shard.

        The first attempt goes there, without a pause. If it fails, later ones go to the initial URL: the shard may be
        dead.
        """
        self._begin(now_ms, max(self._reconnect_ms, VISIT_MS))
        self.url, self._next_url = self._initial_url, url

    def failed(self, advice_ms: int = 0, *, was_refused: bool = False) -> None:
        """Record that the last attempt failed.

        Args:
            advice_ms: the delay that the server advised; 0 without advice.
            was_refused: the server answered with a retryable error. If this was the initial URL, later attempts skip
                the session's shard, which does not answer.
        """
        if self._next_url:  # the attempt was redirected, and did not fail
            return
        self._advice_ms = advice_ms
        self._redirects = 0
        if was_refused:
            self._stays_at_initial_url = self._was_initial_url

    def extend(self, ms: float) -> None:
        """Move the deadline: the client's timers were late by this time (a hidden tab, a suspended laptop)."""
        if self._deadline_ms is not None:
            self._deadline_ms += ms

    def restart(self, now_ms: float) -> None:
        """Begin the series again, with short pauses: the network may work again."""
        self._begin(now_ms, self._reconnect_ms)

    def next(self, now_ms: float) -> Attempt | None:
        """Return the next attempt; None if it would begin after the deadline of the series."""
        url, self._next_url = self._next_url, ""
        if url and self._redirects < REDIRECTS_MAX:
            self._redirects += 1
            self._attempts = 0
            self._stays_at_initial_url = self._was_initial_url = False
            return Attempt(url, 0)
        self._redirects = 0
        pause_ms = self._backoff.next_ms(self._advice_ms)
        if self._deadline_ms is None or now_ms + pause_ms > self._deadline_ms:
            return None
        self._attempts += 1
        is_initial_turn = self._attempts >= INITIAL_URL_ATTEMPT_FIRST and self._attempts % 2 == 0
        self._was_initial_url = self._stays_at_initial_url or is_initial_turn
        return Attempt(self._initial_url if self._was_initial_url else self.url, pause_ms)
