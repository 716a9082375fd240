"""Running rooms for tests, created or restored without a shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.harness.null_services import NoSessionRestorer
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RestoreRequest, RoomContext, RoomSpec, create_room, restore_room
from tickwire.server.rooms.host import HostCallbacks, RoomHost
from tickwire.server.rooms.ports import SessionSource
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatEnded
from tickwire.server.rooms.tick_loop import TickTimers
from tickwire.server.rooms.transactions import RecordVersion


def create_runtime(
    room_class: type[Room],
    saved: RoomCheckpoint | None = None,
    *,
    name: str = "",
    options: Mapping[str, Any] | None = None,
    seed: int = 1,
    spec: RoomSpec | None = None,
    counters: RoomCounters | None = None,
    now_s: Callable[[], float] = lambda: 0.0,
    sessions: SessionSource | None = None,
    records: Mapping[str, RecordVersion] | None = None,
    on_ended: SeatEnded = lambda seat: None,
) -> RoomRuntime:
    """Return a room with id "r" and epoch 1, unless `spec` says otherwise; restored if `saved` is given."""
    spec = spec or RoomSpec("r", room_class.room_type, name, epoch=1)
    context = RoomContext(RoomCounters() if counters is None else counters, lambda room: None, now_s)
    if saved is None:
        return create_room(room_class, spec, context, options or {}, seed=seed)
    source = NoSessionRestorer() if sessions is None else sessions
    request = RestoreRequest(saved, source, on_ended, records or {})
    return restore_room(room_class, spec, context, request, seed=seed)


def create_host(
    *kinds: type[Room],
    on_closed: Callable[[RoomRuntime, str], None] = lambda runtime, reason: None,
    commit: Callable[[RoomRuntime], None] = lambda runtime: None,
    clock: TickTimers | None = None,
) -> RoomHost:
    """Return a host of these room types, without tuning and metrics."""
    return RoomHost(
        {kind.room_type: kind for kind in kinds},
        HostCallbacks(
            on_closed=on_closed,
            tune=lambda room: None,
            observe_tick=lambda duration_s, lateness_s: None,
            commit=commit,
        ),
        clock=clock,
    )
