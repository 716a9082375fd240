"""Whether a shard is alive, and whether it takes players: with the reasons when it does not.

starting -> ready <-> not ready (a reason) -> draining -> stopped
    any of these -> failed (for good: only a restart helps)
"""

from __future__ import annotations


class Health:
    """Reasons against being ready, by who has them; and failures, which also end liveness."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"starting": "the shard is starting"}
        self._failures: dict[str, str] = {}

    @property
    def failures(self) -> dict[str, str]:
        """Failures that only a restart ends; empty while the shard is alive."""
        return dict(self._failures)

    @property
    def is_alive(self) -> bool:
        """Whether the shard can do its work; False means that it must be restarted."""
        return not self._failures

    def fail(self, who: str, reason: str) -> None:
        """End readiness and liveness for good, because a restart is the only remedy."""
        self._failures[who] = reason
        self._reasons[who] = reason

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
        if who not in self._failures:
            self._reasons[who] = reason

    def clear(self, who: str) -> None:
        """That reason is gone, unless it is a failure. Idempotent."""
        if who not in self._failures:
            self._reasons.pop(who, None)
