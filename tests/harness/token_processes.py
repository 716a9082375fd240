"""Processes that issue players' tokens from one database, with a clock and with calls that a test can interrupt."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from tickwire.server.errors import Unavailable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import MongoCalls, MongoStore, RevocationStore
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.services.accounts.access_token_check import AccessTokenCheck
from tickwire.services.accounts.account_secrets import AccountSecrets
from tickwire.services.accounts.public_keys import create_key_cache
from tickwire.services.accounts.refresh_family_store import RefreshFamilyStore
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.signing_key_store import SigningKeyStore
from tickwire.services.accounts.signing_keys import Rotation
from tickwire.services.accounts.signing_keyset import SigningKeyset
from tickwire.services.accounts.token_service import TokenService, TokenStores

T = TypeVar("T")
SECRET = "the secret of the accounts, of 32 characters or more"


class Interrupted(Exception):
    """The process has ended at this point."""


class FaultyCalls(MongoCalls):
    """Calls to MongoDB, of which one can be the last of its process.

    A call is interrupted after it has reached MongoDB. An end before a call is an end after the call before it.

    Attributes:
        count: the number of calls.
        interrupt_at: the number of the call after which the process ends; 0 for none.
        is_down: whether the answers of MongoDB are lost.
    """

    def __init__(self) -> None:
        super().__init__(5.0)
        self.count = 0
        self.interrupt_at = 0
        self.is_down = False

    async def read(self, call: Awaitable[T]) -> T:
        self.count += 1
        return self._answer(self.count, await super().read(call))

    async def write(self, call: Awaitable[T]) -> T:
        self.count += 1
        return self._answer(self.count, await super().write(call))

    def _answer(self, number: int, answer: T) -> T:
        if self.is_down:
            raise Unavailable("MongoDB does not answer")
        if number == self.interrupt_at:
            raise Interrupted
        return answer


class Clock:
    """A clock that a test moves."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class TokenProcess:
    """One process that issues and verifies tokens.

    Attributes:
        calls: its calls to MongoDB.
        clock: its clock.
        keys: its signing keys.
        service: issues tokens.
        decoder: verifies access tokens as a shard does.
        check: verifies access tokens as the player API does.
    """

    def __init__(
        self,
        store: MongoStore,
        clock: Clock,
        *,
        secret: str = SECRET,
        previous_secrets: Iterable[str] = (),
        **settings: float,
    ) -> None:
        self.settings = AccountSettings(secret=secret, **settings)  # type: ignore[arg-type]
        self.clock = clock
        self.calls = FaultyCalls()
        secrets = AccountSecrets(secret, previous_secrets)
        signing_keys = SigningKeyStore(store.database, self.calls)
        rotation = Rotation(self.settings.key_rotation_s, self.settings.access_token_s)
        self.keys = SigningKeyset(signing_keys, secrets, rotation, clock)
        self.revocations = RevocationStore(store.database, self.calls, FaultIsolation())
        self.families = RefreshFamilyStore(store.database, self.calls, self.settings.refresh_token_s)
        stores = TokenStores(self.keys, self.families, self.revocations, secrets)
        self.service = TokenService(stores, self.settings, clock)
        cache = create_key_cache(signing_keys, clock)
        self.decoder = AccessTokenDecoder(cache, issuer=self.settings.issuer, leeway_s=10.0, now_s=clock)
        self.check = AccessTokenCheck(self.decoder, self.revocations)
