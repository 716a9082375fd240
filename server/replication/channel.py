"""A channel: a group of entities that is encoded once a tick for all who stand on the same baseline.

A subscriber's *standing* is what its client has of the channel: nothing, or the contents of some tick together with
what it had before (the linear predictors need both). A standing is shared by everyone who has it, and what follows
from it is computed once. A subscriber that is passed over keeps its old standing and gets one cumulative delta later;
nothing is queued for it. Pure; reads no clock: the tick comes in.

    nobody is here, or nothing has changed    nothing is said (but what is here is told again, with its checksum, when
                                              checksums are due)
    the subscriber has nothing                a keyframe
    otherwise                                 a delta from its standing

What a client had before counts for one tick: a channel of which the last frame said nothing has come to rest, for
both ends. So all who have the same contents meet after a tick at most, however they came to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tickwire.schemas.codec import encode_state
from tickwire.schemas.columns import Columns, checksum, successor
from tickwire.schemas.delta import NOTHING, TableCodec
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.keyframe_v2 import encode_keyframe_2
from tickwire.schemas.parts import encode_part
from tickwire.server.replication.partition import ChannelRows

_NEVER = -1


class Baseline(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a client has of a channel.

    Args:
        tick: when it was told so.
        version: the tick of the change that made these contents.
        tables: the contents, and what was there before.
    """

    tick: int
    version: int
    tables: tuple[Columns, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the client has nobody in it."""
        return not any(table.ids.size for table in self.tables)

    @property
    def settled(self) -> Baseline:
        """Where a client stands that has these contents and forgot where it came from."""
        return Baseline(_NEVER, self.version, tuple(table.settled for table in self.tables))


class ChannelUpdate(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What one standing leads to this tick.

    Args:
        standing: where the client stands after it.
        packed: what changed, with a checksum if there is one.
    """

    channel: int
    standing: Baseline
    is_keyframe: bool
    has_checksum: bool
    packed: bytes

    @property
    def part(self) -> bytes:
        """The same as one part of a frame that holds several."""
        return encode_part(self.channel, self.packed, is_keyframe=self.is_keyframe, has_checksum=self.has_checksum)


class Channel:
    """One channel of a room.

    Args:
        number: its number on the wire, unique in the room.
        codecs: of the room's tables, in the description's order.

    Attributes:
        usual: where those clients stand that missed nothing; None while there are none.
        base: what they had before this tick.
        nothing: the tables of who has nothing.
        version: the tick of its last change.
        watchers: how many interests with watchers it is in.
        keyframes, deltas: how many were encoded; whoever reads them sets them back.
    """

    __slots__ = (
        "_codecs", "_groups", "_has_checksum", "_keyframe_2", "_reached", "_tick", "_updates", "_version_before",
        "base", "deltas", "keyframes", "nothing", "number", "usual", "version", "watchers",
    )  # fmt: skip

    def __init__(self, number: int, codecs: tuple[TableCodec, ...]) -> None:
        self.number = number
        self.usual: Baseline | None = None
        self.version = 0
        self.watchers = 0
        self.keyframes = 0
        self.deltas = 0
        self.nothing = self.base = tuple([codec.nothing for codec in codecs])
        self._codecs = codecs
        self._groups: tuple[ChannelRows, ...] = ()
        self._tick = 0
        self._has_checksum = False
        self._updates: dict[Baseline | int | None, ChannelUpdate] = {}
        self._reached: dict[int, Baseline] = {}
        self._version_before = _NEVER
        self._keyframe_2 = b""

    def begin(self, tick: int, groups: tuple[ChannelRows, ...], *, has_changed: bool, has_checksum: bool) -> None:
        """A new tick: what the channel holds now."""
        self._tick = tick
        self._groups = groups
        self._has_checksum = has_checksum
        self._version_before = self.version
        if has_changed:
            self.version = tick
        if self._reached:
            self._updates.clear()
            self._reached.clear()
            self._keyframe_2 = b""

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in it now."""
        return not any(group.ids.size for group in self._groups)

    def is_due(self, standing: Baseline) -> bool:
        """Whether something is to be said to who stands there."""
        return self.version > standing.version or (self._has_checksum and not self.is_empty)

    def update(self, standing: Baseline | None, *, must_name: bool = False) -> ChannelUpdate | None:
        """What a subscriber with this standing must be told now; None when there is nothing to say.

        Each distinct standing is encoded once a tick, whoever asks how often.

        Args:
            must_name: say so even if nothing has changed.
        """
        key = self._key(standing)
        if key in self._updates:
            return self._updates[key]
        if standing is None:
            if self.is_empty:
                return None
            update = self._keyframe()
        elif must_name or self.is_due(standing):
            update = self.keep(standing, list(map(TableCodec.encode, self._codecs, *self.step(standing))))
        else:
            return None
        self._updates[key] = update
        return update

    def step(self, standing: Baseline) -> tuple[tuple[Columns, ...], tuple[Columns, ...]]:
        """The baseline's tables, and the tables after this tick."""
        base = standing if standing.tick == self._tick - 1 else standing.settled
        return base.tables, self._reach(standing).tables

    def keep(self, standing: Baseline, sections: Sequence[bytes]) -> ChannelUpdate:
        """Takes the tables' sections that lead on from a standing."""
        self.deltas += 1
        update = self._update(self._reach(standing), b"".join(sections) + NOTHING, is_keyframe=False)
        self._updates[self._key(standing)] = update
        return update

    def keyframe_2(self) -> bytes:
        """A framed keyframe for clients of schema version 2."""
        if not self._keyframe_2:
            packed = encode_keyframe_2(self._whole().tables)
            self._keyframe_2 = binary_frame(encode_state(self._tick, self.number, 0, 0, packed))
        return self._keyframe_2

    def _key(self, standing: Baseline | None) -> Baseline | int | None:
        """All who have the same contents, and have come to rest, are one."""
        return standing if standing is None or standing.tick == self._tick - 1 else standing.version

    def _reach(self, standing: Baseline) -> Baseline:
        """Where one comes from a standing this tick: all who have the same contents meet here."""
        if standing.version == self._version_before:
            return self._whole()
        reached = self._reached.get(standing.version)
        if reached is None:
            tables = tuple(
                successor(table, group.ids, group.values, group.texts)
                for table, group in zip(standing.tables, self._groups, strict=True)
            )
            reached = self._reached[standing.version] = Baseline(self._tick, self.version, tables)
        return reached

    def _keyframe(self) -> ChannelUpdate:
        self.keyframes += 1
        whole = self._whole()
        sections = map(TableCodec.encode, self._codecs, self.nothing, whole.tables)
        return self._update(whole, b"".join(sections) + NOTHING, is_keyframe=True)

    def _whole(self) -> Baseline:
        """Where those stand who know this tick and the one before: by a keyframe, or by having missed nothing."""
        whole = self._reached.get(_NEVER)
        if whole is None:
            tables = tuple([Columns(group.ids, group.values, group.before, group.texts) for group in self._groups])
            whole = self._reached[_NEVER] = Baseline(self._tick, self.version, tables)
        return whole

    def _update(self, reached: Baseline, packed: bytes, *, is_keyframe: bool) -> ChannelUpdate:
        if self._has_checksum:
            packed += checksum(reached.tables)
        return ChannelUpdate(self.number, reached, is_keyframe, self._has_checksum, packed)


def dropped(channel: int) -> bytes:
    """The part that says: nobody is in this channel any more, as far as you are told."""
    return encode_part(channel, NOTHING, is_keyframe=True, has_checksum=False)


def dropped_2(channel: int, tick: int) -> bytes:
    """The same as a frame for clients of schema version 2."""
    return binary_frame(encode_state(tick, channel, 0, 0, NOTHING))
