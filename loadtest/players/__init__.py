"""The behaviour of players. For a game's own players, subclass `SwarmPlayer` or one of these in a locustfile."""

from __future__ import annotations

from tickwire.loadtest.players.abuser import Abuser
from tickwire.loadtest.players.churner import Churner
from tickwire.loadtest.players.matchmaker import Matchmaker
from tickwire.loadtest.players.player import SwarmPlayer
from tickwire.loadtest.players.reconnector import Reconnector
from tickwire.loadtest.players.slow_reader import SlowReader
from tickwire.loadtest.players.spender import Spender
from tickwire.loadtest.players.wanderer import Wanderer

PLAYERS: dict[str, type[SwarmPlayer]] = {
    "wanderer": Wanderer,
    "churner": Churner,
    "reconnector": Reconnector,
    "slow_reader": SlowReader,
    "matchmaker": Matchmaker,
    "spender": Spender,
    "abuser": Abuser,
}
"""By the names that a mix has."""

__all__ = [
    "PLAYERS",
    "Abuser",
    "Churner",
    "Matchmaker",
    "Reconnector",
    "SlowReader",
    "Spender",
    "SwarmPlayer",
    "Wanderer",
]
