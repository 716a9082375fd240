"""Copies the counters of a shard's parts to the metrics on each scrape.

Hot paths increment plain counters, which avoids label lookups and locks.
"""

from __future__ import annotations

import math
from collections import Counter

from tickwire.matchmaking import Matchmaker
from tickwire.matchmaking.queue import Queues
from tickwire.server.edge.server import EdgeServer
from tickwire.server.observability.metrics import Metrics
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.redis_setup import RedisSetup
from tickwire.server.presence.presence_keeper import PresenceKeeper
from tickwire.server.recording.player_reports import PlayerReports
from tickwire.server.recording.recording_service import RecordingService
from tickwire.server.rooms.host import RoomHost
from tickwire.server.storage import WriteBehind


def collect_edge(metrics: Metrics, edge: EdgeServer) -> None:
    """Collect the metrics of connections and sessions."""
    counters = edge.counters
    metrics.set_gauge("connections", edge.connection_count)
    metrics.set_gauge("connections_waiting", edge.waiting_count)
    metrics.set_gauge("sessions", len(edge.registry))
    metrics.set_gauge("sessions_disconnected", edge.registry.disconnected_count)
    certificates = edge.certificates
    if certificates is not None:
        metrics.set_gauge("certificate_expires_seconds", certificates.expires_at_s or 0.0)
        metrics.set_total("certificate_reloads", certificates.reloads)
        metrics.set_total("certificate_failures", certificates.failures)
    metrics.set_total("received_bytes", counters.bytes_received)
    metrics.set_total("received_messages", counters.messages_received)
    metrics.set_total("received_other_frames", counters.other_frames)
    metrics.set_totals("throttled_connections", counters.throttled)
    metrics.set_total("sessions_opened", counters.sessions_opened)
    metrics.set_total("sessions_restored", counters.sessions_restored)
    metrics.set_total("handshakes", counters.handshakes)
    metrics.set_totals("rejected_messages", counters.rejected)
    metrics.set_totals("refused_connections", counters.refused)
    metrics.set_totals("closed_connections", counters.closed)
    metrics.set_totals("sessions_ended", counters.ended)
    metrics.set_totals("resumes", counters.resumes)
    metrics.set_totals("joins", counters.joins)
    metrics.set_totals("authentications", counters.authentications)
    metrics.set_totals("token_expiries", counters.token_expiries)


def collect_presence(metrics: Metrics, presence: PresenceKeeper) -> None:
    """Collect the metrics of presence."""
    counters = presence.counters
    metrics.set_gauge("presence_sessions", len(presence.sessions))
    metrics.set_gauge("presence_unclaimed", len(presence.sessions.unclaimed))
    metrics.set_total("presence_renewals", counters.renewals)
    metrics.set_totals("presence_claims", counters.claims)
    metrics.set_totals("presence_takeovers", counters.takeovers)
    metrics.set_totals("presence_refusals", counters.refused)
    metrics.set_totals("presence_notices", counters.notices)


def collect_rooms(metrics: Metrics, host: RoomHost) -> None:
    """Collect the metrics of rooms and their ticks."""
    rooms = host.counters
    by_type = Counter(runtime.room.room_type for runtime in host)
    metrics.set_rooms({room_type: by_type[room_type] for room_type in host.room_types})
    totals = {
        "ticks": rooms.ticks,
        "ticks_late": rooms.ticks_late,
        "ticks_skipped": rooms.ticks_skipped,
        "encode_seconds": rooms.encode_seconds,
        "state_bytes": rooms.bytes_sent,
        "state_writes": rooms.frames_sent,
        "player_ticks": rooms.player_ticks,
        "inputs": rooms.inputs_applied,
        "inputs_superseded": rooms.inputs_superseded,
        "fan_out_refusals": rooms.fan_out_refusals,
        "updates_skipped": rooms.updates_skipped,
        "resyncs": rooms.resyncs,
        "states_refused": rooms.states_refused,
        "keyframes": rooms.keyframes,
        "deltas": rooms.deltas,
    }
    for name, total in totals.items():
        metrics.set_total(name, total)
    metrics.set_totals("room_errors", rooms.room_errors)
    metrics.set_totals("tick_failures", rooms.tick_failures)
    metrics.set_totals("worlds_with_undeclared_data", rooms.rooms_with_set_aside_data)
    metrics.set_totals("command_refusals", rooms.command_refusals)
    metrics.set_totals("slow_room_calls", rooms.slow_room_calls)
    metrics.set_totals("slow_clients", rooms.slow_clients)
    metrics.set_totals("room_tasks", rooms.room_tasks)
    metrics.set_totals("rewinds_clamped", rooms.rewinds_clamped)
    metrics.set_field_totals("field_bytes", {key: bits / 8 for key, bits in rooms.field_bits.items()})
    metrics.set_field_totals("clamped_values", rooms.clamped)


def collect_recordings(metrics: Metrics, recordings: RecordingService, reports: PlayerReports) -> None:
    """Collect the metrics of recordings and of the reports of players."""
    flight = recordings.flight
    metrics.set_gauge("recording_memory_bytes", recordings.memory_bytes)
    metrics.set_total("recording_keyframes", flight.keyframes)
    metrics.set_total("recording_keyframe_seconds", flight.keyframe_seconds)
    metrics.set_total("recording_parts_dropped", flight.parts_dropped)
    metrics.set_totals("recordings", recordings.results)
    metrics.set_totals("player_reports", reports.results)


def collect_storage(
    metrics: Metrics, write_behind: WriteBehind, transactions: TransactionService, saver: RoomSaver
) -> None:
    """Collect the metrics of stored worlds and transactions."""
    metrics.set_gauge("storage_lag_seconds", write_behind.lag_s)
    metrics.set_gauge("storage_waiting_worlds", len(write_behind))
    metrics.set_total("storage_saves", write_behind.saves)
    metrics.set_total("storage_failures", write_behind.failures)
    metrics.set_total("storage_bytes", write_behind.bytes_written)
    metrics.set_total("world_parts_quarantined", saver.parts_quarantined)
    metrics.set_gauge("transactions_waiting", transactions.waiting)
    metrics.set_totals("transactions", transactions.results)


def collect_redis(metrics: Metrics, matchmaker: Matchmaker, redis_setup: RedisSetup, queues: Queues) -> None:
    """Collect the metrics of calls to Redis."""
    presence_runners = matchmaker.presence.script_runners
    runners = [runner.counters for runner in (matchmaker.scripts, *queues.script_runners, *presence_runners)]
    metrics.set_total("redis_calls", sum(runner.calls for runner in runners))
    metrics.set_totals("redis_failures", sum((runner.failures for runner in runners), Counter()))
    metrics.set_gauge("redis_evicts", math.nan if redis_setup.may_evict is None else redis_setup.may_evict)


def collect_directory(metrics: Metrics, lease_keeper: LeaseKeeper) -> None:
    """Collect the metrics of leases and of the directory."""
    metrics.set_total("leases_lost", lease_keeper.leases_lost)
    metrics.set_total("directory_calls_lost", lease_keeper.publisher.updates_lost)


def collect_queues(metrics: Metrics, queues: Queues, queue_service: QueueService) -> None:
    """Collect the metrics of the matchmaking queues."""
    metrics.set_totals("queue_results", queue_service.results)
    metrics.set_total("skill_lookup_failures", queue_service.skills.failures)
    results: Counter[str] = sum((leader.results for leader in queues.leaders.values()), Counter())
    metrics.set_totals("match_results", results)
    for mode, agent in queues.agents.items():
        metrics.set_queue(mode, tickets=agent.waiting_total, is_leader=queues.leaders[mode].epoch > 0)
