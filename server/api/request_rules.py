"""The rules for all requests to the player API: rate limits, and stored answers.

    limit of the address ─> authentication (of the services) ─> limit of the player ─> stored answers ─> handler

The limit of the address comes first, so that requests with invalid tokens are limited, too. An operation that needs
no player is limited by address, all others by player.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from litestar.types import Middleware, Scope

from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.matchmaking.token_buckets import SharedTokenBuckets
from tickwire.server.api_settings import ApiSettings
from tickwire.server.http.idempotency import IdempotencyMiddleware
from tickwire.server.http.rate_limits import (
    FallbackTokenBuckets,
    LimitRules,
    RateLimitMiddleware,
    address_identity,
    parse_limit,
)
from tickwire.server.http.request_log import find_client_address
from tickwire.server.observability.metrics import Metrics
from tickwire.server.storage import StoredRequests


class CallerRules(msgspec.Struct, frozen=True):
    """How the services authenticate requests.

    Args:
        middleware: verifies the token of a request.
        find: returns the verified player of a request; empty without one. Runs inside of the middleware.
        is_needed: returns whether the operation of a request needs a player.
    """

    middleware: Sequence[Middleware] = ()
    find: Callable[[Scope], str] = lambda scope: ""
    is_needed: Callable[[Scope], bool] = lambda scope: False


class RequestRules:
    """The middleware of one process. Close it with `aclose`.

    Args:
        settings: the limits.
        redis: has the buckets.
        namespace: the namespace of the fleet.
        requests: stores answers.
        callers: how requests are authenticated.

    Attributes:
        middleware: the outermost first.
    """

    def __init__(
        self,
        settings: ApiSettings,
        redis: RedisConnection,
        namespace: str,
        requests: StoredRequests,
        callers: CallerRules,
    ) -> None:
        self._shared = SharedTokenBuckets(redis, namespace)
        self._buckets = FallbackTokenBuckets(self._shared)
        operations = {name: parse_limit(name, text) for name, text in settings.operation_limits.items()}
        addresses = LimitRules(
            identity=lambda scope: f"a:{address_identity(find_client_address(scope))}",
            limit=parse_limit("address", settings.address_limit),
            counts_operation=lambda scope: not callers.is_needed(scope),
            operations=operations,
        )
        players = LimitRules(
            identity=lambda scope: (player := callers.find(scope)) and f"p:{player}",
            limit=parse_limit("player", settings.player_limit),
            operations=operations,
        )
        self._limits = [RateLimitMiddleware(rules, self._buckets) for rules in (addresses, players)]
        self._idempotency = IdempotencyMiddleware(
            requests, caller=callers.find, operation_s=settings.request_timeout_s
        )
        self.middleware: Sequence[Middleware] = (
            self._limits[0],
            *callers.middleware,
            self._limits[1],
            self._idempotency,
        )

    def collect(self, metrics: Metrics) -> None:
        """Copy the counters to the metrics."""
        metrics.set_totals("rate_limited_requests", self._limits[0].refusals + self._limits[1].refusals)
        metrics.set_total("rate_limit_fallbacks", self._buckets.fallbacks)
        metrics.set_totals("idempotent_requests", self._idempotency.results)

    async def aclose(self) -> None:
        """Cancel the calls in flight. Idempotent."""
        await self._shared.aclose()
