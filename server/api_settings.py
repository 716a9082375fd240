"""The settings of the role `tickwire api`: its address, and the limits of its requests."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import (
    BindHost,
    Count,
    PlayerUrl,
    Port,
    RequestLimit,
    RequestLimits,
    Seconds,
    SecondsOrNone,
    Texts,
)

BodyBytes = Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)]


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the player API listens, and whom it answers.

    Args:
        host, port: the address to listen on; port 0 chooses a free port.
        operations_port: the port for metrics and health of this role, at operations.host.
        player_url: the URL of the shards, for clients that have logged in; empty if they know it.
        certificate, key: PEM files; reloaded when they change.
        plaintext: serve http without TLS, for development or behind a proxy that terminates TLS.
        origins: the browser origins that may call the API, as in edge.origins.
        trusted_proxies: networks (CIDR) whose X-Forwarded-For is trusted.
        body_bytes_max: the largest request body; larger ones are refused with 413.
        connections_max: the most open connections; requests on further ones are refused with 503.
        address_limit: the requests of one client address, such as "600/60s"; empty for no limit.
        player_limit: the requests of one player, over all addresses.
        operation_limits: limits of single operations by name, in place of those that the operations have.
        answers_stored_s: how long answers to requests with an Idempotency-Key are stored.
        request_timeout_s: the longest time for a client to send a request, and for a handler to answer it.
        drain_delay_s: how long requests are still accepted after /readyz reports that this process stops, so that
            load balancers notice; 0 for none.
        drain_timeout_s: the limit for requests in flight when the process stops.
    """

    host: BindHost = "127.0.0.1"
    port: Port = 8090
    operations_port: Port = 9091
    player_url: PlayerUrl = ""
    certificate: str = ""
    key: str = ""
    plaintext: bool = False
    origins: Texts = []
    trusted_proxies: Texts = []
    body_bytes_max: BodyBytes = 64 * 1024
    connections_max: Count = 2000
    address_limit: RequestLimit = "600/60s"
    player_limit: RequestLimit = "300/60s"
    operation_limits: RequestLimits = {}
    answers_stored_s: Seconds = 86_400.0
    request_timeout_s: Seconds = 10.0
    drain_delay_s: SecondsOrNone = 0.0
    drain_timeout_s: SecondsOrNone = 10.0
