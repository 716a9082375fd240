"""A cache of the public keys of an issuer, in a JWKS (RFC 7517), which is read again from its source.

    known key, fresh keys    nothing is read
    keys are old             read again in the background, without a wait; if that fails, the old keys stay and a
                             warning is logged
    keys are twice as old    read again before the check
    unknown key              read again, at most every REREAD_S_MIN, because clients can send any key id

One read runs at a time; concurrent callers wait for it. It continues when a caller is cancelled, as the check of a
Hello is when its client disconnects: otherwise one client could keep the keys from all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import jwt
import structlog

from tickwire.server.errors import InvalidToken, Unavailable
from tickwire.server.tokens.strict_json import decode_object

log = structlog.get_logger(__name__)

REREAD_S_MIN = 10.0

Read = Callable[[], Awaitable[bytes]]


class JwksCache:
    """The keys of one source.

    Args:
        read: returns the JWKS as JSON. OSError, TimeoutError, ValueError, Unavailable and aiohttp's errors mean that
            the source is not available now.
        refresh_s: the age at which the keys are read again.
        now_s: seconds, on any clock.
    """

    def __init__(self, read: Read, *, refresh_s: float, now_s: Callable[[], float]) -> None:
        self._read = read
        self._refresh_s = refresh_s
        self._now_s = now_s
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """Return the key that verifies a token.

        Args:
            key_id: the token's `kid`; None if it has none, which is valid if there is only one key.
            algorithm: the token's algorithm.

        Raises:
            InvalidToken: the key does not exist, or it is for another algorithm.
            Unavailable: no keys have been read yet.
        """
        if self._pick(key_id) is None or self._age_s() > 2 * self._refresh_s:
            await self.refresh()
        elif self._age_s() > self._refresh_s:
            self._start_reading()
        key = self._pick(key_id)
        if not self._keys:
            raise Unavailable("the keys that verify tokens cannot be read; try again", retry_after_ms=1000)
        if key is None:
            raise InvalidToken("the token is signed with an unknown key", reason="unknown_key")
        if key.algorithm_name != algorithm:
            raise InvalidToken("the key of the token is for another algorithm", reason="algorithm")
        return key.key

    def _pick(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _age_s(self) -> float:
        return self._now_s() - self._read_at_s if self._read_at_s is not None else float("inf")

    async def refresh(self) -> None:
        """Read the keys again, and wait for them; return at once if they were read a moment ago."""
        self._start_reading()
        if self._reading is not None:
            await asyncio.shield(self._reading)

    def _start_reading(self) -> None:
        now_s = self._now_s()
        if self._reading is not None and not self._reading.done():
            return
        if self._tried_at_s is not None and 0 <= now_s - self._tried_at_s < REREAD_S_MIN:
            return
        self._tried_at_s = now_s
        self._reading = asyncio.create_task(self._load(now_s), name="jwks refresh")

    async def _load(self, now_s: float) -> None:
        try:
            self._keys = parse_jwks(await self._read())
            self._read_at_s = now_s
        except (OSError, TimeoutError, ValueError, Unavailable, jwt.PyJWTError, aiohttp.ClientError) as error:
            log.warning("jwks_refresh_failed", error=str(error) or type(error).__name__, keys_kept=len(self._keys))


def parse_jwks(data: bytes) -> dict[str | None, jwt.PyJWK]:
    """Return the keys of a JWKS, without those for encryption and those whose id is not a string.

    Raises:
        ValueError, jwt.PyJWTError: the data is not a JWKS.
    """
    document = decode_object(data)
    try:
        keys = jwt.PyJWKSet.from_dict(document).keys
    except (TypeError, AttributeError) as error:  # PyJWT assumes that each key is a JSON object of strings
        raise ValueError(f"a key in the JWKS is malformed: {error}") from error
    return {
        key.key_id: key for key in keys if key.public_key_use in (None, "sig") and isinstance(key.key_id, str | None)
    }
