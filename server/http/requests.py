"""Requests as handlers receive them: JSON is decoded with the bounds of all JSON from peers.

The rest of a body that is too large is read and discarded, within bounds, before the client receives the error.
Otherwise a connection that closes after the response is reset, and the client may lose the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from litestar import Request
from litestar.exceptions.http_exceptions import InternalServerException, RequestEntityTooLarge

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_json
from tickwire.server.errors import Malformed

DISCARDED_BYTES_MAX = 4 * 1024 * 1024
DISCARD_S_MAX = 2.0


class BoundedRequest(Request[Any, Any, Any]):
    """A request whose JSON may be nested at most DEPTH_MAX levels (schemas/payloads.py)."""

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            Malformed: it is not JSON, or is nested too deeply.
        """
        try:
            return decode_json(await self.body())
        except MalformedMessage as error:
            raise Malformed(f"the request body is invalid: {error}") from error

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks; see `Request.stream`.

        Raises:
            Malformed: the client has left before the end of the body.
        """
        try:
            async for chunk in super().stream():
                yield chunk
        except RequestEntityTooLarge:
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_S_MAX):
                    await self._discard()
            raise
        except InternalServerException as error:
            if not self.is_connected:  # the body was read before: a defect
                raise
            raise Malformed("the client has left before the end of the request") from error

    async def _discard(self) -> None:
        size = 0
        while size < DISCARDED_BYTES_MAX:
            message = await self.receive()
            if message["type"] != "http.request" or not message["more_body"]:
                return
            size += len(message["body"])
