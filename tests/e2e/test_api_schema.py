"""The player API against its own OpenAPI document, and against mutated bytes: never a 5xx.

schemathesis makes requests out of the document, right ones and wrong ones, and checks every answer against it. What
no document describes (raw bytes, broken HTTP) is made here, out of a seed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.harness.api_process import ApiProcess
from tests.harness.shard_process import readiness, scrape
from tickwire.server.config import Settings

EXAMPLES = 15
SECONDS_MAX = 400
CHECKS_LEFT_OUT = "positive_data_acceptance"
"""Statuses that the document does not describe: accounts and tokens in a request may not exist."""
SECRET = "0123456789abcdef0123456789abcdef"
REFUSALS = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 431]
SEEDS = range(3)
REQUESTS = 100


ENVIRON = {
    "TICKWIRE__ACCOUNTS__SECRET": "a secret of the fleet of 32 characters or more",
    "TICKWIRE__ACCOUNTS__PASSWORDS__MEMORY_KIB": "8192",
    "TICKWIRE__ACCOUNTS__PASSWORDS__TIME_COST": "1",
    "TICKWIRE__API__ADDRESS_LIMIT": "",  # the answer to everything would soon be 429
    "TICKWIRE__API__PLAYER_LIMIT": "",
}
ENDS_THE_LOGIN = ("delete_account", "merge_account", "change_password")
"""Operations after which the token of the test is no longer valid."""


@pytest.fixture
async def api(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[ApiProcess]:
    made = ApiProcess(shard_settings, tmp_path, ENVIRON)
    try:
        await made.ready()
        yield made
    finally:
        made.stop()


async def read_document(api: ApiProcess) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.get(f"{api.url}/v1/openapi.json") as response,
    ):
        found: dict[str, Any] = await response.json()
        return found


async def run_schemathesis(api: ApiProcess, folder: Path, arguments: Sequence[str] = ()) -> None:
    config = folder / "schemathesis.toml"
    config.write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {REFUSALS}\n")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "run",
        f"{api.url}/v1/openapi.json",
        f"--exclude-checks={CHECKS_LEFT_OUT}",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={EXAMPLES}",
        "--seed=1",
        "--warnings=off",
        "--no-color",
        *arguments,
        cwd=folder,
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


async def test_document_is_valid_and_describes_every_operation(api: ApiProcess) -> None:
    document = await read_document(api)
    OpenAPIV31SpecValidator(document).validate()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary"), f"{method} {path}"
            assert operation.get("description"), f"{method} {path}"
            assert operation["responses"]["default"], f"{method} {path}"


@pytest.mark.timeout(SECONDS_MAX + 60)
async def test_every_response_matches_the_openapi_document(api: ApiProcess, tmp_path: Path) -> None:
    await run_schemathesis(api, tmp_path)
    assert_healthy(api)


@pytest.mark.timeout(SECONDS_MAX + 60)
async def test_every_response_to_a_player_matches_the_openapi_document(api: ApiProcess, tmp_path: Path) -> None:
    body = {"device_id": "schemathesis-device-1", "secret": SECRET}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.post(f"{api.url}/v1/login/device", json=body) as response,
    ):
        assert response.status == 200, await response.text()
        token = (await response.json())["access_token"]
    document = await read_document(api)
    secured = [
        f"--include-operation-id={operation['operationId']}"
        for item in document["paths"].values()
        for operation in item.values()
        if operation.get("security") and operation["operationId"] not in ENDS_THE_LOGIN
    ]
    assert len(secured) > 3
    await run_schemathesis(api, tmp_path, [f"--header=Authorization: Bearer {token}", *secured])
    assert_healthy(api)
    answered = [name for name in scrape(api.operations_port) if 'operation="get_account",status="2xx"' in name]
    assert answered, "the token was valid"


def assert_healthy(api: ApiProcess) -> None:
    """Assert that the process is ready and has answered no request with a 5xx."""
    assert readiness(api.operations_port)[0] == 200
    failed = [name for name, value in scrape(api.operations_port).items() if 'status="5xx"' in name and value]
    assert not failed, api.log.read_text()[-4000:]


def request_from(rng: random.Random, operations: Sequence[tuple[str, str]]) -> bytes:
    """Return a request with some of its bytes changed."""
    method, path = rng.choice(operations)
    body = rng.choice((b"", b"{}", b'{"device_id":"x"}', b"[" * 500, b'{"a":1e999}', rng.randbytes(20)))
    token = rng.choice(("", "x", "a.b.c", "\xff"))
    request = bytearray(
        f"{method} {path.replace('{', '').replace('}', '')}{rng.choice(('', '?limit=x', '?%ff=%00'))} HTTP/1.1\r\n"
        f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {rng.choice(('', 'a', 'x' * 300))}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
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
    """Return the status of the response; None if the server waits for more data or closes the connection."""
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
async def test_no_bytes_cause_a_server_error(api: ApiProcess, seed: int) -> None:
    document = await read_document(api)
    operations = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
    rng = random.Random(seed)
    found: set[int | None] = set()
    for number in range(REQUESTS):
        request = request_from(rng, operations)
        status = await status_of(api.port, request)
        assert status is None or status < 500, (seed, number, request)
        found.add(status)
    assert 400 in found, "some requests were not HTTP"
    assert readiness(api.operations_port)[0] == 200
