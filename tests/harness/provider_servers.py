"""Providers of identities for tests: a login at an OpenID Connect issuer, and a server that speaks Steam's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web

CLIENT = "the-game"
STEAM_KEY = "0123456789ABCDEF0123456789ABCDEF"
TICKET = "14" * 120


async def sign_in(issuer: str, player: str, nonce: str = "", client: str = CLIENT) -> str:
    """Sign in at the issuer by the authorization-code flow, as a game client does, and return the ID token."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        async with session.get(f"{issuer}/.well-known/openid-configuration") as answer:
            metadata = await answer.json()
        query = {"client_id": client, "response_type": "code", "scope": "openid", "redirect_uri": "game://signed-in"}
        query |= {"nonce": nonce} if nonce else {}
        form = {"sub": player}
        async with session.post(
            metadata["authorization_endpoint"], params=query, data=form, allow_redirects=False
        ) as answer:
            assert answer.status == 302, await answer.text()
            code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "game://signed-in"}
        auth = aiohttp.BasicAuth(client, "any")
        async with session.post(metadata["token_endpoint"], data=form, auth=auth) as answer:
            assert answer.status == 200, await answer.text()
            token: str = (await answer.json())["id_token"]
            return token


class FakeSteam:
    """A server that speaks `AuthenticateUserTicket`.

    Attributes:
        answer: the document, a status, or None to answer never.
        requests: the requests that it has received.
    """

    def __init__(self) -> None:
        self.answer: dict[str, Any] | int | bytes | None = {
            "response": {"params": {"result": "OK", "steamid": "76561197960287930", "publisherbanned": False}}
        }
        self.requests: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.answer is None:
            await asyncio.sleep(30)
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, headers={"Location": self.url + "/elsewhere"})
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def steam_server() -> AsyncIterator[FakeSteam]:
    steam = FakeSteam()
    app = web.Application()
    app.router.add_get("/{path:.*}", steam.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    steam.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield steam
    finally:
        await runner.cleanup()
