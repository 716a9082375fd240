"""Whether a shard is alive, and whether it takes players: with the reasons when it does not.

starting -> ready <-> not ready (a reason) -> draining -> stopped
    any of these -> failed (for good: only a restart helps)
"""

from __future__ import annotations

from collections.abc import Container


class Health:
    """Reasons against being ready, by who has them; and failures, which also end liveness."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"starting": "the shard is starting"}
        self._failures: dict[str, str] = {}
        self._cleared: set[str] = set()

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

    def reasons_without(self, excluded: Container[str]) -> dict[str, str]:
        """Return why the shard takes no players, without the reasons of some stores.

        Only a reason that has been cleared before can be excluded: a shard is not ready until each store has answered
        once. A failure always counts.
        """
        return {
            who: reason
            for who, reason in self._reasons.items()
            if who not in excluded or who not in self._cleared or who in self._failures
        }

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
        self._cleared.add(who)
        if who not in self._failures:
            self._reasons.pop(who, None)
