"""`tickwire api` as a process, on real stores: it answers, reports its readiness, and drains."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from tests.harness.api_process import ApiProcess
from tests.harness.dev_process import run_command
from tests.harness.polling import eventually
from tests.harness.shard_process import readiness, scrape
from tests.unit.test_certificates import pair, write
from tickwire.server.config import Settings
from tickwire.server.process import EXIT_USAGE


@pytest.fixture
async def api(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[ApiProcess]:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__API__PLAYER_URL": "wss://play.game.example"})
    try:
        await made.ready()
        yield made
    finally:
        made.stop()


async def test_role_answers_and_stops_in_order(api: ApiProcess) -> None:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.get(f"{api.url}/v1/server") as response,
    ):
        assert response.status == 200
        assert (await response.json())["player_url"] == "wss://play.game.example"
    metrics = scrape(api.operations_port)
    assert metrics["tickwire_api_ready"] == 1
    assert math.isnan(metrics["tickwire_ready"]), "alerts on shards do not count it"
    assert api.stop() == 0
    assert "api_stopped" in api.log.read_text()


async def test_role_accepts_requests_while_load_balancers_learn_of_its_stop(
    shard_settings: Settings, tmp_path: Path
) -> None:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__API__DRAIN_DELAY_S": "600"})
    try:
        await made.ready()
        made.terminate()
        await eventually(lambda: readiness(made.operations_port)[0] == 503, what="not ready")
        assert "draining" in readiness(made.operations_port)[1]["reasons"]
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(f"{made.url}/v1/server") as response,
        ):
            assert response.status == 200
        made.terminate()  # ends the wait
        assert await asyncio.to_thread(made.process.wait, 40) == 0
    finally:
        made.process.kill()


async def test_request_in_flight_at_the_stop_is_answered(shard_settings: Settings, tmp_path: Path) -> None:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__ACCOUNTS__SECRET": "a secret of 32 characters or more"})
    body = b'{"device_id":"drained-device-01","secret":"0123456789abcdef0123456789abcdef"}'
    head = (
        b"POST /v1/login/device HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )

    async def refuses() -> bool:
        try:
            _, other = await asyncio.open_connection("127.0.0.1", made.port)
        except ConnectionError:
            return True
        other.close()
        return False

    try:
        await made.ready()
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(head % len(body) + body[:10])
            await writer.drain()
            # An answer on a later connection shows that the server has read the first one.
            async with aiohttp.ClientSession() as session, session.get(f"{made.url}/v1/server") as response:
                assert response.status == 200
            made.terminate()
            await eventually(refuses, what="no more connections")
            writer.write(body[10:])
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"access_token" in answer
        assert await asyncio.to_thread(made.process.wait, 40) == 0
    finally:
        made.process.kill()


async def test_new_connections_receive_a_renewed_certificate(shard_settings: Settings, tmp_path: Path) -> None:
    files = {"TICKWIRE__API__CERTIFICATE": tmp_path / "tls.crt", "TICKWIRE__API__KEY": tmp_path / "tls.key"}

    def renew() -> int:
        new = pair()
        for path, data in zip(files.values(), (new.certificate, new.key), strict=True):
            write(path, data)
        return new.serial

    async def serial() -> int:
        text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", made.port))
        return x509.load_pem_x509_certificate(text.encode()).serial_number

    first = renew()
    environ = {name: str(path) for name, path in files.items()} | {"TICKWIRE__API__PLAINTEXT": "false"}
    made = ApiProcess(shard_settings, tmp_path, environ)
    try:
        await made.ready()
        assert await serial() == first
        second = renew()

        async def is_renewed() -> bool:
            return await serial() == second

        await eventually(is_renewed)
        trusted = ssl.create_default_context(cafile=str(files["TICKWIRE__API__CERTIFICATE"]))
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(f"https://localhost:{made.port}/v1/server") as response,
        ):
            assert response.status == 200
        assert made.stop() == 0
    finally:
        made.process.kill()


def test_all_problems_of_the_settings_are_reported_at_once() -> None:
    done = run_command("api", TICKWIRE__API__PORT="0", TICKWIRE__REDIS__URL="redis://127.0.0.1/x")
    assert done.returncode == EXIT_USAGE
    assert {line.split(": ")[1] for line in done.stderr.splitlines()} == {"api.certificate", "redis.url"}


async def test_role_is_not_ready_while_a_store_does_not_answer(shard_settings: Settings, tmp_path: Path) -> None:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__REDIS__URL": "redis://127.0.0.1:1/0"})
    try:
        await eventually(lambda: "redis_unavailable" in made.log.read_text(), 60)

        def reasons() -> set[str]:
            return set(readiness(made.operations_port)[1]["reasons"])

        await eventually(lambda: reasons() == {"redis"}, 60, "MongoDB answers, Redis does not")
        assert readiness(made.operations_port)[0] == 503
    finally:
        assert made.stop() == 0


async def test_processes_of_the_role_share_a_limit_and_see_through_trusted_proxies(
    shard_settings: Settings, tmp_path: Path
) -> None:
    environ = {"TICKWIRE__API__ADDRESS_LIMIT": "3/3600s", "TICKWIRE__API__TRUSTED_PROXIES": "127.0.0.1"}
    processes = [ApiProcess(shard_settings, tmp_path, environ) for _ in range(2)]
    try:
        for process in processes:
            await process.ready()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

            async def call(at: int, address: str) -> tuple[int, str]:
                headers = {"X-Forwarded-For": f"6.6.6.{at}, {address}"}
                async with session.get(f"{processes[at % 2].url}/v1/server", headers=headers) as response:
                    return response.status, response.headers["RateLimit-Policy"]

            calls = [await call(at, "10.1.1.1") for at in range(5)]
            assert [status for status, _ in calls] == [200, 200, 200, 429, 429]
            assert {policy for _, policy in calls} == {'"address";q=3;w=3600'}
            assert (await call(5, "10.1.1.2"))[0] == 200
        for process in processes:
            refused = scrape(process.operations_port)['tickwire_rate_limited_requests_total{limit="address"}']
            assert refused == 1
    finally:
        assert [process.stop() for process in processes] == [0, 0]
