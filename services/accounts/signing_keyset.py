"""The signing keys of the fleet in one process: creates them in time, and signs with the current one.

The keys are read every REFRESH_S, and no call waits for that while the process has a key in use. A process that
cannot reach MongoDB signs on until the last key that it knows ends: the current one, and the one after it.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tickwire.server.errors import Unavailable
from tickwire.services.accounts.account_secrets import AccountSecrets
from tickwire.services.accounts.signing_keys import (
    MARGIN_S,
    Rotation,
    SigningKey,
    create_signing_key,
    name_key,
    open_signing_key,
    select_signing_key,
    to_jwk,
)

log = structlog.get_logger(__name__)

REFRESH_S = 30.0
RETRY_S = 5.0


class SigningKeys(Protocol):
    """The store of signing keys."""

    async def add(self, key: SigningKey) -> None:
        """Add a key, unless there is one with its id.

        Raises:
            Unavailable: the store does not answer.
        """
        ...

    async def list_valid(self, now: datetime.datetime) -> list[SigningKey]:
        """Return the keys that have not expired.

        Raises:
            Unavailable: the store does not answer.
        """
        ...


class Signer(msgspec.Struct, frozen=True):
    """The key to sign a token with.

    Args:
        key_id: the `kid`.
        key: the private key.
        expires_at_s: tokens must expire by then; the key is deleted soon after.
    """

    key_id: str
    key: Ed25519PrivateKey
    expires_at_s: float

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r})"


class SigningKeyset:
    """The signing keys of one process.

    Args:
        store: the keys of the fleet.
        account_secrets: encrypts the private parts.
        rotation: how often keys change.
        now_s: the clock: UTC, seconds since 1970.
    """

    def __init__(
        self,
        store: SigningKeys,
        account_secrets: AccountSecrets,
        rotation: Rotation,
        now_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._secrets = account_secrets
        self._rotation = rotation
        self._now_s = now_s
        self._keys: list[SigningKey] = []
        self._opened: dict[str, Ed25519PrivateKey | None] = {}
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get_signer(self) -> Signer:
        """Return the key to sign with now.

        Raises:
            Unavailable: this process knows no key that is in use, and MongoDB does not answer.
        """
        signer = self._select()
        if signer is None:
            await self.refresh()
            signer = self._select()
        elif self._is_old():
            self._start_reading()
        if signer is None:
            raise Unavailable("no key to sign tokens with is known; try again", retry_after_ms=1000)
        return signer

    async def get_public_keys(self) -> list[SigningKey]:
        """Return the keys whose tokens are valid, and those that will be used next.

        Raises:
            Unavailable: MongoDB does not answer, and has not answered before.
        """
        if self._read_at_s is None:
            await self.refresh()
        elif self._is_old():
            self._start_reading()
        now = self._now()
        return [key for key in self._keys if now < key.expires_at]

    async def refresh(self) -> None:
        """Read the keys, and create the ones of this period and of the next if they are missing.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        if self._reading is None or self._reading.done():
            self._tried_at_s = self._now_s()
            self._reading = asyncio.create_task(self._read(), name="signing keys refresh")
        await asyncio.shield(self._reading)

    async def run(self) -> None:
        """Keep the keys current until cancelled, so that the next key is published also while no player logs in."""
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                log.warning("signing_keys_refresh_failed", error=error.detail, keys=len(self._keys))
            await asyncio.sleep(REFRESH_S)

    def _select(self) -> Signer | None:
        usable = [key for key in self._keys if self._open(key) is not None]
        selected = select_signing_key(usable, self._now())
        private = self._open(selected) if selected is not None else None
        if selected is None or private is None:
            return None
        return Signer(selected.key_id, private, selected.expires_at.timestamp() - MARGIN_S)

    def _open(self, key: SigningKey) -> Ed25519PrivateKey | None:
        if key.key_id not in self._opened:
            self._opened[key.key_id] = private = open_signing_key(key, self._secrets)
            if private is None:
                log.warning("signing_key_not_readable", key_id=key.key_id, secret_id=key.secret_id)
        return self._opened[key.key_id]

    def _is_old(self) -> bool:
        return self._read_at_s is None or not 0 <= self._now_s() - self._read_at_s < REFRESH_S

    def _start_reading(self) -> None:
        is_recent = self._tried_at_s is not None and 0 <= self._now_s() - self._tried_at_s < RETRY_S
        if is_recent or (self._reading is not None and not self._reading.done()):
            return
        self._tried_at_s = self._now_s()
        self._reading = asyncio.create_task(self._read_in_background(), name="signing keys refresh")

    async def _read_in_background(self) -> None:
        try:
            await self._read()
        except Unavailable as error:
            log.warning("signing_keys_refresh_failed", error=error.detail, keys=len(self._keys))

    async def _read(self) -> None:
        now = self._now()
        keys = await self._store.list_valid(now)
        period = self._rotation.period_at(now)
        known = {key.key_id for key in keys}
        missing = [
            number
            for number in (period, period + 1)
            if name_key(number, self._secrets.current_id, self._rotation) not in known
        ]
        is_urgent = not any(key.use_from <= now < key.use_until and self._open(key) is not None for key in keys)
        for number in missing:
            key = create_signing_key(number, self._rotation, self._secrets, now=now, is_urgent=is_urgent)
            await self._store.add(key)
        if missing:
            keys = await self._store.list_valid(now)
            log.info("signing_keys_created", periods=missing, keys=len(keys))
        self._keys = keys
        self._opened = {key.key_id: self._opened[key.key_id] for key in keys if key.key_id in self._opened}
        self._read_at_s = self._now_s()

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)


def encode_jwks(keys: list[SigningKey]) -> bytes:
    """Return the public parts of keys as a JSON Web Key Set (RFC 7517)."""
    return json.dumps({"keys": [to_jwk(key) for key in keys]}, separators=(",", ":")).encode()
