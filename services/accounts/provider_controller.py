"""The HTTP operations for identities of providers: login, and link to the account of the caller."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation
from msgspec import Meta

from tickwire.services.accounts.account import LinkedIdentity
from tickwire.services.accounts.account_controller import CALLER, SECURITY, Caller
from tickwire.services.accounts.account_service import AccountService
from tickwire.services.accounts.account_store import now_utc
from tickwire.services.accounts.bearer import AUTHENTICATED
from tickwire.services.accounts.login_service import LoginService
from tickwire.services.accounts.messages import AccountView, Body, LoginResponse, result_from_outcome, view_account
from tickwire.services.accounts.providers.port import Credential
from tickwire.services.accounts.providers.registry import APPLE, OIDC_PREFIX, STEAM, ProviderRegistry

IdToken = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"\A[!-~]{1,4096}\Z")]
Ticket = Annotated[str, Meta(min_length=32, max_length=5120, pattern=r"\A[0-9A-Fa-f]{32,5120}\Z")]
Nonce = Annotated[str, Meta(max_length=256, pattern=r"\A[ -~]{0,256}\Z")]
IssuerPath = Annotated[
    str,
    PathParameter(
        min_length=1,
        max_length=32,
        pattern=r"^[a-z0-9-]{1,32}$",
        description="the name of the issuer in the settings",
    ),
]


class OidcLink(Body, frozen=True):
    """An identity of an OpenID Connect issuer.

    Args:
        id_token: the ID token that the client has received from the issuer.
        nonce: the nonce of the client's request to the issuer, if it had one.
    """

    id_token: IdToken
    nonce: Nonce = ""


class OidcLogin(OidcLink, frozen=True):
    """A login with an OpenID Connect issuer: the fields of OidcLink, and whether to create an account."""

    create: bool = True


class AppleLink(Body, frozen=True):
    """An identity of Sign in with Apple.

    Args:
        identity_token: the identity token of the client's authorization.
        nonce: the text whose SHA-256 the client's request had as its nonce, if it had one.
    """

    identity_token: IdToken
    nonce: Nonce = ""


class AppleLogin(AppleLink, frozen=True):
    """A login with Apple: the fields of AppleLink, and whether to create an account."""

    create: bool = True


class SteamLink(Body, frozen=True):
    """An identity of Steam.

    Args:
        ticket: the ticket of `GetAuthTicketForWebApi`, in hexadecimal digits.
    """

    ticket: Ticket


class SteamLogin(SteamLink, frozen=True):
    """A login with Steam: the ticket, and whether to create an account."""

    create: bool = True


class ProviderParts(msgspec.Struct, frozen=True):
    """The services of the operations.

    Args:
        providers: verify credentials.
        login: logs players in.
        accounts: links identities.
        player_url: the URL of the shards.
    """

    providers: ProviderRegistry
    login: LoginService
    accounts: AccountService
    player_url: str

    async def log_in(self, name: str, credential: Credential, *, create: bool) -> LoginResponse:
        """Log in with a credential of a provider."""
        identity = await self.providers.verify(name, credential)
        outcome = await self.login.login_verified(identity.provider, identity.subject, create=create)
        return result_from_outcome(outcome, self.player_url)

    async def link(self, player_id: str, name: str, credential: Credential) -> AccountView:
        """Link the identity of a credential to an account."""
        identity = await self.providers.verify(name, credential)
        linked = LinkedIdentity(identity.provider, identity.subject, now_utc())
        return view_account(await self.accounts.link(player_id, linked))


Parts = NamedDependency[SkipValidation[ProviderParts]]


class ProviderLoginController(Controller):
    """Logs players in with identities of providers."""

    path = "/v1/login"
    tags = ("login",)

    @post("/oidc/{issuer:str}", summary="Log in with an OpenID Connect issuer", status_code=200)
    async def login_oidc(self, provider_parts: Parts, issuer: IssuerPath, data: JSONBody[OidcLogin]) -> LoginResponse:
        """Log in with an ID token of one of the issuers in the settings; 404 if the server has no such issuer."""
        credential = Credential(data.id_token, data.nonce)
        return await provider_parts.log_in(f"{OIDC_PREFIX}{issuer}", credential, create=data.create)

    @post("/apple", summary="Log in with Apple", status_code=200)
    async def login_apple(self, provider_parts: Parts, data: JSONBody[AppleLogin]) -> LoginResponse:
        """Log in with an identity token of Sign in with Apple; 404 if the server does not use it."""
        credential = Credential(data.identity_token, data.nonce)
        return await provider_parts.log_in(APPLE, credential, create=data.create)

    @post("/steam", summary="Log in with Steam", status_code=200)
    async def login_steam(self, provider_parts: Parts, data: JSONBody[SteamLogin]) -> LoginResponse:
        """Log in with a ticket of Steam; 404 if the server does not use Steam."""
        return await provider_parts.log_in(STEAM, Credential(data.ticket), create=data.create)


class ProviderLinkController(Controller):
    """Links identities of providers to the account of the caller."""

    path = "/v1/account/identities"
    tags = ("account",)
    security = SECURITY
    opt = AUTHENTICATED
    dependencies = CALLER

    @post("/oidc/{issuer:str}", summary="Link an identity of an OpenID Connect issuer", status_code=200)
    async def link_oidc(
        self, provider_parts: Parts, caller: Caller, issuer: IssuerPath, data: JSONBody[OidcLink]
    ) -> AccountView:
        """Link an identity to the account; 409 IDENTITY_TAKEN if another account has it."""
        credential = Credential(data.id_token, data.nonce)
        return await provider_parts.link(caller.player_id, f"{OIDC_PREFIX}{issuer}", credential)

    @post("/apple", summary="Link an identity of Apple", status_code=200)
    async def link_apple(self, provider_parts: Parts, caller: Caller, data: JSONBody[AppleLink]) -> AccountView:
        """Link an identity to the account; 409 IDENTITY_TAKEN if another account has it."""
        credential = Credential(data.identity_token, data.nonce)
        return await provider_parts.link(caller.player_id, APPLE, credential)

    @post("/steam", summary="Link an identity of Steam", status_code=200)
    async def link_steam(self, provider_parts: Parts, caller: Caller, data: JSONBody[SteamLink]) -> AccountView:
        """Link an identity to the account; 409 IDENTITY_TAKEN if another account has it."""
        return await provider_parts.link(caller.player_id, STEAM, Credential(data.ticket))
