"""The client of accounts against a small API on loopback that follows the documented rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tickwire.client import AccountClient, ApiError, ApiUnreachable, NotLoggedIn, api_calls


class Storage:
    """A storage in memory, which outlives the client."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.saved: list[dict[str, Any]] = []

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text = text
        self.saved.append(json.loads(text))

    async def clear(self) -> None:
        self.text = None


class Api:
    """Accepts each refresh token once, and records the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, Any], dict[str, str]]] = []
        self.failures: list[web.Response] = []
        self.refresh = 0
        self.held = asyncio.Event()
        self.held.set()
        self.expires_in_s = 900
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        self.requests.append((request.method, request.path_qs, body, dict(request.headers)))
        await self.held.wait()
        if self.failures:
            return self.failures.pop(0)
        if request.path == "/v1/token" and body["refresh_token"] != f"r{self.refresh}":
            return problem(401, "UNAUTHORIZED")
        if request.path == "/v1/token" or request.path.startswith("/v1/login/"):
            self.refresh += 1
            return web.json_response(
                {
                    "player_id": "p-1",
                    "is_new": request.path != "/v1/token",
                    "access_token": f"a{self.refresh}",
                    "expires_in_s": self.expires_in_s,
                    "refresh_token": f"r{self.refresh}",
                    "refresh_expires_in_s": 1000,
                    "player_url": "ws://127.0.0.1:1",
                    "known_client": "k" if request.path.endswith("email") else "",
                }
            )
        if request.path == "/v1/account/export":
            return web.Response(text='{"kind":"player"}\n{}\n', content_type="application/jsonl")
        if request.path == "/v1/account" and request.method == "GET":
            return web.json_response({"player_id": "p-1", "created_at": "2026-01-01T00:00:00Z", "identities": []})
        return web.Response(status=204)

    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.requests]


def problem(status: int, code: str, **headers: str) -> web.Response:
    body = json.dumps({"title": "x", "status": status, "code": code, "detail": "why"})
    return web.Response(status=status, text=body, content_type="application/problem+json", headers=headers)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()


async def test_device_credentials_are_saved_before_they_are_sent(api: Api) -> None:
    storage = Storage()
    api.failures = [problem(403, "BANNED")]
    with pytest.raises(ApiError) as refused:
        await AccountClient(api.url, storage=storage).login_device()
    assert refused.value.code == "BANNED"
    sent = api.requests[0][2]
    assert storage.saved[0]["device_id"] == sent["device_id"], "a lost response loses no account"
    assert len(sent["secret"]) >= 32

    assert await AccountClient(api.url, storage=storage).login_device()
    assert api.requests[1][2] == sent, "the next start uses the same credentials"


async def test_a_login_is_restored_after_a_restart(api: Api) -> None:
    storage = Storage()
    await AccountClient(api.url, storage=storage).login_device()
    client = AccountClient(api.url, storage=storage)
    assert await client.restore()
    assert (client.player_id, client.player_url) == ("p-1", "ws://127.0.0.1:1")
    assert await client.token() == "a2"
    assert api.paths() == ["/v1/login/device", "/v1/token"]


async def test_a_login_of_another_api_is_not_sent(api: Api) -> None:
    storage = Storage()
    await AccountClient("http://localhost:9", storage=storage)._login.prepare_device()
    device = storage.saved[-1]["device_id"]
    client = AccountClient(api.url, storage=storage)
    assert not await client.restore()
    await client.login_device()
    assert api.requests[0][2]["device_id"] != device


async def test_a_token_is_renewed_once_for_all_callers(api: Api) -> None:
    clock = [0.0]
    client = AccountClient(api.url, now_s=lambda: clock[0])
    await client.login_device()
    clock[0] = 839.0
    assert await client.token() == "a1"
    clock[0] = 841.0
    assert await asyncio.gather(*(client.token() for _ in range(5))) == ["a2"] * 5
    assert api.paths().count("/v1/token") == 1


async def test_a_token_is_renewed_after_the_computer_has_slept(api: Api) -> None:
    asleep = [0.0]
    client = AccountClient(api.url, now_s=lambda: 0.0)
    client._login._clocks = (lambda: 0.0, lambda: asleep[0])
    await client.login_device()
    asleep[0] = 839.0
    assert await client.token() == "a1"
    asleep[0] = 841.0
    assert await client.token() == "a2"
    asleep[0] = -3600.0
    assert await client.token() == "a2", "a clock that is set back does not matter"


async def test_a_renewal_survives_the_cancellation_of_its_caller(api: Api) -> None:
    storage = Storage()
    client = AccountClient(api.url, storage=storage, now_s=lambda: 0.0)
    api.expires_in_s = 10
    await client.login_device()
    api.held.clear()
    calling = asyncio.create_task(client.token())
    while len(api.requests) < 2:
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    api.held.set()
    api.expires_in_s = 900
    assert await client.token() == "a2"
    assert storage.saved[-1]["refresh_token"] == "r2", "the response of the cancelled call was saved"


async def test_programs_with_one_storage_renew_the_login_in_turns(api: Api) -> None:
    storage, clock = Storage(), [0.0]
    first = AccountClient(api.url, storage=storage, now_s=lambda: clock[0])
    await first.login_device()
    second = AccountClient(api.url, storage=storage, now_s=lambda: clock[0])
    assert await second.restore()
    clock[0] = 850.0
    assert [await first.token(), await second.token()] == ["a3", "a4"]
    assert [body.get("refresh_token") for _, _, body, _ in api.requests[1:]] == ["r1", "r2", "r3"], (
        "none is used twice"
    )
    await first.logout()
    assert api.requests[-1][2]["refresh_token"] == "r4"


async def test_a_token_that_another_program_has_used_during_the_call_does_not_end_the_login(api: Api) -> None:
    storage = Storage()
    await AccountClient(api.url, storage=storage).login_device()
    api.held.clear()
    restoring = asyncio.create_task(AccountClient(api.url, storage=storage).restore())
    while len(api.requests) < 2:
        await asyncio.sleep(0.01)
    api.refresh = 2
    storage.text = json.dumps(storage.saved[-1] | {"refresh_token": "r2"})
    api.held.set()
    assert await restoring
    assert storage.saved[-1]["refresh_token"] == "r3"


async def test_a_program_uses_the_device_of_another_one_with_its_storage(api: Api) -> None:
    storage = Storage()
    first, second = AccountClient(api.url, storage=storage), AccountClient(api.url, storage=storage)
    assert not await second.restore()
    await first.login_device()
    await second.login_device()
    assert api.requests[0][2] == api.requests[1][2]


async def test_a_login_that_cannot_be_saved_is_used_until_it_can(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, clock = Storage(), [0.0]
    client = AccountClient(api.url, storage=storage, now_s=lambda: clock[0])
    await client.login_device()
    clock[0] = 850.0
    with monkeypatch.context() as patch:
        patch.setattr(storage, "save", lambda text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await client.token()
        assert await client.token() == "a2"
    clock[0] = 1700.0
    assert await client.token() == "a3", "the older token in the storage is not used"
    assert storage.saved[-1]["refresh_token"] == "r3"


async def test_a_page_instead_of_a_login_is_an_error_of_the_api(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage()
    await AccountClient(api.url, storage=storage).login_device()
    for body in ("<html>", "{}"):
        api.failures = [web.Response(text=body)]
        with pytest.raises(ApiError) as failed:
            await AccountClient(api.url, storage=storage).restore()
        assert (failed.value.status, failed.value.detail) == (502, "the response is not a login")
    assert storage.saved[-1]["refresh_token"] == "r1"


async def test_an_ended_login_is_reported_and_keeps_the_device(api: Api) -> None:
    storage = Storage()
    client = AccountClient(api.url, storage=storage)
    await client.login_device()
    device = storage.saved[-1]["device_id"]
    api.refresh = 7
    assert not await AccountClient(api.url, storage=storage).restore()
    with pytest.raises(NotLoggedIn):
        await AccountClient(api.url, storage=storage).token()
    assert storage.saved[-1]["refresh_token"] == ""
    assert storage.saved[-1]["version"] == 1, "all clients write it"
    assert storage.saved[-1]["device_id"] == device


async def test_an_unavailable_api_is_asked_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.client.backoff.FIRST_MS", 1)
    api.failures = [
        problem(503, "UNAVAILABLE"),
        web.Response(status=502, text="<html>"),
        problem(429, "RATE_LIMITED"),
    ]
    client = AccountClient(api.url)
    assert await client.login_device()
    keys = {headers["Idempotency-Key"] for _, _, _, headers in api.requests}
    assert len(api.requests) == 4
    assert len(keys) == 1, "a repetition has the key of the first call"


async def test_a_long_retry_after_is_left_to_the_caller(api: Api) -> None:
    api.failures = [problem(429, "RATE_LIMITED", **{"Retry-After": "3600"})]
    with pytest.raises(ApiError) as refused:
        await AccountClient(api.url).login_email("ann@x.example", "correct horse")
    assert refused.value.retry_after_s == 3600
    assert len(api.requests) == 1


async def test_an_unreachable_api_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_calls, "ATTEMPTS_MAX", 1)
    with pytest.raises(ApiUnreachable):
        await AccountClient("http://127.0.0.1:9").login_device()


async def test_a_refused_access_token_is_renewed_once(api: Api) -> None:
    client = AccountClient(api.url)
    await client.login_device()
    api.failures = [problem(401, "UNAUTHORIZED")]
    assert (await client.get_account()).player_id == "p-1"
    assert api.paths() == ["/v1/login/device", "/v1/account", "/v1/token", "/v1/account"]
    assert api.requests[-1][3]["Authorization"] == "Bearer a2"


async def test_a_known_client_is_sent_with_the_next_password(api: Api) -> None:
    storage = Storage()
    client = AccountClient(api.url, storage=storage)
    await client.login_email("ann@x.example", "correct horse", create=True)
    await client.logout()
    await client.login_email("ann@x.example", "correct horse")
    assert "known_client" not in api.requests[0][2]
    assert api.requests[-1][2]["known_client"] == "k"


async def test_a_merge_and_a_deletion_end_the_saved_logins(api: Api) -> None:
    storage, other_storage = Storage(), Storage()
    client, other = AccountClient(api.url, storage=storage), AccountClient(api.url, storage=other_storage)
    await client.login_device()
    await other.login_device()
    await client.merge(other)
    assert api.requests[-1][2] == {"refresh_token": "r2"}
    assert other.player_id == ""
    await client.delete()
    assert storage.text is None


async def test_an_export_is_json_lines(api: Api) -> None:
    client = AccountClient(api.url)
    await client.login_device()
    assert await client.export() == '{"kind":"player"}\n{}\n'


async def test_subjects_are_quoted_in_paths(api: Api) -> None:
    client = AccountClient(api.url)
    await client.login_device()
    await client.unlink("email", "a/b?@x.example")
    assert api.paths()[-1] == "/v1/account/identities/email/a%2Fb%3F@x.example"


def test_passwords_are_not_sent_in_plaintext() -> None:
    with pytest.raises(ValueError, match="https"):
        AccountClient("http://api.game.example")
