"""The admin API against its own OpenAPI document, and the operations port against mutated requests: never a 5xx.

schemathesis makes requests out of the document, right ones and wrong ones, and checks every answer against it. What
no document describes (raw bytes, broken HTTP) is made here, out of a seed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.admin_endpoints import ENDPOINTS
from tests.harness.shard_process import OPERATIONS_TOKEN, ShardProcess, admin, readiness
from tickwire.client.client import connect
from tickwire.server.config import Settings

EXAMPLES = 15
SECONDS_MAX = 300
CHECKS_LEFT_OUT = "positive_data_acceptance"
"""Rooms and versions in a request may not exist."""
SEEDS = range(4)
REQUESTS = 150


@pytest.fixture
async def apart(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[ShardProcess]:
    """Run a shard in its own process, because requests change process-wide state such as the log level."""
    shard = ShardProcess(shard_settings, tmp_path)
    try:
        await shard.ready()
        yield shard
    finally:
        shard.stop()


async def test_every_response_matches_the_openapi_document(apart: ShardProcess, tmp_path: Path) -> None:
    async with connect(apart.url) as client:
        await client.join("garden")
        arguments = [
            "run",
            f"http://127.0.0.1:{apart.operations_port}/v1/openapi.json",
            f"--header=Authorization: Bearer {OPERATIONS_TOKEN}",
            "--exclude-path=/v1/fleet/{shard_id}/drain",  # it would drain the shard
            f"--exclude-checks={CHECKS_LEFT_OUT}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--seed=1",
            "--warnings=off",
            "--no-color",
        ]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *arguments,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output.decode()
    assert readiness(apart.operations_port)[0] == 200


@pytest.mark.parametrize("path", ["/rooms", "/bans/ada", "/tuning/rollback"])
async def test_unsupported_method_is_405_with_the_allowed_ones(apart: ShardProcess, path: str) -> None:
    status, words = await admin(apart.operations_port, "PATCH", path)
    assert status == 405
    methods = {endpoint.method for endpoint in ENDPOINTS if endpoint.path.replace("{player_id}", "ada") == path}
    assert all(method in words for method in methods)
    assert (await admin(apart.operations_port, "PATCH", path, token="wrong"))[0] == 401, (
        "methods are not disclosed without the token"
    )


def request_from(rng: random.Random) -> bytes:
    """Return a request to the operations port with some of its bytes changed."""
    endpoint = rng.choice(ENDPOINTS)
    path = endpoint.path.replace("{", "").replace("}", "")
    token = rng.choice((OPERATIONS_TOKEN, "wrong", ""))
    body = rng.choice(
        (b"", b"{}", b'{"reason":"x"}', b'{"duration_s":1}', b'{"after":0,"values":{}}', rng.randbytes(20))
    )
    request = bytearray(
        f"{endpoint.method} /v1{path}{rng.choice(('', '?limit=1', '?limit=x', '?%ff=%00'))} HTTP/1.1\r\nHost: x\r\n"
        f"Connection: close\r\nAuthorization: Bearer {token}\r\nX-Operator: {rng.choice(('', 'me'))}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        at = rng.randrange(len(request))
        match rng.randrange(4):
            case 0:
                request[at] = rng.randrange(256)
            case 1:
                request[at:at] = rng.randbytes(rng.randint(1, 8))
            case 2:
                del request[at : at + rng.randint(1, 8)]
            case _:
                request[at:at] = request[at : at + rng.randint(1, 200)] * rng.randint(1, 50)
    return bytes(request)


async def status_of(port: int, request: bytes) -> int | None:
    """Return the status of the response; None if the server waits for more data or does not answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(0.5):
            line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/") else None
    except (TimeoutError, ConnectionError):
        return None
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_bytes_cause_a_server_error_on_the_operations_port(apart: ShardProcess, seed: int) -> None:
    rng = random.Random(seed)
    found: set[int | None] = set()
    for number in range(REQUESTS):
        request = request_from(rng)
        if b"/drain" in request:
            continue
        status = await status_of(apart.operations_port, request)
        assert status is None or status < 500, (seed, number, request)
        found.add(status)
    assert {401, 400} <= found, "some requests had no token, others were not HTTP"
    assert readiness(apart.operations_port)[0] == 200
