"""The settings of accounts: the section `accounts`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import Key, Secret
from tickwire.services.accounts.providers.settings import ProviderSettings

AccessTokenSeconds = Annotated[float, Meta(ge=60, le=86_400)]
RefreshTokenSeconds = Annotated[float, Meta(ge=600, le=400 * 86_400)]
RotationSeconds = Annotated[float, Meta(ge=3600, le=90 * 86_400)]
FamilyCount = Annotated[int, Meta(ge=1, le=1000)]
PreviousSecrets = Annotated[list[Key], Meta(max_length=10, description="a list of at most 10 secrets")]
Issuer = Annotated[
    str,
    Meta(pattern=r"\A[!-~]{1,256}\Z", description="a text of 1 to 256 ASCII characters without blanks"),
]
TimeCost = Annotated[int, Meta(ge=1, le=20)]
MemoryKib = Annotated[int, Meta(ge=8192, le=1 << 21)]
Parallelism = Annotated[int, Meta(ge=1, le=16)]
Threads = Annotated[int, Meta(ge=1, le=64)]
Waiting = Annotated[int, Meta(ge=0, le=10_000)]
Attempts = Annotated[int, Meta(ge=1, le=100_000)]
AttemptsPerHour = Annotated[float, Meta(gt=0, le=100_000)]


class PasswordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How passwords are hashed. The defaults are those of OWASP's cheat sheet for argon2id.

    Args:
        time_cost: the passes of argon2id.
        memory_kib: the memory of one hash, KiB.
        parallelism: the lanes of one hash.
        threads: how many hashes run at the same time.
        waiting_max: how many more wait; above that, a login receives 503 with `Retry-After`.
    """

    time_cost: TimeCost = 2
    memory_kib: MemoryKib = 19_456
    parallelism: Parallelism = 1
    threads: Threads = 2
    waiting_max: Waiting = 32


class LockoutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many failed logins with a password are admitted: a burst, and a rate after it.

    Args:
        address_burst, address_per_hour: of one address, for all accounts.
        pair_burst, pair_per_hour: of one address, for one account.
        account_burst, account_per_hour: for one account, of all clients that have not logged in to it before.
        client_burst, client_per_hour: of one client that has logged in to the account before.
    """

    address_burst: Attempts = 100
    address_per_hour: AttemptsPerHour = 100.0
    pair_burst: Attempts = 10
    pair_per_hour: AttemptsPerHour = 6.0
    account_burst: Attempts = 200
    account_per_hour: AttemptsPerHour = 100.0
    client_burst: Attempts = 10
    client_per_hour: AttemptsPerHour = 12.0


class AccountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accounts of players, and their tokens. The same for all processes of a fleet.

    Args:
        secret: encrypts the signing keys and derives refresh tokens; empty disables accounts. At least 32 characters.
        previous_secrets: secrets that are accepted but not used for new data, while `secret` is replaced.
        issuer: the `iss` of access tokens.
        access_token_s: how long an access token is valid.
        refresh_token_s: how long a refresh token is valid; each use returns a new one.
        key_rotation_s: how long a key signs access tokens.
        logins_max: the most logins of one player that are kept; a further one ends the one that was used the longest
            ago.
        passwords: how passwords are hashed.
        lockouts: how many failed logins with a password are admitted.
        providers: the other providers of identities.
    """

    secret: Secret = ""
    previous_secrets: PreviousSecrets = []
    issuer: Issuer = "tickwire"
    access_token_s: AccessTokenSeconds = 900.0
    refresh_token_s: RefreshTokenSeconds = 30 * 86_400.0
    key_rotation_s: RotationSeconds = 86_400.0
    logins_max: FamilyCount = 20
    passwords: PasswordSettings = PasswordSettings()
    lockouts: LockoutSettings = LockoutSettings()
    providers: ProviderSettings = ProviderSettings()

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["secret"] = "***" if self.secret else ""
        shown["previous_secrets"] = ["***"] * len(self.previous_secrets)
        return f"AccountSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
