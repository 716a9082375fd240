"""A cache of the public keys in a JWKS (RFC 7517), read from a file or a URL and refreshed.

    known key, fresh keys    nothing is read
    keys are old             read again; if that fails, the old keys stay and a warning is logged
    unknown key              read again, at most every REREAD_S_MIN, because clients can send any key id

One read runs at a time; concurrent callers wait for it. It continues when a caller is cancelled, as the check of a
Hello is when its client disconnects: otherwise one client could keep the keys from all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import jwt
import structlog

from tickwire.schemas.payloads import decode_json
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import ConfigError, Unauthorized, Unavailable

log = structlog.get_logger(__name__)

REREAD_S_MIN = 10.0
JWKS_BYTES_MAX = 256 * 1024
REDIRECTS_MAX = 3
_REDIRECTS = {301, 302, 303, 307, 308}

Read = Callable[[], Awaitable[bytes]]


class JwksCache:
    """The keys of one source.

    Args:
        read: returns the JWKS as JSON. OSError, TimeoutError, ValueError and aiohttp's errors mean that the source is
            not available now.
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
            Unauthorized: the key does not exist, or it is for another algorithm.
            Unavailable: no keys have been read yet.
        """
        if self._is_old() or self._pick(key_id) is None:
            await self._reread()
        key = self._pick(key_id)
        if not self._keys:
            raise Unavailable("the keys that verify tokens cannot be read; try again", retry_after_ms=1000)
        if key is None:
            raise Unauthorized("the token is signed with an unknown key")
        if key.algorithm_name != algorithm:
            raise Unauthorized("the key of the token is for another algorithm")
        return key.key

    def _pick(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_old(self) -> bool:
        return self._read_at_s is None or self._now_s() - self._read_at_s > self._refresh_s

    async def _reread(self) -> None:
        if self._reading is None or self._reading.done():
            now_s = self._now_s()
            if self._tried_at_s is not None and now_s - self._tried_at_s < REREAD_S_MIN:
                return  # another caller has just tried
            self._tried_at_s = now_s
            self._reading = asyncio.create_task(self._load(now_s), name="jwks refresh")
        await asyncio.shield(self._reading)

    async def _load(self, now_s: float) -> None:
        try:
            self._keys = _parse(await self._read())
            self._read_at_s = now_s
        except (OSError, TimeoutError, ValueError, jwt.PyJWTError, aiohttp.ClientError) as error:
            log.warning("jwks_refresh_failed", error=str(error) or type(error).__name__, keys_kept=len(self._keys))


def create_jwks_cache(settings: AuthSettings, now_s: Callable[[], float]) -> JwksCache | None:
    """Create the cache of the source that the settings name; return None if they name no source."""
    read: Read
    if settings.jwks_file:
        read = _file_reader(Path(settings.jwks_file), settings.jwks_deadline_s)
    elif settings.jwks_url:
        read = _url_reader(settings.jwks_url, settings.jwks_deadline_s)
    else:
        return None
    return JwksCache(read, refresh_s=settings.jwks_refresh_s, now_s=now_s)


def check_file(settings: AuthSettings) -> None:
    """Read the file of keys once, as a start-up check.

    Raises:
        ConfigError: the file cannot be read, is not a JWKS, or has no keys.
    """
    if not settings.jwks_file:
        return
    try:
        keys = _parse(Path(settings.jwks_file).read_bytes())
    except OSError as error:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} cannot be read: {error.strerror}") from error
    except (ValueError, jwt.PyJWTError) as error:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} must be a JWKS (RFC 7517): {error}") from error
    if not keys:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} must hold at least one key for signatures")


def _parse(data: bytes) -> dict[str | None, jwt.PyJWK]:
    """Return the keys of a JWKS.

    Raises:
        ValueError, jwt.PyJWTError: the data is not a JWKS.
    """
    document = decode_json(data, dict[str, Any])
    try:
        keys = jwt.PyJWKSet.from_dict(document).keys
    except (TypeError, AttributeError) as error:  # PyJWT assumes that each key is a JSON object of strings
        raise ValueError(f"a key in the JWKS is malformed: {error}") from error
    return {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}


def _file_reader(path: Path, deadline_s: float) -> Read:
    async def read() -> bytes:
        async with asyncio.timeout(deadline_s):
            return await asyncio.to_thread(path.read_bytes)

    return read


def _url_reader(url: str, deadline_s: float) -> Read:
    async def read() -> bytes:
        timeout = aiohttp.ClientTimeout(total=deadline_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            where = url
            for _ in range(REDIRECTS_MAX + 1):
                async with session.get(where, allow_redirects=False) as answer:
                    if answer.status not in _REDIRECTS:
                        answer.raise_for_status()
                        return await _read_body(answer)
                    where = resolve_redirect(where, answer.headers.get("Location", ""))
            raise ValueError(f"the JWKS redirects more than {REDIRECTS_MAX} times")

    return read


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    data = await answer.content.read(JWKS_BYTES_MAX + 1)
    while len(data) <= JWKS_BYTES_MAX and (more := await answer.content.read(JWKS_BYTES_MAX)):
        data += more
    if len(data) > JWKS_BYTES_MAX:
        raise ValueError(f"the JWKS has more than {JWKS_BYTES_MAX} bytes")
    return data


def resolve_redirect(where: str, location: str) -> str:
    """Return the URL to which a redirect leads.

    Args:
        where: the URL of the request.
        location: the Location header of the answer.

    Raises:
        ValueError: the target is invalid, or leaves https: an attacker on the path could then sign tokens of any
            player.
    """
    target = urljoin(where, location)
    scheme = urlsplit(target).scheme
    if target == where or scheme not in ("http", "https"):
        raise ValueError(f"the JWKS at {where} redirects to an invalid location: {location!r}")
    if urlsplit(where).scheme == "https" and scheme != "https":
        raise ValueError(f"the JWKS at {where} redirects to {target}, which is not https")
    return target
