"""The accounts over HTTP, at two processes of the role `api` on real stores."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from pymongo import MongoClient

from tests.harness.api_process import ApiProcess
from tests.harness.shard_process import scrape
from tickwire.server.config import Settings

SECRET = "0123456789abcdef0123456789abcdef"
ENVIRON = {
    "TICKWIRE__ACCOUNTS__SECRET": "a secret of the fleet of 32 characters or more",
    "TICKWIRE__ACCOUNTS__PASSWORDS__MEMORY_KIB": "8192",
    "TICKWIRE__API__PLAYER_URL": "wss://play.game.example",
}


class AccountCaller:
    """A client that calls the processes in turn."""

    def __init__(self, session: aiohttp.ClientSession, urls: list[str]) -> None:
        self._session = session
        self._urls = urls
        self._calls = 0

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", key: str = "", status: int = 200
    ) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        self._calls += 1
        url = self._urls[self._calls % len(self._urls)] + path
        async with self._session.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status == status, text
            self.headers = response.headers
            return (
                msgspec.json.decode(text)
                if "json" in response.content_type and "jsonl" not in response.content_type
                else text
            )

    async def device(self, name: str) -> Any:
        return await self.call("POST", "/v1/login/device", {"device_id": f"{name:->20}", "secret": SECRET})


@pytest.fixture
async def processes(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[list[ApiProcess]]:
    made = [ApiProcess(shard_settings, tmp_path, ENVIRON) for _ in range(2)]
    try:
        for process in made:
            await process.ready()
        yield made
    finally:
        for process in made:
            process.stop()


@pytest.fixture
async def client(processes: list[ApiProcess]) -> AsyncIterator[AccountCaller]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield AccountCaller(session, [process.url for process in processes])


async def test_a_player_lives_through_all_operations(client: AccountCaller, processes: list[ApiProcess]) -> None:
    phone, tablet = await client.device("phone"), await client.device("tablet")
    assert phone["is_new"]
    assert phone["player_url"] == "wss://play.game.example"
    assert not (await client.device("phone"))["is_new"]
    token = phone["access_token"]

    email = {"email": "Ann@x.example", "password": "correct horse"}
    account = await client.call("POST", "/v1/account/identities/email", email, token=token)
    assert [one["provider"] for one in account["identities"]] == ["device", "email"]
    assert "password" not in account["identities"][1]
    other = email | {"password": "another horse"}
    await client.call("POST", "/v1/account/identities/email", other, token=token, status=409)
    taken = await client.call("POST", "/v1/account/identities/email", email, token=tablet["access_token"], status=409)
    assert taken["code"] == "IDENTITY_TAKEN"
    assert phone["player_id"] not in str(taken)

    found = await client.call("POST", "/v1/login/email", email)
    assert found["player_id"] == phone["player_id"]
    again = await client.call("POST", "/v1/login/email", email | {"known_client": found["known_client"]})
    renewed = await client.call("POST", "/v1/token", {"refresh_token": again["refresh_token"]})
    assert renewed["player_id"] == phone["player_id"]
    assert renewed["refresh_token"] != again["refresh_token"]

    change = {"old": "correct horse", "new": "battery staple"}
    await client.call("POST", "/v1/account/password", change, token=token, status=204)
    await client.call("POST", "/v1/token", {"refresh_token": renewed["refresh_token"]}, status=401)
    await client.call("POST", "/v1/login/email", email, status=401)

    for _ in range(2):  # the second answer is the stored one
        merged = await client.call(
            "POST", "/v1/account/merge", {"refresh_token": tablet["refresh_token"]}, token=token, key="merge-1"
        )
        assert len(merged["identities"]) == 3
    assert client.headers["Idempotent-Replayed"] == "true"
    await client.call("GET", "/v1/account", token=tablet["access_token"], status=401)
    assert (await client.device("tablet"))["player_id"] == phone["player_id"]

    await client.call("DELETE", f"/v1/account/identities/device/{'phone':->20}", token=token)
    account = await client.call("GET", "/v1/account", token=token)
    assert len(account["identities"]) == 2
    export = await client.call("GET", "/v1/account/export", token=token)
    assert "ann@x.example" in export
    assert "argon2" not in export
    lines = [msgspec.json.decode(line) for line in export.splitlines()]
    assert lines[0]["tickwire"] == "player"

    await client.call("DELETE", "/v1/account", token=token, status=204)
    await client.call("GET", "/v1/account", token=token, status=401)
    assert (await client.device("tablet"))["is_new"]
    totals = [scrape(process.operations_port) for process in processes]
    count = sum(
        one.get('tickwire_account_operations_total{operation="login_email",result="UNAUTHORIZED"}', 0)
        for one in totals
    )
    assert count == 1


async def test_a_banned_player_gets_no_tokens(client: AccountCaller, shard_settings: Settings) -> None:
    phone = await client.device("phone")
    with MongoClient[dict[str, Any]](shard_settings.mongo.url) as mongo:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        ban = {"_id": phone["player_id"], "until": until, "reason": "cheating"}
        mongo[shard_settings.mongo.database]["bans"].insert_one(ban)
    refresh = {"refresh_token": phone["refresh_token"]}
    for path, body in (
        ("/v1/token", refresh),
        ("/v1/login/device", {"device_id": f"{'phone':->20}", "secret": SECRET}),
    ):
        problem = await client.call("POST", path, body, status=403)
        assert problem["code"] == "BANNED"
        assert "cheating" in problem["detail"]


async def test_a_logout_ends_the_tokens(client: AccountCaller) -> None:
    phone = await client.device("phone")
    other = await client.device("phone")
    await client.call("POST", "/v1/logout", {"refresh_token": phone["refresh_token"]}, status=204)
    await client.call("GET", "/v1/account", token=phone["access_token"], status=401)
    await client.call("GET", "/v1/account", token=other["access_token"])
    body = {"refresh_token": other["refresh_token"], "everywhere": True}
    await client.call("POST", "/v1/logout", body, status=204)
    await client.call("GET", "/v1/account", token=other["access_token"], status=401)


BAD_BODIES: tuple[tuple[str, Any], ...] = (
    ("/v1/login/device", {"device_id": "short", "secret": SECRET}),
    ("/v1/login/device", {"device_id": "d" * 20, "secret": "s" * 31}),
    ("/v1/login/device", {"device_id": "d" * 20, "secret": "s" * 40}),
    ("/v1/login/device", {"device_id": "d" * 20, "secret": SECRET, "admin": True}),
    ("/v1/login/email", {"email": "no address", "password": "correct horse"}),
    ("/v1/login/email", {"email": "a@x.example", "password": "seven77"}),
    ("/v1/login/email", {"email": "a@x.example", "password": "x" * 129}),
    ("/v1/login/email", {"email": "a" * 400 + "@x.example", "password": "correct horse"}),
    ("/v1/token", {"refresh_token": "x" * 300}),
    ("/v1/logout", {}),
)
BAD_TOKENS = ("", "x", "a.b.c", "x" * 5000, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwLTEifQ.")


async def test_bad_bodies_and_bad_tokens_are_refused(client: AccountCaller) -> None:
    for path, body in BAD_BODIES:
        problem = await client.call("POST", path, body, status=400)
        assert problem["code"] in ("INVALID_ARGUMENT", "MALFORMED")
        assert SECRET not in str(problem)
    for token in BAD_TOKENS:
        for method, path in (("GET", "/v1/account"), ("DELETE", "/v1/account"), ("GET", "/v1/account/export")):
            problem = await client.call(method, path, token=token, status=401)
            assert problem["code"] == "UNAUTHORIZED"


async def test_too_many_failures_lock_strangers_out_and_not_the_owner(client: AccountCaller) -> None:
    email = {"email": "ann@x.example", "password": "correct horse"}
    owner = await client.call("POST", "/v1/login/email", email | {"create": True})
    wrong = email | {"password": "wrong horse"}
    for _ in range(10):
        await client.call("POST", "/v1/login/email", wrong, status=401)
    problem = await client.call("POST", "/v1/login/email", wrong, status=429)
    assert problem["code"] == "RATE_LIMITED"
    assert int(client.headers["Retry-After"]) > 60
    await client.call("POST", "/v1/login/email", email, status=429)
    known = await client.call("POST", "/v1/login/email", email | {"known_client": owner["known_client"]})
    assert known["player_id"] == owner["player_id"]
