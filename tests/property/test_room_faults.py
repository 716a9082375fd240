"""Random play of a room on a bad network, with moves, crashes and restarts: nothing is lost, and worlds converge.

The harness runs the real room, sessions, codec and client core. A crash loses the time since the last save, so the
commands and events of that time are not compared.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tickwire import Event, Input, Player, Room, SaveData, Table, boolean, command, real, text
from tickwire.testing import HarnessClient, Network, RoomHarness

NETWORK = Network(latency_ms=(5, 120), loss=0.03, breaks_per_minute=4)
SECONDS = 20


class Wanderers(Table):
    x = real(-500, 500, step=1 / 16)
    name = text(bytes_max=16)


class Whispers(Table):
    x = real(-500, 500, step=1 / 16)


class WanderInput(Input):
    dx = real(-2, 2, step=1 / 16)
    shout = boolean()


class Hailed(Event):
    number: int


class OpenFieldSave(SaveData):
    shouts: int = 0
    notes: list[int] = []


class OpenField(Room):
    """Players walk, shout, and see a hint each that no other player sees."""

    room_type = "open_field"
    durable = True
    save_type = OpenFieldSave
    input_type = WanderInput
    events = (Hailed,)
    walkers: Wanderers
    hints: Whispers

    def on_create(self, options: Any) -> None:
        self.shouts = 0
        self.notes: list[int] = []

    def save(self) -> OpenFieldSave:
        return OpenFieldSave(self.shouts, list(self.notes))

    def restore(self, saved: OpenFieldSave) -> None:
        self.shouts, self.notes = saved.shouts, list(saved.notes)

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.walkers.spawn(x=float(self.random.integers(-100, 100)), name=player.id)
        self.hints.spawn(x=0.0, channel=player.private)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_input(self, player: Player, input: WanderInput) -> None:
        player.entity.x += input.dx
        if input.shout:
            self.shouts += 1
            self.broadcast(Hailed(self.shouts))

    def on_tick(self, dt: float) -> None:
        if self.hints.x.size:
            self.hints.x[int(self.random.integers(self.hints.x.size))] += 0.5

    @command
    def note(self, player: Player, number: int) -> int:
        self.notes.append(number)
        return number


class FaultyPlay:
    """One random run.

    Args:
        room: the harness.
        seed: the seed of the choices.
    """

    def __init__(self, room: RoomHarness[OpenField], seed: int) -> None:
        self.room = room
        self.rng = random.Random(seed)
        self.calls: list[tuple[int, Any]] = []
        self.joined = 0

    def step(self, faults: list[str]) -> None:
        clients = list(self.room.clients.values())
        client = self.rng.choice(clients) if clients else None
        match self.rng.choice(["walk", "walk", "walk", "note", "join", "away", "back", *faults]):
            case "join" if self.joined < 5:
                self.joined += 1
                self.room.join(f"player {self.joined}")
            case "walk" if client is not None and client.is_seated:
                client.input(dx=self.rng.uniform(-2, 2), shout=self.rng.random() < 0.3)
            case "note" if client is not None and client.is_seated:
                number = len(self.calls) + 1
                self.calls.append((number, client.command("note", number=number)))
            case "away" if client is not None:
                client.disconnect(is_silent=self.rng.random() < 0.3)
            case "back" if client is not None:
                client.reconnect()
            case "migrate":
                self.room.migrate()
            case "crash":
                self.room.crash_and_restore()
        self.room.run(ticks=self.rng.randint(1, 12))

    def play(self, faults: list[str]) -> list[HarnessClient]:
        until_s = self.room.now_s + SECONDS
        while self.room.now_s < until_s:
            self.step(faults)
        for client in self.room.clients.values():
            client.reconnect()
        self.room.run(seconds=15)
        self.room.check_convergence()
        return [client for client in self.room.clients.values() if client.is_seated]


@pytest.mark.parametrize("seed", range(8))
def test_no_event_or_command_is_lost_or_repeated(seed: int) -> None:
    with RoomHarness(OpenField, seed=seed, network=NETWORK) as room:
        play = FaultyPlay(room, seed)
        for client in play.play(["migrate"]):
            numbers = [event.number for event in client.received(Hailed)]
            assert numbers == list(range(room.room.shouts - len(numbers) + 1, room.room.shouts + 1)), client.name
            assert client.core.events_missed == client.core.mismatches == client.core.resyncs == 0
        assert [call.value for _, call in play.calls if call.is_done] == [
            number for number, call in play.calls if call.is_done
        ]
        assert len(room.room.notes) == len(set(room.room.notes)), "no command runs twice"
        assert {number for number, call in play.calls if call.is_done} <= set(room.room.notes)


@pytest.mark.parametrize("seed", range(8))
def test_worlds_converge_after_crashes(seed: int) -> None:
    with RoomHarness(OpenField, seed=seed, network=NETWORK) as room:
        play = FaultyPlay(room, seed)
        for client in play.play(["migrate", "crash"]):
            assert client.core.mismatches == client.core.resyncs == 0
        assert len(room.room.notes) == len(set(room.room.notes)), "no command runs twice"


class RestartedField(OpenField):
    room_type = "restarted_field"
    durable = False
    error_policy = "restore"


@pytest.mark.parametrize("seed", range(4))
def test_worlds_converge_after_restarts(seed: int) -> None:
    with RoomHarness(RestartedField, seed=seed, network=NETWORK) as room:
        FaultyPlay(room, seed).play(["migrate", "crash"])
