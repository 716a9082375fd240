"""The GDScript client of accounts: with a small API on loopback, and with `tickwire api` and a shard."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from tests.e2e.conftest import shard_settings
from tests.godot.scripts_project import create_scripts_project, errors_in, run_lines
from tests.harness.api_process import ApiProcess
from tests.harness.shard_process import running
from tests.unit.test_account_client import Api, problem
from tickwire.server.config import Settings
from tickwire.services.accounts.settings import AccountSettings

__all__ = ["shard_settings"]  # a fixture, used here

DEVICE = ("device_id", "device_secret")
SECRET = "a secret of the fleet of 32 characters or more"


class SmallApi(Api):
    """Refuses one access token."""

    revoked = ""

    async def handle(self, request: web.Request) -> web.Response:
        if self.revoked and request.headers.get("Authorization") == f"Bearer {self.revoked}":
            self.failures = [problem(401, "UNAUTHORIZED")]
        return await super().handle(request)


class Game:
    """Runs the script of calls."""

    def __init__(self, godot: list[str], project: Path) -> None:
        self._godot = godot
        self._project = project

    async def call(self, url: str, file: Path, *calls: str) -> list[str]:
        """Return what each call said."""
        lines, output = await run_lines(self._godot, self._project, "account.gd", url, str(file), *calls)
        assert errors_in(output) == [], output
        assert len(lines) == len(calls), output
        return [line["said"] for line in lines]


@pytest.fixture
def game(godot: list[str], tmp_path: Path) -> Game:
    return Game(godot, create_scripts_project(tmp_path))


@pytest.fixture
async def small_api() -> AsyncIterator[SmallApi]:
    api = SmallApi()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()


async def test_a_login_is_sent_saved_and_renewed(game: Game, small_api: SmallApi, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    small_api.failures = [problem(403, "BANNED"), problem(503, "UNAVAILABLE")]
    assert await game.call(small_api.url, file, "device") == ["ApiError 403 BANNED 0"]
    assert "device_id" in json.loads(file.read_text()), "a lost response loses no account"
    said = await game.call(small_api.url, file, "device", "get", "link-email é@x.example pass")
    assert said == ["true p-1", "p-1 0", "true"]
    saved = json.loads(file.read_text())
    assert saved.keys() == {"version", "api_url", "player_id", "refresh_token", "player_url", *DEVICE}
    assert (len(saved["device_id"]), len(saved["device_secret"]), saved["version"]) == (24, 43, 1)
    for method, path, body, headers in small_api.requests[:3]:
        assert (method, path) == ("POST", "/v1/login/device")
        assert body == {"device_id": saved["device_id"], "secret": saved["device_secret"], "create": True}
        assert headers["Content-Type"] == "application/json"
    keys = [headers.get("Idempotency-Key") for _, _, _, headers in small_api.requests]
    assert keys[0] != keys[1] == keys[2], "a repetition has the key of the first attempt"
    assert keys[3] is None
    assert small_api.requests[3][3]["Authorization"] == "Bearer a1"
    assert small_api.requests[4][2]["email"] == "é@x.example"

    said = await game.call(
        small_api.url, file, "restore", "advance 839", "token", "advance 2", "tokens", "unlink email a/b?@x.example"
    )
    assert said == ["true p-1", "", "a2", "", "a3 a3 a3 a3 a3", "true"]
    assert small_api.paths()[5:] == ["/v1/token", "/v1/token", "/v1/account/identities/email/a%2Fb%3F%40x.example"]
    assert json.loads(file.read_text()) == {**saved, "refresh_token": "r3"}


async def test_a_token_is_renewed_after_the_computer_has_slept(
    game: Game, small_api: SmallApi, tmp_path: Path
) -> None:
    calls = ["device", "sleep 839", "token", "sleep 2", "token", "sleep -3600", "token"]
    said = await game.call(small_api.url, tmp_path / "login.json", *calls)
    assert said[2::2] == ["a1", "a2", "a2"]


async def test_errors_have_their_code_and_delay(game: Game, small_api: SmallApi, tmp_path: Path) -> None:
    small_api.failures = [
        problem(429, "RATE_LIMITED", **{"Retry-After": "3600"}),
        problem(409, "IDENTITY_TAKEN"),
        web.Response(text="<html>"),
    ]
    file = tmp_path / "login.json"
    said = await game.call(small_api.url, file, "email a@x.example p", "device", "device", "token", "device")
    assert said[:2] == ["ApiError 429 RATE_LIMITED 3600000", "ApiError 409 IDENTITY_TAKEN 0"]
    assert said[2:] == ["ApiError 502 INTERNAL 0", "NotLoggedIn", "true p-1"]
    small_api.failures = [problem(401, "UNAUTHORIZED")]
    said = await game.call(small_api.url, file, "restore", "restore", "device")
    assert said == ["NotLoggedIn", "NotLoggedIn", "true p-1"]
    said = await game.call(small_api.url, tmp_path / "other.json", "merge x.json", "token")
    assert said == ["NotLoggedIn", "NotLoggedIn"]


async def test_a_known_client_is_sent_with_the_next_password(game: Game, small_api: SmallApi, tmp_path: Path) -> None:
    said = await game.call(
        small_api.url, tmp_path / "login.json", "email a@x.example p", "logout", "email a@x.example p"
    )
    assert said == ["true p-1", "true", "true p-1"]
    assert "known_client" not in small_api.requests[0][2]
    assert small_api.requests[2][2]["known_client"] == "k"


async def test_programs_with_one_storage_renew_the_login_in_turns(
    game: Game, small_api: SmallApi, tmp_path: Path
) -> None:
    file = tmp_path / "login.json"
    calls = ["device", "other restore", "advance 850", "token", "other token", "other device", "logout"]
    said = await game.call(small_api.url, file, "other token", *calls)
    assert said[2:] == ["true p-1", "", "a3", "a4", "true p-1", "true"]
    used = [body["refresh_token"] for _, _, body, _ in small_api.requests if "refresh_token" in body]
    assert used == ["r1", "r2", "r3", "r5"], "none is used twice"
    assert small_api.requests[0][2] == small_api.requests[4][2], "the device is the same"


async def test_a_refused_access_token_is_renewed_once(game: Game, small_api: SmallApi, tmp_path: Path) -> None:
    small_api.revoked = "a1"
    assert await game.call(small_api.url, tmp_path / "login.json", "device", "get") == ["true p-1", "p-1 0"]
    assert small_api.paths() == ["/v1/login/device", "/v1/account", "/v1/token", "/v1/account"]
    assert small_api.requests[-1][3]["Authorization"] == "Bearer a2"


async def test_an_api_that_cannot_be_used_is_reported(game: Game, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    assert await game.call("http://127.0.0.1:9", file, "device") == ["ApiUnreachable 503 UNAVAILABLE 0"]
    for url in ("http://api.game.example", "http://localhost.example", "http://localhost@x.example", "api"):
        assert await game.call(url, file, "device") == ["ClientError"], url


async def test_a_player_plays_on_a_shard_with_its_account(
    game: Game, shard_settings: Settings, tmp_path: Path
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
                "TICKWIRE__API__PLAYER_URL": f"{shard.url}/",
            },
        )
        try:
            await api.ready()
            await _play(game, api.url, tmp_path)
        finally:
            api.stop()


async def _play(game: Game, url: str, folder: Path) -> None:
    phone, tablet = folder / "phone.json", folder / "tablet.json"
    said = await game.call(url, phone, "device", "connect garden", "link-email ann@x.example correct-horse", "get")
    player = said[0].removeprefix("true ")
    assert said == [f"true {player}", "joined", "true", f"{player} 2"]

    said = await game.call(url, tablet, "device", "link-email ANN@x.example other-horse")
    assert said[0].startswith("true p-")
    assert said[1] == "ApiError 409 IDENTITY_TAKEN 0"
    said = await game.call(url, phone, f"merge {tablet}", "get", "unlink email ann@x.example", "export")
    assert said[:3] == ["true", f"{player} 3", "true"]
    assert player in said[3]
    said = await game.call(url, tablet, "token", "device", "connect garden", "logout everywhere", "device", "delete")
    assert said == ["NotLoggedIn", f"false {player}", "joined", "true", f"false {player}", "true"]
    assert not tablet.exists()
    assert await game.call(url, phone, "restore") == ["NotLoggedIn"]
