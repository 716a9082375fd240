"""The login of a player: saves it, and renews its tokens. One call of the API that changes it runs at a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from tickwire.client.account_errors import ApiError, NotLoggedIn
from tickwire.client.api_calls import ApiCalls
from tickwire.client.saved_login import SavedLogin, decode_login, encode_login
from tickwire.client.session_storage import SessionStorage

T = TypeVar("T")
RENEW_S = 60.0
"""An access token with less time left is renewed before it is used."""


class LoginResult(msgspec.Struct, frozen=True):
    """The response to a login or a renewal."""

    player_id: str
    access_token: str
    refresh_token: str
    expires_in_s: float
    is_new: bool = False
    player_url: str = ""
    known_client: str = ""


class Login:
    """The login of a player on one API.

    Args:
        calls: makes the calls of the API.
        storage: the application's storage; None: the login ends with the program.
        now_s: a monotonic clock, seconds.

    Attributes:
        saved: the login as it was saved last.
    """

    def __init__(self, calls: ApiCalls, storage: SessionStorage | None, now_s: Callable[[], float]) -> None:
        self.saved = SavedLogin(calls.url)
        self._calls = calls
        self._storage = storage
        # A monotonic clock may stop while the computer sleeps, and the clock of the computer may be set back.
        self._clocks = (now_s, time.time)
        self._stored_text = ""  # of the storage, as it was read or written last
        self._access_token = ""
        self._renew_at_s: list[float] = []  # by each clock
        self._lock = asyncio.Lock()

    async def restore(self) -> bool:
        """Renew the saved login, and return whether there is one that the server still accepts."""
        return await self._run(self._restore)

    async def log_in(self, path: str, create_body: Callable[[SavedLogin], Mapping[str, Any]]) -> bool:
        """Log in, and return whether the account was created.

        Args:
            path: the operation of the API.
            create_body: returns its request for the saved login.
        """
        return await self._run(lambda: self._log_in(path, create_body))

    async def prepare_device(self) -> SavedLogin:
        """Return the login with credentials of the device, which are saved before they are first sent."""
        return await self._run(self._prepare_device)

    async def token(self) -> str:
        """Return an access token that is valid for some time; see `AccountClient.token`."""
        return await self._run(self._get_token)

    def discard_token(self, token: str) -> None:
        """Renew an access token that the server has refused, when it is next needed."""
        if self._access_token == token:
            self._access_token = ""

    async def end(self, *, everywhere: bool = False, is_ended: bool = False) -> None:
        """Log out, here and on the server.

        Args:
            everywhere: end the logins of all devices.
            is_ended: whether the server has ended the login already.
        """
        await self._run(lambda: self._end(everywhere=everywhere, is_ended=is_ended))

    async def delete(self) -> None:
        """Delete everything that was saved, after the account was deleted."""
        await self._run(self._delete)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the work to its end, also if the caller is cancelled.

        A renewal whose response is discarded would leave a used token, which ends the login when it is used again.
        """
        return await asyncio.shield(asyncio.create_task(self._run_alone(work), name="login"))

    async def _run_alone(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            return await work()

    async def _load(self) -> None:
        """Adopt the login that another program has saved in the storage: it may have used the token of this one.

        The login of another player is adopted by a client without a login only.
        """
        text = self._storage.load() if self._storage is not None else ""
        text = (await text if inspect.isawaitable(text) else text) or ""
        if text == self._stored_text:  # so that a text which could not be saved is not lost
            return
        self._stored_text, stored = text, decode_login(text, self._calls.url)
        if text and self.saved.player_id in ("", stored.player_id):
            self.saved = stored

    async def _restore(self) -> bool:
        try:
            await self._renew()
        except NotLoggedIn:
            return False
        return True

    async def _log_in(self, path: str, create_body: Callable[[SavedLogin], Mapping[str, Any]]) -> bool:
        await self._load()
        return await self._accept(await self._calls.call("POST", path, create_body(self.saved)))

    async def _prepare_device(self) -> SavedLogin:
        await self._load()
        await self._save(self.saved.with_device())
        return self.saved

    async def _get_token(self) -> str:
        if not self._access_token or any(
            clock() > renew_at_s for clock, renew_at_s in zip(self._clocks, self._renew_at_s, strict=True)
        ):
            await self._renew()
        return self._access_token

    async def _renew(self) -> None:
        await self._load()
        token = self.saved.refresh_token
        if not token:
            raise NotLoggedIn("log in first")
        try:
            response = await self._calls.call("POST", "/v1/token", {"refresh_token": token})
        except ApiError as error:
            if error.status != 401:
                raise
            await self._load()
            if self.saved.refresh_token not in ("", token):  # another program has renewed the login during the call
                await self._renew()
                return
            await self._forget()
            raise NotLoggedIn("the server has ended the login: log in again") from error
        await self._accept(response)

    async def _accept(self, response: Any) -> bool:
        """Keep the response to a login or a renewal; return whether the account was created."""
        try:
            result = msgspec.convert(response, LoginResult)
        except msgspec.ValidationError as error:
            raise ApiError(502, "INTERNAL", "the response is not a login") from error
        self._access_token = result.access_token
        self._renew_at_s = [clock() + result.expires_in_s - RENEW_S for clock in self._clocks]
        saved = msgspec.structs.replace(
            self.saved,
            player_id=result.player_id,
            refresh_token=result.refresh_token,
            player_url=result.player_url,
            known_client=result.known_client or self.saved.known_client,
        )
        await self._save(saved)
        return result.is_new

    async def _end(self, *, everywhere: bool = False, is_ended: bool = False) -> None:
        await self._load()
        token = self.saved.refresh_token
        if token and not is_ended:
            try:
                await self._calls.call("POST", "/v1/logout", {"refresh_token": token, "everywhere": everywhere})
            except ApiError as error:
                if error.status != 401:  # 401: the server has ended the login already
                    raise
        await self._forget()

    async def _forget(self) -> None:
        self._access_token = ""
        if self.saved.player_id:
            await self._save(self.saved.logged_out())

    async def _delete(self) -> None:
        self._access_token, self._stored_text, self.saved = "", "", SavedLogin(self._calls.url)
        if self._storage is not None and inspect.isawaitable(pending := self._storage.clear()):
            await pending

    async def _save(self, saved: SavedLogin) -> None:
        self.saved, text = saved, encode_login(saved)
        if self._storage is None or text == self._stored_text:
            return
        pending = self._storage.save(text)
        if inspect.isawaitable(pending):
            await pending
        self._stored_text = text
