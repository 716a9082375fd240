"""Passwords are hashed in threads, with a bounded queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from statistics import median

import pytest

from tests.harness.polling import eventually
from tickwire.server.errors import Unavailable
from tickwire.services.accounts.password_hasher import PasswordHasher
from tickwire.services.accounts.settings import PasswordSettings


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    made = PasswordHasher(PasswordSettings(time_cost=1, memory_kib=8192, threads=1, waiting_max=2))
    yield made
    made.close()


async def test_a_password_has_its_hash_alone(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(b"correct horse")
    assert stored.startswith("$argon2id$")
    assert await hasher.hash(b"correct horse") != stored, "the salt is random"
    assert await hasher.verify(stored, b"correct horse")
    assert not await hasher.verify(stored, b"wrong horse")
    assert not await hasher.verify("", b"correct horse")
    assert not await hasher.verify("not a hash", b"correct horse")
    assert not hasher.needs_rehash(stored)


async def test_calls_above_the_queue_are_refused_with_a_time_to_retry(hasher: PasswordHasher) -> None:
    found = await asyncio.gather(*(hasher.hash(b"x") for _ in range(10)), return_exceptions=True)
    refused = [one for one in found if isinstance(one, Unavailable)]
    assert len(refused) == hasher.refused == 7
    assert all(one.retry_after_ms for one in refused)
    assert hasher.pending == 0
    await hasher.hash(b"x")


async def test_cancelled_calls_count_until_their_thread_has_ended(hasher: PasswordHasher) -> None:
    tasks = [asyncio.create_task(hasher.hash(b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(Unavailable):
        await hasher.hash(b"x")
    await eventually(lambda: hasher.pending == 0)


async def test_the_event_loop_runs_while_a_password_is_hashed() -> None:
    hasher = PasswordHasher(PasswordSettings(time_cost=8, memory_kib=65_536))
    work = asyncio.create_task(hasher.hash(b"x"))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 5
    hasher.close()


async def test_an_absent_hash_takes_the_time_of_a_wrong_password(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(b"correct horse")

    async def measure(hash: str) -> float:
        started_s = time.process_time()
        assert not await hasher.verify(hash, b"wrong horse")
        return time.process_time() - started_s

    times = [(await measure(stored), await measure("")) for _ in range(15)]
    wrong, absent = (median(column) for column in zip(*times, strict=True))
    assert 0.5 < wrong / absent < 2
