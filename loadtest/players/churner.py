"""Comes and goes: what a launch is made of."""

from __future__ import annotations

from tickwire.loadtest.players.player import SwarmPlayer

STAYS_S = (2.0, 8.0)


class Churner(SwarmPlayer):
    """Joins, plays a little, leaves; begins again as somebody new."""

    def play(self) -> None:
        """See the class."""
        self.session.open()
        self.join()
        with self.sending_inputs():
            self.session.stay(self.rng.uniform(*STAYS_S))
        self.session.leave()
