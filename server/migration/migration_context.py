"""Migrates rooms to other shards between two ticks, with all their players.

    source   offer -> accepted? -> freeze the room -> send its state -> claimed? -> redirect its players
    target            accept       ------------------> restore it  -> claim it   -> tick it; its players resume

The room has one owner at any time: `claim` and `cancel` run one Lua script each, and the first one decides
(matchmaking/handoffs.py). If no shard claims the room, or the target fails, the room resumes on the source. A frozen
room runs no commands: clients retry them on the shard that has the room afterwards. Transactions in flight are
completed first.

Once its state is sent the room does not change: disconnects, resumes and ended sessions are applied when its owner is
known. The new owner receives the list of the sessions that have ended since.

`RoomSender` is the source, `RoomReceiver` the target.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from tickwire.server.migration.handoff_steps import HandoffSteps
from tickwire.server.rooms.host import RoomHost
from tickwire.server.shard_identity import ShardIdentity


class MigrationContext(msgspec.Struct, frozen=True):
    """The dependencies that offering and claiming rooms share on one shard.

    Args:
        shard: the identity of this shard; rooms prefer shards of another build.
        host: the rooms of this shard.
        handoffs: the steps of handoffs, in Redis.
        spawn: runs a coroutine as a task of the shard.
    """

    shard: ShardIdentity
    host: RoomHost
    handoffs: HandoffSteps
    spawn: Callable[[Coroutine[Any, Any, None], str], object]
