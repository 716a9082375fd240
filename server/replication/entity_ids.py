"""The ids of a room's entities, and their quarantine before reuse.

    allocated --the entity is despawned--> quarantined for QUARANTINE_TICKS --recycled--> free --> allocated

Pure; imports no other module of Tickwire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

QUARANTINE_TICKS = 4096
"""The ticks before an id is used again: longer than any baseline lives, and than a client can be disconnected."""


class ReferenceOwner(Protocol):
    """A holder of fields that refer to entities; implemented by `Table`."""

    def clear_references(self, ids: list[int]) -> None:
        """Set each entity field that has one of these ids to 0."""


class ReleasedIds(NamedTuple):
    """The ids of a room that no entity has at present.

    Args:
        quarantined: the tick of the release and the id of each, in the order of the releases.
        free: the ids that are allocated next, in order.
    """

    quarantined: tuple[tuple[int, int], ...] = ()
    free: tuple[int, ...] = ()


class EntityIds:
    """Allocates the ids of a room's entities: from 1 up, across all of its tables.

    Args:
        next_id: the first id to allocate.

    Attributes:
        next_id: one above the highest id that was allocated so far.
        tick: the room's tick.
        generations: how many times each id was released; 0 for an id that is missing. A `Row` remembers its
            generation, so that it stays dead when another entity gets the id.
    """

    def __init__(self, next_id: int = 1) -> None:
        self.next_id = next_id
        self.tick = 0
        self.generations: dict[int, int] = {}
        self._quarantined: deque[tuple[int, int]] = deque()
        self._free: deque[int] = deque()

    def allocate(self) -> int:
        """Return an id that no entity has.

        Raises:
            OverflowError: all ids below 2^32 were allocated, and none is free again.
        """
        if self._free:
            return self._free.popleft()
        if self.next_id >= 1 << 32:
            raise OverflowError("the room has no free entity id: all ids below 2^32 are in use or in quarantine")
        self.next_id += 1
        return self.next_id - 1

    def release(self, id: int) -> None:
        """Put the id of a despawned entity into quarantine; every `Row` of the entity is dead from now on."""
        self.generations[id] = self.generations.get(id, 0) + 1
        self._quarantined.append((self.tick, id))

    @property
    def released(self) -> ReleasedIds:
        """The ids that no entity has; a recording of the room holds them, a save does not."""
        return ReleasedIds(tuple(self._quarantined), tuple(self._free))

    @released.setter
    def released(self, ids: ReleasedIds) -> None:
        self._quarantined, self._free = deque(ids.quarantined), deque(ids.free)

    def count_released(self) -> tuple[int, int]:
        """Return the numbers of ids in quarantine and of free ids."""
        return len(self._quarantined), len(self._free)

    @property
    def has_reusable(self) -> bool:
        """Whether the quarantine of an id is over."""
        return bool(self._quarantined) and self.tick - self._quarantined[0][0] >= QUARANTINE_TICKS

    def recycle(self, tables: Iterable[ReferenceOwner], *, in_use: Collection[int]) -> None:
        """Free the ids whose quarantine is over, after clearing every entity field of the room that has them.

        Args:
            tables: all tables of the room.
            in_use: ids that clients still take for their own entity; their quarantine begins again.
        """
        reusable: list[int] = []
        while self.has_reusable:
            _, id = self._quarantined.popleft()
            if id in in_use:
                self._quarantined.append((self.tick, id))
            else:
                reusable.append(id)
        for table in tables:
            table.clear_references(reusable)
        self._free.extend(reusable)
