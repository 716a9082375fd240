"""Limits requests by token buckets: per address, per player, and per operation of either.

    RateLimit-Policy: "address";q=600;w=60, "player";q=300;w=60      every bucket that the request needs a token of
    RateLimit: "address";r=598;t=1, "player";r=0;t=1                 the tokens left, and when the bucket is full
    Retry-After: 1                                                   with 429: when the request would be allowed

The fields are those of draft-ietf-httpapi-ratelimit-headers-10. With 429, `t` of the empty bucket is the time of
Retry-After, as the draft requires. The buckets are shared by all processes; while Redis does not answer, each process
has buckets of its own, so that the limits are higher by the number of processes, and not absent.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tickwire.matchmaking import MatchmakingError
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.token_buckets import BucketLimit, BucketState, LocalTokenBuckets, TakeResult, TokenBuckets
from tickwire.server.errors import RateLimited
from tickwire.server.http.problems import problem_from_error, send_problem

log = structlog.get_logger(__name__)

OPTION = "rate_limit"
SHARED_CALL_S = 0.5
"""The longest that a request waits for the shared buckets."""
LOCAL_S = 1.0
"""After a failure, requests use the local buckets for this long without waiting for Redis."""
IPV6_PREFIX = 64
"""A provider assigns a client a network of this size, so the addresses within it share a bucket."""
_STATE = "tickwire_rate_limits"
_LIMIT = re.compile(r"\A([1-9][0-9]{0,6})/([1-9][0-9]{0,4})s\Z")


def parse_limit(name: str, text: str) -> BucketLimit | None:
    """Return the limit of a text such as "10/60s": ten requests at once, and ten more within 60 s. None if empty.

    Raises:
        ValueError: the text has another form.
    """
    if not text:
        return None
    found = _LIMIT.match(text)
    if found is None:
        raise ValueError(f'must be REQUESTS/SECONDSs, such as "10/60s", or empty for no limit; got {text[:40]!r}')
    return BucketLimit(name, int(found[1]), float(found[2]))


def limited(text: str) -> dict[str, Any]:
    """Return the `opt` of a handler with a limit of its own: of each player, or of each address without a player."""
    return {OPTION: parse_limit("operation", text)}


class FallbackTokenBuckets:
    """Implements `TokenBuckets`: the shared ones, or local ones while they are unavailable.

    Args:
        shared: the buckets of the fleet.
        local: the buckets of this process.

    Attributes:
        fallbacks: the number of requests that used the local buckets.
    """

    def __init__(self, shared: TokenBuckets, local: TokenBuckets | None = None) -> None:
        self._shared = shared
        self._local = local or LocalTokenBuckets()
        self._shared_after_s = 0.0
        self._is_local = False
        self.fallbacks = 0

    async def take(self, identity: str, limits: Sequence[BucketLimit]) -> TakeResult:
        """See `TokenBuckets.take`; never unavailable."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._shared_after_s:
            try:
                async with LoopTimeout(SHARED_CALL_S):
                    result = await self._shared.take(identity, limits)
            except (MatchmakingError, TimeoutError) as error:
                self._shared_after_s = loop.time() + LOCAL_S
                if not self._is_local:
                    reason = error.detail if isinstance(error, MatchmakingError) else "no answer in time"
                    log.warning("shared_rate_limits_unavailable", error=reason)
                self._is_local = True
            else:
                if self._is_local:
                    log.info("shared_rate_limits_restored", fallbacks=self.fallbacks)
                self._is_local = False
                return result
        self.fallbacks += 1
        return await self._local.take(identity, limits)


class LimitRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which identity a middleware limits, and how.

    Args:
        identity: returns the identity of a request, such as its address or player; empty if it has none.
        limit: of all requests of one identity; None for no limit.
        counts_operation: returns whether the limit of the request's operation applies to this identity.
        operations: the limits of operations by name, in place of those that handlers declare; None for no limit.
    """

    identity: Callable[[Scope], str]
    limit: BucketLimit | None
    counts_operation: Callable[[Scope], bool] = lambda scope: True
    operations: Mapping[str, BucketLimit | None] = {}


class RateLimitMiddleware(ASGIMiddleware):
    """Refuses requests that exceed a limit, with 429.

    An application may have one for addresses, outside of the authentication, and one for players, inside of it. The
    fields of a response describe the buckets of both.

    Args:
        rules: which identity is limited, and how.
        buckets: takes the tokens.

    Attributes:
        refusals: the number of refused requests by the bucket that was empty.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, rules: LimitRules, buckets: TokenBuckets) -> None:
        self._rules = rules
        self._buckets = buckets
        self.refusals: Counter[str] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Take the tokens of a request, and continue or refuse."""
        identity, limits = self._rules.identity(scope), self._limits(scope)
        if not identity or not limits:
            await next_app(scope, receive, send)
            return
        result = await self._buckets.take(identity, limits)
        states = list(zip(limits, result.buckets, strict=True))
        found: list[tuple[BucketLimit, BucketState]] | None = scope["state"].get(_STATE)
        if found is None:
            found = scope["state"][_STATE] = []
            send = _send_with_limits(found, send)
        found += states
        if result.is_allowed:
            await next_app(scope, receive, send)
            return
        limit, state = max(states, key=lambda one: one[1].retry_us)
        self.refusals[limit.name] += 1
        message = f"more than {limit.capacity} requests within {limit.window_s:g} s (limit {limit.name})"
        error = RateLimited(message, retry_after_ms=math.ceil(state.retry_us / 1000))
        await send_problem(problem_from_error(error), send)

    def _limits(self, scope: Scope) -> list[BucketLimit]:
        limits = [] if self._rules.limit is None else [self._rules.limit]
        if self._rules.counts_operation(scope):
            handler = scope["route_handler"]
            name = str(handler.handler_name)
            declared = handler.opt.get(OPTION)
            limit = self._rules.operations.get(name, declared and msgspec.structs.replace(declared, name=name))
            limits += [] if limit is None else [limit]
        return limits


def _send_with_limits(found: Sequence[tuple[BucketLimit, BucketState]], send: Send) -> Send:
    async def send_with_limits(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *rate_limit_headers(found)]
        await send(message)

    return send_with_limits


def rate_limit_headers(states: Sequence[tuple[BucketLimit, BucketState]]) -> list[tuple[bytes, bytes]]:
    """Return the fields RateLimit-Policy and RateLimit."""
    policies, remaining = [], []
    for limit, state in states:
        policies.append(f'"{limit.name}";q={limit.capacity};w={math.ceil(limit.window_s)}')
        reset_s = math.ceil((state.retry_us or state.full_us) / 1e6)
        remaining.append(f'"{limit.name}";r={state.remaining};t={reset_s}')
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(remaining).encode()),
    ]


def address_identity(address: str) -> str:
    """Return the address, the network of an IPv6 address, or "unknown" for a text that is not an address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
