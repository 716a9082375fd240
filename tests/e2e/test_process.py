"""A shard as a process: signals at any time, a full disk for its log, stores that are away; exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import pytest
from opentelemetry import trace

from tests.harness.dev_process import children_of, is_alive, run_command, two_free_ports
from tests.harness.mongo_process import MongoProcess
from tests.harness.polling import eventually, eventually_joins
from tests.harness.redis_process import RedisProcess
from tests.harness.shard_process import KEY, readiness, running, scrape
from tickwire.client.client import connect
from tickwire.server.config import Capacity, Settings
from tickwire.server.dev.local_stores import die_with_parent, free_port
from tickwire.server.observability import traces

ROOT = Path(__file__).parents[2]
STARTED = '"shard_started"'
STOPPED = '"shard_stopped"'
DEAD_STORES = {
    "TICKWIRE__REDIS__URL": "redis://127.0.0.1:1/0",
    "TICKWIRE__MONGO__URL": "mongodb://127.0.0.1:1/?directConnection=true",
}


class Serve:
    """A `tickwire serve` that runs."""

    def __init__(self, settings: Settings, folder: Path, *arguments: str, **environ: str) -> None:
        self.port, self.operations_port = free_port(), free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self.log = folder / f"serve-{self.port}.log"
        base = {
            "ROOMS": "tests.harness.sample_rooms",
            "LISTEN__PORT": str(self.port),
            "LISTEN__PLAINTEXT": "true",
            "OPERATIONS__PORT": str(self.operations_port),
            "REDIS__URL": settings.redis.url,
            "REDIS__NAMESPACE": settings.redis.namespace,
            "REDIS__DEADLINE_S": "2",
            "REDIS__LEASE_S": str(settings.redis.lease_s),
            "MONGO__URL": settings.mongo.url,
            "MONGO__DATABASE": settings.mongo.database,
            "MONGO__DEADLINE_S": "1",
            "MONGO__MIGRATE": "true",
            "SHUTDOWN_TIMEOUT_S": "6",
            "CAPACITY__LOAD_MAX": str(settings.capacity.load_max),
            "TICKETS__CURRENT": "test",
            "TICKETS__KEYS__TEST": KEY,
        }
        self._environ = {f"TICKWIRE__{name}": text for name, text in base.items()} | environ
        self._arguments = arguments
        with self.log.open("wb") as output:
            self.process = self._start(output)

    def _start(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tickwire", "serve", *self._arguments],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **self._environ},
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )

    @property
    def text(self) -> str:
        return self.log.read_text()

    async def has(self, words: str, count: int = 1, timeout_s: float = 60) -> None:
        """Return once the log has these words."""
        await eventually(lambda: self.text.count(words) >= count, timeout_s, words)

    async def exit_code(self, timeout_s: float = 60) -> int:
        return await asyncio.to_thread(self.process.wait, timeout_s)


@contextmanager
def serve(settings: Settings, folder: Path, *arguments: str, **environ: str) -> Iterator[Serve]:
    """Run `tickwire serve`, and end it whatever happens."""
    process = Serve(settings, folder, *arguments, **environ)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_a_shard_in_order(shard_settings: Settings, tmp_path: Path, number: int) -> None:
    with serve(shard_settings, tmp_path) as shard:
        await shard.has(STARTED)
        shard.process.send_signal(number)
        assert await shard.exit_code() == 0
        assert shard.text.count(STOPPED) == 2  # the line names its event twice
        assert "Traceback" not in shard.text


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0])
async def test_signal_at_any_time_of_the_start_ends_the_process_in_order(
    shard_settings: Settings, tmp_path: Path, delay_s: float
) -> None:
    with serve(shard_settings, tmp_path) as shard:
        await asyncio.sleep(delay_s)  # no condition to wait for: whichever moment it hits, the end is the same
        shard.process.send_signal(signal.SIGTERM)
        code = await shard.exit_code()
        assert code in (0, 143, -signal.SIGTERM)  # the last while Python itself is starting
        assert code == 0 or STARTED not in shard.text
        assert "Traceback" not in shard.text


async def test_second_signal_ends_the_drain_and_saves(shard_settings: Settings, tmp_path: Path) -> None:
    """The other shard is full, so that the drain would last for as long as it may."""
    async with running(msgspec.structs.replace(shard_settings, capacity=Capacity(rooms_max=0))):
        with serve(shard_settings, tmp_path, TICKWIRE__DRAIN_TIMEOUT_S="300") as shard:
            await shard.has(STARTED)
            async with connect(shard.url, reconnect_s=0) as client:
                await eventually_joins(client, "garden", name="home")
                shard.process.send_signal(signal.SIGTERM)
                await eventually(lambda: "draining" in readiness(shard.operations_port)[1]["reasons"], 20)
                assert len(shard_rooms(shard)) == 1
                shard.process.send_signal(signal.SIGTERM)
                assert await shard.exit_code() == 0
            assert STOPPED in shard.text
            assert '"tickwire.is_flushed": true' in shard.text


async def test_third_signal_ends_the_process_at_once(shard_settings: Settings, tmp_path: Path) -> None:
    """Redis and MongoDB have stopped answering, so that an orderly stop would wait for them."""
    own = RedisProcess(tmp_path / "redis")
    await own.start()
    try:
        settings = msgspec.structs.replace(
            shard_settings, redis=msgspec.structs.replace(shard_settings.redis, url=own.url)
        )
        with serve(settings, tmp_path, TICKWIRE__SHUTDOWN_TIMEOUT_S="600", TICKWIRE__REDIS__DEADLINE_S="60",
                   TICKWIRE__REDIS__LEASE_S="600") as shard:  # fmt: skip
            await shard.has(STARTED)
            await eventually(lambda: readiness(shard.operations_port)[0] == 200, 40)
            own.pause()

            def has_ended() -> bool:
                shard.process.send_signal(signal.SIGTERM)  # two signals in one turn of the loop are one
                return shard.process.poll() is not None

            await eventually(has_ended, 40)
            assert await shard.exit_code() == 1
    finally:
        await asyncio.to_thread(own.stop)


async def test_no_room_moves_with_a_drain_timeout_of_zero(shard_settings: Settings, tmp_path: Path) -> None:
    with serve(shard_settings, tmp_path, TICKWIRE__DRAIN_TIMEOUT_S="0") as shard:
        await shard.has(STARTED)
        async with connect(shard.url, reconnect_s=0) as client:
            await eventually_joins(client, "garden", name="home")
            async with running(shard_settings) as other:
                shard.process.send_signal(signal.SIGTERM)
                assert await shard.exit_code() == 0
                assert len(other.parts.host) == 0
        assert '"tickwire.is_flushed": true' in shard.text
        assert "shard_drained" not in shard.text


async def test_shard_stops_in_order_while_its_stores_are_unavailable(
    shard_settings: Settings, tmp_path: Path
) -> None:
    with serve(shard_settings, tmp_path, **DEAD_STORES) as shard:
        await shard.has(STARTED)
        await shard.has("redis_unavailable")
        await shard.has("mongo_unavailable")
        shard.process.send_signal(signal.SIGTERM)
        assert await shard.exit_code() == 0
        assert STOPPED in shard.text
        assert "Traceback" not in shard.text


async def test_unsaved_rooms_are_listed_and_the_exit_code_is_one(shard_settings: Settings, tmp_path: Path) -> None:
    mongo = MongoProcess(tmp_path / "mongo")
    await mongo.start()
    try:
        own = msgspec.structs.replace(shard_settings.mongo, url=mongo.url)
        with serve(msgspec.structs.replace(shard_settings, mongo=own), tmp_path) as shard:
            await shard.has(STARTED)
            async with connect(shard.url) as client:
                await eventually_joins(client, "garden", name="home")
                mongo.pause()
                await client.command("plant", {"x": 7.0})
                shard.process.send_signal(signal.SIGTERM)
                assert await shard.exit_code() == 1
            assert '"message": "flush_incomplete"' in shard.text
            assert '"tickwire.worlds": ["garden/home"]' in shard.text
            assert '"tickwire.is_flushed": false' in shard.text
            assert "Traceback" not in shard.text
    finally:
        mongo.wake()
        await asyncio.to_thread(mongo.kill)


async def test_shard_with_a_failed_task_moves_its_rooms_and_exits_with_one(
    shard_settings: Settings, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    more = {"TICKWIRE__ROOMS": "tests.harness.broken_shard", "BREAK_UPKEEP": str(fault)}
    with serve(shard_settings, tmp_path, **more) as shard:
        await shard.has(STARTED)
        await eventually(lambda: is_ready(shard), 40)
        async with connect(shard.url) as client:
            joined = await eventually_joins(client, "garden", name="home")
            async with running(shard_settings) as other:
                fault.touch()
                assert await shard.exit_code() == 1
                await client.wait_for(lambda: client.url == other.url and client.is_connected, 20)
                assert other.parts.host.get(joined.room_id) is not None
    assert '"message": "task_failed"' in shard.text
    assert "ZeroDivisionError" in shard.text
    assert STOPPED in shard.text


async def test_full_disk_of_the_log_does_not_stop_the_shard(shard_settings: Settings, tmp_path: Path) -> None:
    class OnFullDisk(Serve):
        def _start(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
            with Path("/dev/full").open("wb") as full:
                return super()._start(full)

    shard = OnFullDisk(shard_settings, tmp_path, TICKWIRE__LOGGING__LEVEL="debug")
    try:
        await eventually(lambda: is_ready(shard), 60)
        async with connect(shard.url) as client:
            await eventually_joins(client, "garden", name="home")
            await client.wait_for(lambda: client.ticks_received > 3)
        lost = scrape(shard.operations_port)["tickwire_log_lines_lost_total"]
        assert lost > 0
        assert await asyncio.to_thread(lambda: urlopen(shard, "livez")) == 200
        shard.process.send_signal(signal.SIGTERM)
        assert await shard.exit_code() == 0
    finally:
        shard.process.kill()
        shard.process.wait()


async def test_unresponsive_trace_collector_does_not_delay_the_stop(shard_settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        more = {"TICKWIRE__TRACES__ENDPOINT": endpoint, "TICKWIRE__TRACES__SAMPLE_RATIO": "1"}
        with serve(shard_settings, tmp_path, **more) as shard:
            await shard.has(STARTED)
            async with connect(shard.url) as client:
                await eventually_joins(client, "garden", name="home")
            shard.process.send_signal(signal.SIGTERM)
            assert await shard.exit_code() == 0
            assert "traces_flush_failed" in shard.text


def test_sample_ratio_of_zero_sends_no_traces() -> None:
    stop = traces.start("http://127.0.0.1:1/v1/traces", 0.0, "shard-1")
    try:
        assert traces._tracer is not None
        with traces.span("join"):
            assert not trace.get_current_span().get_span_context().trace_flags.sampled
    finally:
        stop()
        traces._tracer = None


async def test_port_in_use_exits_with_two_and_names_the_setting(shard_settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("LISTEN", "OPERATIONS"):
            with serve(shard_settings, tmp_path, **{f"TICKWIRE__{name}__PORT": str(port)}) as shard:
                assert await shard.exit_code() == 2
                assert f"tickwire: {name.lower()}.port: {port} on 127.0.0.1 is in use" in shard.text
                assert "Traceback" not in shard.text


ANY_PORTS = {"TICKWIRE__LISTEN__PORT": "0", "TICKWIRE__OPERATIONS__PORT": "0"}


async def test_supervisor_restarts_a_shard_that_ends(shard_settings: Settings, tmp_path: Path) -> None:
    """Each of several shards has any free port when the settings ask for one."""
    with serve(shard_settings, tmp_path, "--shards", "2", **ANY_PORTS) as fleet:
        await fleet.has('"message": "shard_started"', 2)
        shards = children_of(fleet.process.pid)
        assert len(shards) == 2
        os.kill(shards[0], signal.SIGKILL)
        await fleet.has('"message": "shard_started"', 3)
        assert '"tickwire.exit_code": -9' in fleet.text
        fleet.process.send_signal(signal.SIGTERM)
        assert await fleet.exit_code() == 0
        assert not any(map(is_alive, shards))


async def test_supervised_shard_starts_once_its_port_is_free(shard_settings: Settings, tmp_path: Path) -> None:
    """With a pause between attempts that grows; the other shard serves meanwhile."""
    port = two_free_ports()
    more = {"TICKWIRE__LISTEN__PORT": str(port), "TICKWIRE__OPERATIONS__PORT": "0"}
    with (
        socket.create_server(("127.0.0.1", port + 1)) as taken,
        serve(shard_settings, tmp_path, "--shards", "2", **more) as fleet,
    ):
        await fleet.has(f"listen.port: {port + 1} on 127.0.0.1 is in use", 2)
        await fleet.has('"message": "shard_started"', 1)
        assert '"tickwire.exit_code": 2' in fleet.text
        taken.close()
        await fleet.has('"message": "shard_started"', 2)
        fleet.process.send_signal(signal.SIGTERM)
        assert await fleet.exit_code() == 0


async def test_supervisor_restarts_a_drained_shard(shard_settings: Settings, tmp_path: Path) -> None:
    with serve(shard_settings, tmp_path, "--shards", "2", **ANY_PORTS) as fleet:
        await fleet.has('"message": "shard_started"', 2)
        started = [line for line in map(json.loads, fleet.text.splitlines()) if line["message"] == "shard_started"]
        shard_id = str(started[0]["service.node.name"])
        environ = {
            f"TICKWIRE__REDIS__{name}": str(getattr(shard_settings.redis, name.lower()))
            for name in ("URL", "NAMESPACE")
        }
        await eventually(
            lambda: asyncio.to_thread(lambda: run_command("drain", shard_id, **environ).returncode == 0), 30
        )
        await fleet.has('"message": "shard_started"', 3)
        assert '"tickwire.exit_code": 0' in fleet.text


async def test_shards_drain_and_stop_when_their_supervisor_is_killed(
    shard_settings: Settings, tmp_path: Path
) -> None:
    with serve(shard_settings, tmp_path, "--shards", "2", **ANY_PORTS) as fleet:
        await fleet.has('"message": "shard_started"', 2)
        shards = children_of(fleet.process.pid)
        fleet.process.kill()
        await fleet.has('"message": "shard_stopped"', 2)
        await eventually(lambda: not any(map(is_alive, shards)), 20)


async def test_supervisor_kills_a_shard_that_does_not_stop(shard_settings: Settings, tmp_path: Path) -> None:
    short = {"TICKWIRE__DRAIN_TIMEOUT_S": "0", "TICKWIRE__SHUTDOWN_TIMEOUT_S": "0.5"}
    with serve(shard_settings, tmp_path, "--shards", "2", **ANY_PORTS, **short) as fleet:
        await fleet.has('"message": "shard_started"', 2)
        stuck, _ = children_of(fleet.process.pid)
        os.kill(stuck, signal.SIGSTOP)
        fleet.process.send_signal(signal.SIGTERM)
        assert await fleet.exit_code() == 1
        assert '"message": "shard_killed"' in fleet.text
        assert not is_alive(stuck)


def is_ready(shard: Serve) -> bool:
    try:
        return readiness(shard.operations_port)[0] == 200
    except OSError:
        return False


def urlopen(shard: Serve, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{shard.operations_port}/{path}", timeout=20) as answer:
        return int(answer.status)


def shard_rooms(shard: Serve) -> list[str]:
    return [name for name, value in scrape(shard.operations_port).items()
            if name.startswith("tickwire_rooms{") and value > 0]  # fmt: skip


async def test_shard_exits_with_two_when_mongodb_is_not_a_replica_set(
    shard_settings: Settings, tmp_path: Path
) -> None:
    standalone = MongoProcess(tmp_path / "standalone", replica_set="")
    await standalone.start()
    try:
        mongo = msgspec.structs.replace(shard_settings.mongo, url=f"mongodb://127.0.0.1:{standalone.port}/")
        settings = msgspec.structs.replace(shard_settings, mongo=mongo)
        with serve(settings, tmp_path) as served:
            assert await asyncio.to_thread(served.process.wait, 60) == 2
            last = served.log.read_text().splitlines()[-1]
        migrate = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tickwire", "migrate-db"],
            env={**os.environ, "TICKWIRE__MONGO__URL": mongo.url},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        sentence = f"tickwire: mongo.url: MongoDB at 127.0.0.1:{standalone.port} is not a replica set"
        assert last.startswith(sentence)
        assert migrate.stderr.splitlines()[-1].startswith(sentence)
        assert migrate.returncode == 2
    finally:
        standalone.kill()
