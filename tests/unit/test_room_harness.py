"""The harness for rooms: clients join, play, disconnect and reconnect, on a clock that jumps."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tickwire import CommandRefused, Event, Input, Player, Room, SaveData, Table, boolean, command, real, uint
from tickwire.client.errors import ClientError, CommandFailed, Refused
from tickwire.matchmaking import Mode, Rules
from tickwire.server.rooms.room_tasks import TaskResult
from tickwire.testing import Network, NotConverged, RoomHarness
from tickwire.testing.virtual_loop import VirtualLoop

BAD = Network(latency_ms=(20, 90), loss=0.05)


class Balls(Table):
    x = real(-1000, 1000, step=1 / 8)
    kicks = uint(bits=16)


class KickInput(Input):
    dx = real(-10, 10, step=1 / 8)
    kick = boolean()


class Kicked(Event):
    by: str
    count: int


class PitchSave(SaveData):
    goals: int = 0


class Pitch(Room):
    room_type = "pitch"
    durable = True
    save_type = PitchSave
    input_type = KickInput
    events = (Kicked,)
    balls: Balls

    def on_create(self, options: Any) -> None:
        self.goals = 0
        self.results: list[tuple[float, Any]] = []

    def save(self) -> PitchSave:
        return PitchSave(self.goals)

    def restore(self, saved: PitchSave) -> None:
        self.goals, self.results = saved.goals, []

    def on_join(self, player: Player, options: Any) -> None:
        if player.id == "banned":
            raise CommandRefused("not you")
        player.entity = self.balls.spawn(x=float(self.random.integers(0, 100)))

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_input(self, player: Player, input: KickInput) -> None:
        player.entity.x += input.dx
        if input.kick:
            player.entity.kicks += 1
            self.broadcast(Kicked(player.id, int(player.entity.kicks)))

    def on_tick(self, dt: float) -> None:
        if self.goals == 99:
            raise ZeroDivisionError("too many goals")

    @command
    def score(self, player: Player, points: int) -> int:
        if points < 0:
            raise CommandRefused("no points")
        self.goals += points
        return self.goals

    @command
    def ask(self, player: Player) -> None:
        self.run(asyncio.sleep(5, "answer"), then=self.answered)

    def answered(self, result: TaskResult) -> None:
        self.results.append((self.tick / self.tick_rate_hz, result.value))


def test_inputs_events_and_commands_reach_the_room_and_the_clients() -> None:
    with RoomHarness(Pitch, seed=1) as room:
        ann, bob = room.join("ann"), room.join("bob")
        room.run(ticks=1)
        before = bob.world.balls[ann.entity].x
        ann.input(dx=2.5, kick=True)
        call = bob.command("score", points=3)
        assert not call.is_done
        room.run(ticks=1)
        assert bob.world.balls[ann.entity].x == before + 2.5
        assert bob.received(Kicked) == ann.received(Kicked) == [Kicked("ann", 1)]
        assert bob.received("kicked") == [{"by": "ann", "count": 1}]
        assert call.value == room.room.goals == 3
        refused = bob.command("score", points=-1)
        room.run(ticks=1)
        assert refused.error == "no points"
        with pytest.raises(CommandFailed):
            _ = refused.value
        room.check_convergence()


def test_a_result_that_has_not_arrived_says_so() -> None:
    with RoomHarness(Pitch) as room:
        call = room.join("ann", network=Network(latency_ms=500)).command("score", points=1)
        with pytest.raises(AssertionError, match=r"call room\.run\(\) first"):
            _ = call.value


def test_time_advances_by_ticks_and_takes_none() -> None:
    with RoomHarness(Pitch) as room:
        room.join("ann")
        room.run(ticks=7)
        assert room.tick == 7
        room.run(seconds=60, ticks=3)
        assert room.tick == 10 + 60 * Pitch.tick_rate_hz


def test_messages_arrive_after_the_latency_of_their_client() -> None:
    with RoomHarness(Pitch) as room:
        near, far = room.join("near"), room.join("far", network=Network(latency_ms=200))
        room.run(seconds=1)
        near.input(kick=True)
        room.run(ticks=1)
        assert len(near.received(Kicked)) == 1
        room.run(seconds=0.17)
        assert far.received(Kicked) == []
        room.run(seconds=0.02)
        assert len(far.received(Kicked)) == 1


def test_a_client_that_reconnects_continues_its_session() -> None:
    with RoomHarness(Pitch, seed=3) as room:
        ann, bob = room.join("ann", network=BAD), room.join("bob", network=BAD)
        entity = bob.entity
        bob.disconnect()
        ann.input(kick=True)
        room.run(ticks=40)
        assert not bob.is_connected
        assert not room.room.players["bob"].is_connected
        bob.reconnect()
        room.run(seconds=2)
        assert bob.entity == entity
        assert bob.received(Kicked) == [Kicked("ann", 1)]
        room.check_convergence()


def test_a_client_that_stays_away_loses_its_seat() -> None:
    with RoomHarness(Pitch) as room:
        room.join("ann")
        bob = room.join("bob")
        bob.disconnect()
        room.run(seconds=40)
        assert list(room.room.players) == ["ann"]
        bob.reconnect()
        room.run(seconds=1)
        assert not bob.is_seated
        with pytest.raises(AssertionError, match="in no room"):
            _ = bob.world


def test_a_silent_end_is_noticed_after_some_seconds() -> None:
    with RoomHarness(Pitch) as room:
        bob = room.join("bob")
        bob.disconnect(is_silent=True)
        room.run(seconds=5)
        assert room.room.players["bob"].is_connected
        room.run(seconds=8)
        assert not room.room.players["bob"].is_connected


def test_connections_break_and_clients_reconnect_by_themselves() -> None:
    with RoomHarness(Pitch, seed=5) as room:
        ann = room.join("ann", network=Network(latency_ms=(5, 50), loss=0.02, breaks_per_minute=12))
        calls = []
        for _ in range(60):
            room.run(seconds=1)
            calls.append(ann.command("score", points=1))
        assert ann.connections > 5
        room.run(seconds=20)
        assert [call.value for call in calls] == list(range(1, 61))
        room.check_convergence()


def test_one_seed_is_one_run() -> None:
    def play(seed: int) -> list[Any]:
        with RoomHarness(Pitch, seed=seed, network=BAD) as room:
            clients = [room.join(name) for name in ("ann", "bob", "cem")]
            seen: list[Any] = [client.core.resume_token for client in clients]
            for _ in range(60):
                clients[0].input(dx=0.5, kick=True)
                room.run(ticks=1)
                seen.append((room.now_s, [client.world.balls.column("x") for client in clients]))
            seen += [len(client.events) for client in clients]
            return seen

    assert play(1) == play(1)
    assert play(1) != play(2)


def test_an_exception_of_a_hook_is_raised_by_run() -> None:
    with RoomHarness(Pitch) as room:
        room.join("ann").command("score", points=99)
        with pytest.raises(ZeroDivisionError, match="too many goals") as caught:
            room.run(seconds=1)
        assert any("on_tick of 'pitch'" in note for note in caught.value.__notes__)
        assert not room.is_open


def test_exceptions_of_hooks_can_be_collected() -> None:
    with RoomHarness(Pitch, raise_errors=False) as room:
        room.join("ann").command("score", points=99)
        room.run(seconds=1)
        assert [error.hook for error in room.errors] == ["on_tick"]


def test_a_refused_join_raises() -> None:
    with RoomHarness(Pitch) as room, pytest.raises(Refused, match="not you"):
        room.join("banned")


def test_coroutines_of_the_room_run_on_the_simulated_time() -> None:
    with RoomHarness(Pitch) as room:
        room.join("ann").command("ask")
        room.run(seconds=4.9)
        assert room.room.results == []
        room.run(seconds=0.2)
        ((at_s, value),) = room.room.results
        assert value == "answer"
        assert at_s == pytest.approx(5, abs=0.1)


def test_the_first_difference_of_a_world_is_named() -> None:
    with RoomHarness(Pitch) as room:
        ann, bob = room.join("ann"), room.join("bob")
        room.run(ticks=2)
        room.check_convergence()
        world = bob.core.world
        assert world is not None
        before = world.state
        ann.input(dx=1)
        room.run(ticks=1)
        room.check_convergence()
        world.restore(before)  # as a client with an error in its decoder
        with pytest.raises(NotConverged, match=rf"client 'bob': balls\[{ann.entity}\]\.x is ") as caught:
            room.check_convergence()
        difference = caught.value.difference
        assert (difference.tick, difference.client, difference.table) == (room.tick, "bob", "balls")
        assert (difference.entity, difference.field) == (ann.entity, "x")
        assert difference.server_value == difference.client_value + 1


def test_a_missing_entity_is_named() -> None:
    with RoomHarness(Pitch) as room:
        bob = room.join("bob")
        room.run(ticks=2)
        world = bob.core.world
        assert world is not None
        world.clear()
        with pytest.raises(NotConverged, match=rf"balls\[{bob.entity}\] exists only on the server"):
            room.check_convergence()


def test_a_migration_keeps_the_state_and_the_sessions() -> None:
    with RoomHarness(Pitch, seed=4, network=BAD) as room:
        ann, bob = room.join("ann"), room.join("bob")
        call = ann.command("score", points=2)
        room.run(seconds=1)
        before, random_state = room.room, room.room.random.bit_generator.state
        x = room.room.players["ann"].entity.x
        room.migrate()
        assert room.room is not before
        assert room.room.random.bit_generator.state == random_state
        ann.input(dx=1)
        room.run(seconds=2)
        assert (call.value, room.room.goals) == (2, 2)
        assert room.room.players["ann"].entity.x in (x, x + 1)  # the input may be lost on its way
        bob.command("score", points=1)
        room.run(seconds=2)
        assert room.room.goals == 3
        assert [client.connections for client in (ann, bob)] == [2, 2]
        room.check_convergence()


def test_a_client_that_is_away_during_a_migration_finds_its_session() -> None:
    with RoomHarness(Pitch, seed=4) as room:
        ann, bob = room.join("ann"), room.join("bob")
        bob.disconnect()
        room.migrate()
        ann.input(kick=True)
        room.run(seconds=1)
        bob.reconnect()
        room.run(seconds=1)
        assert bob.received(Kicked) == ann.received(Kicked)
        assert bob.is_seated
        room.check_convergence()


def test_a_crash_loses_the_time_since_the_last_save() -> None:
    with RoomHarness(Pitch, seed=4) as room:
        ann = room.join("ann")
        room.run(seconds=2)
        ann.command("score", points=5)
        room.run(seconds=1)
        first = room.shard
        room.crash_and_restore()
        lost = ann.command("score", points=1)
        room.run(seconds=2)
        assert room.shard is not first
        assert (lost.value, room.room.goals) == (6, 6)
        assert ann.connections == 2
        room.check_convergence()
        late = ann.command("score", points=1)
        room.run_until_idle()
        assert (late.value, room.room.goals) == (7, 7)
        room.crash_and_restore()
        assert room.room.goals == 6
        room.run(seconds=2)
        room.check_convergence()


class Sandbox(Pitch):
    room_type = "sandbox"
    durable = False
    error_policy = "restore"


def test_a_room_that_is_not_durable_restarts_from_its_restart_point() -> None:
    with RoomHarness(Sandbox, seed=4) as room:
        ann = room.join("ann")
        room.run(seconds=3)
        ann.command("score", points=5)
        room.run(ticks=1)
        before = room.room
        room.crash_and_restore()
        assert room.room is not before
        assert room.room.goals in (0, 5)
        room.run(seconds=1)
        assert ann.connections == 1
        room.check_convergence()


def test_the_example_of_the_guide_passes() -> None:
    guide = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    _, code, *_ = re.split(r"```python\n|```", guide)
    names: dict[str, Any] = {}
    exec(code, names)
    names["test_a_shot_costs_hit_points"]()


def test_a_held_input_is_sent_with_each_tick_and_after_a_resume() -> None:
    with RoomHarness(Pitch, seed=2) as room:
        ann = room.join("ann")
        room.run(ticks=1)
        before = room.room.players["ann"].entity.x
        ann.hold(dx=1)
        room.run(ticks=10)
        assert room.room.players["ann"].entity.x == before + 10
        ann.disconnect()
        room.run(ticks=10)
        assert room.room.players["ann"].entity.x == before + 11, "the input on its way arrives, and no other"
        ann.reconnect()
        room.run(ticks=10)
        assert room.room.players["ann"].entity.x == before + 21
        ann.hold()
        room.run(ticks=1)
        after = room.room.players["ann"].entity.x
        room.run(ticks=10)
        assert room.room.players["ann"].entity.x == after


class Broken(Room):
    room_type = "broken"

    def on_create(self, options: Any) -> None:
        raise ZeroDivisionError("no room")


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize(
    ("room_class", "more", "error"),
    [
        (Broken, {}, ZeroDivisionError),
        (Pitch, {"modes": [Mode("duel", Rules(room_type="none", teams=2, team_size=1))]}, ValueError),
        (Pitch, {"holdings": {"ann": {"gold": "much"}}}, (TypeError, ValueError)),
    ],
)
def test_a_harness_that_cannot_be_created_closes_its_loop(
    room_class: type[Room], more: dict[str, Any], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[VirtualLoop] = []
    close = VirtualLoop.close
    monkeypatch.setattr(VirtualLoop, "close", lambda loop: (closed.append(loop), close(loop))[1])
    with pytest.raises(error):
        RoomHarness(room_class, **more)
    assert len(closed) == 1


def test_a_harness_closes_with_coroutines_that_take_time_to_end() -> None:
    ended: list[str] = []

    async def tidy() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            ended.append("generator")

    async def work() -> None:
        try:
            async for _ in tidy():
                await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            ended.append("coroutine")

    async def refuse() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    loops: list[asyncio.AbstractEventLoop] = []

    async def keep_loop() -> None:
        loops.append(asyncio.get_running_loop())

    with RoomHarness(Pitch) as room:
        for coroutine in (work(), refuse(), keep_loop()):
            room.spawn(coroutine)
        room.run(seconds=1)
    assert sorted(ended) == ["coroutine", "generator"]
    assert loops[0].is_closed()


def test_a_client_whose_first_connection_breaks_before_its_session_is_open_tries_again() -> None:
    with RoomHarness(Pitch, seed=2) as room:
        ann = room.connect("ann", network=Network(latency_ms=100))
        room.run(seconds=0.05)
        assert ann.connection is not None
        assert not ann.is_connected
        ann._break(ann.connection)
        room.run(seconds=2)
        assert (ann.is_seated, ann.is_away, ann.connections) == (True, False, 2)


def test_a_command_without_a_reply_fails_when_its_seat_is_lost() -> None:
    with RoomHarness(Pitch, seed=2) as room:
        ann = room.join("ann", network=Network(latency_ms=100))
        room.run(ticks=1)
        call = ann.command("goals")
        room.room.players["ann"].kick("over")
        room.run(seconds=0.15)
        assert call.is_done
        with pytest.raises(ClientError, match="before the room answered 'goals'"):
            _ = call.value
        assert "before the room answered" in call.error
