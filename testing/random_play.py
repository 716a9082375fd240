"""Random play: players of a harness do random actions, each of which is one choice of the schedule.

    def steer(client, rng):
        client.input(thrust=rng.uniform(-1, 1))

    room.random_play({steer: 10, disconnect_or_reconnect: 1}, steps=200)

Each step draws an action, a client, the random numbers of the action, and the ticks that follow. An omitted step runs
its ticks only, so the other steps stay as they are and the report of a failure lists the actions that it needs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tickwire.schemas.fields import Field
from tickwire.testing.schedule import Schedule

Action = Callable[[Any, random.Random], object]
"""An action of a player. It receives the client and random numbers of its own."""
TICKS_MAX = 3
"""The ticks after each action are 1 to 3, so that actions meet in one tick of the server, as in real play."""


class PlayedHarness(Protocol):
    """A harness whose clients play. `tickwire.testing.room_harness.RoomHarness` is one."""

    @property
    def schedule(self) -> Schedule:
        """The schedule of the run."""

    @property
    def clients(self) -> Mapping[str, Any]:
        """The clients by name."""

    def run(self, *, ticks: int) -> None:
        """Run the room."""


def play_randomly(harness: PlayedHarness, actions: Sequence[Action] | Mapping[Action, float], steps: int) -> None:
    """Run random actions of random clients; see `RoomHarness.random_play`.

    Args:
        harness: the harness; its clients have joined.
        actions: the actions; a mapping has their weights.
        steps: the number of actions.

    Raises:
        ValueError: the actions or the clients are missing.
        TypeError: the actions are neither a list of functions nor a mapping.
    """
    if not isinstance(actions, (Sequence, Mapping)) or not all(callable(action) for action in actions):
        raise TypeError(f"random_play: pass a list of functions, or a mapping with their weights; got {actions!r}")
    weights = dict(actions) if isinstance(actions, Mapping) else dict.fromkeys(actions, 1.0)
    if not weights or not harness.clients:
        missing = "one action" if not weights else "one client; join players before it"
        raise ValueError(f"random_play: needs at least {missing}")
    stream = harness.schedule.stream("play")
    for _ in range(steps):
        rng = stream.rng
        (action,) = rng.choices(list(weights), list(weights.values()))
        index, ticks, numbers = rng.random(), rng.randint(1, TICKS_MAX), rng.getrandbits(64)
        clients = list(harness.clients.values())
        if clients:
            client = clients[int(index * len(clients))]
            if stream.keeps(f"{client.name} {_name_of(action)}"):
                action(client, random.Random(numbers))  # noqa: S311 the chance of a test
        harness.run(ticks=ticks)


def random_input(client: Any, rng: random.Random) -> None:
    """Send an input with random values in the declared ranges, if the client is in the room; for `random_play`."""
    if client.is_connected and client.is_seated:
        client.input(**{field.name: _random_value(field, rng) for field in client.core.input_fields})


def disconnect_or_reconnect(client: Any, rng: random.Random) -> None:
    """Disconnect a client, or reconnect one that was disconnected; an action for `random_play`."""
    if client.is_away:
        client.reconnect()
    else:
        client.disconnect()


def _random_value(field: Field, rng: random.Random) -> float:
    return float(field.dequantise(np.array([rng.randint(*field.range)]))[0])


def _name_of(action: Action) -> str:
    return getattr(action, "__name__", type(action).__name__)
