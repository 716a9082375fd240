"""The metrics of a shard, by Prometheus's conventions: base units, `_total` on counters, labels from closed sets.

Hot paths add to plain numbers; `count_to` and `count_all_to` carry their growth over when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TICK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25)

_GAUGES = {
    "connections": "Open sockets.",
    "connections_waiting": "Accepted sockets that wait for their handshake.",
    "sessions": "Sessions that are not over.",
    "sessions_away": "Sessions without a connection, that may be resumed.",
    "certificate_expires_seconds": "When the certificate ends to be valid, UTC; 0 without one.",
    "tick_share": "Share of the time that the rooms' ticks took in the last second.",
    "storage_lag_seconds": "Age of the oldest durable change that is not written.",
    "storage_waiting_worlds": "Worlds that wait to be written.",
    "ready": "1 when this shard takes players.",
}
_COUNTERS = {
    "ticks": "Ticks of all rooms.",
    "ticks_late": "Ticks that started more than half an interval late.",
    "ticks_skipped": "Ticks left out because the room was too far behind.",
    "state_bytes": "Bytes of state, acknowledgements and events written.",
    "state_writes": "Writes of state: at most one a client and tick.",
    "player_ticks": "Ticks, summed over the players in them.",
    "inputs": "Inputs applied.",
    "inputs_superseded": "Inputs dropped for newer ones.",
    "congested_passes": "Sessions passed over in a tick because their connection was congested.",
    "keyframes": "Keyframes encoded: once for all who want one.",
    "deltas": "Deltas encoded: once for all who stand alike.",
    "resyncs": "Keyframes that clients asked for: should stay 0.",
    "room_errors": "Exceptions that left a room's code.",
    "received_bytes": "Bytes from clients.",
    "received_messages": "Messages from clients.",
    "sessions_opened": "Sessions opened.",
    "handshakes": "Connections that the gate has let in.",
    "certificate_reloads": "Certificates that were taken into use while running.",
    "certificate_failures": "Changed certificates that could not be used.",
    "storage_saves": "Worlds written.",
    "storage_failures": "Writes that failed and will be tried again.",
}
_LABELLED = {
    "rejected_messages": ("Messages that were not accepted.", "reason"),
    "refused_connections": ("Connections refused at the handshake.", "reason"),
    "closed_connections": ("Connections closed by us.", "reason"),
    "sessions_ended": ("Sessions that are over.", "reason"),
    "resumes": ("Connections that named a session to come back to, by result.", "result"),
    "slow_clients": ("Steps of slow clients, down the ladder and up again.", "step"),
    "joins": ("Joins by result.", "result"),
}

_BY_FIELD = {
    "field_bytes": "Bytes of state by field, estimated from sampled ticks; an empty field is who came and left.",
    "clamped_values": "Values that a room's code left out of their field's range.",
}


class Metrics:
    """One shard's metrics, in a registry of their own.

    Args:
        version: of this build, for tickwire_build_info.
    """

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"tickwire_{name}", text, registry=self.registry) for name, text in _GAUGES.items()
        }
        self._counters = {
            name: Counter(f"tickwire_{name}", text, registry=self.registry) for name, text in _COUNTERS.items()
        }
        self._labelled = {
            name: Counter(f"tickwire_{name}", text, [label], registry=self.registry)
            for name, (text, label) in _LABELLED.items()
        }
        self._seen: dict[tuple[str, str], float] = {}
        self._rooms = Gauge("tickwire_rooms", "Rooms by type.", ["type"], registry=self.registry)
        self._by_field = {
            name: Counter(f"tickwire_{name}", text, ["type", "table", "field"], registry=self.registry)
            for name, text in _BY_FIELD.items()
        }
        self._tick = Histogram(
            "tickwire_tick_duration_seconds",
            "Time one tick took.",
            buckets=TICK_BUCKETS_S,
            registry=self.registry,
        )
        self._lateness = Histogram(
            "tickwire_tick_lateness_seconds",
            "How late a tick started.",
            buckets=TICK_BUCKETS_S,
            registry=self.registry,
        )
        info = Gauge("tickwire_build_info", "Always 1; the build as a label.", ["version"], registry=self.registry)
        info.labels(version).set(1)

    def observe_tick(self, duration_s: float, lateness_s: float) -> None:
        """One tick of one room."""
        self._tick.observe(duration_s)
        self._lateness.observe(lateness_s)

    def gauge(self, name: str, value: float) -> None:
        """Sets a gauge of this module's list."""
        self._gauges[name].set(value)

    def rooms(self, count_by_type: Mapping[str, int]) -> None:
        """How many rooms there are of each hosted type."""
        for room_type, count in count_by_type.items():
            self._rooms.labels(room_type).set(count)

    def count_to(self, name: str, total: float) -> None:
        """Brings a counter up to a plain number's total."""
        self._counters[name].inc(self._growth(name, "", total))

    def count_all_to(self, name: str, totals: Mapping[str, int]) -> None:
        """Brings a labelled counter up to plain totals by label."""
        for label, total in totals.items():
            self._labelled[name].labels(label).inc(self._growth(name, label, total))

    def count_fields_to(self, name: str, totals: Mapping[tuple[str, str, str], float]) -> None:
        """Brings a counter up to plain totals by room type, table and field."""
        for labels, total in totals.items():
            self._by_field[name].labels(*labels).inc(self._growth(name, "/".join(labels), total))

    def exposition(self) -> bytes:
        """What a scrape gets, in Prometheus's text format."""
        return generate_latest(self.registry)

    def _growth(self, name: str, label: str, total: float) -> float:
        before = self._seen.get((name, label), 0)
        self._seen[name, label] = total
        return max(0.0, total - before)
