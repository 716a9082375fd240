"""Rooms for tests of timers and of endings that the game decides on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tickwire import CommandRefused, Player, Room, RoomTimer


class Alarm(Room):
    """A durable room whose players set timers, remove each other and close the room."""

    room_type = "alarm"
    durable = True
    empty_timeout_s = 0.5

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.last: RoomTimer | None = None

    def restore(self, saved: Any) -> None:
        self.last = self.clock.find(self.ring)

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        if options.get("is_brief"):
            player.send("hello")
            player.kick("the visit is over")

    def on_leave(self, player: Player) -> None:
        self.broadcast("left", player.id)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "after":
                self.last = self.clock.after(payload, self.ring, player, "once")
            case "every":
                self.last = self.clock.every(payload, self.ring, player, "again")
            case "pending":
                return [[timer.method, timer.due_s] for timer in self.clock.timers]
            case "cancel" if self.last is not None:
                self.last.cancel()
            case "kick" if payload["player"] in self.players:
                self.players[payload["player"]].kick(payload["reason"])
            case "close":
                self.broadcast("closing")
                self.close(payload)
            case _:
                raise CommandRefused(f"unknown command {name!r}")
        return self.clock.now_s

    def ring(self, player: Player, word: str) -> None:
        player.send("rang", {"word": word, "at_s": self.clock.now_s})


ROOMS = [Alarm]
