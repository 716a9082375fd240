"""Wires the tokens of accounts: the signing keys, the refresh tokens, and the verification in the player API."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tickwire.server.storage import Database, MongoCalls, RevocationStore
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.services.accounts.access_token_check import AccessTokenCheck
from tickwire.services.accounts.account_secrets import AccountSecrets
from tickwire.services.accounts.public_keys import create_key_cache
from tickwire.services.accounts.refresh_family_store import RefreshFamilyStore
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.signing_key_store import SigningKeyStore
from tickwire.services.accounts.signing_keys import Rotation
from tickwire.services.accounts.signing_keyset import SigningKeyset
from tickwire.services.accounts.token_service import PlayerCheck, TokenService, TokenStores, accept_player

LEEWAY_S = 10.0


class TokenParts(msgspec.Struct, frozen=True, eq=False):
    """The tokens of accounts in one process.

    Args:
        keys: signs access tokens; run `keys.run` as a task.
        service: issues, renews and ends tokens.
        check: verifies access tokens.
        secrets: the secrets of the accounts.
    """

    keys: SigningKeyset
    service: TokenService
    check: AccessTokenCheck
    secrets: AccountSecrets


class TokenDatabase(msgspec.Struct, frozen=True, eq=False):
    """Where tokens are stored.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        revocations: the access tokens that are not valid any more.
    """

    database: Database
    calls: MongoCalls
    revocations: RevocationStore


def create_token_parts(
    stored: TokenDatabase,
    settings: AccountSettings,
    now_s: Callable[[], float],
    check_player: PlayerCheck = accept_player,
) -> TokenParts:
    """Create the parts; nothing is connected.

    Args:
        stored: where tokens are stored.
        settings: the section `accounts`, with a secret.
        now_s: the fleet's clock: UTC, seconds since 1970.
        check_player: refuses the renewal of a player's tokens, as when the player is banned.
    """
    secrets = AccountSecrets(settings.secret, settings.previous_secrets)
    signing_keys = SigningKeyStore(stored.database, stored.calls)
    keys = SigningKeyset(signing_keys, secrets, Rotation(settings.key_rotation_s, settings.access_token_s), now_s)
    families = RefreshFamilyStore(stored.database, stored.calls, settings.refresh_token_s)
    decoder = create_token_decoder(stored, settings, leeway_s=LEEWAY_S, now_s=now_s)
    return TokenParts(
        keys,
        TokenService(TokenStores(keys, families, stored.revocations, secrets), settings, now_s, check_player),
        AccessTokenCheck(decoder, stored.revocations),
        secrets,
    )


def create_token_decoder(
    stored: TokenDatabase, settings: AccountSettings, *, leeway_s: float, now_s: Callable[[], float]
) -> AccessTokenDecoder:
    """Create the verification of access tokens by the public keys in MongoDB. It needs no secret.

    Args:
        stored: where the keys are stored.
        settings: the section `accounts`.
        leeway_s: the largest difference of clocks that is accepted.
        now_s: the fleet's clock: UTC, seconds since 1970.
    """
    cache = create_key_cache(SigningKeyStore(stored.database, stored.calls), now_s)
    return AccessTokenDecoder(cache, issuer=settings.issuer, leeway_s=leeway_s, now_s=now_s)
