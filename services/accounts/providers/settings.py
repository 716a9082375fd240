"""The settings of the providers of identities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import CallSeconds, HttpUrl, Seconds, Secret
from tickwire.server.tokens.fetch import is_secure

ClientId = Annotated[str, Meta(min_length=1, max_length=256, description="a text of 1 to 256 characters")]
ClientIds = Annotated[list[ClientId], Meta(max_length=32, description="a list of at most 32 client ids")]
SteamAppId = Annotated[
    str, Meta(pattern=r"\A[0-9]{0,10}\Z", description="empty, or the number of an app at Steam, as a text")
]
SteamIdentity = Annotated[
    str, Meta(pattern=r"\A[0-9A-Za-z_.:-]{0,128}\Z", description="a text of at most 128 of A-Z a-z 0-9 _ . : -")
]
IssuerUrls = Annotated[dict[str, HttpUrl], Meta(max_length=16, description="a table of names and issuer URLs")]
IssuerClients = Annotated[dict[str, ClientIds], Meta(max_length=16, description="a table of names and client ids")]
_NAME_CHARACTERS_MAX = 32


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where players may have identities, besides devices and e-mail addresses.

    Args:
        oidc_issuers: OpenID Connect issuers by their name on this server.
        oidc_clients: the accepted client ids (`aud`) of each issuer, by the same names.
        oidc_nonce_required: whether an ID token must have the nonce of the request.
        apple_clients: the bundle ids and service ids of the game at Apple; Apple is disabled if empty.
        steam_app_id: the game at Steam; Steam is disabled if empty.
        steam_key: the publisher's Web API key.
        steam_identity: the text that the client passes to `GetAuthTicketForWebApi`.
        steam_url: the Web API.
        id_token_age_s: the largest age of an ID token.
        deadline_s: the limit for one call to a provider.
    """

    oidc_issuers: IssuerUrls = {}
    oidc_clients: IssuerClients = {}
    oidc_nonce_required: bool = False
    apple_clients: ClientIds = []
    steam_app_id: SteamAppId = ""
    steam_key: Secret = ""
    steam_identity: SteamIdentity = ""
    steam_url: HttpUrl = "https://partner.steam-api.com"
    id_token_age_s: Seconds = 600.0
    deadline_s: CallSeconds = 5.0

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["steam_key"] = "***" if self.steam_key else ""
        return f"ProviderSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def provider_contradictions(settings: ProviderSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the settings that are valid by themselves but contradict each other: the keys, and the rule."""
    where = "accounts.providers"
    for name, url in settings.oidc_issuers.items():
        key = f"{where}.oidc_issuers"
        is_name = name.replace("-", "").isalnum() and name.isascii() and name == name.lower()
        if not is_name or len(name) > _NAME_CHARACTERS_MAX:
            yield (
                (key,),
                f"the name of an issuer must have 1 to {_NAME_CHARACTERS_MAX} of a-z 0-9 -; got {name[:40]!r}",
            )
        elif not is_secure(url):
            yield (key,), f"{name} must start with https://; http:// is allowed for loopback addresses only"
        elif not settings.oidc_clients.get(name):
            yield (f"{where}.oidc_clients", key), f"must have a client id for {name}, or tokens for other apps pass"
    if not is_secure(settings.steam_url):
        yield (f"{where}.steam_url",), "must start with https://; http:// is allowed for loopback addresses only"
