"""The liveness and readiness of a shard, with reasons.

Each part of the shard, such as `mongo` or `drain`, sets and clears its own reason:

    is_ready   no part has a reason; a new shard has the reason `starting`
    is_alive   no part has failed; a failure is also a reason, is never cleared, and requires a restart
"""

from __future__ import annotations

from collections.abc import Container


class Health:
    """Keeps the reasons why a shard is not ready, and its failures, by the part that reported them."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {"starting": "the shard is starting"}
        self._failures: dict[str, str] = {}
        self._cleared: set[str] = set()

    @property
    def failures(self) -> dict[str, str]:
        """The failures by part; empty while the shard is alive."""
        return dict(self._failures)

    @property
    def is_alive(self) -> bool:
        """Whether no part has failed; if False, the shard must be restarted."""
        return not self._failures

    def fail(self, part: str, reason: str) -> None:
        """Report a failure of a part, which ends readiness and liveness until a restart."""
        self._failures[part] = reason
        self._reasons[part] = reason

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons why the shard accepts no players, by part; empty if it is ready."""
        return dict(self._reasons)

    def reasons_without(self, excluded: Container[str]) -> dict[str, str]:
        """Return the reasons why the shard accepts no players, without those of the excluded parts.

        Only a reason that was cleared before can be excluded, because a shard is not ready until each store has
        answered once. A failure cannot be excluded.
        """
        return {
            part: reason
            for part, reason in self._reasons.items()
            if part not in excluded or part not in self._cleared or part in self._failures
        }

    @property
    def is_ready(self) -> bool:
        """Whether the shard accepts players."""
        return not self._reasons

    def block(self, part: str, reason: str) -> None:
        """Set the reason why a part is not ready; ignored if the part has failed."""
        if part not in self._failures:
            self._reasons[part] = reason

    def clear(self, part: str) -> None:
        """Clear the reason of a part, unless the part has failed. Idempotent."""
        self._cleared.add(part)
        if part not in self._failures:
            self._reasons.pop(part, None)
