"""The settings of the presence of a shard."""

from __future__ import annotations

import msgspec

from tickwire.matchmaking import SessionPolicy


class PresenceSettings(msgspec.Struct, frozen=True):
    """The settings of one shard's presence.

    Args:
        shard_id: the shard.
        policy: the policy for another session of a player who opens one (`edge.duplicate_sessions`).
        renewal_interval_s: how often each record is renewed; Redis keeps it for three times as long.
    """

    shard_id: str
    policy: SessionPolicy
    renewal_interval_s: float
