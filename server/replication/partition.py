"""A table's rows by channel, tick by tick: quantised once, all together, then cut into groups.

A group whose entities are those of the last tick keeps the very same ids, so that "nobody came or left" is one look.
Pure; imports schemas only.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import Ids, Matrix, Texts, no_texts, shared
from tickwire.server.replication.table import EVERYONE, NOBODY, Table


class ChannelRows(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What one channel holds of a table at a tick; `before` is what they were a tick earlier, wherever that was."""

    ids: Ids
    values: Matrix
    before: Matrix
    texts: Texts


class ChannelPartition:
    """The groups of one table.

    Attributes:
        now: by channel; a channel that is not here holds nothing of the table.
        nothing: the group of a channel that is not in `now`.
    """

    def __init__(self, table: Table) -> None:
        values = np.empty((len(table.numeric), 0), np.int64)
        self.nothing = ChannelRows(np.empty(0, np.uint32), values, values, no_texts(len(table.textual), 0))
        self.now: dict[int, ChannelRows] = {}
        self._table = table
        self._layout = -1
        self._ids = self.nothing.ids
        self._values = values
        self._texts = self.nothing.texts
        self._channels: NDArray[np.uint16] | None = None
        self._order: NDArray[np.intp] | None = None
        self._spans: list[tuple[int, int, int]] = []
        self._moving: set[int] = set()

    def capture(self) -> set[int]:
        """Takes the table as it is now.

        Returns:
            The channels in which something has changed since the last time.

        Raises:
            tickwire.schemas.fields.NotANumber, tickwire.server.replication.text_encoder.InvalidText: the game has
            left something impossible.
        """
        table = self._table
        values, texts = table.quantise(), table.texts()
        if self._layout == table.layout and not table.has_channels and self._spans:
            return self._keep_whole(values, texts)
        if self._layout == table.layout:
            before, differs = self._values, (values != self._values).any(axis=0)
            if texts is not self._texts:
                differs |= (texts != self._texts).any(axis=0)
            regrouped = self._regroup_moved() if table.has_channels else set()
        else:
            before, differs = self._before(values), np.ones(values.shape[1], np.bool_)
            regrouped = self._regroup_all()
        self._values, self._texts = values, texts
        return self._cut(before, differs, regrouped)

    def _keep_whole(self, values: Matrix, texts: Texts) -> set[int]:
        """The same rows as last time, all in everybody's channel: most tables, in most ticks."""
        before, self._values = self._values, values
        has_changed = not np.array_equal(values, before) or (
            texts is not self._texts and bool((texts != self._texts).any())
        )
        self._texts = texts
        if has_changed or self._moving:
            self.now[EVERYONE] = ChannelRows(self.now[EVERYONE].ids, values, before, texts)
        self._moving = {EVERYONE} if has_changed else set()
        return self._moving

    def _before(self, values: Matrix) -> Matrix:
        """What each row was a tick earlier; one that is new was what it is."""
        before = values.copy()
        here, there = shared(self._table.ids, self._ids)
        before[:, here] = self._values[:, there]
        return before

    def _regroup_moved(self) -> set[int]:
        """Some rows may have changed their channels; gives the channels that these left or entered."""
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
        """Rows have come or gone; gives all channels there were and are."""
        touched = {span[0] for span in self._spans}
        self._regroup()
        return touched | {span[0] for span in self._spans}

    def _regroup(self) -> None:
        table = self._table
        self._layout = table.layout
        self._ids = table.ids.copy()
        if table.has_channels:
            self._channels = table.channels.copy()
            self._order = np.argsort(self._channels, kind="stable")
            self._spans = _spans(self._channels[self._order])
        else:
            self._spans = [(EVERYONE, 0, self._ids.size)] if self._ids.size else []

    def _cut(self, before: Matrix, differs: NDArray[np.bool_], regrouped: set[int]) -> set[int]:
        """Cuts the table into groups; those in which nothing has changed stay as they are."""
        ids, values, texts, order = self._ids, self._values, self._texts, self._order
        if order is not None:
            ids, values, before, differs = ids[order], values[:, order], before[:, order], differs[order]
            texts = texts[:, order] if texts.size else texts
        changed: set[int] = set()
        known_groups, self.now = self.now, {}
        # NOBODY's rows come last and are no span: what happens to them must not show.
        end_of_all = self._spans[-1][2] if self._spans else 0
        starts = [start for _, start, _ in self._spans]
        is_changed = np.logical_or.reduceat(differs[:end_of_all], starts).tolist() if starts else []
        moving: set[int] = set()
        for (channel, start, end), has_changed in zip(self._spans, is_changed, strict=True):
            known, own = known_groups.get(channel), None
            if channel in regrouped:
                own = ids[start:end]
                if known is not None and known.ids.size == own.size and bool((known.ids == own).all()):
                    own = known.ids
                    has_changed = has_changed and not self._is_as_it_was(known, values, texts, start, end)
                else:
                    has_changed = True
            elif known is not None:
                own = known.ids
            if has_changed:
                changed.add(channel)
                moving.add(channel)
            elif known is not None and channel not in self._moving:
                self.now[channel] = known
                continue
            assert own is not None
            cut = texts[:, start:end] if texts.size else self.nothing.texts
            self.now[channel] = ChannelRows(own, values[:, start:end], before[:, start:end], cut)
        self._moving = moving
        return changed | (known_groups.keys() - self.now.keys())

    def _is_as_it_was(self, known: ChannelRows, values: Matrix, texts: Texts, start: int, end: int) -> bool:
        if not np.array_equal(known.values, values[:, start:end]):
            return False
        return not texts.size or bool((known.texts == texts[:, start:end]).all())


def _spans(channels: NDArray[np.uint16]) -> list[tuple[int, int, int]]:
    """Where each channel's rows lie, in ascending order of channels; NOBODY's are left out."""
    starts = np.flatnonzero(np.diff(channels, prepend=np.int32(-1)))
    edges = [*starts.tolist(), channels.size]
    spans = zip(channels[starts].tolist(), edges, edges[1:], strict=False)
    return [span for span in spans if span[0] != NOBODY]
