"""Queues with friends, plays the match for a while, and queues again."""

from __future__ import annotations

from tickwire.client.errors import ClientError, NotMatched
from tickwire.loadtest.players.player import SwarmPlayer

STAYS_S = (5.0, 15.0)


class Queuer(SwarmPlayer):
    """Queues with a party of `--party-size` of this worker's players, in `--mode`."""

    def play(self) -> None:
        """Queue, play the match for some seconds and leave."""
        session, habits = self.session, self.habits
        session.may_end = True
        session.open()
        party = self.swarm.party(habits.mode, habits.party_size) if habits.party_size > 1 else None
        try:
            session.match(habits.mode, party=party, timeout_s=habits.match_s_max)
        except NotMatched as error:  # a friend left, or the mode's time limit is over
            self.swarm.measures.fail("match", error.status.state.name)
            raise
        except (ClientError, TimeoutError) as error:
            self.swarm.measures.fail("match", str(error)[:100])
            raise
        with self.sending_inputs():
            session.stay(self.rng.uniform(*STAYS_S))
        session.leave()
