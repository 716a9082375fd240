"""The matchmaking queues of a shard as operators see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.matchmaking import MatchmakerUnavailable
from tickwire.matchmaking.queue import Queues
from tickwire.server.placement.client_errors import to_client_error


class QueueViews:
    """Describes the queues in plain values, for the admin API.

    Args:
        queues: the queues of this shard.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    @property
    def modes(self) -> Sequence[str]:
        """Return the names of all modes, sorted."""
        return sorted(self._queues.modes)

    async def view(self, mode: str) -> dict[str, Any] | None:
        """Return the state of a mode's queue, or None for an unknown mode.

        Raises:
            Unavailable: Redis does not answer.
        """
        if mode not in self._queues.modes:
            return None
        try:
            status: dict[str, Any] = msgspec.to_builtins(await self._queues.get_status(mode))
        except MatchmakerUnavailable as error:
            raise to_client_error(error) from error
        return status

    async def explain(self, mode: str, player_id: str) -> dict[str, Any] | None:
        """Return why a player has no match yet; None for an unknown mode or a player that is not in its queue.

        Raises:
            Unavailable: Redis does not answer.
        """
        if mode not in self._queues.modes:
            return None
        try:
            explanation = await self._queues.explain(mode, player_id)
        except MatchmakerUnavailable as error:
            raise to_client_error(error) from error
        return None if explanation is None else msgspec.to_builtins(explanation)
