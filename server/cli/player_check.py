"""Connects to a shard as a player does, to check DNS, certificate, gateway, and the shard itself."""

from __future__ import annotations

import asyncio

from tickwire.client.client import connect
from tickwire.client.errors import Disconnected, Refused
from tickwire.schemas.messages import ErrorCode

RETRY_S = 1.0


class PlayerCheckFailed(Exception):
    """A session could not be opened; the message contains the reason."""


async def check_player(url: str, token: str, timeout_s: float) -> str:
    """Open a session and end it. Failures that may be temporary are retried until the timeout.

    Args:
        url: the URL for players.
        token: the player's token; empty for a guest.
        timeout_s: the time limit for all attempts, seconds.

    Returns:
        The result, as a sentence. Without a token, a refusal because of the missing token is also a success: the
        shard is reachable.

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
                    # Also if a client should give up: after an installation, a gateway answers 404 or has a
                    # temporary certificate for some seconds.
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
