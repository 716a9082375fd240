"""The counters of the edge: plain numbers, which `tickwire.server.admin.collectors` copies into the metrics."""

from __future__ import annotations

from collections import Counter


class EdgeCounters:
    """The counters of one shard's edge since its start.

    Attributes:
        bytes_received: bytes that clients have sent.
        messages_received: messages that sessions have received.
        other_frames: frames that are not a whole binary message: control frames, fragments, text.
        throttled: pauses of a connection's reading, by the limit that was exceeded: connection, address.
        sessions_opened: sessions that were added to the registry.
        sessions_restored: sessions that were restored from another shard or an earlier run.
        handshakes: connections that were admitted to their handshake.
        rejected: messages that were rejected, by reason.
        closed: connections that the server has closed, by reason.
        refused: connections that were rejected before or in the handshake, by reason.
        resumes: attempts to resume a session, by result: resumed, or why a new session was opened.
        ended: sessions that have ended, by reason.
        joins: joins by result: seated, moved (by a room), redirected, or an error's code.
        authentications: Authenticate messages by result: renewed, adopted (by a guest's session), or an error's code.
        token_expiries: sessions whose token has expired while connected, by policy: keep, end.
    """

    __slots__ = (
        "authentications",
        "bytes_received",
        "closed",
        "ended",
        "handshakes",
        "joins",
        "messages_received",
        "other_frames",
        "refused",
        "rejected",
        "resumes",
        "sessions_opened",
        "sessions_restored",
        "throttled",
        "token_expiries",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.messages_received = 0
        self.other_frames = 0
        self.throttled: Counter[str] = Counter()
        self.sessions_opened = 0
        self.sessions_restored = 0
        self.handshakes = 0
        self.rejected: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.resumes: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.joins: Counter[str] = Counter()
        self.authentications: Counter[str] = Counter()
        self.token_expiries: Counter[str] = Counter()
