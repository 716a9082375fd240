"""Connects to a shard as a player, to check that players can: DNS, certificate, gateway, and the shard itself."""

from __future__ import annotations

import asyncio

from tickwire.client.client import connect
from tickwire.client.errors import Disconnected, Refused
from tickwire.schemas.messages import ErrorCode

RETRY_S = 1.0


class PlayerCheckFailed(Exception):
    """No shard answered as a player expects; the message says why."""


async def check_player(url: str, token: str, timeout_s: float) -> str:
    """Open a session and end it. Try again until the timeout while that may help.

    Args:
        url: where players connect.
        token: the player's token; empty for a guest.
        timeout_s: for how long to try.

    Returns:
        A sentence about the session. Without a token, a refusal for its absence is also a success: the way to the
        shard is open.

    Raises:
        PlayerCheckFailed: the server was not reached within the timeout, or refused the session.
    """
    last = "no answer"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    async with connect(url, token=token, build="tickwire-connect", reconnect_s=0):
                        return f"{url}: a session was opened"
                except Disconnected as error:
                    last = str(error)
                except Refused as error:
                    if error.error.code is ErrorCode.UNAUTHORIZED and not token:
                        return f"{url}: a shard answers; it requires a token"
                    if not error.error.retryable:
                        raise PlayerCheckFailed(f"{url}: {error}") from error
                    last = str(error)
                await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise PlayerCheckFailed(f"{url}: no session within {timeout_s:g} s: {last}") from None
