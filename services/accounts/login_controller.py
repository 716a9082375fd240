"""The HTTP operations that need no access token: login, refresh and logout."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from tickwire.server.http.rate_limits import limited
from tickwire.server.http.request_log import get_client_address
from tickwire.services.accounts.login_service import LoginOutcome, LoginService
from tickwire.services.accounts.messages import (
    DeviceLogin,
    EmailLogin,
    LoginResponse,
    Logout,
    TokenRefresh,
    result_from_outcome,
)
from tickwire.services.accounts.password_service import ClientOrigin, PasswordService
from tickwire.services.accounts.ports import PlayerTokens


class LoginParts(msgspec.Struct, frozen=True):
    """The services of the operations.

    Args:
        login: logs players in with a device.
        passwords: logs players in with a password.
        tokens: renews and ends tokens.
        player_url: the URL of the shards.
    """

    login: LoginService
    passwords: PasswordService
    tokens: PlayerTokens
    player_url: str


DEVICE_LOGINS = "120/60s"
"""Of one address: a school or an office shares one. Without a limit, a script fills the database with accounts."""
PASSWORD_LOGINS = "60/60s"  # noqa: S105 - a limit
"""Of one address. Each login costs a hash; the lockouts of accounts/attempt_budget.py limit failures further."""

Parts = NamedDependency[SkipValidation[LoginParts]]


class LoginController(Controller):
    """Logs players in, renews their tokens, and logs them out."""

    path = "/v1"
    tags = ("login",)

    @post(
        "/login/device",
        summary="Log in with a device, or create an account for it",
        status_code=200,
        opt=limited(DEVICE_LOGINS),
    )
    async def login_device(self, login_parts: Parts, data: JSONBody[DeviceLogin]) -> LoginResponse:
        """Log in with an id and a secret that the client has made; a guest needs no more."""
        outcome = await login_parts.login.login_device(data.device_id, data.secret, create=data.create)
        return result_from_outcome(outcome, login_parts.player_url)

    @post(
        "/login/email",
        summary="Log in with an e-mail address and a password",
        status_code=200,
        opt=limited(PASSWORD_LOGINS),
    )
    async def login_email(
        self, request: Request[Any, Any, Any], login_parts: Parts, data: JSONBody[EmailLogin]
    ) -> LoginResponse:
        """Log in with a password. After too many failures, 429 says when to retry."""
        origin = ClientOrigin(get_client_address(request), data.known_client)
        outcome = await login_parts.passwords.login_email(data.email, data.password, origin, create=data.create)
        return result_from_outcome(outcome, login_parts.player_url)

    @post("/token", summary="Renew the tokens of a login", status_code=200)
    async def refresh_tokens(self, login_parts: Parts, data: JSONBody[TokenRefresh]) -> LoginResponse:
        """Return new tokens. A repetition within a minute returns the same refresh token."""
        tokens = await login_parts.tokens.refresh(data.refresh_token)
        return result_from_outcome(LoginOutcome(tokens, is_new=False), login_parts.player_url)

    @post("/logout", summary="End a login, or all logins of the player", status_code=204)
    async def log_out(self, login_parts: Parts, data: JSONBody[Logout]) -> None:
        """End the tokens, and the sessions that were opened with them."""
        await login_parts.tokens.log_out(data.refresh_token, everywhere=data.everywhere)
