"""Rooms for tests of players who are moved from one room to another: a hub, and the arenas that it moves them to."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire import CommandRefused, Input, MoveOutcome, Player, Room, Table, command, uint


class Pads(Table):
    number = uint(bits=8)


class Hub(Room):
    """Moves a player where its command says, and sends the outcome to the other players."""

    room_type = "hub"
    pads: Pads

    def on_create(self, options: Any) -> None:
        self.outcomes: list[MoveOutcome] = []

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.pads.spawn(number=len(self.players))

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    @command
    def move(self, player: Player, room_type: str, name: str = "", options: dict[str, Any] | None = None) -> None:
        player.send("last words")
        player.move_to(room_type, name=name, options=options, reason="the match begins", then=self.moved)

    def moved(self, outcome: MoveOutcome) -> None:
        self.outcomes.append(outcome)
        self.broadcast("outcome", [outcome.player_id, outcome.refused])


class PlayingFieldOptions(msgspec.Struct):
    team: int
    is_refused: bool = False


class FieldInput(Input):
    steps = uint(bits=8)


class PlayingField(Room):
    """A small durable room that wants a team, and refuses players on request."""

    room_type = "field"
    max_players = 2
    durable = True
    empty_timeout_s = 0.5
    input_type = FieldInput
    pads: Pads

    def on_join(self, player: Player, options: PlayingFieldOptions) -> None:
        player.send("welcome", {"team": options.team})
        if options.is_refused:
            raise CommandRefused("the field is closed to you")
        player.entity = self.pads.spawn(number=options.team)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    @command
    def back(self, player: Player) -> None:
        player.move_to("hub")


ROOMS = [Hub, PlayingField]
