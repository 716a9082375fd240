"""The edge's limits. All are checked before anything that a client sent is trusted."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import Bytes, Count, Rate, Seconds, Texts

MessageBytes = Annotated[int, Meta(ge=256, le=16 * 1024 * 1024)]
"""A Hello with a token has up to 4 KiB; what is larger than 16 MiB is no message of a game."""
HeartbeatSeconds = Annotated[float, Meta(ge=0.1, le=3600)]


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and timing of connections and sessions.

    Args:
        connections_max: open connections in total; more are refused at the handshake with 503.
        connections_per_address_max: the same for one address, with 429.
        handshakes_per_second_max: connections are let in at this rate, first come, first served; one address gets
            half of them, at most.
        admission_timeout_s: who would wait longer than this for its handshake is refused at once, with 503.
        handshake_timeout_s: from TCP accept to a valid Hello.
        heartbeat_interval_s: clients send a Ping this often, and the server pings a client that has been silent
            for as long; after SILENT_INTERVALS_MAX of them without a byte the connection is closed. Below a third
            of every proxy's idle limit.
        message_bytes_max: the largest message accepted.
        messages_per_second_max: frames of all kinds that a connection may send. Above it the server reads more
            slowly; a connection that stays above it for 5 s is closed, and its session can be resumed.
        bytes_per_second_max: the same for bytes.
        messages_per_second_per_address_max: what all connections of an address (of an IPv6 network of 64 bits) may
            send. An input counts as one, a control frame or fragment as three, a Join or MatchRequest as 21, any
            other message as five. Above it the server reads them more slowly.
        inputs_per_second_max: what Welcome tells the client to stay below.
        joins_per_minute_max: how often a session may ask for a room or a match; each may hold a seat for a while.
        rooms_per_minute_max: rooms that a player may create at this shard by asking for them: by name, private, by
            labels or for a party. A quarter of them at once. Any open room does not count, nor does that of a match.
        rooms_per_minute_per_address_max: the same for all players of an address (of an IPv6 network of 64 bits).
        write_buffer_bytes_max: above this a session is congested and passed over.
        send_buffer_bytes: the kernel's buffer for one socket: what waits there is old when it arrives.
        receive_buffer_bytes: the same for what a client sends: what one connection can have waiting.
        join_timeout_s: the longest that finding a room may take.
        close_timeout_s: how long a client has to answer a close.
        resume_window_s: how long a session outlives its connection.
        duplicate_sessions: what happens when a player who has a session here opens another: the new one replaces the
            old, it is refused, or both are allowed. Of sessions that meet here because their rooms have moved,
            `replace` keeps the one that was opened last, and `refuse` keeps all.
        origins: browsers' origins that may connect, beside the server's own host; "loopback" means those of this
            machine, "*" all.
        trusted_proxies: networks (CIDR) whose X-Forwarded-For, or PROXY protocol header, is believed.
        proxy_protocol: whether trusted proxies begin every connection with a PROXY protocol header.
        token_in_query: whether a token may stand in the URL (`?token=`), where proxies write it into their logs.
    """

    connections_max: Count = 10_000
    connections_per_address_max: Count = 2_000
    handshakes_per_second_max: Rate = 500.0
    admission_timeout_s: Seconds = 3.0
    handshake_timeout_s: Seconds = 5.0
    heartbeat_interval_s: HeartbeatSeconds = 3.0
    message_bytes_max: MessageBytes = 16 * 1024
    messages_per_second_max: Count = 120
    bytes_per_second_max: Bytes = 64 * 1024
    messages_per_second_per_address_max: Count = 12_000
    inputs_per_second_max: Count = 60
    joins_per_minute_max: Count = 120
    rooms_per_minute_max: Count = 30
    rooms_per_minute_per_address_max: Count = 240
    write_buffer_bytes_max: Bytes = 64 * 1024
    send_buffer_bytes: Bytes = 64 * 1024
    receive_buffer_bytes: Bytes = 64 * 1024
    join_timeout_s: Seconds = 8.0
    close_timeout_s: Seconds = 2.0
    resume_window_s: Seconds = 30.0
    duplicate_sessions: Literal["replace", "refuse", "allow"] = "replace"
    origins: Texts = []
    trusted_proxies: Texts = []
    proxy_protocol: bool = False
    token_in_query: bool = False


SILENT_INTERVALS_MAX = 3
"""A peer that sends nothing for three heartbeat intervals is considered lost: two pings had the time to be answered,
and a network that holds everything back for 5 s is not mistaken for one that is gone."""
