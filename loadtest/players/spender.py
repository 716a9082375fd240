"""Earns with durable commands, repeats some of them, and checks that its balance equals the sum of the replies."""

from __future__ import annotations

import time

import gevent

from tickwire.client.errors import CommandFailed
from tickwire.loadtest.players.player import SwarmPlayer

EVERY_S = 1.0
REPEATS_SHARE = 0.2
CHECK_EVERY = 10


class Spender(SwarmPlayer):
    """Sends a durable command once a second, every fifth of them three times at once and again after its reply.

    `--spend` names a command that replies with the earned amount of `--item`; `--purse` one that replies with the
    balance, which is compared every CHECK_EVERY commands.
    """

    def play(self) -> None:
        """Join, and earn and compare repeatedly."""
        session, habits = self.session, self.habits
        session.observer.has_quiet_ticks = True  # the room's state changes only when a player earns
        session.open()
        session.join(habits.spend_room, name=habits.room_name)
        owns, asked = self._purse(), 0
        next_s = time.monotonic() + self.rng.uniform(0, EVERY_S)
        while True:
            gevent.sleep(max(0.0, next_s - time.monotonic()))
            times = 3 if self.rng.random() < REPEATS_SHARE else 1
            try:
                owns += session.command(habits.spend, None, due_s=next_s, times=times)
            except CommandFailed as error:
                self.swarm.measures.fail("reply", error.reply.error.name)
            asked += 1
            if asked % CHECK_EVERY == 0 and (found := self._purse()) != owns:
                self.swarm.measures.fail("replies", "the balance differs from the replies")
                owns = found
            next_s = max(next_s + EVERY_S, time.monotonic() - EVERY_S)

    def _purse(self) -> int:
        purse = self.session.command(self.habits.purse, None, due_s=time.monotonic())
        return int(purse.get(self.habits.item, 0))
