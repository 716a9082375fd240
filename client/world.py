"""The mirrored state of a room: its tables, in numpy. Pure.

Each channel is stored as its tables after the last part, which are the baseline of the next part. If the last frame
has no part for a channel, nothing in the channel moved, and its previous values are discarded.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS, Columns, Texts, checksum
from tickwire.schemas.delta import create_codecs, decode_channel
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field, from_description
from tickwire.schemas.groups import Group
from tickwire.schemas.groups import from_description as groups_from_description
from tickwire.schemas.messages import FieldKind, GroupKind, StateDescription
from tickwire.schemas.parts import Part

NEVER = -1
Channels = dict[int, tuple[int, tuple[Columns, ...]]]
"""By channel: the tick of its last part, and its tables after it."""


class WrongBaseline(Exception):
    """The client does not have the baseline of a delta: a frame is missing."""


class WorldState(msgspec.Struct, frozen=True, eq=False):
    """All channels of a room at one tick. Nothing in it changes, so worlds with equal contents may share it.

    Args:
        tick: the tick of the last frame.
        channels: the channels.
    """

    tick: int
    channels: Channels


class TableView:
    """The current contents of one table.

    Args:
        fields: its fields.
        groups: its vectors and quaternions.
        columns: the ids, quantised values and texts.
    """

    def __init__(self, fields: tuple[Field, ...], groups: tuple[Group, ...], columns: Columns) -> None:
        numeric = [field for field in fields if not field.is_text]
        textual = [field for field in fields if field.is_text]
        self._fields = {field.name: field for field in fields}
        self._groups = {group.name: group for group in groups}
        self._rows: dict[str, tuple[NDArray[Any], int]] = {}
        self._rows |= {field.name: (columns.values, row) for row, field in enumerate(numeric)}
        self._rows |= {field.name: (columns.texts, row) for row, field in enumerate(textual)}
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
        """Return the (entities,) values of a field, in the game's units.

        A vector is (entities, components), a quaternion (entities, 4): x, y, z, w, of length 1.
        """
        group = self._groups.get(name)
        if group is not None:
            return group.join([self.column(part) for part in group.parts])
        return self._fields[name].dequantise(self.quantised(name))

    def kind(self, name: str) -> FieldKind | GroupKind:
        """Return the kind of a field, a vector or a quaternion.

        Raises:
            KeyError: the table has no such field.
        """
        group = self._groups.get(name)
        return self._fields[name].kind if group is None else group.kind

    def quantised(self, name: str) -> NDArray[Any]:
        """Return the (entities,) values of a field as on the wire: integers, or bytes."""
        values, row = self._rows[name]
        column: NDArray[Any] = values[row]
        return column

    def entity(self, id: int) -> dict[str, Any]:
        """Return the fields of an entity by name.

        A vector is a tuple, and its parts are fields too; a quaternion is a tuple (x, y, z, w) instead of its parts.

        Raises:
            KeyError: the entity does not exist.
        """
        at = int(np.searchsorted(self._columns.ids, id))
        if at == len(self) or self._columns.ids[at] != id:
            raise KeyError(id)
        here = {name: field.dequantise(self.quantised(name)[at : at + 1]) for name, field in self._fields.items()}
        joined = {name: group.join([here[part] for part in group.parts]) for name, group in self._groups.items()}
        for group in self._groups.values():
            if group.kind is GroupKind.QUATERNION:
                here = {name: column for name, column in here.items() if name not in group.parts}
        values = {name: column[0] for name, column in here.items()}
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        return values | {name: tuple(column[0].tolist()) for name, column in joined.items()}


class World:
    """All channels of one room.

    Args:
        description: the room's tables and fields, from Joined.

    Attributes:
        description: the room's tables and fields.
    """

    def __init__(self, description: StateDescription) -> None:
        self.description = description
        self._names = [table.name for table in description.tables]
        self._fields = [tuple(from_description(f) for f in table.fields) for table in description.tables]
        self._groups = [
            groups_from_description(table, fields)
            for table, fields in zip(description.tables, self._fields, strict=True)
        ]
        self._codecs = create_codecs(self._fields)
        self._empty = tuple(codec.empty for codec in self._codecs)
        self._state = WorldState(0, {})

    @property
    def table_names(self) -> tuple[str, ...]:
        """The names of the room's tables."""
        return tuple(self._names)

    def clear(self) -> None:
        """Remove all entities, before the room's state is sent again. References to this world stay valid."""
        self._state = WorldState(0, {})

    @property
    def tick(self) -> int:
        """The tick of the last frame, in all channels."""
        return self._state.tick

    @property
    def state(self) -> WorldState:
        """The current contents. Every change creates another object."""
        return self._state

    def restore(self, state: WorldState) -> None:
        """Replace the contents by those of a world of the same description."""
        self._state = state

    @property
    def channels(self) -> set[int]:
        """The numbers of the channels that the client received."""
        return set(self._state.channels)

    def apply(self, part: Part, *, tick: int, age: int) -> bool:
        """Apply the part of a frame for one channel. Call `finish` after all parts of the frame.

        Args:
            part: the part.
            tick: the tick of the frame.
            age: the age of its baseline, in ticks.

        Returns:
            False if the part's checksum differs.

        Raises:
            WrongBaseline: the delta is relative to another tick than that of this world.
            MalformedMessage: the part does not fit the baseline.
        """
        base = self._empty
        if not part.is_keyframe:
            if self.tick != tick - age:
                raise WrongBaseline(f"the delta is relative to tick {tick - age}; the world is at tick {self.tick}")
            last_tick, base = self._state.channels.get(part.channel, (NEVER, self._empty))
            if last_tick != tick - 1:
                base = tuple(table.without_history for table in base)
        if len(part.packed) < 1:
            raise MalformedMessage("a state frame without a packed part")
        tables, agrees = self._decode(part, base, tick)
        self._state = WorldState(self.tick, {**self._state.channels, part.channel: (tick, tables)})
        return agrees

    def _decode(self, part: Part, base: tuple[Columns, ...], tick: int) -> tuple[tuple[Columns, ...], bool]:
        return decode_channel(self._codecs, base, part.packed, has_checksum=part.has_checksum)

    def finish(self, tick: int, *, keep: set[int] | None) -> None:
        """End a frame: set the tick, and remove channels.

        Args:
            tick: the tick of the frame.
            keep: the channels that remain; None: all.
        """
        channels = self._state.channels
        if keep is not None:
            channels = {channel: tables for channel, tables in channels.items() if channel in keep}
        self._state = WorldState(tick, channels)

    def clear_history(self) -> None:
        """Discard the previous values of all channels after a resume, as the server does."""
        channels = {channel: (NEVER, tables) for channel, (_, tables) in self._state.channels.items()}
        self._state = WorldState(self.tick, channels)

    def table(self, name: str) -> TableView:
        """Return a table by its name, merged over all channels.

        Raises:
            KeyError: the room has no such table.
        """
        if name not in self._names:
            raise KeyError(name)
        index = self._names.index(name)
        return TableView(self._fields[index], self._groups[index], self._merged(index))

    def checksum(self) -> bytes:
        """Return the four-byte checksum of all tables, which is equal for equal worlds."""
        return checksum(tuple(self._merged(index) for index in range(len(self._codecs))))

    def _merged(self, index: int) -> Columns:
        tables = [channel[index] for _, channel in self._state.channels.values() if channel[index].ids.size]
        if len(tables) < 2:
            return tables[0] if tables else self._empty[index]
        ids, first = np.unique(np.concatenate([table.ids for table in tables]), return_index=True)
        values = np.concatenate([table.values for table in tables], axis=1)[:, first]
        texts: Texts = NO_TEXTS
        if self._codecs[index].texts:
            texts = np.concatenate([table.texts for table in tables], axis=1)[:, first]
        return Columns(ids, values, values, texts)
