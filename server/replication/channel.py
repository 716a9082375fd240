"""A channel: a group of entities that is encoded once a tick for each distinct baseline of its subscribers.

A subscriber's *baseline* is the contents that its client has of the channel: nothing, or the contents of a tick and
those before them (the linear predictors need both). Subscribers with equal contents share one baseline object, and
each update that follows from a baseline is computed once. A subscriber that is skipped keeps its old baseline and
receives one cumulative delta later; nothing is queued for it. Pure; reads no clock: the caller passes the tick.

    the channel is empty, or unchanged    no update (in a tick with checksums, a channel with entities is sent all the
                                          same)
    the subscriber has no baseline        a keyframe
    otherwise                             a delta from its baseline

The contents before a baseline count for one tick: when a frame does not name a channel, both ends treat it as being
at rest. All subscribers with the same contents therefore share one baseline after at most one tick, however they
reached it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tickwire.schemas.columns import Columns, checksum, successor
from tickwire.schemas.delta import NO_SECTIONS, TableCodec
from tickwire.schemas.parts import encode_part

_NEVER = -1


class Baseline(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A client's contents of a channel.

    Args:
        tick: the tick of the frame that brought the client here.
        version: the tick of the change that led to these contents.
        tables: the contents, and the contents before them.
    """

    tick: int
    version: int
    tables: tuple[Columns, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the client has no entity of the channel."""
        return not any(table.ids.size for table in self.tables)

    @property
    def without_history(self) -> Baseline:
        """The baseline of a client that has these contents and does not know the contents before them."""
        return Baseline(_NEVER, self.version, tuple(table.without_history for table in self.tables))


class ChannelDelta(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A delta that is to be encoded.

    Args:
        key: the key that baselines with equal contents share in this tick.
        base: the tables that it is relative to.
        after: the client's baseline after it has applied the delta.
    """

    key: Baseline | int
    base: tuple[Columns, ...]
    after: Baseline


class ChannelUpdate(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The update of this tick for all subscribers with one baseline.

    Args:
        channel: the channel's number.
        baseline: the client's baseline after it has applied the update.
        is_keyframe: whether the update is relative to nothing.
        has_checksum: whether `packed` ends with a checksum.
        packed: the tables' sections, and the checksum.
    """

    channel: int
    baseline: Baseline
    is_keyframe: bool
    has_checksum: bool
    packed: bytes

    @property
    def part(self) -> bytes:
        """The update as one part of a frame with several channels."""
        return encode_part(self.channel, self.packed, is_keyframe=self.is_keyframe, has_checksum=self.has_checksum)


class Channel:
    """One channel of a room.

    Args:
        number: the channel's number on the wire, unique in the room.
        codecs: the codecs of the room's tables, in the order of the description.

    Attributes:
        current: the baseline of the clients that received every frame; None before the first of them.
        previous: the tables that those clients had before this tick.
        empty: the tables of a client without a baseline.
        version: the tick of the channel's last change.
        subscribers: the number of subscribed interest sets that contain the channel.
        keyframes, deltas: the numbers of encoded updates; the reader resets them.
    """

    __slots__ = (
        "_advanced", "_codecs", "_has_checksum", "_rows", "_tick", "_updates", "_version_before",
        "current", "deltas", "empty", "keyframes", "number", "previous", "subscribers", "version",
    )  # fmt: skip

    def __init__(self, number: int, codecs: tuple[TableCodec, ...]) -> None:
        self.number = number
        self.current: Baseline | None = None
        self.version = 0
        self.subscribers = 0
        self.keyframes = 0
        self.deltas = 0
        self.empty = self.previous = tuple([codec.empty for codec in codecs])
        self._codecs = codecs
        self._rows: tuple[Columns, ...] = ()
        self._tick = 0
        self._has_checksum = False
        self._updates: dict[Baseline | int | None, ChannelUpdate] = {}
        self._advanced: dict[int, Baseline] = {}
        self._version_before = _NEVER

    def begin(self, tick: int, rows: tuple[Columns, ...], *, has_changed: bool, has_checksum: bool) -> None:
        """Start a new tick.

        Args:
            tick: the room's tick.
            rows: the channel's rows now, table by table.
            has_changed: whether they differ from those of the tick before.
            has_checksum: whether this tick's updates end with a checksum.
        """
        self._tick = tick
        self._rows = rows
        self._has_checksum = has_checksum
        self._version_before = self.version
        if has_changed:
            self.version = tick
        if self._advanced:
            self._updates.clear()
            self._advanced.clear()

    @property
    def is_empty(self) -> bool:
        """Whether the channel has no entity now."""
        return not any(rows.ids.size for rows in self._rows)

    def is_due(self, baseline: Baseline) -> bool:
        """Return whether a client with this baseline needs an update in this tick."""
        return self.version > baseline.version or (self._has_checksum and not self.is_empty)

    def update(self, baseline: Baseline | None, *, must_name: bool = False) -> ChannelUpdate | None:
        """Return this tick's update for a subscriber with this baseline; None if it needs no update.

        Each distinct baseline is encoded once a tick, for any number of calls.

        Args:
            baseline: None for a client that has nothing of the channel.
            must_name: return an update even if nothing has changed.
        """
        key = self._key(baseline)
        if key in self._updates:
            return self._updates[key]
        if baseline is None:
            if self.is_empty:
                return None
            update = self._updates[None] = self._encode_keyframe()
            return update
        if not must_name and not self.is_due(baseline):
            return None
        delta = self.begin_delta(baseline)
        return self.finish_delta(delta, map(TableCodec.encode, self._codecs, delta.base, delta.after.tables))

    def begin_delta(self, baseline: Baseline) -> ChannelDelta:
        """Return the contents from which the delta for a baseline is encoded."""
        if baseline.tick == self._tick - 1:
            return ChannelDelta(baseline, baseline.tables, self._advance(baseline))
        return ChannelDelta(baseline.version, baseline.without_history.tables, self._advance(baseline))

    def finish_delta(self, delta: ChannelDelta, sections: Iterable[bytes]) -> ChannelUpdate:
        """Build and remember the update of a delta from the encoded sections of the room's tables, in order."""
        self.deltas += 1
        packed = b"".join((*sections, NO_SECTIONS))
        update = self._updates[delta.key] = self._build_update(delta.after, packed, is_keyframe=False)
        return update

    def _key(self, baseline: Baseline | None) -> Baseline | int | None:
        """Return the key that baselines with equal contents share once they are at rest."""
        return baseline if baseline is None or baseline.tick == self._tick - 1 else baseline.version

    def _advance(self, baseline: Baseline) -> Baseline:
        """Return the baseline that follows in this tick; the same object for all baselines with equal contents."""
        if baseline.version == self._version_before:
            return self._full()
        advanced = self._advanced.get(baseline.version)
        if advanced is None:
            tables = tuple(
                successor(table, rows.ids, rows.values, rows.texts)
                for table, rows in zip(baseline.tables, self._rows, strict=True)
            )
            advanced = self._advanced[baseline.version] = Baseline(self._tick, self.version, tables)
        return advanced

    def _encode_keyframe(self) -> ChannelUpdate:
        self.keyframes += 1
        full = self._full()
        sections = map(TableCodec.encode, self._codecs, self.empty, full.tables)
        return self._build_update(full, b"".join(sections) + NO_SECTIONS, is_keyframe=True)

    def _full(self) -> Baseline:
        """Return the baseline of clients that know this tick and the one before, by a keyframe or by every delta."""
        full = self._advanced.get(_NEVER)
        if full is None:
            full = self._advanced[_NEVER] = Baseline(self._tick, self.version, self._rows)
        return full

    def _build_update(self, baseline: Baseline, packed: bytes, *, is_keyframe: bool) -> ChannelUpdate:
        if self._has_checksum:
            packed += checksum(baseline.tables)
        return ChannelUpdate(self.number, baseline, is_keyframe, self._has_checksum, packed)


def encode_channel_cleared(channel: int) -> bytes:
    """Return the part that removes all entities of a channel from a client's world: an empty keyframe."""
    return encode_part(channel, NO_SECTIONS, is_keyframe=True, has_checksum=False)
