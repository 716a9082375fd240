"""Idempotency-Key: an operation runs once for each key, and a repeated request receives the stored answer.

    first request                     runs; its answer is stored before it is sent
    the same request again            the stored answer, with `Idempotent-Replayed: true`
    while the first one runs          409 REQUEST_IN_PROGRESS with Retry-After
    another request under the key     422 IDEMPOTENCY_KEY_REUSED
    no key where one is required      400

The rules are those of draft-ietf-httpapi-idempotency-key-header-07 and of Stripe's API. A key belongs to one caller
and one operation. Answers that a retry may change are not stored: failures of the server, and refusals before the
operation has decided (STORED_STATUSES). If the process ends between the operation's write and the answer, the next
attempt runs the operation again. The operation receives `operation_key`, the same text in each attempt, and must make
its own write idempotent with it, for example as the key of a ledger transaction.

A handler opts in with `opt=IDEMPOTENT` or `opt=IDEMPOTENCY_KEY_REQUIRED`. Never opt in where an answer contains a
token or a request contains a password: answers are stored as they are, and requests as a digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.params import HeaderParameter
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tickwire.server.errors import IdempotencyKeyReused, Malformed, RequestInProgress, Unavailable
from tickwire.server.http.requests import BoundedRequest
from tickwire.server.idempotent_request import (
    ANSWER_BYTES_MAX,
    KEY_CHARACTERS_MAX,
    IdempotentRequest,
    IdempotentRequestStore,
    Lease,
    StoredAnswer,
)

log = structlog.get_logger(__name__)

OPTION = "idempotency_key"
IDEMPOTENT: dict[str, Any] = {OPTION: "optional"}
"""The `opt` of a handler whose answers are stored for requests with a key."""
IDEMPOTENCY_KEY_REQUIRED: dict[str, Any] = {OPTION: "required"}
"""The `opt` of a handler that refuses requests without a key."""
OPERATION_S = 10.0
"""The longest that an operation runs by default: less than the lease of an attempt, so that two attempts do not
overlap."""
LEASE_MARGIN_S = 5.0
"""A lease lasts this much longer than its operation may run: the time for storing the answer."""
STORED_STATUSES = frozenset((*range(200, 300), 402, 403, 404, 409, 410, 412, 422))
"""The statuses with which an operation has decided. 400, 401, 408, 413, 415, 429 and 5xx are not stored."""
STORED_HEADERS = frozenset((b"content-type", b"location", b"etag", b"content-language", b"content-disposition"))
REPLAYED = (b"idempotent-replayed", b"true")
_STATE = "tickwire_operation_key"
_STRUCTURED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # RFC 8941, 3.3.3
_ESCAPED = re.compile(r"\\(.)")
_BARE = re.compile(r"[!#-~]+")


class IdempotencyMiddleware(ASGIMiddleware):
    """Stores answers, and sends them again.

    Args:
        store: stores the answers.
        caller: returns the player or another identity that the request is from; empty if there is none. A request
            without a caller runs without a stored answer.
        operation_s: the longest that an operation runs; the lease of the store lasts LEASE_MARGIN_S longer.

    Attributes:
        results: the number of requests with a key by result: run, replayed, in_progress, key_reused, not_stored.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, store: IdempotentRequestStore, *, caller: Callable[[Scope], str], operation_s: float = OPERATION_S
    ) -> None:
        self._store = store
        self._caller = caller
        self._operation_s = operation_s
        self.results: Counter[str] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Run the operation of a request, or send its stored answer."""
        option = scope["route_handler"].opt.get(OPTION)
        caller = self._caller(scope) if option else ""
        if not caller:
            await next_app(scope, receive, send)
            return
        key = find_key(scope)
        if key is None:
            if option == "required":
                raise Malformed("the header Idempotency-Key is required; send a new random key for each operation")
            await next_app(scope, receive, send)
            return
        request = await self._describe(scope, receive, caller, key)
        try:
            begun = await self._store.begin(request)
        except RequestInProgress:
            self.results["in_progress"] += 1
            raise
        except IdempotencyKeyReused:
            self.results["key_reused"] += 1
            raise
        if isinstance(begun, StoredAnswer):
            self.results["replayed"] += 1
            await _send_answer(begun, send, is_replayed=True)
            return
        scope["state"][_STATE] = begun.request_id
        await self._run(begun, scope, (receive, send), next_app)

    async def _run(self, lease: Lease, scope: Scope, channel: tuple[Receive, Send], next_app: ASGIApp) -> None:
        """Run the operation and hold its response back until its answer is stored."""
        receive, send = channel
        response = _HeldResponse()
        try:
            async with asyncio.timeout(self._operation_s):
                await next_app(scope, receive, response.hold)
        except TimeoutError as error:
            raise Unavailable("the operation takes too long; retry with the same Idempotency-Key") from error
        answer = response.answer()
        if answer is None:
            self.results["not_stored"] += 1
            await self._abandon(lease)
            await response.release(send)
            return
        self.results["run"] += 1
        try:
            stored = await self._store.complete(lease, answer)
        except Unavailable as error:  # the operation has decided; a retry runs it again under the same operation key
            name = scope["route_handler"].handler_name
            log.warning("idempotent_answer_not_stored", operation=name, error=error.detail)
            stored = answer
        if stored == answer:
            await response.release(send)
        else:
            await _send_answer(stored, send, is_replayed=True)

    async def _abandon(self, lease: Lease) -> None:
        try:
            await self._store.abandon(lease)
        except Unavailable as error:
            log.warning("idempotency_lease_not_released", error=error.detail)

    async def _describe(self, scope: Scope, receive: Receive, caller: str, key: str) -> IdempotentRequest:
        """Read the body, which the connection keeps for the handler, and return the identity of the request."""
        connection = BoundedRequest(scope, receive)
        body = await connection.body()
        digest = hashlib.blake2b(digest_size=32)
        for part in (scope["path"].encode("utf-8", "surrogatepass"), scope["query_string"], body):
            digest.update(len(part).to_bytes(8, "big") + part)
        operation = f"{connection.method} {scope['route_handler'].handler_name}"
        return IdempotentRequest(caller, operation, key, digest.digest())


def find_key(scope: Scope) -> str | None:
    """Return the Idempotency-Key of a request; None without one.

    The draft requires a string of RFC 8941 ("..." with quotes). Most APIs accept bare text, and so does this one.

    Raises:
        Malformed: the header is not 1 to 255 printable ASCII characters, or occurs more than once.
    """
    values = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    text = values[0].decode("latin-1").strip(" \t") if len(values) == 1 else ""
    if found := _STRUCTURED.fullmatch(text):
        key = _ESCAPED.sub(r"\1", found[1])
    else:
        key = text if _BARE.fullmatch(text) else ""
    if not 0 < len(key) <= KEY_CHARACTERS_MAX:
        raise Malformed(f"Idempotency-Key must be one key of 1 to {KEY_CHARACTERS_MAX} printable ASCII characters")
    return key


async def provide_operation_key(
    request: Request[Any, Any, Any],
    idempotency_key: Annotated[
        str | None,
        HeaderParameter(
            name="Idempotency-Key",
            max_length=2 * KEY_CHARACTERS_MAX + 2,
            description="A random key of this operation; a repeated request receives the stored answer.",
        ),
    ] = None,
) -> str:
    """Provide the parameter `operation_key` of handlers: the same text in each attempt of one request.

    It is unique over all callers and operations. Without a key of the client it is random.
    """
    found = request.scope["state"].get(_STATE)
    return found if isinstance(found, str) else secrets.token_hex(24)


class _HeldResponse:
    """A response that is not sent yet."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    async def hold(self, message: Message) -> None:
        self._messages.append(message)

    async def release(self, send: Send) -> None:
        for message in self._messages:
            await send(message)

    def answer(self) -> StoredAnswer | None:
        """Return the answer, or None if it must not be stored."""
        status, headers, body = 0, [], b""
        for message in self._messages:
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
        names = {name.lower() for name, _ in headers}
        if status not in STORED_STATUSES or b"retry-after" in names or b"set-cookie" in names:
            return None
        if len(body) > ANSWER_BYTES_MAX:
            log.error("idempotent_answer_too_long", bytes=len(body), bytes_max=ANSWER_BYTES_MAX)
            return None
        kept = [(name, value) for name, value in headers if name.lower() in STORED_HEADERS]
        return StoredAnswer(status, tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in kept), body)


async def _send_answer(answer: StoredAnswer, send: Send, *, is_replayed: bool) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    if is_replayed:
        headers.append(REPLAYED)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
