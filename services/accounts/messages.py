"""The bodies of the HTTP operations on accounts. Every field has bounds, which the OpenAPI document shows."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from tickwire.services.accounts.account import PlayerAccount
from tickwire.services.accounts.identities import DeviceId, DeviceSecret, EmailAddress, Password
from tickwire.services.accounts.known_clients import KnownClient
from tickwire.services.accounts.login_service import LoginOutcome

RefreshToken = Annotated[str, Meta(min_length=16, max_length=256, pattern=r"\A[!-~]{16,256}\Z")]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request's body; `repr` shows no field, because most are secrets."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class DeviceLogin(Body, frozen=True):
    """A login with a device.

    Args:
        device_id: a random text that the client has made once.
        secret: another one, which the client sends to this server alone.
        create: whether to create an account if no account has the device.
    """

    device_id: DeviceId
    secret: DeviceSecret
    create: bool = True


class EmailLogin(Body, frozen=True):
    """A login with an e-mail address and a password.

    Args:
        email: the address.
        password: 8 to 128 characters.
        create: whether to create an account if no account has the address.
        known_client: the `known_client` of this client's last login to the account, if it has one.
    """

    email: EmailAddress
    password: Password
    create: bool = False
    known_client: KnownClient = ""


class DeviceLink(Body, frozen=True):
    """A device to link; see DeviceLogin."""

    device_id: DeviceId
    secret: DeviceSecret


class EmailLink(Body, frozen=True):
    """An e-mail address to link, and its password.

    Args:
        email: the address.
        password: 8 to 128 characters; the password of later logins with the address.
    """

    email: EmailAddress
    password: Password


class TokenRefresh(Body, frozen=True):
    """A request for new tokens.

    Args:
        refresh_token: of the last login or refresh; it is valid for one refresh.
    """

    refresh_token: RefreshToken


class Logout(Body, frozen=True):
    """A logout.

    Args:
        refresh_token: of the login that ends.
        everywhere: whether to end all logins of the player, and its sessions.
    """

    refresh_token: RefreshToken
    everywhere: bool = False


class PasswordChange(Body, frozen=True):
    """A change of the password.

    Args:
        old: the present password.
        new: the new one, 8 to 128 characters.
        email: the address whose password changes; required if the account has several.
        known_client: as in EmailLogin.
    """

    old: Password
    new: Password
    email: Annotated[str, Meta(max_length=320)] = ""
    known_client: KnownClient = ""


class AccountMerge(Body, frozen=True):
    """A merge of another account into the caller's.

    Args:
        refresh_token: of the other account, which ends.
    """

    refresh_token: RefreshToken


class LoginResponse(msgspec.Struct, frozen=True):
    """The tokens of a player.

    Args:
        player_id: the player.
        is_new: whether this login has created the account.
        access_token: for the player API, and for the Hello of a session.
        expires_in_s: how long the access token is valid.
        refresh_token: for POST /v1/token, once.
        refresh_expires_in_s: how long the refresh token is valid.
        player_url: the URL of the shards; may be empty.
        known_client: send it with this client's next login with the same e-mail address; empty for other logins.
    """

    player_id: str
    is_new: bool
    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int
    player_url: str
    known_client: str = ""

    def __repr__(self) -> str:
        return f"LoginResponse(player_id={self.player_id!r})"


class IdentityView(msgspec.Struct, frozen=True):
    """An identity of an account.

    Args:
        provider: "device", "email", "oidc-NAME", "steam" or "apple".
        subject: the id of the player at the provider.
        linked_at: UTC.
    """

    provider: str
    subject: str
    linked_at: datetime.datetime


class AccountView(msgspec.Struct, frozen=True):
    """An account.

    Args:
        player_id: the player.
        created_at: UTC.
        identities: the identities that log in to it.
    """

    player_id: str
    created_at: datetime.datetime
    identities: list[IdentityView]


def result_from_outcome(outcome: LoginOutcome, player_url: str) -> LoginResponse:
    """Return the answer to a login."""
    tokens = outcome.tokens
    return LoginResponse(
        tokens.player_id,
        outcome.is_new,
        tokens.access_token,
        tokens.expires_in_s,
        tokens.refresh_token,
        tokens.refresh_expires_in_s,
        player_url,
        outcome.known_client,
    )


def view_account(account: PlayerAccount) -> AccountView:
    """Return an account without its secrets."""
    identities = [IdentityView(one.provider, one.subject, one.linked_at) for one in account.identities]
    return AccountView(account.player_id, account.created_at, identities)
