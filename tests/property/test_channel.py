"""Replication as a state machine: whatever happens in the room, a client that takes what it is sent has the world."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from client.world import World
from schemas.codec import decode_server
from schemas.messages import StateDescription, StateFrame
from server.replication.channel import AGE_TICKS_MAX, Channel, Standing
from server.replication.columns import angle, boolean, real, sint
from server.replication.table import EntityIds, Table


class Ships(Table):
    x = real(-100, 100, step=1 / 16)
    heading = angle(bits=8)


class Mines(Table):
    depth = sint(bits=9)
    is_armed = boolean()


DESCRIPTION = StateDescription((Ships.describe("ships"), Mines.describe("mines")))


class Subscriber:
    """A client and what the server thinks that it has."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.world = World(DESCRIPTION)
        self.is_congested = False


class Replication(RuleBasedStateMachine):
    """Rules are what a room does; `tick` is what the server does."""

    subscribers = Bundle("subscribers")

    @initialize()
    def start(self) -> None:
        ids = EntityIds()
        self.tables = (Ships(ids), Mines(ids))
        self.channel = Channel(0, self.tables, checksum_ticks=3)
        self.tick_number = 0
        self.present: list[Subscriber] = []

    @rule(x=st.floats(-120, 120), heading=st.floats(-10, 10))
    def spawn_ship(self, x: float, heading: float) -> None:
        self.tables[0].spawn(x=x, heading=heading)

    @rule(depth=st.integers(-300, 300))
    def spawn_mine(self, depth: int) -> None:
        self.tables[1].spawn(depth=depth, is_armed=depth > 0)

    @rule(data=st.data(), which=st.sampled_from([0, 1]))
    def despawn(self, data: st.DataObject, which: int) -> None:
        ids = self.tables[which].ids.tolist()
        if ids:
            self.tables[which].despawn(data.draw(st.sampled_from(ids)))

    @rule(dx=st.floats(-5, 5), turn=st.floats(-1, 1))
    def move_all(self, dx: float, turn: float) -> None:
        ships = self.tables[0]
        ships.x += np.float32(dx)  # type: ignore[attr-defined]
        ships.heading += np.float32(turn)  # type: ignore[attr-defined]

    @rule(data=st.data(), x=st.floats(-120, 120))
    def set_one(self, data: st.DataObject, x: float) -> None:
        ids = self.tables[0].ids.tolist()
        if ids:
            self.tables[0][data.draw(st.sampled_from(ids))].x = x

    @rule(target=subscribers)
    def subscribe(self) -> Subscriber:
        self.present.append(Subscriber())
        return self.present[-1]

    @rule(subscriber=consumes(subscribers))
    def unsubscribe(self, subscriber: Subscriber) -> None:
        self.present.remove(subscriber)

    @rule(subscriber=subscribers, is_congested=st.booleans())
    def congest(self, subscriber: Subscriber, is_congested: bool) -> None:
        subscriber.is_congested = is_congested

    @rule(subscriber=subscribers)
    def resync(self, subscriber: Subscriber) -> None:
        subscriber.standing = None

    @rule(count=st.sampled_from([1, 1, 1, 2, 70, AGE_TICKS_MAX + 2]))
    def tick(self, count: int) -> None:
        for _ in range(count):
            self.tick_number += 1
            for table in self.tables:
                table.compact()
            self.channel.capture(self.tick_number)
            for subscriber in self.present:
                if not subscriber.is_congested:
                    self.send(subscriber)
                    self.check(subscriber)

    def send(self, subscriber: Subscriber) -> None:
        frame = self.channel.frame(subscriber.standing)
        if frame is None:
            return
        size = frame.data[1]
        message = decode_server(frame.data[2 if size < 126 else 4 :])
        assert isinstance(message, StateFrame)
        assert subscriber.world.apply(message), "the checksum agrees"
        subscriber.standing = frame.standing

    def check(self, subscriber: Subscriber) -> None:
        for name, table in zip(("ships", "mines"), self.tables, strict=True):
            seen = subscriber.world.table(name)
            assert seen.ids.tolist() == table.ids.tolist()
            quantised = table.quantise()
            for row, field in enumerate(table.fields):
                assert np.array_equal(seen.quantised(field.name), quantised[row])

    @invariant()
    def encoded_at_most_once_a_standing(self) -> None:
        assert self.channel.keyframes + self.channel.deltas <= self.tick_number * (len(self.present) + 1) + 400


Replication.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestReplication = Replication.TestCase
