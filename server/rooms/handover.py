"""The part of a room's move to another shard that takes place in the room: it is frozen, then sealed.

    running --freeze--> frozen --seal--> sealed --unfreeze--> running     the room stays on this shard
                                            └--another shard takes the room over--> released

A frozen room does not tick, and refuses commands and new players. A sealed room does not change at all: its state is
being sent. Changes about players wait until it is known which shard owns the room. If another shard takes it over,
the waiting changes are dropped: the players are restored there as disconnected, and either resume or are among the
`leavers`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

MOVES_MS = 300
"""A room that moves to another shard is frozen for less than this in most cases."""


class RoomHandover:
    """The state of one room's move.

    Attributes:
        is_frozen: whether the room is frozen.
        leavers: the sessions that have left since the room was sealed.
    """

    __slots__ = ("_deferred", "is_frozen", "leavers")

    def __init__(self) -> None:
        self.is_frozen = False
        self.leavers: set[str] = set()
        self._deferred: list[Callable[[], None]] | None = None  # changes that wait for `unseal`; None: not sealed

    @property
    def is_sealed(self) -> bool:
        """Whether the state of the room is in transfer, and it is not known yet which shard owns the room."""
        return self._deferred is not None

    def freeze(self) -> None:
        """Stop the room until `unfreeze`: commands and new players are refused."""
        self.is_frozen = True

    def seal(self) -> None:
        """Stop all changes of a frozen room before its state is sent."""
        self._deferred = []

    def defer(self, change: Callable[[], None]) -> bool:
        """Postpone a change while the room is sealed; return whether it was postponed."""
        if self._deferred is None:
            return False
        self._deferred.append(change)
        return True

    def unseal(self) -> None:
        """Run the changes that were postponed since `seal`. Idempotent."""
        changes, self._deferred = self._deferred or [], None
        self.leavers.clear()
        for change in changes:
            change()

    def unfreeze(self) -> None:
        """Resume a frozen room, and run the changes that were postponed."""
        self.is_frozen = False
        self.unseal()
