"""The base of all players: a locust user with a session, which starts again after an error."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from locust import User, constant, task
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask, StopUser

from tickwire.client.errors import ClientError
from tickwire.loadtest import swarm
from tickwire.loadtest.session import SwarmSession
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind

log = logging.getLogger("loadtest")

RESTART_PAUSE_S = (0.5, 2.0)
"""The pause before a player starts again."""
PAYLOADS = 16
"""The number of different inputs that are created at a join and sent in turn."""
INPUTS_PER_PAYLOAD = 5


class SwarmPlayer(User):
    """One player.

    Attributes:
        session: its session; a new one each time that it starts again.
        number: its number among this process's players.
        rng: its random numbers, which are the same in every run for the same number.
    """

    abstract = True
    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.swarm = swarm.get_swarm(environment)
        self.habits = self.swarm.settings.habits
        self.number = self.swarm.next_number()
        self.rng = random.Random(f"{type(self).__name__}/{self.number}")  # noqa: S311
        self.session = self._new_session()

    def play(self) -> None:
        """Play, beginning with `open`. The player starts again after it returns."""
        raise NotImplementedError

    @task
    def live(self) -> None:
        """Play once. Errors are counted, and the player starts again."""
        wanted_since_s = None
        try:
            self.play()
        except (ClientError, TimeoutError) as error:
            wanted_since_s = self.session.wanted_since_s  # it still wants a seat, and counts as expected
            if not self.session.is_excluded:
                self.swarm.measures.fail("gave up", f"{type(error).__name__}: {str(error)[:80]}")
        except (StopUser, RescheduleTask, InterruptTaskSet):
            raise  # the control flow of locust
        except Exception as error:
            log.exception("%s raised", type(self).__name__)
            text = f"{type(self).__name__} raised {type(error).__name__}: {error}"
            self.swarm.measures.fail("players", text[:100])
        finally:
            self.session.end()
        self.session = self._new_session(wanted_since_s)
        gevent.sleep(self.rng.uniform(*RESTART_PAUSE_S))

    def on_stop(self) -> None:
        """End the session when locust stops the player."""
        self.session.end()

    def _new_session(self, wanted_since_s: float | None = None) -> SwarmSession:
        player_id = self.swarm.player_id(self.number)
        return SwarmSession(self.swarm, player_id, self.rng, wanted_since_s=wanted_since_s)

    def join(self) -> None:
        """Join a room of the swarm."""
        habits, name = self.habits, self.habits.room_name
        if habits.room_players:
            name = f"{name or 'swarm'} {self.number // habits.room_players}"
        self.session.join(habits.room, name=name, options=dict(habits.options))

    @contextmanager
    def sending_inputs(self) -> Iterator[None]:
        """Send inputs while the block runs, if the room has inputs."""
        core, hz = self.session.core, self.habits.input_hz
        if not core.input_fields or hz <= 0:
            yield
            return
        payloads = [
            core.pack({field.name: random_value(field, self.rng) for field in core.input_fields})
            for _ in range(PAYLOADS)
        ]
        sent, session = 0, self.session

        def send(due_s: float) -> None:
            nonlocal sent
            sent += 1
            session.send_input(payloads[sent // INPUTS_PER_PAYLOAD % PAYLOADS], due_s)

        action = self.swarm.scheduler.every(1 / hz, send, first_s=self.rng.random() / hz)
        try:
            yield
        finally:
            action.stop()


def random_value(field: Field, rng: random.Random) -> float:
    """Return a random value of a field, in the game's units."""
    match field.kind:
        case FieldKind.REAL:
            return rng.uniform(field.low, field.high)
        case FieldKind.ANGLE:
            return rng.uniform(0, math.tau)
        case FieldKind.BOOL:
            return float(rng.random() < 0.5)
        case _:
            return float(rng.randint(*field.range))
