"""The load test's client on connections without a socket: which losses it counts, and when it reconnects."""

from __future__ import annotations

import random
from typing import Any

import gevent
import pytest

from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.session import SwarmSession
from tickwire.loadtest.swarm import Habits, Swarm, SwarmSettings, Tokens
from tickwire.schemas.codec import encode_server
from tickwire.schemas.messages import Message, Redirect, Welcome

WELCOME = Welcome("token", heartbeat_interval_ms=100, generation=1)


class SocketlessConnection(GeventConnection):
    """A connection that opens at once, and sends nothing."""

    opened: list[SocketlessConnection]

    def open(self, url: str, **_: Any) -> None:
        self.url, self.is_open = url, True
        self.opened.append(self)

    def send(self, payload: bytes) -> None:
        """Discard a message."""

    def close(self) -> None:
        self.is_ours = True
        self._end("closed by this side")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[SocketlessConnection]:
    """The connections so far."""
    SocketlessConnection.opened = []
    monkeypatch.setattr("tickwire.loadtest.connection.GeventConnection", SocketlessConnection)
    return SocketlessConnection.opened


def run(step_s: float = 0.0) -> None:
    """Run the other greenlets."""
    for _ in range(5):
        gevent.sleep(step_s)


def receive(session: SwarmSession, message: Message) -> None:
    session._receive(encode_server(message))
    run()


def opened_session() -> tuple[Swarm, SwarmSession]:
    swarm = Swarm(SwarmSettings(urls=["ws://first"], tokens=Tokens(), habits=Habits()))
    session = SwarmSession(swarm, "ann", random.Random(1))
    opening = gevent.spawn(session.open)
    run()
    receive(session, WELCOME)
    opening.get(timeout=5)
    return swarm, session


def test_connection_that_a_redirect_ends_is_not_lost(opened: list[SocketlessConnection]) -> None:
    _, session = opened_session()
    joining = gevent.spawn(session.join_once, "arena")
    run()
    receive(session, Redirect("ws://other", "ticket", "arena"))
    assert [connection.url for connection in opened] == ["ws://first", "ws://other"]
    receive(session, WELCOME)
    assert session.losses == 0
    opened[-1].fail("closed by the server: 1008")
    assert session.losses == 1
    joining.kill()
    session.end()


def test_player_who_stays_away_does_not_reconnect(opened: list[SocketlessConnection]) -> None:
    """Also if it is away for longer than the heartbeat needs to find the connection dead."""
    swarm, session = opened_session()
    swarm.scheduler.start(pytest.fail)
    session.stay_away()
    run(0.1)
    assert len(opened) == 1
    returning = gevent.spawn(session.reconnect)
    with gevent.Timeout(10):
        while len(opened) == 1:
            gevent.sleep(0.01)
    receive(session, Welcome("token", heartbeat_interval_ms=100, generation=2))
    returning.get(timeout=5)
    session.end()
    swarm.scheduler.stop()
