"""Caches the worlds of many players in one process: equal frames on equal states are decoded once.

A room sends the same bytes to all players with the same baseline. If a player's world is the same object as another
player's and it receives the same bytes, it shares the decoded result, whose checksum was compared: one look-up for a
frame. A frame whose checksum differs, or that cannot be applied, is never shared. Players with different baselines
(they joined at different ticks) decode on their own. As soon as their tables are equal, they share them: equal tables
of one room, channel and tick become one object, and so do equal worlds.

Players in the same room can see different channels. Their frames differ, and the parts with equal bytes are shared.

Every player's world is verified: a player with other bytes or another baseline never shares a result.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any

import msgspec
import numpy as np

from tickwire.client.core import ClientCore
from tickwire.client.updates import StateApplied, Update
from tickwire.client.world import World, WorldState
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import TableCodec, decode_channel
from tickwire.schemas.messages import Joined, StateDescription
from tickwire.schemas.parts import Part
from tickwire.schemas.state_messages import is_state

ENTRIES_MAX = 4096
"""The number of cached results, by channel and tick: some seconds of a hundred rooms. The oldest is evicted."""

Tables = tuple[Columns, ...]
RoomKey = tuple[str, int]
"""A room's id, and the number of its description: worlds with different fields share nothing."""


class KnownFrame(msgspec.Struct, frozen=True, eq=False):
    """The result of a frame.

    Args:
        before: the state before it. It is kept alive here, so that no other object has its id.
        after: the state after it.
        update: the client's update.
    """

    before: WorldState
    after: WorldState
    update: StateApplied


class SharedWorlds:
    """The decoded frames that the worlds of one process share.

    Attributes:
        decoded, shared: the number of parts that were decoded, and that were found in the cache.
        frames_shared: the number of frames that were found in the cache as a whole.
    """

    def __init__(self) -> None:
        self.decoded = self.shared = self.frames_shared = 0
        self._known: OrderedDict[tuple[int, bool, bytes], tuple[Tables, Tables, bool]] = OrderedDict()
        self._newest: OrderedDict[tuple[RoomKey, int, int], Tables] = OrderedDict()
        self._known_frames: OrderedDict[tuple[int, bytes], KnownFrame] = OrderedDict()
        self._newest_states: OrderedDict[tuple[RoomKey, int], WorldState] = OrderedDict()
        self._descriptions: OrderedDict[StateDescription, int] = OrderedDict()
        self._description_numbers = count()

    def create_world(self, joined: Joined) -> World:
        """Create one player's mirrored world, as `ClientCore` expects of `create_world`."""
        number = self._descriptions.get(joined.description)
        if number is None:
            # A description that was evicted gets a new number; its worlds then only share less.
            number = next(self._description_numbers)
            _remember(self._descriptions, joined.description, number)
        return _SharedWorld(joined, self, (joined.room_id, number))

    def receive(self, core: ClientCore, data: bytes, *, now_us: int) -> Update | None:
        """Apply one message as `core.receive` does. The result of a frame is taken from the cache if possible.

        Args:
            core: the player's client.
            data: a whole WebSocket message.
            now_us: the clock that `core.ping` uses.

        Raises:
            MalformedMessage: as `core.receive`.
        """
        world = core.state.world
        if not is_state(data) or not isinstance(world, _SharedWorld):
            return core.receive(data, now_us=now_us)
        known = self.recall(world, data)
        if known is not None:
            return known
        before = world.state
        update = core.receive(data, now_us=now_us)
        # A client that awaits a keyframe has another state than all others, because the frame has changed its tick.
        if isinstance(update, StateApplied) and not core.state.is_awaiting_keyframe:
            after = self._share_state(world)
            _remember(self._known_frames, (id(before), data), KnownFrame(before, after, update))
        return update

    def recall(self, world: World, data: bytes) -> StateApplied | None:
        """Apply a message if it is a frame that another world has received in the same state; None otherwise."""
        before = world.state
        known = self._known_frames.get((id(before), data))
        if known is None or known.before is not before:
            return None
        world.restore(known.after)
        self.frames_shared += 1
        return known.update

    def _share_state(self, world: _SharedWorld) -> WorldState:
        """Replace the state of a world by the equal one of another world, if there is one. Return it."""
        state = world.state
        first = self._newest_states.get((world.room, state.tick))
        if first is None:
            _remember(self._newest_states, (world.room, state.tick), state)
        elif first.channels == state.channels:  # compares their tables by identity
            world.restore(first)
            return first
        return state

    def decode(self, world: _SharedWorld, part: Part, base: Tables, tick: int) -> tuple[Tables, bool]:
        """Return the result of `tickwire.schemas.delta.decode_channel`, from the cache if possible."""
        key = (id(base), part.has_checksum, part.packed)
        known = self._known.get(key)
        if known is not None and known[0] is base:  # the cache keeps the baseline alive, so its id is not reused
            self.shared += 1
            return known[1], known[2]
        tables, agrees = decode_channel(world.codecs, base, part.packed, has_checksum=part.has_checksum)
        self.decoded += 1
        if agrees:
            tables = self._deduplicate((world.room, part.channel, tick), tables)
        _remember(self._known, key, (base, tables, agrees))
        return tables, agrees

    def _deduplicate(self, key: tuple[RoomKey, int, int], tables: Tables) -> Tables:
        first = self._newest.get(key)
        if first is None:
            _remember(self._newest, key, tables)
            return tables
        return first if all(map(_is_equal, first, tables)) else tables


class _SharedWorld(World):
    def __init__(self, joined: Joined, worlds: SharedWorlds, room: RoomKey) -> None:
        super().__init__(joined.description)
        self.room = room
        self._worlds = worlds

    @property
    def codecs(self) -> tuple[TableCodec, ...]:
        return self._codecs

    def _decode(self, part: Part, base: Tables, tick: int) -> tuple[Tables, bool]:
        return self._worlds.decode(self, part, base, tick)


def _remember(cache: OrderedDict[Any, Any], key: object, value: object) -> None:
    cache[key] = value
    if len(cache) > ENTRIES_MAX:
        cache.popitem(last=False)


def _is_equal(a: Columns, b: Columns) -> bool:
    return (
        np.array_equal(a.ids, b.ids)
        and np.array_equal(a.values, b.values)
        and np.array_equal(a.before, b.before)
        and np.array_equal(a.texts, b.texts)
    )
