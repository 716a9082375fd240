"""Whether a shard is alive, and whether it takes players: with the reasons when it does not.

starting -> ready <-> not ready (a reason) -> draining -> stopped
"""

from __future__ import annotations


class Health:
    """Reasons against being ready, by who has them. Ready when there are none."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"starting": "the shard is starting"}

    @property
    def reasons(self) -> dict[str, str]:
        """Why the shard takes no players; empty when it does."""
        return dict(self._reasons)

    @property
    def is_ready(self) -> bool:
        """Whether the shard takes players."""
        return not self._reasons

    def block(self, who: str, reason: str) -> None:
        """There is a reason against being ready."""
        self._reasons[who] = reason

    def clear(self, who: str) -> None:
        """That reason is gone. Idempotent."""
        self._reasons.pop(who, None)
