"""The settings of accounts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

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
