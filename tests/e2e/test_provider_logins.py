"""Logins with providers over HTTP: a real OpenID Connect issuer, and a server that speaks Steam's Web API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import oidc_provider_mock

from tests.harness.api_process import ApiProcess
from tests.harness.provider_servers import CLIENT, STEAM_KEY, TICKET, sign_in, steam_server
from tests.harness.shard_process import scrape
from tickwire.server.config import Settings

SECRET = "a secret of the fleet of 32 characters or more"


class ProviderCaller:
    """A client of the API that expects a status."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def post(self, path: str, body: Any, *, token: str = "", status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.post(self._url + path, json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)


async def test_identities_of_providers_log_in_and_are_linked(shard_settings: Settings, tmp_path: Path) -> None:
    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        async with steam_server() as steam:
            environ = {
                "ACCOUNTS__SECRET": SECRET,
                "ACCOUNTS__PROVIDERS__OIDC_ISSUERS__TEST": issuer,
                "ACCOUNTS__PROVIDERS__OIDC_CLIENTS__TEST": CLIENT,
                "ACCOUNTS__PROVIDERS__STEAM_APP_ID": "480",
                "ACCOUNTS__PROVIDERS__STEAM_KEY": STEAM_KEY,
                "ACCOUNTS__PROVIDERS__STEAM_URL": steam.url,
            }
            made = ApiProcess(shard_settings, tmp_path, {f"TICKWIRE__{name}": text for name, text in environ.items()})
            try:
                await made.ready()
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                    await play_through(ProviderCaller(session, made.url), issuer)
                metrics = scrape(made.operations_port)
                assert metrics['tickwire_account_operations_total{operation="verify_oidc",result="ok"}'] >= 3
                log = made.log.read_text()
                assert STEAM_KEY not in log
                assert TICKET not in log
            finally:
                made.stop()


async def play_through(api: ProviderCaller, issuer: str) -> None:
    first = await api.post("/v1/login/oidc/test", {"id_token": await sign_in(issuer, "ann"), "create": True})
    assert first["is_new"]
    again = await api.post("/v1/login/oidc/test", {"id_token": await sign_in(issuer, "ann", "n"), "nonce": "n"})
    assert (again["player_id"], again["is_new"]) == (first["player_id"], False)
    nobody = {"id_token": await sign_in(issuer, "nobody"), "create": False}
    assert (await api.post("/v1/login/oidc/test", nobody, status=401))["code"] == "UNAUTHORIZED"

    linked = await api.post("/v1/account/identities/steam", {"ticket": TICKET}, token=first["access_token"])
    assert {one["provider"] for one in linked["identities"]} == {"oidc-test", "steam"}
    by_steam = await api.post("/v1/login/steam", {"ticket": TICKET})
    assert by_steam["player_id"] == first["player_id"]

    other = await api.post("/v1/login/oidc/test", {"id_token": await sign_in(issuer, "bob")})
    taken = await api.post(
        "/v1/account/identities/steam", {"ticket": TICKET}, token=other["access_token"], status=409
    )
    assert taken["code"] == "IDENTITY_TAKEN"
    assert first["player_id"] not in str(taken)

    forged = {"id_token": (await sign_in(issuer, "ann"))[:-8] + "AAAAAAAA"}
    await api.post("/v1/login/oidc/test", forged, status=401)
    await api.post("/v1/login/oidc/unknown", {"id_token": "x"}, status=404)
    await api.post("/v1/login/apple", {"identity_token": "x"}, status=404)
    await api.post("/v1/login/steam", {"ticket": "no ticket"}, status=400)
    await api.post("/v1/account/identities/steam", {"ticket": TICKET}, status=401)
