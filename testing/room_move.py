"""Moves a room of a harness, and sessions without a room, to another shard, as two real shards do.

frozen, sealed -> encode_room -> decode_room -> prepared on the new shard -> released on the old one
"""

from __future__ import annotations

import asyncio

from tickwire.schemas.messages import Redirect
from tickwire.server.edge.session import SessionState
from tickwire.server.errors import Unavailable
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.migration.room_sender import TRANSACTIONS_TIMEOUT_S
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.memory_ledger import MemoryLedger
from tickwire.testing.restored_room import MovedSessions, create_restore_request, raise_fence


def check_movable(shard: HarnessShard, runtime: RoomRuntime) -> None:
    """Check that a room can migrate now.

    Raises:
        AssertionError: it cannot.
    """
    missing = shard.host.find_lost_attributes(runtime).missing
    if missing:
        raise AssertionError(f"the room cannot migrate: its attributes {', '.join(missing)} cannot be copied")
    if not runtime.can_migrate():
        raise AssertionError("the room cannot migrate now: can_migrate returned False")
    if any(shard.placement.queue.is_bound(seat.subscriber) for seat in runtime.seats):
        raise AssertionError("the room cannot migrate now: a player has a match and has not taken its seat yet")


async def move_room(runtime: RoomRuntime, source: HarnessShard, target: HarnessShard, ledger: MemoryLedger) -> None:
    """Move a room, its sessions and the queue positions of its players to another shard.

    Raises:
        AssertionError: a transaction of the room has an unknown outcome. The room continues on its shard.
    """
    source.host.freeze(runtime)
    await _wait_settled(source, runtime)
    runtime.seal()
    transfer, checkpoint = decode_room(encode_room(runtime))
    world = transfer.world
    spec = RoomSpec(world.room_id, world.room_type, world.name, transfer.code, mode=transfer.mode)
    sessions = MovedSessions(target)
    moved = target.host.prepare(spec, await create_restore_request(target, spec, checkpoint, sessions))
    moved.room.access = transfer.access
    moved.epoch = target.placement.claim(runtime, source.placement)
    raise_fence(ledger, runtime, moved.epoch)
    target.host.attach(moved)
    sessions.settle()
    await _move_positions(runtime, source, target)
    source.placement.room_moved(runtime)
    redirect = Redirect(target.url, room_type=spec.room_type, room_name=spec.name, is_resume=True)
    source.host.release(runtime, redirect)


async def _move_positions(runtime: RoomRuntime, source: HarnessShard, target: HarnessShard) -> None:
    """Move the queue positions of a room's players to its new shard."""
    for seat in runtime.seats:
        await _move_position(seat.subscriber, source, target)


async def _move_position(session: Subscriber, source: HarnessShard, target: HarnessShard) -> None:
    position = source.placement.queue.find_position(session)
    moved = target.registry.get(session.session_id)
    if position is not None and moved is not None:
        source.placement.queue.release_position(session)
        await target.placement.queue.accept_position(moved, position)


async def move_sessions(source: HarnessShard, target: HarnessShard) -> None:
    """Move the sessions without a room to another shard, with their queue positions.

    A session that joins a room, or has a match, stays on its shard, which redirects it later.
    """
    for session in list(source.registry):
        is_idle = session.state is SessionState.IDLE and not session.has_pending_commands
        if session.room_id or not is_idle or source.placement.queue.is_bound(session):
            continue
        moved = target.registry.restore(session.to_checkpoint())
        if moved is not None:
            target.registry.settle(moved)
            await _move_position(session, source, target)
            session.redirect(Redirect(target.url, is_resume=True))


async def _wait_settled(shard: HarnessShard, runtime: RoomRuntime) -> None:
    """Wait for the transaction in flight of a frozen room, and repeat it as a shard repeats a failed move.

    Raises:
        AssertionError: its outcome stays unknown. The room continues on its shard.
    """
    error: Exception | None = None
    try:
        async with asyncio.timeout(TRANSACTIONS_TIMEOUT_S):
            while True:
                try:
                    return await shard.transactions.wait_settled(runtime)
                except Unavailable as unavailable:
                    error = unavailable
                    await asyncio.sleep(unavailable.retry_after_ms / 1000)
    except TimeoutError:
        shard.host.unfreeze(runtime)
        raise AssertionError("the room cannot migrate now: a transaction has an unknown outcome") from error
