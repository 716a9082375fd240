"""Exceeds every limit. The server must stay stable, and other players must not be affected."""

from __future__ import annotations

import gevent

from tickwire.client.errors import ClientError
from tickwire.loadtest.players.player import SwarmPlayer
from tickwire.loadtest.session import SwarmSession
from tickwire.schemas.codec import encode_client, encode_input
from tickwire.schemas.messages import Command, Join, Ping

PAUSE_S = (0.5, 2.0)


class Abuser(SwarmPlayer):
    """Sends floods, random bytes and giant messages.

    It is excluded from all measurements; only the counts `abuses` and `abuses_closed` (closed by the server) are
    kept.
    """

    def play(self) -> None:
        """Send abuses until the server closes the connection."""
        session = self.session
        session.open()
        session.join(self.habits.room, options=dict(self.habits.options))
        for messages in self.rng.sample(self._abuses(), 3):
            self.swarm.measures.count("abuses")
            for message in messages:
                session.send(message)
            gevent.sleep(self.rng.uniform(*PAUSE_S))
            if session.losses:  # it may be connected again by now
                self.swarm.measures.count("abuses_closed")
                raise ClientError("closed by the server, as expected")

    def _new_session(self, wanted_since_s: float | None = None) -> SwarmSession:
        session = super()._new_session()
        session.is_excluded = True  # from the beginning, so that it is never expected to have a seat
        return session

    def _abuses(self) -> list[list[bytes]]:
        rubbish = [self.rng.randbytes(self.rng.randint(1, 200)) for _ in range(5)]
        return [
            rubbish,
            [encode_input(number, 1, bytes(8)) for number in range(1, 400)],
            [encode_client(Ping(number)) for number in range(400)],
            [encode_client(Command(number, "flood", b"\xc0")) for number in range(1, 200)],
            [encode_client(Join(self.habits.room, "x" * 4000)) for _ in range(150)],
            [encode_client(Command(1, "giant", bytes(100_000)))],
        ]
