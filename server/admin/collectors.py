"""What a scrape gets: the plain numbers of a shard's parts, carried over to the metrics.

Hot paths add to numbers of their own and look no label up; here they become metrics, when somebody asks.
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
from tickwire.server.rooms.host import RoomHost
from tickwire.server.storage import WriteBehind


def scrape_edge(metrics: Metrics, listener: EdgeServer) -> None:
    """Connections and sessions."""
    edge = listener.counters
    metrics.gauge("connections", listener.connection_count)
    metrics.gauge("connections_waiting", listener.waiting_count)
    metrics.gauge("sessions", len(listener.registry))
    metrics.gauge("sessions_away", listener.registry.away_count)
    certificates = listener.certificates
    if certificates is not None:
        metrics.gauge("certificate_expires_seconds", certificates.expires_at_s or 0.0)
        metrics.count_to("certificate_reloads", certificates.reloads)
        metrics.count_to("certificate_failures", certificates.failures)
    metrics.count_to("received_bytes", edge.bytes_received)
    metrics.count_to("received_messages", edge.messages_received)
    metrics.count_to("received_other_frames", edge.other_frames)
    metrics.count_all_to("throttled_connections", edge.throttled)
    metrics.count_to("sessions_opened", edge.sessions_opened)
    metrics.count_to("sessions_revived", edge.sessions_revived)
    metrics.count_to("handshakes", edge.handshakes)
    metrics.count_all_to("rejected_messages", edge.rejected)
    metrics.count_all_to("refused_connections", edge.refused)
    metrics.count_all_to("closed_connections", edge.closed)
    metrics.count_all_to("sessions_ended", edge.ended)
    metrics.count_all_to("resumes", edge.resumes)
    metrics.count_all_to("joins", edge.joins)


def scrape_rooms(metrics: Metrics, host: RoomHost) -> None:
    """Rooms and their ticks."""
    rooms = host.counters
    by_type = Counter(simulation.room.room_type for simulation in host)
    metrics.rooms({room_type: by_type[room_type] for room_type in host.room_types})
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
        "congested_passes": rooms.congested_passes,
        "resyncs": rooms.resyncs,
        "states_refused": rooms.states_refused,
        "keyframes": rooms.keyframes,
        "deltas": rooms.deltas,
    }
    for name, total in totals.items():
        metrics.count_to(name, total)
    metrics.count_all_to("room_errors", rooms.room_errors)
    metrics.count_all_to("worlds_with_undeclared_data", rooms.kept_aside)
    metrics.count_all_to("slow_room_calls", rooms.slow_room_calls)
    metrics.count_all_to("slow_clients", rooms.slow_clients)
    metrics.count_fields_to("field_bytes", {key: bits / 8 for key, bits in rooms.field_bits.items()})
    metrics.count_fields_to("clamped_values", rooms.clamped)


def scrape_storage(
    metrics: Metrics, write_behind: WriteBehind, dealing: TransactionService, saver: RoomSaver
) -> None:
    """What is being written."""
    metrics.gauge("storage_lag_seconds", write_behind.lag_s)
    metrics.gauge("storage_waiting_worlds", len(write_behind))
    metrics.count_to("storage_saves", write_behind.saves)
    metrics.count_to("storage_failures", write_behind.failures)
    metrics.count_to("storage_bytes", write_behind.bytes_written)
    metrics.count_to("world_parts_quarantined", saver.parts_quarantined)
    metrics.gauge("deals_waiting", dealing.waiting)
    metrics.count_all_to("deals", dealing.results)


def scrape_matchmaking(
    metrics: Metrics,
    matchmaker: Matchmaker,
    redis_setup: RedisSetup,
    queues: Queues,
    queueing: QueueService,
    leaseholder: LeaseKeeper,
) -> None:
    """The directory and the queues."""
    doors = [calls.counters for calls in (matchmaker.scripts, *queues.script_runners)]
    metrics.count_to("redis_calls", sum(door.calls for door in doors))
    metrics.count_all_to("redis_failures", sum((door.failures for door in doors), Counter()))
    metrics.gauge("redis_evicts", math.nan if redis_setup.may_evict is None else redis_setup.may_evict)
    metrics.count_to("leases_lost", leaseholder.leases_lost)
    metrics.count_to("directory_calls_lost", leaseholder.updates_lost)
    metrics.count_all_to("queue_results", queueing.results)
    results: Counter[str] = sum((leader.results for leader in queues.leaders.values()), Counter())
    metrics.count_all_to("match_results", results)
    for mode, agent in queues.agents.items():
        metrics.queue(mode, tickets=agent.waiting_total, leads=queues.leaders[mode].epoch > 0)
