"""Saves durable rooms: the only module that uses both rooms and the world store.

A checkpoint is taken between two ticks, every SAVE_INTERVAL_S, and only if something has changed. Rooms are spread
over that time, so that no tick waits for many of them. The serialisation thread encodes the checkpoints. A room is
saved under its epoch: MongoDB refuses a late write of a shard that has lost the room, and the room is closed here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import structlog

from tickwire.server.errors import NotSavable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.persistence.world_codec import encode_world, recover_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint, RoomMetadata
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import find_misfit
from tickwire.server.storage import (
    Quarantine,
    QuarantinedPart,
    SavedWorld,
    WorldStore,
    WriteBehind,
    world_key,
)

log = structlog.get_logger(__name__)

SAVE_INTERVAL_S = 0.5
"""A crash may lose at most one second; this is half of it, and the other half is for encoding and writing."""
PAUSE_S_MIN = 0.002
"""The shortest pause between two rooms. With more rooms several are saved after each pause."""


class RoomSaver:
    """Saves the durable rooms of a shard.

    Args:
        worlds: the world store.
        write_behind: the write queue of the store, coalesced by room.
        quarantine: holds the parts of worlds that do not fit their declaration.
        isolation: contains faults while one room is saved.

    Attributes:
        parts_quarantined: parts of worlds that were moved to the quarantine.
    """

    def __init__(
        self, worlds: WorldStore, write_behind: WriteBehind, quarantine: Quarantine, isolation: FaultIsolation
    ) -> None:
        self.parts_quarantined = 0
        self._quarantine = quarantine
        self._worlds = worlds
        self._write_behind = write_behind
        self._isolation = isolation
        # By room object: one that has restarted from an older state is saved again.
        self._idle_since: WeakKeyDictionary[RoomRuntime, int] = WeakKeyDictionary()  # the tick of its last save
        # The state that was validated last, and why it does not fit. A final save may be encoded after `evict`.
        self._misfits: WeakKeyDictionary[Room, tuple[dict[str, Any], str]] = WeakKeyDictionary()
        self._saved: WeakKeyDictionary[RoomRuntime, RoomMetadata] = WeakKeyDictionary()  # as of its last save

    async def claim(self, room_type: str, name: str, epoch: int) -> RoomCheckpoint | None:
        """Claim a world for an epoch: the store refuses writes of older owners afterwards.

        Returns:
            The checkpoint of the room, or None if it was never saved.

        Raises:
            StaleEpoch: a newer owner has claimed the world.
            NotSavable: this build cannot read the stored world.
            Unavailable: MongoDB does not answer.
        """
        key = world_key(room_type, name)
        await self._write_behind.wait_written(key)  # this shard may have owned the room before
        try:
            saved = await self._worlds.claim(room_type, name, epoch)
            return None if saved is None else _recover(saved)
        except NotSavable as error:
            log.error("world_decode_failed", world=key, epoch=epoch, error=error.detail)
            raise

    async def quarantine(self, key: str, epoch: int, state: RoomCheckpoint) -> RoomCheckpoint:
        """Move the rejected parts of a world to the quarantine, and return the checkpoint without them.

        Raises:
            NotSavable: MongoDB cannot store one of the parts; the world must not be changed.
            Unavailable: MongoDB does not answer.
        """
        for part in state.rejected:
            log.error("world_part_quarantined", world=key, path=part.path, error=part.error)
        parts = [QuarantinedPart(part.path, part.value, part.error) for part in state.rejected]
        await self._quarantine.add(key, epoch, parts)
        self.parts_quarantined += len(parts)
        return msgspec.structs.replace(state, rejected=())

    async def run(self, host: RoomHost) -> None:
        """Save every durable room that has changed, every SAVE_INTERVAL_S, until cancelled."""
        while True:
            rooms = [runtime for runtime in host if runtime.is_durable]
            pause_s = SAVE_INTERVAL_S / max(1, len(rooms))
            for first in range(0, max(1, len(rooms)), batch := max(1, int(PAUSE_S_MIN / pause_s))):
                for runtime in rooms[first : first + batch]:
                    if runtime.is_open and not runtime.is_frozen:
                        self.save(runtime)
                await asyncio.sleep(pause_s * batch)

    def save_changed(self, host: RoomHost) -> None:
        """Save every durable room that has changed, now."""
        for runtime in host:
            if not runtime.is_frozen:
                self.save(runtime)

    def save(self, runtime: RoomRuntime, *, is_last: bool = False) -> None:
        """Pass a room's checkpoint to the write queue if the room is durable and has changed since its last save.

        Args:
            runtime: the room.
            is_last: whether the room has ended; changes that commands made after its last tick are saved too.
        """
        with self._isolation.guard("saver", runtime.room.room_id):
            self._save(runtime, is_last=is_last)

    def _save(self, runtime: RoomRuntime, *, is_last: bool) -> None:
        room = runtime.room
        if not runtime.is_durable:
            return
        if runtime.is_idle and self._idle_since.get(runtime) == runtime.tick and not is_last:
            return  # nothing has ticked since the last check, so `save` would return the same
        try:
            metadata = runtime.metadata()
            if runtime.is_idle:
                self._idle_since[runtime] = runtime.tick
            if self._saved.get(runtime) == metadata and not is_last:
                return
            state = runtime.checkpoint(metadata)
        except RoomCodeRaised:
            return  # logged and counted; the last save remains
        self._saved[runtime] = metadata
        snapshot = partial(self._encode, room, state)
        self._write_behind.put(world_key(room.room_type, room.name), snapshot, runtime.epoch)

    def _encode(self, room: Room, state: RoomCheckpoint) -> SavedWorld:
        """Encode a checkpoint. Runs on the serialisation thread."""
        world = encode_world(room.room_type, room.name, room.room_id, state)
        return msgspec.structs.replace(world, state_error=self._find_misfit(room, state.state))

    def _find_misfit(self, room: Room, state: dict[str, Any]) -> str:
        """Return why a state does not fit its declaration, or an empty string; validated only if it has changed."""
        known, before = self._misfits.get(room, (None, ""))
        if known == state:
            return before
        error = find_misfit(room.save_type, state)
        self._misfits[room] = state, error
        if error and error != before:
            log.error("saved_state_invalid", world=world_key(room.room_type, room.name), error=error)
        return error

    async def wait_saved(self, runtime: RoomRuntime) -> None:
        """Wait until the final save of an ended room is written."""
        if runtime.is_durable:
            key = world_key(runtime.room.room_type, runtime.room.name)
            await self._write_behind.wait_written(key)
            self._write_behind.discard(key)

    def evict(self, runtime: RoomRuntime) -> None:
        """Discard the bookkeeping of a room that has ended or left this shard."""
        self._idle_since.pop(runtime, None)
        self._saved.pop(runtime, None)


def close_fenced_room(host: RoomHost, key: str) -> None:
    """Close a room whose write was refused, because another shard owns it now.

    A room that is migrating is left alone: its migration finds out which shard owns it.

    Args:
        host: the rooms of this shard.
        key: the key of the room's world.
    """
    for runtime in host:
        if runtime.is_frozen:
            continue
        if runtime.is_durable and world_key(runtime.room.room_type, runtime.room.name) == key:
            log.warning("room_fenced", room_id=runtime.room.room_id, epoch=runtime.epoch)
            host.close(runtime.room.room_id, "another shard owns the room now", has_moved=True)


def _recover(saved: SavedWorld) -> RoomCheckpoint:
    try:
        return recover_world(saved)
    except (msgspec.ValidationError, ValueError, KeyError, TypeError) as error:
        detail = f"world {saved.key} cannot be read: {error!r}"
        raise NotSavable("the room's stored world cannot be read", detail=detail) from error
