"""A table's rows by channel, tick by tick: quantised once, all together, then cut into groups.

A group whose entities are those of the last tick keeps the very same ids, so that "nobody came or left" is one look.
Pure; imports schemas only.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.columns import Ids, Matrix, Texts, no_texts
from server.replication.table import EVERYONE, NOBODY, Table


class Group(msgspec.Struct, frozen=True, eq=False):
    """What one channel holds of a table at a tick: as `schemas.columns.Columns`, without a past."""

    ids: Ids
    values: Matrix
    texts: Texts


class Groups:
    """The groups of one table.

    Attributes:
        now: by channel; a channel that is not here holds nothing of the table.
        nothing: the group of a channel that is not in `now`.
    """

    def __init__(self, table: Table) -> None:
        self.now: dict[int, Group] = {}
        self.nothing = Group(
            np.empty(0, np.uint32), np.empty((len(table.numeric), 0), np.int64), no_texts(len(table.textual), 0)
        )
        self._table = table
        self._layout = -1
        self._channels: NDArray[np.uint16] | None = None
        self._order: NDArray[np.intp] | None = None
        self._spans: list[tuple[int, int, int]] = []
        self._starts: NDArray[np.intp] = np.empty(0, np.intp)
        self._values: Matrix = self.nothing.values
        self._texts: Texts = self.nothing.texts

    def capture(self) -> set[int]:
        """Takes the table as it is now.

        Returns:
            The channels in which something has changed since the last time.

        Raises:
            schemas.fields.NotANumber, server.replication.texts.WrongText: the game has left something impossible.
        """
        table = self._table
        values, texts = table.quantise(), table.texts()
        has_moved = table.has_channels and not self._is_where_it_was(table.channels)
        if self._layout == table.layout and not has_moved:
            return self._keep(values, texts)
        self._layout = table.layout
        self._channels = table.channels.copy() if table.has_channels else None
        return self._regroup(values, texts)

    def _is_where_it_was(self, channels: NDArray[np.uint16]) -> bool:
        before = self._channels
        return before is not None and before.size == channels.size and bool((before == channels).all())

    def _keep(self, values: Matrix, texts: Texts) -> set[int]:
        """Every group holds whom it held: only values may have changed."""
        if self._order is not None:
            values = values[:, self._order]
            texts = texts[:, self._order] if texts.size else texts
        differs = (values != self._values).any(axis=0) if len(values) else np.zeros(values.shape[1], np.bool_)
        if texts.size:
            differs |= (texts != self._texts).any(axis=0)
        self._values, self._texts = values, texts
        if not self._spans or not differs.any():
            return set()
        changed = set()
        differs = differs[: self._spans[-1][2]]  # NOBODY's rows come last
        is_changed = np.logical_or.reduceat(differs, self._starts).tolist()
        for (channel, start, end), has_changed in zip(self._spans, is_changed, strict=True):
            if has_changed:
                changed.add(channel)
                self.now[channel] = self._group(self.now[channel].ids, start, end)
        return changed

    def _regroup(self, values: Matrix, texts: Texts) -> set[int]:
        """Somebody came, left, or is in another channel."""
        ids, before = self._table.ids.copy(), self.now
        self._order = None
        if self._channels is None:
            self._spans = [(EVERYONE, 0, ids.size)] if ids.size else []
        else:
            self._order = np.argsort(self._channels, kind="stable")
            ids, values = ids[self._order], values[:, self._order]
            texts = texts[:, self._order] if texts.size else texts
            self._spans = _spans(self._channels[self._order])
        self._starts = np.array([start for _, start, _ in self._spans], np.intp)
        self._values, self._texts = values, texts
        self.now = {}
        changed = set(before)
        for channel, start, end in self._spans:
            known = before.get(channel, self.nothing)
            cut = ids[start:end]
            group = self._group(cut, start, end)
            if known.ids.size == cut.size and (known.ids == cut).all():
                group = self._group(known.ids, start, end)
                if not _differs(group, known):
                    group = known
                    changed.discard(channel)
            if group is not known:
                changed.add(channel)
            self.now[channel] = group
        return changed

    def _group(self, ids: Ids, start: int, end: int) -> Group:
        texts = self._texts[:, start:end] if self._texts.size else self.nothing.texts
        return Group(ids, self._values[:, start:end], texts)


def _differs(a: Group, b: Group) -> bool:
    return bool((a.values != b.values).any()) or bool(a.texts.size and (a.texts != b.texts).any())


def _spans(channels: NDArray[np.uint16]) -> list[tuple[int, int, int]]:
    """Where each channel's rows lie, in ascending order of channels; NOBODY's are left out."""
    starts = np.flatnonzero(np.diff(channels, prepend=np.int32(-1)))
    edges = [*starts.tolist(), channels.size]
    spans = zip(channels[starts].tolist(), edges, edges[1:], strict=False)
    return [span for span in spans if span[0] != NOBODY]
