"""The providers of identities that the settings enable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tickwire.server.errors import ConfigError, NotFound
from tickwire.services.accounts.counters import AccountCounters
from tickwire.services.accounts.providers.oidc import OidcProvider, OidcRules
from tickwire.services.accounts.providers.port import Credential, IdentityProvider, ProviderIdentity
from tickwire.services.accounts.providers.settings import ProviderSettings
from tickwire.services.accounts.providers.steam import SteamProvider

STEAM = "steam"
APPLE = "apple"
APPLE_ISSUER = "https://appleid.apple.com"
OIDC_PREFIX = "oidc-"


class ProviderRegistry:
    """Finds the provider of a credential.

    Args:
        providers: the providers by name: "oidc-NAME", "apple", "steam".
        counters: counts the results.
    """

    def __init__(self, providers: Mapping[str, IdentityProvider], counters: AccountCounters) -> None:
        self._providers = providers
        self._counters = counters

    async def verify(self, name: str, credential: Credential) -> ProviderIdentity:
        """Return the identity of a credential.

        Raises:
            NotFound: the settings do not enable this provider.
            InvalidToken: the credential is not valid.
            Unavailable: the provider does not answer.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound("this server has no such provider of identities")
        with self._counters.count(f"verify_{name.partition('-')[0]}"):
            return await provider.verify(credential)


def create_providers(settings: ProviderSettings, now_s: Callable[[], float]) -> dict[str, IdentityProvider]:
    """Create the providers that the settings enable.

    Args:
        settings: the section `accounts.providers`.
        now_s: the clock: UTC, seconds since 1970.

    Raises:
        ConfigError: the key for Steam is missing. Other processes of the fleet read the same settings file without
            the key, so reading the settings does not check this.
    """
    if settings.steam_app_id and not settings.steam_key:
        where = "accounts.providers"
        raise ConfigError(f"{where}.steam_key: must be set, because {where}.steam_app_id is")
    providers: dict[str, IdentityProvider] = {}
    for name, issuer in settings.oidc_issuers.items():
        rules = OidcRules(
            f"{OIDC_PREFIX}{name}",
            issuer,
            tuple(settings.oidc_clients.get(name, ())),
            settings.id_token_age_s,
            settings.deadline_s,
            needs_nonce=settings.oidc_nonce_required,
        )
        providers[rules.provider] = OidcProvider(rules, now_s)
    if settings.apple_clients:
        providers[APPLE] = OidcProvider(create_apple_rules(settings), now_s)
    if settings.steam_app_id:
        providers[STEAM] = SteamProvider(settings)
    return providers


def create_apple_rules(settings: ProviderSettings, issuer: str = APPLE_ISSUER) -> OidcRules:
    """Return the rules of Sign in with Apple, whose client sends the SHA-256 of the nonce."""
    return OidcRules(
        APPLE,
        issuer,
        tuple(settings.apple_clients),
        settings.id_token_age_s,
        settings.deadline_s,
        hashes_nonce=True,
    )
