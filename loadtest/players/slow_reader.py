"""Reads more slowly than the server sends, which must not affect other players."""

from __future__ import annotations

import gevent

from tickwire.loadtest.players.player import SwarmPlayer

DEAF_S = (1.0, 3.0)
READS_S = (0.2, 1.0)


class SlowReader(SwarmPlayer):
    """Joins, moves, and reads only from time to time. Its missed ticks are not counted."""

    def play(self) -> None:
        """Join, and pause reading repeatedly."""
        session = self.session
        session.observer.is_slow_reader = True
        session.open()
        self.join()
        with self.sending_inputs():
            while True:
                session.pause()
                gevent.sleep(self.rng.uniform(*DEAF_S))
                session.unpause()
                session.stay(self.rng.uniform(*READS_S))
