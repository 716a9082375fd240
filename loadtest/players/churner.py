"""Joins and leaves, as many players of a launch do."""

from __future__ import annotations

from tickwire.loadtest.players.player import SwarmPlayer

STAYS_S = (2.0, 8.0)


class Churner(SwarmPlayer):
    """Joins, plays for some seconds, leaves, and starts again in a new session."""

    def play(self) -> None:
        """Join, play for some seconds and leave."""
        self.session.open()
        self.join()
        with self.sending_inputs():
            self.session.stay(self.rng.uniform(*STAYS_S))
        self.session.leave()
