"""Replication as a state machine: a client that applies its frames has exactly the entities of its channels.

No frame contains an entity of another channel.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tickwire.client.core import ClientCore
from tickwire.schemas.codec import encode_server
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Joined, StateDescription, Welcome
from tickwire.server.replication.client_view import ClientView, InterestSet, TickBaselines
from tickwire.server.replication.columns import angle, boolean, real, sint, text
from tickwire.server.replication.entity_ids import EntityIds
from tickwire.server.replication.replicator import AGE_TICKS_MAX, Replicator
from tickwire.server.replication.table import NOBODY, Table

pytestmark = pytest.mark.usefixtures("each_kernel")


class RandomShips(Table):
    x = real(-100, 100, step=1 / 16)
    heading = angle(bits=8)


class Mines(Table):
    depth = sint(bits=9)
    is_armed = boolean()
    words = text(bytes_max=12)


JOINED = Joined("room", description=StateDescription((RandomShips.describe("ships"), Mines.describe("mines"))))
CHANNELS = st.sampled_from([0, 0, 1, 2, 3, NOBODY])
INTERESTS = st.sets(st.sampled_from([0, 1, 2, 3]), max_size=4).map(frozenset)


class SimulatedSubscriber:
    """A client, the server's view of it, and the frames in flight to it."""

    def __init__(self, interest: InterestSet, *, reads_tables: bool) -> None:
        self.interest = interest
        self.reads_tables = reads_tables
        self.view: ClientView | None = None
        self.core = ClientCore()
        self.core.receive(encode_server(Welcome("s", "t", generation=1)), now_us=0)
        self.core.receive(encode_server(JOINED), now_us=0)
        self.is_congested = False
        self.is_lagging = False
        self.in_flight: deque[bytes] = deque()
        self.interests: list[tuple[int, InterestSet]] = []
        self.seen: set[int] = set()


class ReplicationMachine(RuleBasedStateMachine):
    """The rules are actions of a room, its players and the network; `tick` is the server."""

    subscribers = Bundle("subscribers")

    @initialize(first_tick=st.sampled_from([0, 65_500, (1 << 32) - 100_000]))
    def start(self, first_tick: int) -> None:
        self.ids = EntityIds()
        self.tables = (RandomShips(self.ids), Mines(self.ids))
        self.replication = Replicator(self.tables, checksum_ticks=7)
        self.tick_number = first_tick
        self.present: list[SimulatedSubscriber] = []
        self.was_shown: dict[int, set[int]] = {}

    # -- the game -------------------------------------------------------------------------------------------

    @rule(x=st.floats(-120, 120), heading=st.floats(-10, 10), channel=CHANNELS, count=st.integers(1, 3))
    def spawn_ships(self, x: float, heading: float, channel: int, count: int) -> None:
        for number in range(count):
            self.tables[0].spawn(x=x + number, heading=heading, channel=channel)

    @rule(depth=st.integers(-300, 300), words=st.text(max_size=8), channel=CHANNELS)
    def spawn_mine(self, depth: int, words: str, channel: int) -> None:
        self.tables[1].spawn(depth=depth, is_armed=depth > 0, words=words, channel=channel)

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

    @rule(data=st.data(), x=st.floats(-120, 120), words=st.text(max_size=8), channel=CHANNELS)
    def set_one(self, data: st.DataObject, x: float, words: str, channel: int) -> None:
        for table, name, value in zip(self.tables, ("x", "words"), (x, words), strict=True):
            ids = table.ids.tolist()
            if ids:
                setattr(table[data.draw(st.sampled_from(ids))], name, value)
                table[data.draw(st.sampled_from(ids))].channel = channel

    # -- the players ----------------------------------------------------------------------------------------

    @rule(target=subscribers, numbers=INTERESTS, reads_tables=st.booleans())
    def subscribe(self, numbers: frozenset[int], reads_tables: bool) -> SimulatedSubscriber:
        self.present.append(SimulatedSubscriber(self.subscribed(numbers), reads_tables=reads_tables))
        return self.present[-1]

    @rule(subscriber=consumes(subscribers))
    def unsubscribe(self, subscriber: SimulatedSubscriber) -> None:
        self.present.remove(subscriber)
        self.replication.unsubscribe(subscriber.interest)

    @rule(subscriber=subscribers, numbers=INTERESTS)
    def look_elsewhere(self, subscriber: SimulatedSubscriber, numbers: frozenset[int]) -> None:
        before, subscriber.interest = subscriber.interest, self.subscribed(numbers)
        self.replication.unsubscribe(before)

    @rule(subscriber=subscribers, is_congested=st.booleans())
    def congest(self, subscriber: SimulatedSubscriber, is_congested: bool) -> None:
        subscriber.is_congested = is_congested

    @rule(subscriber=subscribers, is_lagging=st.booleans())
    def lag(self, subscriber: SimulatedSubscriber, is_lagging: bool) -> None:
        subscriber.is_lagging = is_lagging

    @rule(subscriber=subscribers, data=st.data())
    def resync(self, subscriber: SimulatedSubscriber, data: st.DataObject) -> None:
        """The client detects that its world is wrong."""
        if subscriber.view is not None and subscriber.interest.channels:
            number = data.draw(st.sampled_from(subscriber.interest.channels))
            if number in subscriber.view.interest.numbers:
                subscriber.view = subscriber.view.without_channel(number)

    @rule(subscriber=subscribers)
    def forget(self, subscriber: SimulatedSubscriber) -> None:
        """Discard the view, as for a client at the lowest send level: it receives keyframes."""
        subscriber.view = None

    @rule(subscriber=subscribers, share=st.floats(0, 1), away=st.sampled_from([0, 1, 2, 10, 40]))
    def drop_and_resume(self, subscriber: SimulatedSubscriber, share: float, away: int) -> None:
        """Break the connection with frames in flight, and resume with the client's last tick."""
        recent = self.replication.recent_baselines
        self.deliver(subscriber, int(share * len(subscriber.in_flight)))
        subscriber.in_flight.clear()
        self.present.remove(subscriber)
        self.replication.unsubscribe(subscriber.interest)
        self.tick(away)
        self.present.append(subscriber)
        subscriber.interest = self.replication.subscribe(subscriber.interest)
        assert subscriber.core.world is not None
        last_tick = subscriber.core.world.tick
        subscriber.core.world.clear_history()
        subscriber.view = self.view_after_resume(subscriber, recent, last_tick)

    # -- the server -----------------------------------------------------------------------------------------

    @rule(count=st.sampled_from([1, 1, 1, 2, 5, 70]))
    def tick(self, count: int) -> None:
        for _ in range(count):
            self.tick_number += 1
            self.ids.tick = self.tick_number
            self.ids.recycle(self.tables, in_use=())
            for table in self.tables:
                table.compact()
            self.replication.capture(self.tick_number)
            self.note_shown()
            for subscriber in self.present:
                if not subscriber.is_congested:
                    self.send(subscriber)

    @rule(subscriber=subscribers)
    def pause(self, subscriber: SimulatedSubscriber) -> None:
        """Skip the client for longer than any baseline lives."""
        subscriber.is_congested = True
        self.tick(AGE_TICKS_MAX + 2)
        subscriber.is_congested = False

    def subscribed(self, numbers: frozenset[int]) -> InterestSet:
        interest = self.replication.get_interest(numbers)
        self.replication.subscribe(interest)
        return interest

    def view_after_resume(
        self, subscriber: SimulatedSubscriber, recent: tuple[TickBaselines, ...], last_tick: int
    ) -> ClientView | None:
        view = subscriber.view
        if view is not None and view.last_sent_tick == last_tick and last_tick:
            return view.without_history
        interest = next((interest for tick, interest in reversed(subscriber.interests) if tick <= last_tick), None)
        return self.replication.view_at(recent, interest, last_tick) if interest is not None else None

    def send(self, subscriber: SimulatedSubscriber) -> None:
        interest = self.replication.prepare(subscriber.interest)
        if subscriber.view is interest.before and interest.before is not None:
            data, subscriber.view = interest.data, interest.after
        else:
            data, subscriber.view = self.replication.update(subscriber.view, interest)
            subscriber.interests.append((self.tick_number, interest))
        assert subscriber.view is not None
        if data and subscriber.reads_tables:
            data = self.replication.to_table(data)
        frames = list(frame_payloads(data))
        assert len(frames) <= 1
        subscriber.in_flight.extend(frames)
        if not subscriber.is_lagging:
            self.deliver(subscriber, len(subscriber.in_flight))
            self.check(subscriber)

    def deliver(self, subscriber: SimulatedSubscriber, count: int) -> None:
        core = subscriber.core
        for _ in range(count):
            core.receive(subscriber.in_flight.popleft(), now_us=0)
            assert not core.outgoing, "no keyframe is requested"
            assert core.mismatches == 0
            assert core.world is not None
            for name in ("ships", "mines"):
                seen = set(core.world.table(name).ids.tolist())
                assert seen <= self.was_shown.get(core.world.tick, set()) & self.visible(subscriber, core.world.tick)

    def note_shown(self) -> None:
        ids = {int(id) for table in self.tables for id in table.ids[table.channels != NOBODY]}
        self.was_shown[self.tick_number] = ids
        self.shown_in = getattr(self, "shown_in", {})
        self.shown_in[self.tick_number] = {
            int(id): int(channel)
            for table in self.tables
            for id, channel in zip(table.ids, table.channels, strict=True)
        }

    def visible(self, subscriber: SimulatedSubscriber, tick: int) -> set[int]:
        """Return the entities that a client may know: those in its channels at that tick."""
        interest = next((interest for at, interest in reversed(subscriber.interests) if at <= tick), None)
        if interest is None:
            return set()
        return {id for id, channel in self.shown_in[tick].items() if channel in interest.numbers}

    def check(self, subscriber: SimulatedSubscriber) -> None:
        world = subscriber.core.world
        assert world is not None
        for name, table in zip(("ships", "mines"), self.tables, strict=True):
            seen = world.table(name)
            is_seen = np.isin(table.channels, list(subscriber.interest.numbers))
            assert seen.ids.tolist() == table.ids[is_seen].tolist()
            quantised = table.quantise()
            for row, field in enumerate(table.numeric):
                assert np.array_equal(seen.quantised(field.name), quantised[row][is_seen])
            for row, field in enumerate(table.textual):
                assert seen.quantised(field.name).tolist() == table.texts()[row][is_seen].tolist()

    @invariant()
    def each_baseline_is_encoded_at_most_once(self) -> None:
        keyframes, deltas = self.replication.reset_counts()
        assert keyframes + deltas <= 4 * (len(self.present) + 1) * (2 * AGE_TICKS_MAX)


def test_clients_have_exactly_the_entities_of_their_channels() -> None:
    run_state_machine_as_test(
        ReplicationMachine,
        settings=settings(max_examples=settings().max_examples // 5, stateful_step_count=60, deadline=None),
    )
