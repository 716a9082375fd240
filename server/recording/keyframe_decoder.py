"""Decodes the keyframes of recordings, whose bytes may be damaged or hostile. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.delta import ENTITIES_MAX
from tickwire.server.persistence.raw_columns import decode_columns
from tickwire.server.persistence.world_codec import decode_world
from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.keyframe import HistoryTick, RoomKeyframe
from tickwire.server.replication.entity_ids import ReleasedIds
from tickwire.server.rooms.checkpoint import RoomCheckpoint

_decoder = msgspec.msgpack.Decoder(RoomKeyframe)


def decode_keyframe(payload: bytes) -> RoomKeyframe:
    """Return a keyframe.

    Raises:
        RecordingDamaged: it cannot be decoded.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"a keyframe cannot be decoded: {error}") from error


def to_checkpoint(keyframe: RoomKeyframe) -> RoomCheckpoint:
    """Return the checkpoint of a keyframe, with its columns as they were in memory.

    Raises:
        RecordingDamaged: it cannot be decoded.
    """
    try:
        state = decode_world(keyframe.world)
        tables = {}
        for name, table in state.tables.items():
            _check_rows(table.ids.size)
            raw_columns = decode_columns(keyframe.raw_columns.get(name, {}), table.ids.size)
            tables[name] = msgspec.structs.replace(table, raw_columns=raw_columns)
        random = json.loads(keyframe.random or "{}")
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise RecordingDamaged(f"the world of a keyframe cannot be decoded: {error!r}") from error
    return msgspec.structs.replace(state, tables=tables, attributes=keyframe.attributes, random=random)


def decode_released(keyframe: RoomKeyframe) -> ReleasedIds:
    """Return the ids of despawned entities.

    Raises:
        RecordingDamaged: they cannot be decoded.
    """
    try:
        pairs = np.frombuffer(keyframe.quarantined, np.int64).reshape(-1, 2).tolist()
        free = np.frombuffer(keyframe.free, np.int64).tolist()
    except ValueError as error:
        raise RecordingDamaged(f"the ids of a keyframe cannot be decoded: {error}") from error
    return ReleasedIds(tuple((tick, id) for tick, id in pairs), tuple(free))


def decode_history(ticks: tuple[HistoryTick, ...]) -> list[tuple[int, NDArray[np.uint32], dict[str, NDArray[Any]]]]:
    """Return the earlier ticks of one table, the oldest first.

    Raises:
        RecordingDamaged: they cannot be decoded.
    """
    found = []
    try:
        for one in ticks:
            ids = np.frombuffer(one.ids, np.uint32)
            _check_rows(ids.size)
            found.append((one.tick, ids, decode_columns(one.columns, ids.size)))
    except ValueError as error:
        raise RecordingDamaged(f"the history of a keyframe cannot be decoded: {error}") from error
    return sorted(found, key=lambda one: one[0])


def _check_rows(count: int) -> None:
    if count > ENTITIES_MAX:
        raise ValueError(f"a table has {count} rows; the limit is {ENTITIES_MAX}")
