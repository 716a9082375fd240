"""On a bad network: drops without closing, comes back, and must have lost nothing."""

from __future__ import annotations

import gevent

from tickwire.client.errors import ClientError
from tickwire.loadtest.players.player import SwarmPlayer

STAYS_S = (3.0, 10.0)
AWAY_S = (0.0, 3.0)


class Reconnector(SwarmPlayer):
    """Drops, and comes back to the same session, seat and room; events once and in order (the session counts)."""

    def play(self) -> None:
        """See the class."""
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
                    raise ClientError("came back to another room, or to none")
