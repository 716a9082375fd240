"""The room's world as this client was told it: the mirrored tables, in numpy.

Each channel is held as the tables after its last frame; that is the baseline of its next one. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.delta import Columns, TableCodec, checksum, decode_channel, empty_columns
from schemas.errors import MalformedMessage
from schemas.fields import Field, from_description
from schemas.messages import FieldKind, StateDescription, StateFrame

CHECKSUM_FLAG = 1


class WrongBaseline(Exception):
    """A delta against something that this client does not have."""


class TableView:
    """One table as it stands now.

    Args:
        fields: its fields.
        columns: ids and quantised values.
    """

    def __init__(self, fields: tuple[Field, ...], columns: Columns) -> None:
        self._fields = {field.name: (row, field) for row, field in enumerate(fields)}
        self._columns = columns

    @property
    def ids(self) -> NDArray[np.uint32]:
        """(entities,) ascending."""
        return self._columns.ids

    def __len__(self) -> int:
        return int(self._columns.ids.size)

    def __contains__(self, id: int) -> bool:
        return bool(np.isin(id, self._columns.ids))

    def column(self, name: str) -> NDArray[Any]:
        """(entities,) of a field, in the game's units."""
        row, field = self._fields[name]
        return field.dequantise(self._columns.values[row])

    def kind(self, name: str) -> FieldKind:
        """What a field's values are.

        Raises:
            KeyError: no such field.
        """
        return self._fields[name][1].kind

    def quantised(self, name: str) -> NDArray[np.int64]:
        """(entities,) of a field, as the wire's integers."""
        values: NDArray[np.int64] = self._columns.values[self._fields[name][0]]
        return values

    def entity(self, id: int) -> dict[str, Any]:
        """One entity's fields by name.

        Raises:
            KeyError: it is not here.
        """
        at = int(np.searchsorted(self._columns.ids, id))
        if at == len(self) or self._columns.ids[at] != id:
            raise KeyError(id)
        return {
            name: field.dequantise(self._columns.values[row, at : at + 1])[0].item()
            for name, (row, field) in self._fields.items()
        }


class World:
    """All channels of one room.

    Args:
        description: the room's tables and fields, from Joined.

    Attributes:
        tick: the newest tick of any channel.
    """

    def __init__(self, description: StateDescription) -> None:
        self.tick = 0
        self._names = [table.name for table in description.tables]
        self._fields = [tuple(from_description(f) for f in table.fields) for table in description.tables]
        self._codecs = tuple(TableCodec(fields) for fields in self._fields)
        self._nothing = tuple(empty_columns(len(fields)) for fields in self._fields)
        self._channels: dict[int, tuple[int, tuple[Columns, ...]]] = {}

    def apply(self, frame: StateFrame) -> bool:
        """Applies one state frame.

        Returns:
            Whether the frame's checksum agrees, or it has none.

        Raises:
            WrongBaseline: a delta against another tick than the one this client has.
            MalformedMessage: the frame does not fit the baseline.
        """
        if frame.age == 0:
            base = self._nothing
        else:
            tick, base = self._channels.get(frame.channel, (-1, self._nothing))
            if tick != frame.tick - frame.age:
                raise WrongBaseline(f"delta from tick {frame.tick - frame.age}; channel stands at {tick}")
        if len(frame.packed) < 1:
            raise MalformedMessage("a state frame without a packed part")
        has_checksum = bool(frame.flags & CHECKSUM_FLAG)
        tables, agrees = decode_channel(self._codecs, base, frame.packed, has_checksum=has_checksum)
        self._channels[frame.channel] = (frame.tick, tables)
        self.tick = max(self.tick, frame.tick)
        return agrees

    def settle(self) -> None:
        """The connection was resumed: every channel forgets where it came from, as the server does."""
        for channel, (tick, tables) in self._channels.items():
            settled = tuple(Columns(table.ids, table.values, table.values) for table in tables)
            self._channels[channel] = (tick, settled)

    def table(self, name: str) -> TableView:
        """A table by its name, all channels together.

        Raises:
            KeyError: the room has no such table.
        """
        if name not in self._names:
            raise KeyError(name)
        place = self._names.index(name)
        parts = [tables[place] for _, tables in self._channels.values()]
        return TableView(self._fields[place], _merged(parts) if parts else self._nothing[place])

    def checksum(self) -> bytes:
        """Four bytes over all that is mirrored: equal worlds have equal ones."""
        parts = [
            _merged([tables[place] for _, tables in self._channels.values()]) if self._channels else nothing
            for place, nothing in enumerate(self._nothing)
        ]
        return checksum(tuple(parts))


def _merged(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    ids, first = np.unique(np.concatenate([part.ids for part in parts]), return_index=True)
    values = np.concatenate([part.values for part in parts], axis=1)[:, first]
    return Columns(ids, values, values)
