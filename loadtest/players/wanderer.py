"""The most of a player_counts: joins, moves, stays."""

from __future__ import annotations

from tickwire.loadtest.players.player import SwarmPlayer

FOREVER_S = 1e9


class Wanderer(SwarmPlayer):
    """Joins, moves at `--input-hz`, stays for as long as the run is."""

    def play(self) -> None:
        """See the class."""
        self.session.open()
        self.join()
        with self.sending_inputs():
            self.session.stay(FOREVER_S)
