"""Plain numbers that the edge adds to; `tickwire.server.shard` carries them to the metrics."""

from __future__ import annotations

from collections import Counter


class EdgeCounters:
    """What the edge of one shard has done since it started.

    Attributes:
        other_frames: frames that are no whole binary message: control frames, fragments, text.
        throttled: pauses of a connection's reading, by whose limit was exceeded: connection, address.
        rejected: messages that were not accepted, by reason.
        closed: connections that we closed, by reason.
        refused: connections that were refused at the handshake, by reason.
        resumes: by result: resumed, or why a new session was opened instead.
        ended: sessions that are over, by reason.
        joins: by result: seated, redirected, or an error's code.
    """

    __slots__ = (
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
        "sessions_revived",
        "throttled",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.messages_received = 0
        self.other_frames = 0
        self.throttled: Counter[str] = Counter()
        self.sessions_opened = 0
        self.sessions_revived = 0
        self.handshakes = 0
        self.rejected: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.resumes: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.joins: Counter[str] = Counter()
