"""Random lives of rooms: joins, leaves, broken connections, inputs, commands and outcomes, from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.harness.recorded_rooms import RecordedRoom
from tickwire import TaskResult
from tickwire.server.errors import TickwireError
from tickwire.server.rooms.transactions import Decision, RecordVersion, net_changes

Arguments = Callable[[random.Random], Mapping[str, Any]]
PLAYERS = [f"player {number}" for number in range(12)]
ACTIONS = ["join", "leave", *["drop"] * 2, *["input"] * 12, *["command"] * 6, *["outcome"] * 4, "save"]
COMMANDS: dict[str, dict[str, Arguments]] = {
    "bay": {
        "say": lambda rng: {"text": rng.choice(["ahoy", "land", "x" * 60])},
        "buy": lambda rng: {},
        "work": lambda rng: {},
        "pay": lambda rng: {},
        "go": lambda rng: {},
        "kick": lambda rng: {},
        "unknown": lambda rng: {"a": 1},
    },
    "arena": {"say": lambda rng: {"words": "hello"}, "scores": lambda rng: {}},
    "cards": {"draw": lambda rng: {}, "play": lambda rng: {"card": rng.randrange(60)}},
    "market": {
        "work": lambda rng: {},
        "buy": lambda rng: {"item": rng.choice(["sword", "bread", "house"])},
        "auction": lambda rng: {"item": "sword", "seconds": 1},
        "give": lambda rng: {"to": rng.randrange(1, 9), "item": "gold", "amount": 1},
        "offer": lambda rng: {"to": rng.randrange(1, 9), "gives": {"gold": 1}, "takes": {"bread": 1}},
    },
    "plaza": {"say": lambda rng: {"words": "hello"}},
    "tag": {"emote": lambda rng: {"emote": "wave"}},
}


class RandomLife:
    """Runs random actions in a recorded room.

    Args:
        room: the room.
        seed: the seed of the actions.
    """

    def __init__(self, room: RecordedRoom, seed: int) -> None:
        self.room = room
        self.rng = random.Random(seed)
        self.commands = COMMANDS.get(room.runtime.room.room_type, {})

    def run(self, ticks: int) -> None:
        """Run some ticks, each with some actions before it."""
        for _ in range(ticks):
            if not self.room.runtime.is_open or self.room.runtime.room.close_reason is not None:
                return
            for _ in range(self.rng.choice([0, 1, 1, 2, 5])):
                self._act()
            self.room.step()

    def _act(self) -> None:
        rng, room, runtime = self.rng, self.room, self.room.runtime
        seats = list(runtime.seats)
        seat = rng.choice(seats) if seats else None
        match rng.choice(
            ["join", "leave", *["drop"] * 2, *["input"] * 12, *["command"] * 6, *["outcome"] * 4, "save"]
        ):
            case "join":
                player_id = rng.choice(PLAYERS)
                if player_id not in runtime.room.players:
                    try:
                        room.join(player_id, name=f"n{rng.randrange(9)}")
                    except TickwireError:
                        room.seats.pop(player_id, None)
            case "leave" if seat is not None and rng.random() < 0.3:
                seat.leave("bye")
            case "drop" if seat is not None:
                if seat.player.is_connected:
                    seat.disconnected()
                else:
                    seat.resumed(rng.choice(["r", ""]), rng.choice([0, runtime.tick]))
            case "input" if seat is not None and runtime.input_size:
                room.push(seat.player_id, rng.randbytes(runtime.input_size))
            case "command" if seat is not None and self.commands:
                self._call(seat.player_id)
            case "outcome":
                self._decide()
            case "save" if rng.random() < 0.2:
                rng.choice([runtime.metadata, runtime.can_migrate, self._tune, self._keyframe])()

    def _call(self, player_id: str) -> None:
        name = self.rng.choice(list(self.commands))
        answer = self.room.call(player_id, name, **self.commands[name](self.rng))
        if isinstance(answer, Decision):
            seat = self.room.seats[player_id]
            self.room.runtime.apply_transaction(
                seat, name, answer.transaction, self._change(answer.transaction.moves)
            )

    def _change(self, moves: Any) -> dict[str, RecordVersion]:
        """Return the new records of the players whom a transaction changes."""
        records = {}
        players = self.room.runtime.room.players
        for player_id, changes in net_changes(moves).items():
            old = players[player_id].record if player_id in players else RecordVersion()
            holdings = {**old.holdings, **{item: old.holdings.get(item, 0) + by for item, by in changes.items()}}
            records[player_id] = RecordVersion(old.version + 1, holdings)
        return records

    def _decide(self) -> None:
        rng, room, runtime = self.rng, self.room, self.room.runtime
        pending = runtime.room.transactions.first
        if pending is not None and rng.random() < 0.5:
            refused = rng.choice(["", "too late"])
            runtime.settle_transaction(pending, refused, {} if refused else self._change(pending.transaction.moves))
        elif room.tasks.tasks:
            room.tasks.end(rng.choice([TaskResult({"pay": (1, 2)}), TaskResult(error=TimeoutError("late"))]))
        else:
            moving = [waiting.seat for waiting in runtime.moves.pending()]
            if moving:
                seat = room.seats[moving[0].player_id]
                rng.choice([seat.give_up_for_move, lambda: seat.move_refused("full")])()

    def _tune(self) -> None:
        if self.room.runtime.room.room_type == "bay":
            self.room.tune(speed=self.rng.choice([0.5, 2.0]))

    def _keyframe(self) -> None:
        if self.room.runtime.recorder is not None:
            self.room.recorder.write_keyframe()
