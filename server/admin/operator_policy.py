"""Applies operator policy to this shard: polls bans, revocations and tuning versions every 400 ms."""

from __future__ import annotations

import asyncio

import structlog

from tickwire.retry_delay import RetryDelay
from tickwire.server.admin.ban_enforcer import BanEnforcer
from tickwire.server.admin.revocation_enforcer import RevocationEnforcer
from tickwire.server.admin.tuning_service import TuningService
from tickwire.server.errors import Unavailable

log = structlog.get_logger(__name__)

POLL_S = 0.4


class OperatorPolicy:
    """Polls the bans, revocations and tunings of one shard. Run `run` as a task.

    Attributes:
        bans: the bans, enforced on the sessions of the shard.
        revocations: the revoked access tokens, enforced on them, too.
        tunings: the tuning versions, applied to its rooms.
    """

    def __init__(self, bans: BanEnforcer, revocations: RevocationEnforcer, tunings: TuningService) -> None:
        self.bans = bans
        self.revocations = revocations
        self.tunings = tunings

    async def run(self) -> None:
        """Poll until cancelled."""
        delay = RetryDelay(POLL_S)
        while True:
            try:
                await self.poll()
                delay.succeeded()
            except Unavailable as error:
                delay.failed()
                log.warning("operator_policy_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    async def poll(self) -> None:
        """Read the bans, revocations and tuning versions that have changed, and apply them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        await self.bans.poll()
        await self.revocations.poll()
        await self.tunings.poll()
