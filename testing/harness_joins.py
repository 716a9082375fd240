"""Seats the clients of a harness: the join service of its shards, without a matchmaker."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.schemas.messages import Join, ListRooms, Redirect, RoomList
from tickwire.server.errors import NoSuchRoom, Unavailable
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.client_errors import decode_options
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.subscriber import Subscriber


class HarnessJoins:
    """Seats players in the rooms of one shard. Implements `RoomJoiner`.

    Args:
        host: the rooms of the shard.
        transactions: loads the records of players.
    """

    def __init__(self, host: RoomHost, transactions: TransactionService) -> None:
        self._host = host
        self._transactions = transactions

    async def join(self, subscriber: Subscriber, join: Join, *, seals_options: bool = False) -> Seat | Redirect:
        """Seat the session in the room that it names by id, name or type.

        Raises:
            NoSuchRoom: this shard has no such room.
            TickwireError: the options are invalid, or the room refuses the player.
        """
        options = decode_options(join.options, dict[str, Any], "options")
        self._host.check_options(join.room_type, options, may_create=False)
        runtime = self._find(join)
        request = SeatRequest(subscriber, subscriber.player_id, options)
        if runtime.room.uses_ledger:
            records = await self._transactions.load([request.player_id])
            request = msgspec.structs.replace(request, record=records[request.player_id])
        return self._host.seat(runtime.room.room_id, request, lambda seat: None)

    def _find(self, join: Join) -> RoomRuntime:
        for runtime in self._host:
            room = runtime.room
            if (
                room.room_type == join.room_type
                and join.room_id in ("", room.room_id)
                and join.room_name in ("", room.name)
            ):
                return runtime
        raise NoSuchRoom(f"the harness has no room {join.room_id or join.room_name or join.room_type!r}")

    async def list_rooms(self, request: ListRooms, /) -> RoomList:
        """Refuse the request.

        Raises:
            Unavailable: always.
        """
        raise Unavailable("the harness lists no rooms")
