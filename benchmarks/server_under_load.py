"""Measures a whole server: rooms full of moving players, in a process of its own on one core.

The cost is the server's user and system time from the operating system, divided by the clients' ticks. The load runs
in the process that calls `measure`, on the other core.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import close_clients, open_clients, send_inputs
from benchmarks.receiver import count_states
from tickwire import Room
from tickwire.schemas.fields import pack_input
from tickwire.server.dev import local_stores

SERVER_CORE, LOAD_CORE = 0, 1
RECORD_EVERY = 50
"""One in this number of players is recorded, and all of its states are decoded after the measurement."""
LATENESS_S_MAX = 0.02
"""If the 99th percentile of the load's lateness is above this, the load was measured, and not the server."""


class ServerTurn(msgspec.Struct):
    """One measurement of one subject.

    Args:
        cpu_us: the CPU time per client and tick.
        bytes_per_tick: the bytes per client and tick.
        late_share: the share of late ticks.
        load_lateness_s: the 99th percentile of the load's lateness.
        tick_s: the 99th percentile of a tick's duration, interpolated linearly between the histogram's edges.
        joins_per_second: from the first connection to the first state of the last player.
        bytes_per_client: the growth of the process per client.
    """

    cpu_us: float
    bytes_per_tick: float
    late_share: float = 0.0
    load_lateness_s: float = 0.0
    tick_s: float = 0.0
    joins_per_second: float = 0.0
    bytes_per_client: float = 0.0


class Load(msgspec.Struct, frozen=True):
    """The load of a measurement.

    Args:
        players: the number of players.
        input_rate_hz: inputs per second and player.
        seconds: the duration of the measurement.
        warm_s: how long the players play before it.
    """

    players: int
    input_rate_hz: float
    seconds: float
    warm_s: float = 1.0


class ServerVariant(NamedTuple):
    """How a measured server differs from the plain one.

    Args:
        certificate: the certificate and key of a server that speaks TLS; None: plain connections.
        recordings: the directory of recordings, which starts the flight recorder of each room; None: no recorder.
    """

    certificate: tuple[Path, Path] | None = None
    recordings: Path | None = None


PLAIN = ServerVariant()


def measure(
    stores: local_stores.LocalStores,
    room: type[Room],
    load: Load,
    *,
    name: str,
    variant: ServerVariant = PLAIN,
) -> ServerTurn:
    """Fill rooms of a type with players, and measure the server.

    Args:
        stores: the Redis and MongoDB of the server.
        room: the room type.
        load: the players.
        name: the namespace of this measurement's keys in Redis.
        variant: how the server differs from the plain one.
    """
    port, operations = local_stores.free_port(), local_stores.free_port()
    environ = server_environ(stores, port, operations, name)
    tls, certificate = None, variant.certificate
    if certificate is not None:
        tls = ssl._create_unverified_context()
        environ |= {
            "TICKWIRE__LISTEN__PLAINTEXT": "false",
            "TICKWIRE__LISTEN__CERTIFICATE": str(certificate[0]),
            "TICKWIRE__LISTEN__KEY": str(certificate[1]),
        }
    if variant.recordings is not None:
        environ["TICKWIRE__RECORDINGS__DIRECTORY"] = str(variant.recordings)
    server = processes.start(["-m", "tickwire", "serve"], core=SERVER_CORE, environ=environ)
    try:
        processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
        return uvloop.run(_play(LoadedServer(server.pid, port, operations, tls), room, load))
    finally:
        processes.stop(server)


class LoadedServer(NamedTuple):
    """A running server: its process, its ports, and the TLS context of its clients."""

    pid: int
    port: int
    operations: int
    tls: ssl.SSLContext | None


def server_environ(stores: local_stores.LocalStores, port: int, operations: int, name: str) -> dict[str, str]:
    """Return the settings of a measured server; `name` is the namespace of its keys in Redis."""
    return {
        "TICKWIRE__ROOMS": "benchmarks.rooms",
        "TICKWIRE__LISTEN__PORT": str(port),
        "TICKWIRE__LISTEN__PLAINTEXT": "true",
        "TICKWIRE__OPERATIONS__PORT": str(operations),
        "TICKWIRE__REDIS__URL": stores.redis_url,
        "TICKWIRE__REDIS__NAMESPACE": name,
        "TICKWIRE__MONGO__URL": stores.mongo_url,
        "TICKWIRE__MONGO__MIGRATE": "true",
        "TICKWIRE__LOGGING__LEVEL": "warning",
        # No other shard could take the rooms: a drain would wait for one until its timeout, after every turn.
        "TICKWIRE__DRAIN_TIMEOUT_S": "0",
        # Admission control would limit the server to 500 handshakes per second; the peers have no such limit.
        "TICKWIRE__EDGE__HANDSHAKES_PER_SECOND_MAX": "100000",
        "TICKWIRE__EDGE__MESSAGES_PER_SECOND_PER_ADDRESS_MAX": "10000000",
    }


async def _play(server: LoadedServer, room: type[Room], load: Load) -> ServerTurn:
    loop, pid, operations = asyncio.get_running_loop(), server.pid, server.operations
    resident, started = processes.resident_bytes(pid), loop.time()
    clients = await open_clients(
        server.port, load.players, room_type=room.room_type, tls=server.tls, record_every=RECORD_EVERY
    )
    joined_s = loop.time() - started
    try:
        payload = pack_input(room.input_fields, {"turn": 0.1})

        async def play(first_seq: int, seconds: float) -> list[float]:
            return await send_inputs(
                clients, rate_hz=load.input_rate_hz, payload=payload, first_seq=first_seq, seconds=seconds
            )

        await play(1, load.warm_s)
        before, cpu = await asyncio.to_thread(processes.scrape, operations), processes.cpu_seconds(pid)
        lateness = await play(1000, load.seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        after = await asyncio.to_thread(processes.scrape, operations)
        resident = processes.resident_bytes(pid) - resident
    finally:
        close_clients(clients)
    for client in clients:
        if client.recorded is not None:
            count_states(b"".join(client.recorded))
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    client_ticks = grown["tickwire_player_ticks_total"]
    return ServerTurn(
        cpu_us=cpu / client_ticks * 1e6,
        bytes_per_tick=grown["tickwire_state_bytes_total"] / client_ticks,
        late_share=grown["tickwire_ticks_late_total"] / grown["tickwire_ticks_total"],
        load_lateness_s=statistics.quantiles(lateness, n=100)[98],
        tick_s=percentile(grown, "tickwire_tick_duration_seconds", 0.99),
        joins_per_second=load.players / joined_s,
        bytes_per_client=resident / load.players,
    )


def percentile(grown: dict[str, float], histogram: str, share: float) -> float:
    """Return a percentile of a Prometheus histogram."""
    prefix = f'{histogram}_bucket{{le="'
    edges = sorted((float(name[len(prefix) : -2]), count) for name, count in grown.items() if name.startswith(prefix))
    wanted, low, below = share * edges[-1][1], 0.0, 0.0
    for edge, count in edges:
        if count >= wanted:
            return low + (edge - low) * (wanted - below) / (count - below) if edge != float("inf") else low
        low, below = edge, count
    return low
