"""Lists open rooms for the lobbies of clients.

A room is listed if a join by its type alone may lead to it: it is not private, not locked, not the room of a match,
has no name, and has a free seat. Its labels are public: clients can filter rooms by them anyway. A list is kept for
CACHE_S, and requests share the read that is in progress, so that the load of Redis does not grow with the number of
clients that look at a lobby.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping

from tickwire.matchmaking.directory import Directory, RoomStatus
from tickwire.matchmaking.labels import to_pairs
from tickwire.schemas.messages import ListedRoom, ListRooms, RoomList
from tickwire.schemas.payloads import encode_payload
from tickwire.server.placement.client_errors import decode_options

ROOMS_DEFAULT = 50
ROOMS_MAX = 100
"""The most rooms in one answer, which has some tens of KiB."""
CACHE_S = 1.0
CACHE_ENTRIES_MAX = 256

_Key = tuple[str, tuple[str, ...]]
_Rooms = tuple[ListedRoom, ...]


class RoomListService:
    """The lists of rooms of one region.

    Args:
        directory: has the open rooms of the fleet.
        region: the region of this shard.
        now_s: a clock.
    """

    def __init__(self, directory: Directory, region: str, now_s: Callable[[], float]) -> None:
        self._directory = directory
        self._region = region
        self._now_s = now_s
        self._cache: OrderedDict[_Key, tuple[float, _Rooms]] = OrderedDict()
        self._reads: dict[_Key, asyncio.Task[_Rooms]] = {}

    async def list_rooms(self, request: ListRooms) -> RoomList:
        """Return open rooms, the fullest first.

        Raises:
            Malformed: the labels are not a map of texts.
            BadRequest: a label is invalid.
            MatchmakerUnavailable: Redis does not answer.
        """
        labels = decode_options(request.labels, dict[str, str], "labels")
        rooms = await self._find(request.room_type, labels)
        return RoomList(request.id, rooms[: min(request.limit or ROOMS_DEFAULT, ROOMS_MAX)])

    async def _find(self, room_type: str, labels: Mapping[str, str]) -> _Rooms:
        key = (room_type, tuple(to_pairs(labels)))
        expires_s, rooms = self._cache.get(key, (0.0, ()))
        if self._now_s() < expires_s:
            return rooms
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read(key, labels), name=f"list of rooms {room_type}")
            read.add_done_callback(lambda done: self._read_ended(key, done))
        return await asyncio.shield(read)  # a request that is cancelled does not cancel the others

    async def _read(self, key: _Key, labels: Mapping[str, str]) -> _Rooms:
        found = await self._directory.list_rooms(key[0], region=self._region, labels=labels, limit=ROOMS_MAX)
        rooms = tuple(_to_listed(room) for room in found)
        self._cache[key] = (self._now_s() + CACHE_S, rooms)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)
        return rooms

    def _read_ended(self, key: _Key, read: asyncio.Task[_Rooms]) -> None:
        del self._reads[key]
        if not read.cancelled():
            read.exception()  # retrieved, also if all requests were cancelled


def _to_listed(room: RoomStatus) -> ListedRoom:
    return ListedRoom(room.room_id, room.taken, room.seats, encode_payload(dict(room.labels)))
