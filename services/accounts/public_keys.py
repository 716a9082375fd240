"""The public signing keys, as the processes read them that verify access tokens."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from tickwire.server.tokens.jwks import JwksCache
from tickwire.services.accounts.signing_keyset import SigningKeys, encode_jwks

KEYS_REFRESH_S = 60.0
"""Shorter than the time for which a key is published before its first use."""


def create_key_cache(keys: SigningKeys, now_s: Callable[[], float]) -> JwksCache:
    """Create a cache of the public keys of the fleet.

    Args:
        keys: the store of signing keys.
        now_s: the clock: UTC, seconds since 1970.
    """

    async def read() -> bytes:
        return encode_jwks(await keys.list_valid(datetime.datetime.fromtimestamp(now_s(), datetime.UTC)))

    return JwksCache(read, refresh_s=KEYS_REFRESH_S, now_s=now_s)
