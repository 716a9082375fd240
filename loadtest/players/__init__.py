"""The behaviour of players. For a game's own players, subclass `SwarmPlayer` or one of these in a locustfile."""

from __future__ import annotations

from tickwire.loadtest.players.abuser import Abuser
from tickwire.loadtest.players.churner import Churner
from tickwire.loadtest.players.player import SwarmPlayer
from tickwire.loadtest.players.queuer import Queuer
from tickwire.loadtest.players.reconnector import Reconnector
from tickwire.loadtest.players.slow_reader import SlowReader
from tickwire.loadtest.players.spender import Spender
from tickwire.loadtest.players.wanderer import Wanderer

__all__ = [
    "Abuser",
    "Churner",
    "Queuer",
    "Reconnector",
    "SlowReader",
    "Spender",
    "SwarmPlayer",
    "Wanderer",
]
