"""The metrics of a shard, by Prometheus's conventions: base units, `_total` on counters, labels from closed sets.

Hot paths increment plain counters; `set_total` and `set_totals` copy their values on each scrape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tickwire.matchmaking.queue import MatchQuality

WAIT_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
SPREAD_BUCKETS = (5, 10, 25, 50, 100, 200, 400, 800)
LATENCY_BUCKETS_S = (0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
TICK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25)
STORE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PAUSE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)

_GAUGES = {
    "connections": "Open sockets.",
    "connections_waiting": "Accepted sockets that wait for admission to the handshake.",
    "sessions": "Sessions that have not ended.",
    "sessions_disconnected": "Sessions without a connection, which can be resumed.",
    "certificate_expires_seconds": "Expiry of the certificate, UTC, seconds since 1970; 0 without a certificate.",
    "tick_utilization": "Share of the last second that the ticks of all rooms took.",
    "transactions_waiting": "Transactions that are in flight or queued for the next commit of their room.",
    "room_transactions_pending": "Transactions that rooms have started and that are not decided yet.",
    "storage_lag_seconds": "Age of the oldest unwritten change of a durable room.",
    "storage_waiting_worlds": "Worlds queued for writing.",
    "redis_evicts": "1 if Redis evicts keys when its memory is full, 0 if not, NaN if unknown.",
    "recording_memory_bytes": "Memory of the last seconds of all rooms, and of recordings that are not written yet.",
    "ready": "1 if this shard accepts players, else 0; NaN for a process of another role.",
    "api_ready": "1 if this process of the role api accepts requests, else 0; NaN for a process of another role.",
    "presence_sessions": "Sessions of players with accounts, which the other shards know.",
    "presence_unclaimed": "Sessions that the other shards do not know yet; grows while Redis is unavailable.",
}
_COUNTERS = {
    "ticks": "Ticks of all rooms.",
    "ticks_late": "Ticks that started more than half an interval late.",
    "ticks_skipped": "Ticks skipped because the room was too far behind.",
    "encode_seconds": "The part of the ticks' duration that encoding the state took.",
    "state_bytes": "Bytes of state, acknowledgements and events written.",
    "state_writes": "Writes of state: at most one per client and tick.",
    "player_ticks": "The sum over all ticks of the players in the room.",
    "inputs": "Inputs applied.",
    "inputs_superseded": "Inputs dropped because a newer one arrived before the tick.",
    "fan_out_refusals": "Commands refused because the player's messages caused too many events for other players.",
    "updates_skipped": "Updates skipped because the connection of a session was congested.",
    "keyframes": "Keyframes encoded; each is shared by all sessions that need it.",
    "deltas": "Deltas encoded; each is shared by all sessions with the same baseline.",
    "resyncs": "Keyframes that clients have requested; expected to stay 0.",
    "states_refused": "Players who lost their seat because the state exceeded the message limit; expected to stay 0.",
    "received_bytes": "Bytes from clients.",
    "received_messages": "Messages from clients.",
    "received_other_frames": "Frames from clients that are not complete messages: control frames, fragments, text.",
    "sessions_opened": "Sessions opened.",
    "handshakes": "Connections admitted to the handshake.",
    "certificate_reloads": "Certificates reloaded while running.",
    "certificate_failures": "Changed certificates that could not be loaded.",
    "skill_lookup_failures": "Lookups of the skill of queued players that failed; the players have the default.",
    "leases_lost": "Rooms closed because another shard owns them.",
    "directory_calls_lost": "Updates of seats that did not reach Redis; the room's lease renewal repeats them.",
    "log_lines_lost": "Log lines that could not be written, for example because the disk is full.",
    "password_hashes_refused": "Logins with a password that were refused because too many waited.",
    "redis_calls": "Scripts run on Redis.",
    "world_parts_quarantined": "Parts of saved worlds that did not fit their declaration, moved to the quarantine.",
    "storage_saves": "Worlds written.",
    "storage_bytes": "Bytes of worlds written: changed sections only.",
    "rate_limit_fallbacks": "Requests limited by the process alone, because Redis did not answer.",
    "sessions_restored": "Sessions restored with their room from another shard or an earlier run.",
    "storage_failures": "Writes of worlds that failed.",
    "recording_keyframes": "Keyframes written for the last seconds of rooms.",
    "recording_keyframe_seconds": "The time that these keyframes took.",
    "recording_parts_dropped": "Parts of the last seconds of rooms that were dropped because they did not fit.",
    "presence_renewals": "Records of sessions renewed in Redis.",
    "room_transactions_abandoned": "Transactions of closed rooms that were given up with an unknown outcome.",
}
_LABELLED = {
    "rejected_messages": ("Messages rejected.", "reason"),
    "token_refusals": ("Tokens of players that were refused, by reason.", "reason"),
    "token_results": ("Tokens that were issued, renewed or refused by the player API, by result.", "result"),
    "refused_connections": ("Connections refused at the handshake.", "reason"),
    "closed_connections": ("Connections that the server closed.", "reason"),
    "throttled_connections": ("Pauses in reading from a connection, by the limit exceeded.", "limit"),
    "sessions_ended": ("Sessions ended.", "reason"),
    "resumes": ("Attempts to resume a session, by result.", "result"),
    "room_errors": ("Uncaught exceptions of the rooms' code.", "type"),
    "tick_failures": ("Exceptions in ticks of rooms, by result: closed, restored, ignored.", "result"),
    "worlds_with_undeclared_data": ("Worlds restored with stored data that their room does not declare.", "type"),
    "command_refusals": ("Commands refused before their room ran them, by error code.", "code"),
    "slow_room_calls": ("Ticks and other hooks of rooms that took more than half a tick interval or 50 ms.", "type"),
    "rewinds_clamped": ("Rewinds that were limited to the history of their room, by reason.", "reason"),
    "recordings": ("Recordings by result: written, failed, limited.", "result"),
    "player_reports": ("Reports of players by result: recorded, logged, limited.", "result"),
    "room_tasks": ("Coroutines of rooms that have ended, by result.", "result"),
    "slow_clients": ("Changes of the send rate of slow clients, by step.", "step"),
    "joins": ("Joins by result.", "result"),
    "authentications": ("Tokens that running sessions have presented, by result.", "result"),
    "token_expiries": ("Sessions whose token expired while they were connected, by policy.", "policy"),
    "presence_claims": ("Claims of sessions for their players, by result.", "result"),
    "presence_takeovers": ("Sessions ended because their player has a later one, by how that was found.", "found_by"),
    "presence_refusals": ("Renewals refused: superseded, or elsewhere.", "reason"),
    "presence_notices": ("Notices from other shards, by result: ended, alive, forwarded, absent.", "result"),
    "transactions": ("Transactions by result.", "result"),
    "migrations": ("Room migrations to and from other shards, by result.", "result"),
    "redis_failures": ("Scripts on Redis that failed.", "reason"),
    "background_faults": ("Exceptions of single items in the shard's background tasks, by task.", "task"),
    "admin_calls": ("Requests to the admin API, by result.", "result"),
    "rate_limited_requests": ("HTTP requests refused by a rate limit, by limit.", "limit"),
    "idempotent_requests": ("HTTP requests with an Idempotency-Key, by result.", "result"),
    "login_lockouts": ("Logins refused by a budget of failed logins: address, pair, account, client.", "budget"),
    "bearer_results": ("Requests that need an access token, by result: accepted, missing, refused.", "result"),
    "queue_results": ("Queued players of this shard, by result.", "result"),
    "match_results": ("Matches made by this shard as the queue leader, by result.", "result"),
}

_BY_FIELD = {
    "field_bytes": "Bytes of state by field, estimated from samples; an empty field: spawned and despawned entities.",
    "clamped_values": "Values that a room's code set outside of the field's range.",
}

_MATCH: dict[str, tuple[str, tuple[float, ...]]] = {
    "wait_seconds": ("Waiting time of matched players.", WAIT_BUCKETS_S),
    "skill_spread": (
        "Skill difference of the best and worst ticket of a match, in the game's unit.",
        SPREAD_BUCKETS,
    ),
    "team_gap": ("Difference between the mean skills of the strongest and the weakest team.", SPREAD_BUCKETS),
    "latency_seconds": (
        "Round-trip times of matched tickets to their region, as clients reported.",
        LATENCY_BUCKETS_S,
    ),
}


class Metrics:
    """The metrics of one shard, in a registry of its own.

    Args:
        version: the build's version, for tickwire_build_info.
    """

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"tickwire_{name}", text, registry=self.registry) for name, text in _GAUGES.items()
        }
        self.set_gauge("api_ready", math.nan)
        self._counters = {
            name: Counter(f"tickwire_{name}", text, registry=self.registry) for name, text in _COUNTERS.items()
        }
        self._labelled = {
            name: Counter(f"tickwire_{name}", text, [label], registry=self.registry)
            for name, (text, label) in _LABELLED.items()
        }
        self._totals: dict[tuple[str, str], float] = {}
        self._rooms = Gauge("tickwire_rooms", "Rooms by type.", ["type"], registry=self.registry)
        self._by_field = {
            name: Counter(f"tickwire_{name}", text, ["type", "table", "field"], registry=self.registry)
            for name, text in _BY_FIELD.items()
        }
        self._tick = self._histogram("tick_duration_seconds", "Duration of one tick of one room.", TICK_BUCKETS_S)
        self._lateness = self._histogram(
            "tick_lateness_seconds", "Delay between the due time of a tick and its start.", TICK_BUCKETS_S
        )
        self._loop_lag = self._histogram("loop_lag_seconds", "Delay of the event loop.", TICK_BUCKETS_S)
        self._redis = self._histogram(
            "redis_duration_seconds",
            "Duration of a round trip to Redis, which may run several scripts.",
            STORE_BUCKETS_S,
        )
        self._mongo = self._histogram("mongo_duration_seconds", "Duration of a call to MongoDB.", STORE_BUCKETS_S)
        self._gc_pauses = Histogram(
            "tickwire_gc_pause_seconds",
            "Pauses by the garbage collector.",
            ["generation"],
            buckets=PAUSE_BUCKETS_S,
            registry=self.registry,
        )
        self.observe_lag = self._loop_lag.observe
        self.observe_redis = self._redis.observe
        self.observe_mongo = self._mongo.observe
        self._queued = Gauge(
            "tickwire_queue_tickets", "Queued tickets, across all shards.", ["mode"], registry=self.registry
        )
        self._is_leader = Gauge(
            "tickwire_queue_is_leader",
            "1 if this shard leads the queue of its region, else 0.",
            ["mode"],
            registry=self.registry,
        )
        self._matched_players = Counter(
            "tickwire_matched_players", "Players in matches made by this shard.", ["mode"], registry=self.registry
        )
        self._matched_parties = Counter(
            "tickwire_matched_parties", "Parties in matches made by this shard.", ["mode"], registry=self.registry
        )
        self._match = {
            name: Histogram(f"tickwire_match_{name}", text, ["mode"], buckets=buckets, registry=self.registry)
            for name, (text, buckets) in _MATCH.items()
        }
        self._operations = {
            "account_operations": Counter(
                "tickwire_account_operations",
                "Operations on accounts, by operation and result: ok, or the code of the error.",
                ["operation", "result"],
                registry=self.registry,
            )
        }
        self._http_requests = Counter(
            "tickwire_http_requests",
            "Requests to the player API, by operation and class of the status.",
            ["operation", "status"],
            registry=self.registry,
        )
        self._http_duration = Histogram(
            "tickwire_http_request_duration_seconds",
            "Duration of a request to the player API, by operation.",
            ["operation"],
            buckets=HTTP_BUCKETS_S,
            registry=self.registry,
        )
        info = Gauge(
            "tickwire_build_info",
            "Always 1; the label has the version of the build.",
            ["version"],
            registry=self.registry,
        )
        info.labels(version).set(1)

    def observe_tick(self, duration_s: float, lateness_s: float) -> None:
        """Record one tick of one room."""
        self._tick.observe(duration_s)
        self._lateness.observe(lateness_s)

    def observe_gc_pause(self, generation: int, duration_s: float) -> None:
        """Record one run of the garbage collector."""
        self._gc_pauses.labels(generation).observe(duration_s)

    def observe_http_request(self, operation: str, status: int, duration_s: float) -> None:
        """Record one request to the player API."""
        self._http_requests.labels(operation, f"{status // 100}xx").inc()
        self._http_duration.labels(operation).observe(duration_s)

    def observe_match(self, mode: str, quality: MatchQuality) -> None:
        """Record the quality of one match."""
        self._matched_players.labels(mode).inc(quality.players)
        self._matched_parties.labels(mode).inc(quality.parties)
        for name, values in (
            ("wait_seconds", quality.waits_s),
            ("skill_spread", (quality.skill_spread,)),
            ("team_gap", (quality.team_gap,)),
            ("latency_seconds", [ms / 1000 for ms in quality.latencies_ms]),
        ):
            histogram = self._match[name].labels(mode)
            for value in values:
                histogram.observe(value)

    def set_queue(self, mode: str, *, tickets: int, is_leader: bool) -> None:
        """Set the gauges of one mode's queue."""
        self._queued.labels(mode).set(tickets)
        self._is_leader.labels(mode).set(is_leader)

    def set_gauge(self, name: str, value: float) -> None:
        """Set a gauge without labels."""
        self._gauges[name].set(value)

    def set_rooms(self, count_by_type: Mapping[str, int]) -> None:
        """Set the number of rooms of each hosted type."""
        for room_type, count in count_by_type.items():
            self._rooms.labels(room_type).set(count)

    def set_total(self, name: str, total: float) -> None:
        """Raise a counter to the total of a plain counter."""
        self._counters[name].inc(self._increase(name, "", total))

    def set_totals(self, name: str, totals: Mapping[str, int]) -> None:
        """Raise a counter with one label to the totals of plain counters."""
        for label, total in totals.items():
            self._labelled[name].labels(label).inc(self._increase(name, label, total))

    def set_operation_totals(self, name: str, totals: Mapping[tuple[str, str], int]) -> None:
        """Raise a counter to the totals of plain counters by operation and result."""
        for labels, total in totals.items():
            self._operations[name].labels(*labels).inc(self._increase(name, "/".join(labels), total))

    def set_field_totals(self, name: str, totals: Mapping[tuple[str, str, str], float]) -> None:
        """Raise a counter to the totals of plain counters by room type, table and field."""
        for labels, total in totals.items():
            self._by_field[name].labels(*labels).inc(self._increase(name, "/".join(labels), total))

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tickwire_{name}", text, buckets=buckets, registry=self.registry)

    def _increase(self, name: str, label: str, total: float) -> float:
        before = self._totals.get((name, label), 0)
        self._totals[name, label] = total
        return max(0.0, total - before)
