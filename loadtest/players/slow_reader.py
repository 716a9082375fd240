"""Takes less than it is sent: nobody else may notice."""

from __future__ import annotations

import gevent

from tickwire.loadtest.players.player import SwarmPlayer

DEAF_S = (1.0, 3.0)
READS_S = (0.2, 1.0)


class SlowReader(SwarmPlayer):
    """Joins, moves, and reads only now and then. Missing ticks is its lot, and is not counted."""

    def play(self) -> None:
        """See the class."""
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
