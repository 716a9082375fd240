"""Caches the worlds of many players in one process: equal frames on equal baselines are decoded once.

A room sends the same bytes to all players with the same baseline. If a player's baseline is the same object as
another player's and it receives the same bytes, it shares the decoded result, whose checksum was compared. Players
with different baselines (they joined at different ticks) decode on their own. As soon as their tables are equal, they
share them: equal tables of one room, channel and tick become one object.

Every player's world is verified: a player with other bytes or another baseline never shares a result.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from tickwire.client.world import World
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import TableCodec, decode_channel
from tickwire.schemas.messages import Joined
from tickwire.schemas.parts import Part

ENTRIES_MAX = 4096
"""The number of cached results, by channel and tick: some seconds of a hundred rooms. The oldest is evicted."""

Tables = tuple[Columns, ...]


class SharedWorlds:
    """The decoded frames that the worlds of one process share.

    Attributes:
        decoded, shared: the number of parts that were decoded, and that were found in the cache.
    """

    def __init__(self) -> None:
        self.decoded = self.shared = 0
        self._known: OrderedDict[tuple[int, bool, bytes], tuple[Tables, Tables, bool]] = OrderedDict()
        self._newest: OrderedDict[tuple[str, int, int], Tables] = OrderedDict()

    def create_world(self, joined: Joined) -> World:
        """Create one player's mirrored world, as `ClientCore` expects of `create_world`."""
        return _SharedWorld(joined, self)

    def decode(self, world: _SharedWorld, part: Part, base: Tables, tick: int) -> tuple[Tables, bool]:
        """Return the result of `tickwire.schemas.delta.decode_channel`, from the cache if possible."""
        key = (id(base), part.has_checksum, part.packed)
        known = self._known.get(key)
        if known is not None and known[0] is base:  # the cache keeps the baseline alive, so its id is not reused
            self.shared += 1
            return known[1], known[2]
        tables, agrees = decode_channel(world.codecs, base, part.packed, has_checksum=part.has_checksum)
        self.decoded += 1
        if agrees:
            tables = self._deduplicate((world.room_id, part.channel, tick), tables)
        self._known[key] = (base, tables, agrees)
        if len(self._known) > ENTRIES_MAX:
            self._known.popitem(last=False)
        return tables, agrees

    def _deduplicate(self, key: tuple[str, int, int], tables: Tables) -> Tables:
        first = self._newest.setdefault(key, tables)
        if first is tables:
            if len(self._newest) > ENTRIES_MAX:
                self._newest.popitem(last=False)
            return tables
        return first if all(map(_is_equal, first, tables)) else tables


class _SharedWorld(World):
    def __init__(self, joined: Joined, worlds: SharedWorlds) -> None:
        super().__init__(joined.description)
        self.room_id = joined.room_id
        self._worlds = worlds

    @property
    def codecs(self) -> tuple[TableCodec, ...]:
        return self._codecs

    def _decode(self, part: Part, base: Tables, tick: int) -> tuple[Tables, bool]:
        return self._worlds.decode(self, part, base, tick)


def _is_equal(a: Columns, b: Columns) -> bool:
    return (
        np.array_equal(a.ids, b.ids)
        and np.array_equal(a.values, b.values)
        and np.array_equal(a.before, b.before)
        and np.array_equal(a.texts, b.texts)
    )
