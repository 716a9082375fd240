"""A room of a lobby's list. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec

from tickwire.schemas.messages import ListedRoom
from tickwire.schemas.payloads import decode_payload


class OpenRoom(msgspec.Struct, frozen=True):
    """A room that any player may join.

    Args:
        room_id: for `Client.join`.
        players: those in the room, and the seats that are reserved.
        max_players: the number of seats.
        labels: the labels that the room has set.
    """

    room_id: str
    players: int
    max_players: int
    labels: Mapping[str, str] = {}

    @classmethod
    def from_message(cls, room: ListedRoom) -> Self:
        """Return the room of a RoomList.

        Raises:
            MalformedMessage: the labels are not a map of texts.
        """
        labels = decode_payload(room.labels or b"\x80", dict[str, str])
        return cls(room.room_id, room.players, room.players_max, labels)
