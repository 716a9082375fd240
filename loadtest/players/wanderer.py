"""The typical player: joins, moves, and stays in its room."""

from __future__ import annotations

from tickwire.loadtest.players.player import SwarmPlayer

FOREVER_S = 1e9


class Wanderer(SwarmPlayer):
    """Joins, moves at `--input-hz`, and stays until the end of the run."""

    def play(self) -> None:
        """Join and stay."""
        self.session.open()
        self.join()
        with self.sending_inputs():
            self.session.stay(FOREVER_S)
