"""The edge's limits. All are checked before anything that a client sent is trusted."""

from __future__ import annotations

import msgspec


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and timing of connections and sessions.

    Args:
        connections_max: open connections in total; more are refused at the handshake with 503.
        connections_per_address_max: the same for one address, with 429.
        handshake_timeout_s: from TCP accept to a valid Hello.
        heartbeat_interval_s: a client says something at least this often; below every proxy's idle limit.
        message_bytes_max: the largest message accepted.
        messages_per_second_max: more are dropped and counted; twice as many close the session.
        inputs_per_second_max: what Welcome tells the client to stay below.
        write_buffer_bytes_max: above this a session is congested and passed over.
        join_timeout_s: the longest that finding a room may take.
        close_timeout_s: how long a client has to answer a close.
    """

    connections_max: int = 10_000
    connections_per_address_max: int = 2_000
    handshake_timeout_s: float = 5.0
    heartbeat_interval_s: float = 15.0
    message_bytes_max: int = 16 * 1024
    messages_per_second_max: int = 120
    inputs_per_second_max: int = 60
    write_buffer_bytes_max: int = 64 * 1024
    join_timeout_s: float = 8.0
    close_timeout_s: float = 2.0


SILENCE_HEARTBEATS_MAX = 2.5
"""A client that has said nothing for so many heartbeat intervals is taken for gone."""
