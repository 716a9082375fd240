"""Lists open rooms for the lobbies of clients.

A room is listed if any player may join it: it is not private, not locked, not the room of a match, and has a free
seat. Its labels are public: clients can filter rooms by them anyway. A list is kept for CACHE_S, so that the load of
Redis does not grow with the number of clients that look at a lobby.
"""

from __future__ import annotations

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


class RoomListService:
    """The lists of rooms of one region.

    Args:
        directory: has the open rooms of the fleet.
        region: the region of this shard.
        now_s: a monotonic clock.
    """

    def __init__(self, directory: Directory, region: str, now_s: Callable[[], float]) -> None:
        self._directory = directory
        self._region = region
        self._now_s = now_s
        self._cache: OrderedDict[_Key, tuple[float, tuple[ListedRoom, ...]]] = OrderedDict()

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

    async def _find(self, room_type: str, labels: Mapping[str, str]) -> tuple[ListedRoom, ...]:
        key = (room_type, tuple(to_pairs(labels)))
        expires_s, rooms = self._cache.get(key, (0.0, ()))
        if self._now_s() < expires_s:
            return rooms
        found = await self._directory.list_rooms(room_type, region=self._region, labels=labels, limit=ROOMS_MAX)
        rooms = tuple(_to_listed(room) for room in found)
        self._cache[key] = (self._now_s() + CACHE_S, rooms)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)
        return rooms


def _to_listed(room: RoomStatus) -> ListedRoom:
    return ListedRoom(room.room_id, room.taken, room.seats, encode_payload(dict(room.labels)))
