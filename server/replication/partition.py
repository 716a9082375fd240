"""Splits a table's rows by channel, tick by tick: the whole table is quantised once and then cut.

A channel whose entities are those of the last tick keeps the same `ids` object, so that one identity comparison shows
that no entity entered or left. Pure; imports schemas only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS, Columns, Matrix, Texts, empty_columns, find_common
from tickwire.server.replication.table import EVERYONE, NOBODY, Table


class ChannelPartition:
    """One table's rows, by channel.

    Args:
        table: the table.

    Attributes:
        by_channel: the rows of each channel, with their values one tick earlier, in whichever channel; a channel that
            is missing has no row of the table.
        empty: the rows of a channel that is not in `by_channel`.
    """

    def __init__(self, table: Table) -> None:
        self.empty = empty_columns(len(table.numeric), len(table.textual))
        self.by_channel: dict[int, Columns] = {}
        self._table = table
        self._layout_version = -1
        self._ids = self.empty.ids
        self._values = self.empty.values
        self._texts = self.empty.texts
        self._channels: NDArray[np.uint16] | None = None
        self._order: NDArray[np.intp] | None = None
        self._spans: list[tuple[int, int, int]] = []
        self._changed: set[int] = set()

    def capture(self) -> set[int]:
        """Read the table as it is now.

        Returns:
            The channels that have changed since the last call.

        Raises:
            tickwire.schemas.fields.NotANumber: a column has NaN or infinity.
            tickwire.server.replication.text_encoder.InvalidText: a text column has a value of another type, or a blob
                that is too long.
        """
        table = self._table
        values, texts = table.quantise(), table.texts()
        if self._layout_version == table.layout_version and not table.has_channels and self._spans:
            return self._update_single_channel(values, texts)
        if self._layout_version == table.layout_version:
            before, differs = self._values, (values != self._values).any(axis=0)
            if texts is not self._texts:
                differs |= (texts != self._texts).any(axis=0)
            regrouped = self._regroup_moved() if table.has_channels else set()
        else:
            before, differs = self._values_before(values), np.ones(values.shape[1], np.bool_)
            regrouped = self._regroup_all()
        self._values, self._texts = values, texts
        return self._split(before, differs, regrouped)

    def _update_single_channel(self, values: Matrix, texts: Texts) -> set[int]:
        """Update a table whose rows are unchanged and all in EVERYONE: most tables, in most ticks."""
        before, self._values = self._values, values
        has_changed = not np.array_equal(values, before) or (
            texts is not self._texts and bool((texts != self._texts).any())
        )
        self._texts = texts
        if has_changed or self._changed:
            self.by_channel[EVERYONE] = Columns(self.by_channel[EVERYONE].ids, values, before, texts)
        self._changed = {EVERYONE} if has_changed else set()
        return self._changed

    def _values_before(self, values: Matrix) -> Matrix:
        """Return each row's values one tick earlier; for a new row its values now."""
        before = values.copy()
        here, there = find_common(self._table.ids, self._ids)
        before[:, here] = self._values[:, there]
        return before

    def _regroup_moved(self) -> set[int]:
        """Regroup if rows have moved to other channels; return the channels that they left or entered."""
        channels, known = self._table.channels, self._channels
        if known is None:
            return self._regroup_all()
        moved = np.flatnonzero(channels != known)
        if not moved.size:
            return set()
        touched = {*known[moved].tolist(), *channels[moved].tolist()}
        self._regroup()
        return touched

    def _regroup_all(self) -> set[int]:
        """Regroup after rows were added or removed; return all channels, before and after."""
        touched = {span[0] for span in self._spans}
        self._regroup()
        return touched | {span[0] for span in self._spans}

    def _regroup(self) -> None:
        table = self._table
        self._layout_version = table.layout_version
        self._ids = table.ids.copy()
        if table.has_channels:
            self._channels = table.channels.copy()
            self._order = np.argsort(self._channels, kind="stable")
            self._spans = _spans(self._channels[self._order])
        else:
            self._spans = [(EVERYONE, 0, self._ids.size)] if self._ids.size else []

    def _split(self, before: Matrix, differs: NDArray[np.bool_], regrouped: set[int]) -> set[int]:
        """Cut the table by channel; a channel without changes keeps its rows object."""
        ids, values, texts, order = self._ids, self._values, self._texts, self._order
        if order is not None:
            values, differs = values[:, order], differs[order]
            texts = texts[:, order] if texts.size else texts
            if regrouped:
                ids, before = ids[order], before[:, order]
        # NOBODY's rows are last and in no span: their changes must not be visible to any client.
        end_of_all = self._spans[-1][2] if self._spans else 0
        starts = [start for _, start, _ in self._spans]
        is_changed = np.logical_or.reduceat(differs[:end_of_all], starts).tolist() if starts else []
        changed: set[int] = set()
        known_rows, rows = self.by_channel, {}
        for (channel, start, end), has_changed in zip(self._spans, is_changed, strict=True):
            known = known_rows.get(channel)
            if channel in regrouped:
                own = ids[start:end]
                if known is None or known.ids.size != own.size or not (known.ids == own).all():
                    own_texts = texts[:, start:end] if texts.size else NO_TEXTS
                    rows[channel] = Columns(own, values[:, start:end], before[:, start:end], own_texts)
                    changed.add(channel)
                    continue
                has_changed = has_changed and not self._is_unchanged(known, values, texts, start, end)
            assert known is not None
            if has_changed:
                own_texts = texts[:, start:end] if texts.size else NO_TEXTS
                rows[channel] = Columns(known.ids, values[:, start:end], known.values, own_texts)
                changed.add(channel)
            else:
                rows[channel] = known.without_history if channel in self._changed else known
        self.by_channel, self._changed = rows, changed
        return changed | (known_rows.keys() - rows.keys())

    def _is_unchanged(self, known: Columns, values: Matrix, texts: Texts, start: int, end: int) -> bool:
        if not np.array_equal(known.values, values[:, start:end]):
            return False
        return not texts.size or bool((known.texts == texts[:, start:end]).all())


def _spans(channels: NDArray[np.uint16]) -> list[tuple[int, int, int]]:
    """Return (channel, start, end) of each channel in sorted rows, ascending, without NOBODY."""
    starts = np.flatnonzero(np.diff(channels, prepend=np.int32(-1)))
    edges = [*starts.tolist(), channels.size]
    spans = zip(channels[starts].tolist(), edges, edges[1:], strict=False)
    return [span for span in spans if span[0] != NOBODY]
