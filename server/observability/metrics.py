"""The metrics of a shard, by Prometheus's conventions: base units, `_total` on counters, labels from closed sets.

Hot paths add to plain numbers; `count_to` and `count_all_to` carry their growth over when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

WAIT_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
SPREAD_BUCKETS = (5, 10, 25, 50, 100, 200, 400, 800)
LATENCY_BUCKETS_S = (0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
TICK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25)
STORE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
PAUSE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)

_GAUGES = {
    "connections": "Open sockets.",
    "connections_waiting": "Accepted sockets that wait for their handshake.",
    "sessions": "Sessions that are not over.",
    "sessions_away": "Sessions without a connection, that may be resumed.",
    "certificate_expires_seconds": "When the certificate ends to be valid, UTC; 0 without one.",
    "tick_share": "Share of the time that the rooms' ticks took in the last second.",
    "deals_waiting": "Commands that are being written down, or wait for it.",
    "storage_lag_seconds": "Age of the oldest durable change that is not written.",
    "storage_waiting_worlds": "Worlds that wait to be written.",
    "redis_evicts": "1 when Redis deletes keys once its memory is full, 0 when it does not, NaN when unknown.",
    "ready": "1 when this shard takes players.",
}
_COUNTERS = {
    "ticks": "Ticks of all rooms.",
    "ticks_late": "Ticks that started more than half an interval late.",
    "ticks_skipped": "Ticks left out because the room was too far behind.",
    "encode_seconds": "Time that ticks took to encode what has changed, of their duration.",
    "state_bytes": "Bytes of state, acknowledgements and events written.",
    "state_writes": "Writes of state: at most one a client and tick.",
    "player_ticks": "Ticks, summed over the players in them.",
    "inputs": "Inputs applied.",
    "inputs_superseded": "Inputs dropped for newer ones.",
    "fan_out_refusals": "Commands refused because their player's messages caused too many events for others.",
    "congested_passes": "Sessions passed over in a tick because their connection was congested.",
    "keyframes": "Keyframes encoded: once for all who want one.",
    "deltas": "Deltas encoded: once for all who stand alike.",
    "resyncs": "Keyframes that clients asked for: should stay 0.",
    "states_refused": "Seats taken because the room's state did not fit into a message: should stay 0.",
    "received_bytes": "Bytes from clients.",
    "received_messages": "Messages from clients.",
    "received_other_frames": "Frames from clients that are no whole message: control frames, fragments, text.",
    "sessions_opened": "Sessions opened.",
    "handshakes": "Connections that the gate has let in.",
    "certificate_reloads": "Certificates that were taken into use while running.",
    "certificate_failures": "Changed certificates that could not be used.",
    "leases_lost": "Rooms closed because another shard owns them now.",
    "directory_calls_lost": "Seats that could not be told to Redis at once: told again with their room.",
    "log_lines_lost": "Log lines that could not be written, such as for a full disk.",
    "redis_calls": "Scripts run on Redis.",
    "world_parts_quarantined": "Parts of saved worlds that did not fit their declaration, moved to the quarantine.",
    "storage_saves": "Worlds written.",
    "storage_bytes": "Bytes of worlds written: what had changed of them.",
    "sessions_revived": "Sessions of another shard, or an earlier run, that were made again with their room.",
    "storage_failures": "Writes that failed and will be tried again.",
}
_LABELLED = {
    "rejected_messages": ("Messages that were not accepted.", "reason"),
    "refused_connections": ("Connections refused at the handshake.", "reason"),
    "closed_connections": ("Connections closed by us.", "reason"),
    "throttled_connections": ("Pauses of a connection's reading, by the limit that was exceeded.", "limit"),
    "sessions_ended": ("Sessions that are over.", "reason"),
    "resumes": ("Connections that named a session to come back to, by result.", "result"),
    "room_errors": ("Exceptions that left a room's code.", "type"),
    "worlds_with_undeclared_data": ("Worlds restored with stored data that their rooms do not declare.", "type"),
    "slow_room_calls": ("Ticks and other hooks of rooms that took more than half a tick interval or 50 ms.", "type"),
    "slow_clients": ("Steps of slow clients, down the ladder and up again.", "step"),
    "joins": ("Joins by result.", "result"),
    "deals": ("Commands that change what players own, by result.", "result"),
    "migrations": ("Rooms given to other shards, or taken from them, by result.", "result"),
    "redis_failures": ("Scripts on Redis that failed.", "reason"),
    "background_faults": ("Exceptions of single items in the shard's background tasks, by task.", "task"),
    "admin_calls": ("Calls of the admin API, by result.", "result"),
    "queue_results": ("Players who waited for a match here, by what became of it.", "result"),
    "match_results": ("Matches made by this shard as a leader, by what became of them.", "result"),
}

_BY_FIELD = {
    "field_bytes": "Bytes of state by field, estimated from sampled ticks; an empty field is who came and left.",
    "clamped_values": "Values that a room's code left out of their field's range.",
}

_MATCH: dict[str, tuple[str, tuple[float, ...]]] = {
    "wait_seconds": ("How long players waited for the match that they got.", WAIT_BUCKETS_S),
    "skill_spread": ("Between the best and the worst ticket in a match, in the game's measure.", SPREAD_BUCKETS),
    "team_gap": ("Between the means of the strongest and the weakest team.", SPREAD_BUCKETS),
    "latency_seconds": ("Round trips of matched tickets to their region, as players said.", LATENCY_BUCKETS_S),
}


class MatchQuality(Protocol):
    """How good a match is; see matchmaking/queue/quality.py."""

    @property
    def players(self) -> int: ...
    @property
    def parties(self) -> int: ...
    @property
    def waits_s(self) -> Sequence[float]: ...
    @property
    def skill_spread(self) -> float: ...
    @property
    def team_gap(self) -> float: ...
    @property
    def latencies_ms(self) -> Sequence[int]: ...


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
        self._tick = self._histogram("tick_duration_seconds", "Time one tick took.", TICK_BUCKETS_S)
        self._lateness = self._histogram("tick_lateness_seconds", "How late a tick started.", TICK_BUCKETS_S)
        self._lag = self._histogram("loop_lag_seconds", "How much later the loop did what was due.", TICK_BUCKETS_S)
        self._redis = self._histogram(
            "redis_duration_seconds", "A round trip to Redis; it takes many scripts.", STORE_BUCKETS_S
        )
        self._mongo = self._histogram("mongo_duration_seconds", "A call to MongoDB.", STORE_BUCKETS_S)
        self._collections = Histogram(
            "tickwire_gc_pause_seconds",
            "For how long the garbage collector stopped everything.",
            ["generation"],
            buckets=PAUSE_BUCKETS_S,
            registry=self.registry,
        )
        self.observe_lag = self._lag.observe
        self.observe_redis = self._redis.observe
        self.observe_mongo = self._mongo.observe
        self._queued = Gauge(
            "tickwire_queue_tickets", "Tickets that wait, at all shards.", ["mode"], registry=self.registry
        )
        self._leads = Gauge(
            "tickwire_queue_leads", "1 when this shard leads its region's queue.", ["mode"], registry=self.registry
        )
        self._matched = Counter(
            "tickwire_matched_players", "Players in matches made here.", ["mode"], registry=self.registry
        )
        self._together = Counter(
            "tickwire_matched_parties", "Parties matched here: each as a whole.", ["mode"], registry=self.registry
        )
        self._match = {
            name: Histogram(f"tickwire_match_{name}", text, ["mode"], buckets=buckets, registry=self.registry)
            for name, (text, buckets) in _MATCH.items()
        }
        info = Gauge("tickwire_build_info", "Always 1; the build as a label.", ["version"], registry=self.registry)
        info.labels(version).set(1)

    def observe_tick(self, duration_s: float, lateness_s: float) -> None:
        """One tick of one room."""
        self._tick.observe(duration_s)
        self._lateness.observe(lateness_s)

    def observe_collection(self, generation: int, duration_s: float) -> None:
        """One run of the garbage collector."""
        self._collections.labels(generation).observe(duration_s)

    def observe_match(self, mode: str, quality: MatchQuality) -> None:
        """One match, as good as it is."""
        self._matched.labels(mode).inc(quality.players)
        self._together.labels(mode).inc(quality.parties)
        for name, values in (
            ("wait_seconds", quality.waits_s),
            ("skill_spread", (quality.skill_spread,)),
            ("team_gap", (quality.team_gap,)),
            ("latency_seconds", [ms / 1000 for ms in quality.latencies_ms]),
        ):
            histogram = self._match[name].labels(mode)
            for value in values:
                histogram.observe(value)

    def queue(self, mode: str, *, tickets: int, leads: bool) -> None:
        """One mode's queue."""
        self._queued.labels(mode).set(tickets)
        self._leads.labels(mode).set(leads)

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

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tickwire_{name}", text, buckets=buckets, registry=self.registry)

    def _growth(self, name: str, label: str, total: float) -> float:
        before = self._seen.get((name, label), 0)
        self._seen[name, label] = total
        return max(0.0, total - before)
