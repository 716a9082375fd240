"""A player on a bad network: drops its connection, reconnects, and must not lose anything."""

from __future__ import annotations

import gevent

from tickwire.client.errors import ClientError
from tickwire.loadtest.players.player import SwarmPlayer

STAYS_S = (3.0, 10.0)
AWAY_S = (0.0, 3.0)


class Reconnector(SwarmPlayer):
    """Drops its connection, and resumes the same session, seat and room. The session checks the events."""

    def play(self) -> None:
        """Join, and drop and resume repeatedly."""
        session = self.session
        session.open()
        self.join()
        with self.sending_inputs():
            while True:
                session.stay(self.rng.uniform(*STAYS_S))
                room_id = session.core.joined.room_id if session.core.joined is not None else ""
                session.disconnect()
                gevent.sleep(self.rng.uniform(*AWAY_S))
                session.reconnect()
                joined = session.core.joined
                if joined is None or joined.room_id != room_id:
                    raise ClientError("resumed in another room, or in none")
