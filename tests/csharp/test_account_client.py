"""The C# client of accounts over HTTP: with a small API on loopback, and with `tickwire api` and a shard."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from tests.csharp.conftest import ROOT, RUNTIME
from tests.harness.api_process import ApiProcess
from tests.harness.shard_process import running
from tests.unit.test_account_client import Api, problem
from tickwire.server.config import Settings
from tickwire.services.accounts.settings import AccountSettings

SECRET = "a secret of the fleet of 32 characters or more"


async def call(program: Path, url: str, file: Path, *calls: str) -> list[str]:
    """Run the program with the login of a file, and return the line of each call."""
    process = await asyncio.create_subprocess_exec(
        *(str(RUNTIME), str(program), str(ROOT), "account", url, str(file), *calls),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, said.decode()
    return said.decode().splitlines()


@pytest.fixture
async def small_api() -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()


async def test_a_login_is_sent_saved_and_renewed(program: Path, small_api: Api, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    small_api.failures = [problem(503, "UNAVAILABLE")]
    assert await call(program, small_api.url, file, "device", "get", "link-email é@x.example pass") == [
        "True p-1",
        "p-1 0",
        "link-email",
    ]
    saved = json.loads(file.read_text())
    method, path, body, headers = small_api.requests[0]
    assert (method, path) == ("POST", "/v1/login/device")
    assert body == {"device_id": saved["device_id"], "secret": saved["device_secret"], "create": True}
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == small_api.requests[1][3]["Idempotency-Key"]
    assert small_api.requests[2][3]["Authorization"] == "Bearer a1"
    assert small_api.requests[3][2]["email"] == "é@x.example"
    assert await call(program, small_api.url, file, "restore", "token") == ["True p-1", "a2"]
    assert small_api.requests[-1][2] == {"refresh_token": "r1"}
    assert json.loads(file.read_text()) == {**saved, "refresh_token": "r2"}


async def test_subjects_are_quoted_in_paths(program: Path, small_api: Api, tmp_path: Path) -> None:
    await call(program, small_api.url, tmp_path / "login.json", "device", "unlink email a/b?@x.example")
    assert small_api.requests[-1][:2] == ("DELETE", "/v1/account/identities/email/a%2Fb%3F%40x.example")


async def test_errors_have_their_code_and_delay(program: Path, small_api: Api, tmp_path: Path) -> None:
    small_api.failures = [
        problem(429, "RATE_LIMITED", **{"Retry-After": "3600"}),
        problem(409, "IDENTITY_TAKEN"),
        web.Response(status=302, headers={"Location": "/v1/login/device"}),
        web.Response(body=b" " * (9 << 20)),
    ]
    calls = ["email a@x.example p", "device", "device", "device", "merge other.json", "token"]
    said = await call(program, small_api.url, tmp_path / "login.json", *calls)
    assert said[:3] == [
        "ApiException 429 RATE_LIMITED 3600000",
        "ApiException 409 IDENTITY_TAKEN 0",
        "ApiException 302 INTERNAL 0",
    ]
    assert said[3] == "True p-1", "a response that is too large is asked for again"
    assert len(small_api.requests) == 5
    assert said[4] == "NotLoggedInException"
    assert said[5] == "a1"


async def test_an_unreachable_api_is_reported(program: Path, tmp_path: Path) -> None:
    said = await call(program, "http://127.0.0.1:9", tmp_path / "login.json", "device")
    assert said == ["ApiUnreachableException 503 UNAVAILABLE 0"]


async def test_a_player_plays_on_a_shard_with_its_account(
    program: Path, shard_settings: Settings, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        shard_settings,
        auth=msgspec.structs.replace(shard_settings.auth, guests=False, accounts=True),
        accounts=AccountSettings(secret=SECRET),
    )
    async with running(settings) as shard:
        api = ApiProcess(
            shard_settings,
            tmp_path,
            {
                "TICKWIRE__ACCOUNTS__SECRET": SECRET,
                "TICKWIRE__ACCOUNTS__PASSWORDS__MEMORY_KIB": "8192",
                "TICKWIRE__API__PLAYER_URL": shard.url,
            },
        )
        try:
            await api.ready()
            await _play(program, api.url, tmp_path)
        finally:
            api.stop()


async def _play(program: Path, url: str, folder: Path) -> None:
    phone, tablet = folder / "phone.json", folder / "tablet.json"
    said = await call(
        program, url, phone, "device", "connect garden", "link-email ann@x.example correct-horse", "get"
    )
    player = said[0].removeprefix("True ")
    assert said == [f"True {player}", "joined", "link-email", f"{player} 2"]

    said = await call(program, url, tablet, "device", "link-email ANN@x.example other-horse")
    assert said[0].startswith("True p-")
    assert said[0] != f"True {player}"
    assert said[1] == "ApiException 409 IDENTITY_TAKEN 0"
    said = await call(program, url, phone, f"merge {tablet}", "get", "unlink email ann@x.example", "export")
    assert said[:3] == ["merge", f"{player} 3", "unlink"]
    assert player in said[3]
    said = await call(
        program, url, tablet, "token", "device", "connect garden", "logout everywhere", "device", "delete"
    )
    assert said == ["NotLoggedInException", f"False {player}", "joined", "logout", f"False {player}", "delete"]
    assert not tablet.exists()
    assert await call(program, url, phone, "restore") == ["False "]
