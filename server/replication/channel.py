"""A channel: a group of tables that is encoded once a tick for all who stand on the same baseline.

A subscriber's *standing* is what its client has: nothing, or the snapshot of one tick together with the one
before it (the linear predictor needs both). A standing is shared by everyone who has it, and what follows from
it is computed once. A subscriber that is passed over keeps its old standing and gets one cumulative delta later;
nothing is queued for it. Pure; reads no clock: the tick comes in.

    subscriber has nothing, or stood still for too long -> keyframe
    otherwise                                           -> delta from its standing
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from schemas.codec import encode_state
from schemas.delta import Columns, Ids, Matrix, TableCodec, checksum, empty_columns, encode_channel
from schemas.framing import binary_frame
from server.replication.table import Table

AGE_TICKS_MAX = 250
"""How old a baseline may be: the frame has one byte for its age. An older one means a keyframe."""
QUIET_TICKS_MAX = 64
"""A channel in which nothing changes still says so this often, which keeps baselines young."""
RECENT_TICKS_MAX = 32
"""How many snapshots are kept for clients that come back: what was on its way when a connection broke is younger."""
CHECKSUM_FLAG = 1


class Standing(msgspec.Struct, frozen=True, eq=False):
    """What a client has of a channel: the snapshot of `tick`, and the one it was reached from."""

    tick: int
    tables: tuple[Columns, ...]


class Snapshot:
    """What a channel held at a tick: ids and quantised values, table by table."""

    __slots__ = ("_standing", "_tables", "tick")

    def __init__(self, tick: int, tables: tuple[tuple[Ids, Matrix], ...]) -> None:
        self.tick = tick
        self._tables = tables
        self._standing: Standing | None = None

    @property
    def standing(self) -> Standing:
        """Where a client stands that has these values and forgot where it came from; shared by all such."""
        if self._standing is None:
            self._standing = Standing(self.tick, tuple(Columns(ids, values, values) for ids, values in self._tables))
        return self._standing


class Frame(msgspec.Struct, frozen=True):
    """What one standing leads to this tick: bytes with their WebSocket header, and the standing after them."""

    data: bytes
    standing: Standing


class Channel:
    """Encodes a group of tables.

    Args:
        number: its number on the wire, unique in the room.
        tables: what it holds, in the description's order.
        checksum_ticks: every so many ticks frames carry a checksum.
    """

    def __init__(self, number: int, tables: tuple[Table, ...], *, checksum_ticks: int = 100) -> None:
        self.number = number
        self.keyframes = 0
        self.deltas = 0
        self.changed_tick = 0
        self._tables = tables
        self._codecs = tuple(TableCodec(table.fields) for table in tables)
        self._nothing = tuple(empty_columns(len(table.fields)) for table in tables)
        self._checksum_ticks = checksum_ticks
        self._tick = 0
        self._now: tuple[tuple[Ids, Matrix], ...] = tuple((table.ids, table.values) for table in self._nothing)
        self._frames: dict[Standing | None, Frame | None] = {}
        self._reached: dict[int, Standing] = {}
        self._recent: deque[Snapshot] = deque(maxlen=RECENT_TICKS_MAX)

    @property
    def recent(self) -> tuple[Snapshot, ...]:
        """The newest snapshots, oldest first."""
        return tuple(self._recent)

    def stand_on(self, recent: tuple[Snapshot, ...], tick: int) -> Standing | None:
        """Where a client stands that comes back with the values of `tick`; None when nobody knows them any more.

        A client that comes back forgets where it came from (`Columns.before`), as it does after a keyframe: which
        way it took to that tick need not be known.
        """
        return next((snapshot.standing for snapshot in recent if snapshot.tick == tick), None)

    def capture(self, tick: int) -> None:
        """Takes this tick's snapshot: every table quantised once.

        Raises:
            schemas.fields.NotANumber: a column holds NaN.
        """
        now = tuple((table.ids.copy(), table.quantise()) for table in self._tables)
        self._tick = tick
        self._frames.clear()
        self._reached.clear()
        if not all(_is_same(a, b) for a, b in zip(now, self._now, strict=True)):
            self._now = now
            self.changed_tick = tick
        self._recent.append(Snapshot(tick, self._now))

    def frame(self, standing: Standing | None) -> Frame | None:
        """What a subscriber with this standing must be told now; None when it has everything already.

        Each distinct standing is encoded and framed once a tick, whoever asks how often.
        """
        if standing not in self._frames:
            self._frames[standing] = self._encode(standing)
        return self._frames[standing]

    def _encode(self, standing: Standing | None) -> Frame | None:
        if standing is None or self._tick - standing.tick > AGE_TICKS_MAX:
            self.keyframes += 1
            return self._frame_from(0, self._nothing)
        age = self._tick - standing.tick
        if self.changed_tick <= standing.tick and age < QUIET_TICKS_MAX:
            return None
        self.deltas += 1
        return self._frame_from(age, standing.tables)

    def _frame_from(self, age: int, base: tuple[Columns, ...]) -> Frame:
        reached = self._reach(age, base)
        packed = encode_channel(self._codecs, base, reached.tables)
        flags = 0
        if self._tick % self._checksum_ticks == 0:
            flags = CHECKSUM_FLAG
            packed += checksum(reached.tables)
        return Frame(binary_frame(encode_state(self._tick, self.number, age, flags, packed)), reached)

    def _reach(self, age: int, base: tuple[Columns, ...]) -> Standing:
        # Where one comes from this tick is settled by the baseline's tick alone: two subscribers that came to it
        # on different ways meet here, and share every frame from the next tick on.
        if age not in self._reached:
            tables = tuple(
                codec.successor(table, ids, values)
                for codec, table, (ids, values) in zip(self._codecs, base, self._now, strict=True)
            )
            self._reached[age] = Standing(self._tick, tables)
        return self._reached[age]


def _is_same(a: tuple[Ids, Matrix], b: tuple[Ids, Matrix]) -> bool:
    return np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
