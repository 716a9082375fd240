"""Finds the clients of a harness whose worlds are behind, or differ from the server's tables."""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.testing.convergence import Difference, find_difference
from tickwire.testing.harness_client import HarnessClient
from tickwire.testing.harness_players import HarnessPlayers


def is_behind(players: HarnessPlayers) -> bool:
    """Return whether a client with a seat has yet to connect, or to be sent its first frame."""
    return any(_is_client_behind(players, client) for client in players.clients.values())


def _is_client_behind(players: HarnessPlayers, client: HarnessClient) -> bool:
    if client.is_away:
        return False
    found = players.find_seat(client)
    return not client.is_connected or (found is not None and found[1].view is None)


def find_differences(players: HarnessPlayers, tick: int) -> Iterator[Difference]:
    """Yield the first difference of each client; `tick` is that of the harness's room."""
    for name, client in players.clients.items():
        seat, world = players.find_seat(client), client.core.world
        if client.is_away or (seat is None and world is None):
            continue
        if not client.is_connected:
            yield Difference(tick, name, client_value="the client cannot connect")
        elif seat is None or world is None:
            text = "the client has no seat" if seat is not None else "the room has no seat for the client"
            yield Difference(tick, name, client_value=text)
        else:
            found = find_difference(*seat, name, world)
            if found is not None:
                yield found
