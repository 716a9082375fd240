"""Calls of the player HTTP API: with a deadline, and repeated while the API is not available.

Each call is safe to repeat: logins and renewals by themselves, all other changes by their Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from tickwire.client.account_errors import ApiError, ApiUnreachable, error_from_response
from tickwire.client.backoff import Backoff
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_json

DEADLINE_S = 10.0
ATTEMPTS_MAX = 4
RETRY_S_MAX = 15.0
"""A longer delay that the server advises is the caller's decision."""
BODY_BYTES_MAX = 8 << 20
"""The largest response; the export of a player is the largest one."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ApiCalls:
    """Makes calls to one API.

    Args:
        url: the URL of the API, such as https://api.game.example.

    Raises:
        ValueError: the URL is not an https URL; http is allowed for loopback addresses only, because passwords and
            tokens are sent to it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("the URL of the API must start with https://; http:// is allowed for loopback addresses")
        self.url = url.rstrip("/")

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = "") -> Any:
        """Make one call as `fetch` does; return the decoded JSON, and None for an empty response."""
        return decode_body(await self.fetch(method, path, body, token=token))

    async def fetch(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = "") -> bytes:
        """Make one call, with repetitions while the API is not available, and return the body of the response.

        Args:
            method: the HTTP method.
            path: below the URL.
            body: sent as JSON; None sends none.
            token: the access token; empty sends none.

        Raises:
            ApiError: the API has refused the call.
            ApiUnreachable: the API does not answer.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if method != "GET":
            headers["Idempotency-Key"] = secrets.token_urlsafe(16)
        backoff = Backoff(random.random)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._call_once(method, path, body, headers)
            except ApiError as error:
                delay_s = backoff.next_ms(error.retry_after_s * 1000) / 1000
                if not error.is_temporary or attempt == ATTEMPTS_MAX or delay_s > RETRY_S_MAX:
                    raise
                await asyncio.sleep(delay_s)
        raise AssertionError("unreachable")

    async def _call_once(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        data = None if body is None else msgspec.json.encode(body)
        headers = headers if data is None else {**headers, "Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    method, self.url + path, data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                contents = await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(f"the API does not answer: {error or type(error).__name__}") from error
        if response.status >= 300:
            raise error_from_response(response.status, decode_body(contents), response.headers.get("Retry-After", ""))
        return contents


async def _read(response: aiohttp.ClientResponse) -> bytes:
    contents = b""
    async for part in response.content.iter_chunked(1 << 16):
        contents += part
        if len(contents) > BODY_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"the response has more than {BODY_BYTES_MAX} bytes")
    return contents


def decode_body(contents: bytes) -> Any:
    """Return the decoded JSON of a response; None if it is empty or not JSON, as a proxy's error page is."""
    try:
        return decode_json(contents) if contents else None
    except MalformedMessage:
        return None
