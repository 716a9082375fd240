"""The worlds of many players in one process: what is the same for all is worked out once.

A room tells all who stand alike the same bytes. A player whose baseline is the very object that another's was, and
who gets the same bytes, is given the same result: its checksum was compared, or it is compared again. Players who
stand apart (they joined at different ticks) decode for themselves, and stand together as soon as their tables are
equal: equal tables of one room, channel and tick are one object from then on.

Nothing is taken on trust: whoever gets other bytes, or stands elsewhere, has all of it worked out from these.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from tickwire.client.world import World
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import TableCodec, decode_channel
from tickwire.schemas.messages import Joined
from tickwire.schemas.parts import Part

KEPT = 4096
"""Results are kept for so many channels and ticks: some seconds of a hundred rooms. The oldest is forgotten."""

Tables = tuple[Columns, ...]


class SharedWorlds:
    """What the worlds of one process share.

    Attributes:
        decoded, shared: parts that were worked out; that were known.
    """

    def __init__(self) -> None:
        self.decoded = self.shared = 0
        self._known: OrderedDict[tuple[int, bool, bytes], tuple[Tables, Tables, bool]] = OrderedDict()
        self._newest: OrderedDict[tuple[str, int, int], Tables] = OrderedDict()

    def world_of(self, joined: Joined) -> World:
        """The mirror of a room for one player: `ClientCore`'s `make_world`."""
        return _SharedWorld(joined, self)

    def decode(self, world: _SharedWorld, part: Part, base: Tables, tick: int) -> tuple[Tables, bool]:
        """What `tickwire.schemas.delta.decode_channel` gives."""
        key = (id(base), part.has_checksum, part.packed)
        known = self._known.get(key)
        if known is not None and known[0] is base:  # it is kept alive here, so that its id stays its own
            self.shared += 1
            return known[1], known[2]
        tables, agrees = decode_channel(world.codecs, base, part.packed, has_checksum=part.has_checksum)
        self.decoded += 1
        if agrees:
            tables = self._one_for_all((world.room_id, part.channel, tick), tables)
        self._known[key] = (base, tables, agrees)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return tables, agrees

    def _one_for_all(self, key: tuple[str, int, int], tables: Tables) -> Tables:
        first = self._newest.setdefault(key, tables)
        if first is tables:
            if len(self._newest) > KEPT:
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
