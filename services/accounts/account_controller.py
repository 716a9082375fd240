"""The HTTP operations of a player on their own account. They need an access token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody, PathParameter, SkipValidation
from litestar.response import Stream

from tickwire.server.http.idempotency import IDEMPOTENT
from tickwire.server.http.rate_limits import limited
from tickwire.server.http.request_log import get_client_address
from tickwire.services.accounts.account import LinkedIdentity
from tickwire.services.accounts.account_service import AccountService
from tickwire.services.accounts.account_store import now_utc
from tickwire.services.accounts.bearer import AUTHENTICATED, provide_caller
from tickwire.services.accounts.identities import DEVICE, digest_secret
from tickwire.services.accounts.messages import (
    AccountMerge,
    AccountView,
    DeviceLink,
    EmailLink,
    PasswordChange,
    view_account,
)
from tickwire.services.accounts.password_service import ClientOrigin
from tickwire.services.accounts.ports import TokenHolder

PASSWORD_CHANGES = "10/60s"  # noqa: S105 - a limit
"""Of one player. Each costs up to three hashes, for which the logins of all players wait."""
SECURITY = [{"bearer": list[str]()}]
CALLER = {"caller": Provide(provide_caller)}


class OwnAccountParts(msgspec.Struct, frozen=True):
    """The services of the operations.

    Args:
        accounts: changes accounts.
        export: yields the lines of a player's export.
    """

    accounts: AccountService
    export: Callable[[str], AsyncIterator[str]]


Parts = NamedDependency[SkipValidation[OwnAccountParts]]
Caller = NamedDependency[SkipValidation[TokenHolder]]
ProviderPath = Annotated[str, PathParameter(max_length=64, description="device, email, oidc-NAME, steam or apple")]
SubjectPath = Annotated[str, PathParameter(max_length=320, description="the id of the player at the provider")]


class AccountController(Controller):
    """Shows and changes the account of the caller."""

    path = "/v1/account"
    tags = ("account",)
    security = SECURITY
    opt = AUTHENTICATED
    dependencies = CALLER

    @get("/", summary="Show the account and its identities")
    async def get_account(self, account_parts: Parts, caller: Caller) -> AccountView:
        """Return the account of the caller."""
        return view_account(await account_parts.accounts.get(caller.player_id))

    @post("/identities/device", summary="Link a device", status_code=200, opt=IDEMPOTENT)
    async def link_device(self, account_parts: Parts, caller: Caller, data: JSONBody[DeviceLink]) -> AccountView:
        """Link a device to the account; 409 IDENTITY_TAKEN if it belongs to another account."""
        identity = LinkedIdentity(DEVICE, data.device_id, now_utc(), secret=digest_secret(data.secret))
        return view_account(await account_parts.accounts.link(caller.player_id, identity))

    @post("/identities/email", summary="Link an e-mail address", status_code=200, opt=limited(PASSWORD_CHANGES))
    async def link_email(
        self, request: Request[Any, Any, Any], account_parts: Parts, caller: Caller, data: JSONBody[EmailLink]
    ) -> AccountView:
        """Link an e-mail address and a password to the account.

        409 IDENTITY_TAKEN if another account has the address, or if this one has it with another password.
        """
        origin = ClientOrigin(get_client_address(request))
        credentials = (data.email, data.password)
        return view_account(await account_parts.accounts.link_email(caller.player_id, credentials, origin))

    @delete(
        "/identities/{provider:str}/{subject:str}",
        summary="Unlink an identity",
        status_code=200,
        opt=IDEMPOTENT,
    )
    async def unlink_identity(
        self, account_parts: Parts, caller: Caller, provider: ProviderPath, subject: SubjectPath
    ) -> AccountView:
        """Unlink an identity; 409 if it is the last one."""
        return view_account(await account_parts.accounts.unlink(caller.player_id, provider, subject))

    @post(
        "/password",
        summary="Change the password, and end all other logins",
        status_code=204,
        opt=limited(PASSWORD_CHANGES),
    )
    async def change_password(
        self,
        request: Request[Any, Any, Any],
        account_parts: Parts,
        caller: Caller,
        data: JSONBody[PasswordChange],
    ) -> None:
        """Change the password. The login of the caller stays; all others end."""
        origin = ClientOrigin(get_client_address(request), data.known_client)
        passwords = (data.old, data.new)
        await account_parts.accounts.change_password(caller, passwords, origin, email=data.email)

    @post("/merge", summary="Merge another account into this one", status_code=200, opt=IDEMPOTENT)
    async def merge_account(self, account_parts: Parts, caller: Caller, data: JSONBody[AccountMerge]) -> AccountView:
        """Move all holdings and identities of another account to this one; the other account ends."""
        return view_account(await account_parts.accounts.merge(caller.player_id, data.refresh_token))

    @get("/export", summary="Export all that is stored about the player", media_type="application/jsonl")
    async def export_account(self, account_parts: Parts, caller: Caller) -> Stream:
        """Return JSON lines: a header, then a line for each stored document."""
        lines = account_parts.export(caller.player_id)
        return Stream((line + "\n" async for line in lines), media_type="application/jsonl")

    @delete("/", summary="Delete the account and all data of the player", status_code=204)
    async def delete_account(self, account_parts: Parts, caller: Caller) -> None:
        """Delete the account. Its sessions end; nothing can be restored."""
        await account_parts.accounts.delete(caller.player_id)
