"""The guarantees of stored answers, on a real MongoDB. Each store stands for one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from tests.harness.polling import eventually
from tickwire.server.errors import IdempotencyKeyReused, RequestInProgress, Unavailable
from tickwire.server.idempotent_request import IdempotentRequest, Lease, StoredAnswer
from tickwire.server.storage import CallSettings, MongoStore, StoredRequests, migrate

ANSWER = StoredAnswer(201, (("content-type", "application/json"), ("x-dollar", "$caller")), b'{"gold": 5}\x00\xff')
REQUEST = IdempotentRequest("p-ann", "POST /v1/gifts", "k-1", b"digest")
LONG_S = 60.0
Process = Callable[..., StoredRequests]


@pytest.fixture
async def process(mongo_url: str, mongo_database: str) -> AsyncIterator[Process]:
    """Create the store of one more process."""
    made: list[MongoStore] = []

    def create(lease_s: float = LONG_S, stored_s: float = 3600.0) -> StoredRequests:
        made.append(MongoStore(mongo_url, mongo_database))
        return StoredRequests(made[-1].database, made[-1].calls, lease_s=lease_s, stored_s=stored_s)

    create()
    await migrate(made[0].database, made[0].calls)
    yield create
    for store in made:
        store.close()


async def acquire(store: StoredRequests, request: IdempotentRequest = REQUEST) -> Lease:
    lease = await store.begin(request)
    assert isinstance(lease, Lease)
    return lease


async def test_another_process_returns_the_stored_answer(process: Process) -> None:
    store = process()
    assert await store.complete(await acquire(store), ANSWER) == ANSWER
    assert await process().begin(REQUEST) == ANSWER
    assert await store.begin(REQUEST) == ANSWER


async def test_one_of_many_concurrent_attempts_runs(process: Process) -> None:
    stores = [process() for _ in range(4)]
    results = await asyncio.gather(*(one.begin(REQUEST) for one in stores * 5), return_exceptions=True)
    leases = [one for one in results if isinstance(one, Lease)]
    refused = [one for one in results if isinstance(one, RequestInProgress)]
    assert len(leases) == 1
    assert len(refused) == len(results) - 1
    assert all(0 < one.retry_after_ms <= LONG_S * 1000 for one in refused)
    assert all(one.retryable for one in refused)


async def test_key_of_another_request_is_refused_in_every_state(process: Process) -> None:
    store, other = process(), IdempotentRequest("p-ann", "POST /v1/gifts", "k-1", b"other")
    lease = await acquire(store)
    with pytest.raises(IdempotencyKeyReused):
        await store.begin(other)
    await store.abandon(lease)
    with pytest.raises(IdempotencyKeyReused):
        await store.begin(other)
    await store.complete(await acquire(store), ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        await store.begin(other)


@pytest.mark.parametrize(
    "other",
    [
        IdempotentRequest("p-bob", "POST /v1/gifts", "k-1", b"digest"),
        IdempotentRequest("p-ann", "POST /v1/trades", "k-1", b"digest"),
        IdempotentRequest("p-ann", "POST /v1/gifts", "k-2", b"digest"),
        IdempotentRequest("p-annPOST /v1", "/gifts", "k-1", b"digest"),
    ],
)
async def test_keys_of_other_callers_and_operations_are_independent(
    process: Process, other: IdempotentRequest
) -> None:
    store = process()
    await store.complete(await acquire(store), ANSWER)
    assert (await acquire(store, other)).attempt == 1


@pytest.mark.parametrize("text", ["$caller", "$$NOW", "a.b", "\\", "k\u00e9y", "{}"])
async def test_texts_of_the_client_are_no_expressions(process: Process, text: str) -> None:
    store = process()
    request = IdempotentRequest(text, text, text, text.encode())
    answer = StoredAnswer(200, ((text, text),), text.encode())
    await store.complete(await acquire(store, request), answer)
    assert await store.begin(request) == answer
    assert [(one["operation"], one["key"]) for one in await store.list_of(text)] == [(text, text)]


async def test_lease_of_a_crashed_process_ends_and_the_operation_runs_again(process: Process) -> None:
    crashed = await acquire(process(lease_s=0.3))
    store, second = process(), None

    async def is_free() -> bool:
        nonlocal second
        with suppress(RequestInProgress):
            second = await acquire(store)
        return second is not None

    await eventually(is_free)
    assert second is not None
    assert (crashed.attempt, second.attempt) == (1, 2)
    with pytest.raises(RequestInProgress):
        await store.begin(REQUEST)


async def test_first_stored_answer_holds(process: Process) -> None:
    slow = process(lease_s=0.001)
    first = await acquire(slow)
    await asyncio.sleep(0.01)
    second = await acquire(process())
    other = StoredAnswer(409, (), b"late")
    assert await slow.complete(second, ANSWER) == ANSWER
    assert await slow.complete(first, other) == ANSWER, "the answer that clients may have got already"
    assert await slow.complete(second, ANSWER) == ANSWER, "idempotent"
    assert await slow.begin(REQUEST) == ANSWER


async def test_abandoned_request_runs_again_at_once(process: Process) -> None:
    store = process()
    first = await acquire(store)
    await store.abandon(first)
    second = await acquire(store)
    assert second.attempt == 2
    await store.abandon(first)
    with pytest.raises(RequestInProgress):
        await store.begin(REQUEST)
    await store.complete(second, ANSWER)
    await store.abandon(second)
    assert await store.begin(REQUEST) == ANSWER


async def test_requests_expire_by_an_index(process: Process, mongo_url: str, mongo_database: str) -> None:
    store = process(stored_s=1800.0)
    lease = await acquire(store)
    made = MongoStore(mongo_url, mongo_database)
    indexes = await made.database["idempotent_requests"].index_information()
    assert any(one["key"] == [("expires_at", 1)] and one["expireAfterSeconds"] == 0 for one in indexes.values())
    found = await made.database["idempotent_requests"].find_one({})
    assert found is not None
    assert (found["expires_at"] - found["seen_at"]).total_seconds() == 1800.0
    await made.database["idempotent_requests"].delete_many({})  # what the index would do
    assert await store.complete(lease, ANSWER) == ANSWER, "an expired request does not fail its operation"
    assert (await acquire(store)).attempt == 1
    made.close()


async def test_requests_of_a_caller_are_exported_and_deleted(process: Process) -> None:
    store = process()
    await store.complete(await acquire(store), ANSWER)
    await acquire(store, IdempotentRequest("p-bob", "POST /v1/gifts", "k-1", b"digest"))
    exported = await store.list_of("p-ann")
    assert [bytes(one["answer"]["body"]) for one in exported] == [ANSWER.body]
    assert await store.delete_of("p-ann") == 1
    assert await store.delete_of("p-ann") == 0
    assert await store.list_of("p-ann") == []
    assert len(await store.list_of("p-bob")) == 1


async def test_store_that_does_not_answer_is_unavailable() -> None:
    made = MongoStore("mongodb://127.0.0.1:1/?replicaSet=rs0", "tickwire", calls=CallSettings(0.2))
    store = StoredRequests(made.database, made.calls)
    with pytest.raises(Unavailable):
        await store.begin(REQUEST)
    with pytest.raises(Unavailable):
        await store.complete(Lease("id", "token", 1), ANSWER)
    made.close()
