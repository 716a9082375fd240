"""Refuses players whom an operator has banned: at logins, renewals of tokens, and changes of their accounts."""

from __future__ import annotations

from collections.abc import Callable

from tickwire.server.errors import Banned
from tickwire.server.storage import BanStore


class BanCheck:
    """Checks the bans in MongoDB, so that a ban takes effect at once.

    Args:
        bans: the bans of the fleet.
        now_s: the fleet's clock: UTC, seconds since 1970.
    """

    def __init__(self, bans: BanStore, now_s: Callable[[], float]) -> None:
        self._bans = bans
        self._now_s = now_s

    async def check(self, player_id: str) -> None:
        """Check that a player is not banned.

        Raises:
            Banned: the player is; the message has the end of the ban and its reason.
            Unavailable: MongoDB does not answer.
        """
        ban = await self._bans.find(player_id)
        if ban is not None and ban.until.timestamp() > self._now_s():
            raise Banned(f"the player is banned until {ban.until:%Y-%m-%d %H:%M} UTC: {ban.reason}")
