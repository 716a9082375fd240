"""The port through which a shard's recordings follow the lives of its rooms. Pure."""

from __future__ import annotations

from typing import Protocol

from tickwire.server.rooms.runtime import RoomRuntime


class RoomObserver(Protocol):
    """Receives the events of the rooms of one shard, between two ticks. No method raises an exception."""

    def room_started(self, runtime: RoomRuntime) -> None:
        """A room runs on this shard from now on: it was created, restored, restarted, or has moved to this shard."""
        ...

    def room_ticked(self, runtime: RoomRuntime) -> None:
        """A room has completed a tick."""
        ...

    def room_failed(self, runtime: RoomRuntime) -> None:
        """A tick of a room has failed; the room closes or restarts next."""
        ...

    def room_ended(self, runtime: RoomRuntime) -> None:
        """A room no longer runs on this shard: it has closed, moved, or restarted as another object. Idempotent."""
        ...


class NoRoomObserver:
    """Ignores all events."""

    def room_started(self, runtime: RoomRuntime) -> None:
        """Do nothing."""

    def room_ticked(self, runtime: RoomRuntime) -> None:
        """Do nothing."""

    def room_failed(self, runtime: RoomRuntime) -> None:
        """Do nothing."""

    def room_ended(self, runtime: RoomRuntime) -> None:
        """Do nothing."""
