"""The limits of the edge, which are checked before any data of a client is used."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import Bytes, Count, Rate, Seconds, Texts

MessageBytes = Annotated[int, Meta(ge=256, le=16 * 1024 * 1024)]
"""A Hello with a token has up to 4 KiB. No message of a game is larger than 16 MiB."""
HeartbeatSeconds = Annotated[float, Meta(ge=0.1, le=3600)]


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and timing of connections and sessions.

    Args:
        connections_max: the most open connections; further handshakes are rejected with 503.
        connections_per_address_max: the same for one address; further handshakes are rejected with 429.
        handshakes_per_second_max: the rate at which connections are admitted, first come, first served. One address
            gets at most half of it.
        admission_timeout_s: the longest time that a connection waits for its handshake. A connection that would wait
            for longer is rejected at once, with 503.
        handshake_timeout_s: the longest time from the TCP accept to a valid Hello.
        heartbeat_interval_s: the interval of a client's Pings. The server pings a client that has been silent for one
            interval, and closes the connection after SILENT_INTERVALS_MAX silent intervals. It should be less than a
            third of the idle timeout of every proxy.
        message_bytes_max: the largest message accepted.
        messages_per_second_max: the rate of frames of all types for one connection. Above it the server reads more
            slowly; a connection that stays above it for 5 s is closed, and its session can be resumed.
        bytes_per_second_max: the rate of bytes for one connection, with the same consequences.
        messages_per_second_per_address_max: the rate for all connections of an address, or of an IPv6 network of 64
            bits. An input counts as one, a control frame or fragment as three, a Join or MatchRequest as 21, any
            other message as five. Above it the server reads these connections more slowly.
        inputs_per_second_max: the rate of inputs that Welcome announces to the client as its limit.
        joins_per_minute_max: the joins and match requests of one session; each may hold a seat for a while.
        rooms_per_minute_max: the rooms that one player may create on this shard with a Join: by name, private, by
            labels or for a party. A quarter of them may be created at once. Joins of any open room do not count, and
            rooms of matches do not either.
        rooms_per_minute_per_address_max: the same for all players of an address, or of an IPv6 network of 64 bits.
        write_buffer_bytes_max: a session with a larger write buffer is congested, and its updates are skipped.
        send_buffer_bytes: the kernel's send buffer of one socket. Data that waits there is outdated on arrival.
        receive_buffer_bytes: the kernel's receive buffer of one socket: the most unread data of one connection.
        join_timeout_s: the longest time for finding a room.
        close_timeout_s: the time for a client to answer a close.
        resume_window_s: how long a session outlives its connection.
        duplicate_sessions: the policy for a player with a session on any shard who opens another one: the new one
            replaces the old, is refused, or both are allowed. If both were opened because presence was unavailable,
            the one that was opened last stays, unless both are allowed.
        origins: the browser origins that may connect, in addition to the server's own host; "loopback" means those of
            this machine, "*" all.
        trusted_proxies: networks (CIDR) whose X-Forwarded-For or PROXY protocol header is trusted.
        proxy_protocol: whether trusted proxies start every connection with a PROXY protocol header.
        token_in_query: whether a token may be part of the URL (`?token=`), which proxies write to their logs.
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
"""A client that sends nothing for three heartbeat intervals is considered lost. It had the time to answer two pings,
and a network that delays everything for 5 s is not mistaken for a lost one."""
