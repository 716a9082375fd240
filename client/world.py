"""The room's world as this client was told it: the mirrored tables, in numpy.

Each channel is held as the tables after its last part; that is the baseline of its next one. A channel of which the
last frame said nothing has come to rest: what it had before counts no more. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS, Columns, Texts, checksum
from tickwire.schemas.delta import create_codecs, decode_channel
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field, from_description
from tickwire.schemas.messages import FieldKind, StateDescription
from tickwire.schemas.parts import Part

NEVER = -1


class WrongBaseline(Exception):
    """A delta against something that this client does not have."""


class TableView:
    """One table as it stands now.

    Args:
        fields: its fields.
        columns: ids, quantised values and texts.
    """

    def __init__(self, fields: tuple[Field, ...], columns: Columns) -> None:
        numeric = [field for field in fields if not field.is_text]
        textual = [field for field in fields if field.is_text]
        self._fields = {field.name: field for field in fields}
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
        """(entities,) of a field, in the game's units."""
        return self._fields[name].dequantise(self.quantised(name))

    def kind(self, name: str) -> FieldKind:
        """What a field's values are.

        Raises:
            KeyError: no such field.
        """
        return self._fields[name].kind

    def quantised(self, name: str) -> NDArray[Any]:
        """(entities,) of a field, as on the wire: integers, or bytes."""
        values, row = self._rows[name]
        column: NDArray[Any] = values[row]
        return column

    def entity(self, id: int) -> dict[str, Any]:
        """One entity's fields by name.

        Raises:
            KeyError: it is not here.
        """
        at = int(np.searchsorted(self._columns.ids, id))
        if at == len(self) or self._columns.ids[at] != id:
            raise KeyError(id)
        here = {name: field.dequantise(self.quantised(name)[at : at + 1])[0] for name, field in self._fields.items()}
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in here.items()}


class World:
    """All channels of one room.

    Args:
        description: the room's tables and fields, from Joined.

    Attributes:
        description: the room's tables and fields.
        tick: of the last frame: where the client stands in all channels.
    """

    def __init__(self, description: StateDescription) -> None:
        self.tick = 0
        self.description = description
        self._names = [table.name for table in description.tables]
        self._fields = [tuple(from_description(f) for f in table.fields) for table in description.tables]
        self._codecs = create_codecs(self._fields)
        self._nothing = tuple(codec.empty for codec in self._codecs)
        self._channels: dict[int, tuple[int, tuple[Columns, ...]]] = {}

    @property
    def table_names(self) -> tuple[str, ...]:
        """The names of the room's tables."""
        return tuple(self._names)

    def clear(self) -> None:
        """Forget all entities: the room is told of anew, and whatever refers to this world continues with it."""
        self.tick = 0
        self._channels.clear()

    @property
    def channels(self) -> set[int]:
        """Those of which this client was told."""
        return set(self._channels)

    def apply(self, part: Part, *, tick: int, age: int) -> bool:
        """Applies what a frame says of one channel. `finish` follows when all of the frame's parts were.

        Args:
            tick: of the frame.
            age: of its baseline, ticks.

        Returns:
            Whether the part's checksum agrees, or it has none.

        Raises:
            WrongBaseline: a delta against another tick than the one this client has.
            MalformedMessage: the part does not fit the baseline.
        """
        base = self._nothing
        if not part.is_keyframe:
            if self.tick != tick - age:
                raise WrongBaseline(f"delta from tick {tick - age}; the world stands at {self.tick}")
            told_tick, base = self._channels.get(part.channel, (NEVER, self._nothing))
            if told_tick != tick - 1:
                base = tuple(table.without_history for table in base)
        if len(part.packed) < 1:
            raise MalformedMessage("a state frame without a packed part")
        tables, agrees = self._decode(part, base, tick)
        self._channels[part.channel] = (tick, tables)
        return agrees

    def _decode(self, part: Part, base: tuple[Columns, ...], tick: int) -> tuple[tuple[Columns, ...], bool]:
        return decode_channel(self._codecs, base, part.packed, has_checksum=part.has_checksum)

    def finish(self, tick: int, *, keep: set[int] | None) -> None:
        """The world has come to a tick.

        Args:
            keep: the only channels that are still there; None: all are.
        """
        self.tick = tick
        if keep is not None:
            self._channels = {channel: held for channel, held in self._channels.items() if channel in keep}

    def settle(self) -> None:
        """The connection was resumed: every channel forgets where it came from, as the server does."""
        self._channels = {channel: (NEVER, held) for channel, (_, held) in self._channels.items()}

    def table(self, name: str) -> TableView:
        """A table by its name, all channels together.

        Raises:
            KeyError: the room has no such table.
        """
        if name not in self._names:
            raise KeyError(name)
        place = self._names.index(name)
        return TableView(self._fields[place], self._merged(place))

    def checksum(self) -> bytes:
        """Four bytes over all that is mirrored: equal worlds have equal ones."""
        return checksum(tuple(self._merged(place) for place in range(len(self._codecs))))

    def _merged(self, place: int) -> Columns:
        held = [tables[place] for _, tables in self._channels.values() if tables[place].ids.size]
        if len(held) < 2:
            return held[0] if held else self._nothing[place]
        ids, first = np.unique(np.concatenate([table.ids for table in held]), return_index=True)
        values = np.concatenate([table.values for table in held], axis=1)[:, first]
        texts: Texts = NO_TEXTS
        if self._codecs[place].texts:
            texts = np.concatenate([table.texts for table in held], axis=1)[:, first]
        return Columns(ids, values, values, texts)
