"""What all players are: a locust user with a session, that begins again when it cannot go on."""

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
"""Who could not go on waits for so long before it begins again."""
PAYLOADS = 16
"""So many different inputs are made at a join, and sent by turns."""
INPUTS_PER_PAYLOAD = 5


class SwarmPlayer(User):
    """One player.

    Attributes:
        session: what it plays with; a new one each time that it begins again.
        number: of this process's players.
        rng: its own; a number has the same in every run.
    """

    abstract = True
    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.swarm = swarm.get_swarm(environment)
        self.habits = self.swarm.habits
        self.number = self.swarm.next_number()
        self.rng = random.Random(f"{type(self).__name__}/{self.number}")  # noqa: S311
        self.session = self._new_session()

    def play(self) -> None:
        """What it does, from `open` on; begins again when it returns."""
        raise NotImplementedError

    @task
    def live(self) -> None:
        """Plays; whatever keeps it from going on is counted, and it begins again."""
        wanted_since_s = None
        try:
            self.play()
        except (ClientError, TimeoutError) as error:
            wanted_since_s = self.session.wanted_since_s  # it wants it still: nobody is forgotten by beginning again
            if not self.session.is_excluded:
                self.swarm.measures.fail("gave up", f"{type(error).__name__}: {str(error)[:80]}")
        except (StopUser, RescheduleTask, InterruptTaskSet):
            raise  # these are how a locust user says what comes next
        except Exception as error:
            log.exception("%s has raised", type(self).__name__)
            text = f"{type(self).__name__} raised {type(error).__name__}: {error}"
            self.swarm.measures.fail("players", text[:100])
        finally:
            self.session.end()
        self.session = self._new_session(wanted_since_s)
        gevent.sleep(self.rng.uniform(*RESTART_PAUSE_S))

    def on_stop(self) -> None:
        """The swarm has no more use for it."""
        self.session.end()

    def _new_session(self, wanted_since_s: float | None = None) -> SwarmSession:
        player_id = self.swarm.player_id(self.number)
        return SwarmSession(self.swarm, player_id, self.rng, wanted_since_s=wanted_since_s)

    def join(self) -> None:
        """Takes a seat in a room of the swarm's."""
        habits, name = self.habits, self.habits.room_name
        if habits.room_players:
            name = f"{name or 'swarm'} {self.number // habits.room_players}"
        self.session.join(habits.room, name=name, options=dict(habits.options))

    @contextmanager
    def sending_inputs(self) -> Iterator[None]:
        """Sends inputs while the block runs, where the room has any."""
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
    """Any value that a field can have, in the game's units."""
    match field.kind:
        case FieldKind.REAL:
            return rng.uniform(field.low, field.high)
        case FieldKind.ANGLE:
            return rng.uniform(0, math.tau)
        case FieldKind.BOOL:
            return float(rng.random() < 0.5)
        case _:
            return float(rng.randint(*field.range))
