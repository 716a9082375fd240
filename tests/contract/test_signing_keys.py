"""The guarantees of signing keys, on a real MongoDB: one a period, known before its use, secret and replaceable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.harness.token_processes import SECRET, Clock, TokenProcess
from tickwire.server.errors import InvalidToken, Unavailable
from tickwire.server.storage import MongoStore
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.server.tokens.jwks import REREAD_S_MIN, JwksCache
from tickwire.services.accounts.public_keys import KEYS_REFRESH_S
from tickwire.services.accounts.signing_keys import MARGIN_S, PUBLICATION_S
from tickwire.services.accounts.signing_keyset import encode_jwks

HOUR_S = 3600.0
NEW_SECRET = SECRET[::-1]


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    await made.check_schema(may_migrate=True)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    """The fleet's clock, in the middle of a period."""
    return Clock((time.time() // HOUR_S) * HOUR_S + HOUR_S / 2)


def start(store: MongoStore, clock: Clock, **changes: object) -> TokenProcess:
    return TokenProcess(store, clock, **{"key_rotation_s": HOUR_S, **changes})  # type: ignore[arg-type]


async def sign(process: TokenProcess) -> str:
    return (await process.service.issue("p-ann", "device")).access_token


async def key_ids(store: MongoStore) -> list[str]:
    return sorted([key["_id"] async for key in store.database["signing_keys"].find()])


async def test_processes_make_one_key_a_period(store: MongoStore, clock: Clock) -> None:
    processes = [start(store, clock) for _ in range(6)]
    signers = await asyncio.gather(*(process.keys.get_signer() for process in processes))
    assert len({signer.key_id for signer in signers}) == 1
    assert len({signer.key.private_bytes_raw() for signer in signers}) == 1
    assert len(await key_ids(store)) == 2, "this period's and the next one's"


async def test_shard_that_reads_keys_on_time_only_knows_each_key_before_its_use(
    store: MongoStore, clock: Clock
) -> None:
    """It never reads them because of an unknown key id, which clients could make it do at most every ten seconds."""
    process = start(store, clock)
    await process.keys.refresh()
    known: list[bytes] = []
    shard_read_at_s = -HOUR_S
    used = set()
    for _ in range(int(3 * HOUR_S / 20)):
        await process.keys.refresh()  # as `SigningKeyset.run` does
        if clock.now_s - shard_read_at_s >= KEYS_REFRESH_S:
            shard_read_at_s = clock.now_s
            known = [encode_jwks(await process.keys.get_public_keys())]
        signer = await process.keys.get_signer()
        used.add(signer.key_id)
        assert signer.key_id.encode() in known[0]
        clock.now_s += 20
    assert len(used) >= 3


async def test_key_is_known_until_its_last_token_has_expired(store: MongoStore, clock: Clock) -> None:
    process = start(store, clock)
    clock.now_s += HOUR_S / 2 - 1  # the last second of the period
    token = await sign(process)
    clock.now_s += 899
    assert await start(store, clock).decoder.decode(token), "by a process that has just started"
    clock.now_s += 60
    with pytest.raises(InvalidToken, match="expired"):
        await start(store, clock).decoder.decode(token)
    index = await store.database["signing_keys"].index_information()
    assert index["expires_at_1"]["expireAfterSeconds"] == 0
    clock.now_s += MARGIN_S
    await process.keys.refresh()
    assert token not in await key_ids(store)
    with pytest.raises(InvalidToken):
        await start(store, clock).decoder.decode(token)


async def test_token_never_outlives_its_key(store: MongoStore, clock: Clock) -> None:
    """A process with a longer life of tokens signs with a key that another one has made."""
    await start(store, clock, access_token_s=60.0).keys.refresh()
    clock.now_s += HOUR_S / 2 - 1
    tokens = await start(store, clock, access_token_s=7200.0).service.issue("p-ann", "device")
    assert tokens.expires_in_s <= 61


async def test_process_without_mongodb_signs_until_its_last_key_ends(store: MongoStore, clock: Clock) -> None:
    process = start(store, clock)
    first = await process.keys.get_signer()
    process.calls.is_down = True
    clock.now_s += HOUR_S / 2 - 1
    assert (await process.keys.get_signer()).key_id == first.key_id
    clock.now_s += 2
    second = await process.keys.get_signer()
    assert second.key_id != first.key_id, "the next one is known"
    clock.now_s += HOUR_S
    with pytest.raises(Unavailable):
        await process.keys.get_signer()
    process.calls.is_down = False
    assert (await process.keys.get_signer()).key_id not in (first.key_id, second.key_id)


async def test_secret_is_replaced_without_a_logout(store: MongoStore, clock: Clock) -> None:
    old = start(store, clock)
    tokens = await old.service.issue("p-ann", "device")
    # Rolling deploy: some processes have the new secret already, and the others still use the old one.
    new = start(store, clock, secret=NEW_SECRET, previous_secrets=[SECRET])
    first_used = (await new.keys.get_signer()).key_id
    assert first_used == (await old.keys.get_signer()).key_id, "until the new key was published"
    clock.now_s += PUBLICATION_S + 1
    assert (await new.keys.get_signer()).key_id != first_used
    assert (await old.keys.get_signer()).key_id == first_used
    for process in (new, old, new):
        assert await old.decoder.decode(await sign(process))
        assert await new.decoder.decode(await sign(process))
    tokens = await new.service.refresh(tokens.refresh_token)
    only_new = start(store, clock, secret=NEW_SECRET)
    assert await only_new.decoder.decode(tokens.access_token)
    assert await only_new.service.refresh(tokens.refresh_token)


async def test_lost_secret_logs_nobody_out(store: MongoStore, clock: Clock) -> None:
    tokens = await start(store, clock).service.issue("p-ann", "device")
    other = start(store, clock, secret=NEW_SECRET)
    assert await other.decoder.decode(tokens.access_token)
    renewed = await other.service.refresh(tokens.refresh_token)
    clock.now_s += REREAD_S_MIN + 1  # the new key could not be published before its use
    assert await other.decoder.decode(renewed.access_token)


async def test_private_key_that_was_changed_is_not_used(store: MongoStore, clock: Clock) -> None:
    process = start(store, clock)
    used = (await process.keys.get_signer()).key_id
    await store.database["signing_keys"].update_one({"_id": used}, {"$set": {"sealed": b"x" * 60}})
    assert (await start(store, clock).keys.get_signer()).key_id != used


@pytest.mark.parametrize("jump_s", [30 * 86_400.0, -30 * 86_400.0, HOUR_S, -HOUR_S, 1.0, -1.0])
async def test_clock_that_jumps_and_returns_loses_nothing(store: MongoStore, clock: Clock, jump_s: float) -> None:
    process, other = start(store, clock), start(store, clock)
    tokens = await process.service.issue("p-ann", "device")
    clock.now_s += jump_s
    tokens = await process.service.refresh(tokens.refresh_token)
    assert await process.decoder.decode(tokens.access_token), "valid by this clock"
    clock.now_s -= jump_s
    for each in (process, other, start(store, clock)):
        tokens = await each.service.refresh(tokens.refresh_token)
        assert await other.decoder.decode(tokens.access_token)


async def test_new_length_of_periods_is_used_after_its_key_was_published(store: MongoStore, clock: Clock) -> None:
    before = start(store, clock)
    used = (await before.keys.get_signer()).key_id
    after = start(store, clock, key_rotation_s=2 * HOUR_S)
    assert (await after.keys.get_signer()).key_id == used
    clock.now_s += PUBLICATION_S + 1
    assert (await after.keys.get_signer()).key_id.startswith("7200-")
    assert await before.decoder.decode(await sign(after))


async def test_check_of_a_known_key_reads_nothing(store: MongoStore, clock: Clock) -> None:
    process = start(store, clock)
    token = await sign(process)
    reads = 0
    jwks = encode_jwks(await process.keys.get_public_keys())

    async def read() -> bytes:
        nonlocal reads
        reads += 1
        return jwks

    cache = JwksCache(read, refresh_s=KEYS_REFRESH_S, now_s=clock)
    decoder = AccessTokenDecoder(cache, issuer="tickwire", leeway_s=10.0, now_s=clock)
    for _ in range(50):
        assert await decoder.decode(token)
    assert reads == 1
