"""Logs a player in over the player HTTP API, keeps and renews the tokens, and connects.

    account = AccountClient("https://api.game.example", storage=FileStorage("login.json"))
    await account.login_device()
    async with account.connect() as client:
        await client.join("arena")

A player begins with the account of the device, and may link an e-mail address later (`link_email`): then the same
account opens on another device with `login_email`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import msgspec

from tickwire.client.account_errors import ApiError
from tickwire.client.api_calls import ApiCalls, decode_body
from tickwire.client.client import Client, connect
from tickwire.client.login import Login
from tickwire.client.session_storage import SessionStorage


class AccountDetails(msgspec.Struct, frozen=True):
    """An account, as the API describes it.

    Args:
        player_id: identifies the player.
        identities: the identities that open the account: provider, subject and when they were linked.
        created_at: RFC 3339.
    """

    player_id: str
    identities: tuple[dict[str, Any], ...] = ()
    created_at: str = ""


class AccountClient:
    """The account of one player.

    Args:
        api_url: the URL of the player HTTP API; https, or http on loopback.
        storage: keeps the login between runs of the program; None: it ends with the program. Its text logs the
            player in: keep it as secret as a password.
        now_s: a monotonic clock, seconds.

    Raises:
        ValueError: the URL is not valid.
    """

    def __init__(
        self,
        api_url: str,
        *,
        storage: SessionStorage | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = ApiCalls(api_url)
        self._login = Login(self._calls, storage, now_s)

    # -- log in ---------------------------------------------------------------------------------------------

    @property
    def player_id(self) -> str:
        """The player who is logged in; empty without one."""
        return self._login.saved.player_id

    @property
    def player_url(self) -> str:
        """The WebSocket address for players; empty if the server has not sent one."""
        return self._login.saved.player_url

    async def restore(self) -> bool:
        """Continue the saved login, and return whether there is one.

        Raises:
            ApiError: the API does not answer.
        """
        return await self._login.restore()

    async def login_device(self, *, create: bool = True) -> bool:
        """Log in with the account of this device; return whether it was created.

        The credentials of the device are saved before they are sent, so that a lost response loses no account.

        Args:
            create: whether to create an account if the device has none.

        Raises:
            ApiError: the API does not answer or has refused the login.
        """
        saved = await self._login.prepare_device()
        body = {"device_id": saved.device_id, "secret": saved.device_secret, "create": create}
        return await self._login.log_in("/v1/login/device", lambda saved: body)

    async def login_email(self, email: str, password: str, *, create: bool = False) -> bool:
        """Log in with an e-mail address; return whether the account was created.

        Raises:
            ApiError: as `login_device`.
        """
        body = {"email": email, "password": password, "create": create}
        return await self._login.log_in(
            "/v1/login/email",
            lambda saved: body | ({"known_client": saved.known_client} if saved.known_client else {}),
        )

    async def login_oidc(self, issuer: str, id_token: str, *, nonce: str = "", create: bool = True) -> bool:
        """Log in with an ID token of an OpenID Connect issuer; return whether the account was created.

        Args:
            issuer: the name of the issuer in the server's settings.
            id_token: the token that the issuer has issued to the game.
            nonce: the nonce that the game has sent to the issuer.
            create: whether to create an account if no account has the identity.

        Raises:
            ApiError: as `login_device`.
        """
        body = {"id_token": id_token, "create": create} | ({"nonce": nonce} if nonce else {})
        return await self._login.log_in(f"/v1/login/oidc/{quote(issuer, safe='')}", lambda saved: body)

    async def login_steam(self, ticket: str, *, create: bool = True) -> bool:
        """Log in with a Steam session ticket, hexadecimal; return whether the account was created.

        Raises:
            ApiError: as `login_device`.
        """
        body = {"ticket": ticket, "create": create}
        return await self._login.log_in("/v1/login/steam", lambda saved: body)

    async def login_apple(self, identity_token: str, *, nonce: str = "", create: bool = True) -> bool:
        """Log in with an identity token of Sign in with Apple; return whether the account was created.

        Raises:
            ApiError: as `login_device`.
        """
        body = {"identity_token": identity_token, "create": create} | ({"nonce": nonce} if nonce else {})
        return await self._login.log_in("/v1/login/apple", lambda saved: body)

    async def logout(self, *, everywhere: bool = False) -> None:
        """End the login. The credentials of the device stay, so that `login_device` opens the same account.

        Args:
            everywhere: end the logins of all devices, and all sessions.

        Raises:
            ApiError: the API does not answer; the login stays.
        """
        await self._login.end(everywhere=everywhere)

    # -- tokens and sessions --------------------------------------------------------------------------------

    async def token(self) -> str:
        """Return a valid access token, and renew it before it ends. One renewal runs at a time.

        Raises:
            NotLoggedIn: no player is logged in, or the server has ended the login.
            ApiError: the API does not answer.
        """
        return await self._login.token()

    @asynccontextmanager
    async def connect(self, url: str = "", **options: Any) -> AsyncIterator[Client]:
        """Open a session of the player, and end it at the end of the block; see `tickwire.client.connect`.

        Args:
            url: the WebSocket address for players; by default the one that the server has sent.
            options: the other arguments of `tickwire.client.connect`.

        Raises:
            NotLoggedIn: no player is logged in.
            ValueError: the server has sent no address; pass `url`.
            Disconnected, Refused: as `tickwire.client.connect`.
        """
        await self.token()
        address = url or self.player_url
        if not address:
            raise ValueError("the API has sent no address for players: pass url, or set api.player_url on the server")
        async with connect(address, token=self.token, **options) as client:
            yield client

    # -- the account ----------------------------------------------------------------------------------------

    async def get_account(self) -> AccountDetails:
        """Return the account with its identities.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        return msgspec.convert(await self._authorized("GET", "/v1/account"), AccountDetails)

    async def link_device(self) -> None:
        """Link this device to the account.

        Raises:
            NotLoggedIn: as `token`.
            ApiError: with code IDENTITY_TAKEN if the device opens another account.
        """
        saved = await self._login.prepare_device()
        await self._link("device", {"device_id": saved.device_id, "secret": saved.device_secret})

    async def link_email(self, email: str, password: str) -> None:
        """Link an e-mail address with a password: the account then opens on other devices.

        Raises:
            NotLoggedIn, ApiError: as `link_device`.
        """
        await self._link("email", {"email": email, "password": password})

    async def link_oidc(self, issuer: str, id_token: str, *, nonce: str = "") -> None:
        """Link an identity of an OpenID Connect issuer.

        Raises:
            NotLoggedIn, ApiError: as `link_device`.
        """
        body = {"id_token": id_token} | ({"nonce": nonce} if nonce else {})
        await self._link(f"oidc/{quote(issuer, safe='')}", body)

    async def link_steam(self, ticket: str) -> None:
        """Link a Steam account.

        Raises:
            NotLoggedIn, ApiError: as `link_device`.
        """
        await self._link("steam", {"ticket": ticket})

    async def link_apple(self, identity_token: str, *, nonce: str = "") -> None:
        """Link an Apple account.

        Raises:
            NotLoggedIn, ApiError: as `link_device`.
        """
        await self._link("apple", {"identity_token": identity_token} | ({"nonce": nonce} if nonce else {}))

    async def unlink(self, provider: str, subject: str) -> None:
        """Unlink an identity. The last one cannot be unlinked.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        path = f"/v1/account/identities/{quote(provider, safe='')}/{quote(subject, safe='')}"
        await self._authorized("DELETE", path)

    async def change_password(self, old: str, new: str) -> None:
        """Change the password. The logins of all other devices end.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        await self._authorized("POST", "/v1/account/password", {"old": old, "new": new})

    async def merge(self, other: AccountClient) -> None:
        """Merge another account into this one: its holdings and identities move here, and it ends.

        Args:
            other: a client that is logged in to the other account; it is logged out afterwards.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        await other.token()
        await self._authorized("POST", "/v1/account/merge", {"refresh_token": other._login.saved.refresh_token})
        await other._login.end(is_ended=True)

    async def export(self) -> str:
        """Return all data that the server stores about the player, as JSON lines.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        return (await self._fetch("GET", "/v1/account/export")).decode()

    async def delete(self) -> None:
        """Delete the account and all data of the player permanently, and the login and the device's credentials here.

        Raises:
            NotLoggedIn, ApiError: as `token`.
        """
        await self._authorized("DELETE", "/v1/account")
        await self._login.delete()

    # -- internals ------------------------------------------------------------------------------------------

    async def _link(self, provider: str, body: Mapping[str, Any]) -> None:
        await self._authorized("POST", f"/v1/account/identities/{provider}", body)

    async def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call as `_fetch` does, and return the decoded JSON."""
        return decode_body(await self._fetch(method, path, body))

    async def _fetch(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Call with the access token; renew the token once if the server refuses it, as after a revocation."""
        token = await self.token()
        try:
            return await self._calls.fetch(method, path, body, token=token)
        except ApiError as error:
            if error.status != 401 or error.code != "UNAUTHORIZED":
                raise
        self._login.discard_token(token)
        return await self._calls.fetch(method, path, body, token=await self.token())
