"""A process dies at any step of a request with an Idempotency-Key: nothing is lost, and nothing happens twice.

    begin ─> the operation's write ─> its answer ─> complete ─> send

A plan names, for each attempt, the step at which its process dies; it dies before or after the step took effect. The
operation writes once for each operation key, as the ledger does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import post
from litestar.di import NamedDependency
from pymongo.errors import DuplicateKeyError

from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.idempotency import IDEMPOTENT, IdempotencyMiddleware
from tickwire.server.idempotent_request import IdempotentRequest, Lease, StoredAnswer
from tickwire.server.storage import MongoStore, StoredRequests, migrate

STEPS = ("begin", "write", "complete", "send")
ATTEMPTS_MAX = 12


class Killed(BaseException):
    """The process has died: no code of it runs any more."""


class Death(msgspec.Struct, frozen=True):
    """The step at which a process dies, and whether the step takes effect before."""

    step: str
    is_after: bool


class MortalStore:
    """The store of one process."""

    def __init__(self, store: StoredRequests, process: MortalProcess) -> None:
        self._store, self._process = store, process

    async def begin(self, request: IdempotentRequest) -> Lease | StoredAnswer:
        return await self._process.step("begin", self._store.begin(request))

    async def complete(self, lease: Lease, answer: StoredAnswer) -> StoredAnswer:
        return await self._process.step("complete", self._store.complete(lease, answer))

    async def abandon(self, lease: Lease) -> None:
        await self._process.step("abandon", self._store.abandon(lease))


class MortalProcess:
    """One request to a process of its own, which may die."""

    def __init__(self, database: Any, store: StoredRequests, death: Death | None) -> None:
        self._gifts = database["gifts"]
        self._death = death
        self._is_dead = False
        self.answer: tuple[int, bytes] | None = None

        @post("/v1/gifts", opt=IDEMPOTENT, status_code=201)
        async def create_gift(operation_key: NamedDependency[str]) -> dict[str, str]:
            return {"gift": await self.step("write", self._write(operation_key))}

        middleware = IdempotencyMiddleware(MortalStore(store, self), caller=lambda scope: "p-ann")
        self._app = create_application(
            HttpOptions(title="Shop", middleware=[middleware]), [HttpRoutes(handlers=[create_gift])]
        )

    async def step(self, name: str, call: Any) -> Any:
        """Await a call, or die before or after it."""
        if self._is_dead:
            call.close()
            raise Killed
        dies = self._death is not None and self._death.step == name
        if dies and self._death is not None and not self._death.is_after:
            call.close()
            self._is_dead = True
            raise Killed
        result = await call
        if dies:
            self._is_dead = True
            raise Killed
        return result

    async def run(self, key: str) -> None:
        """Send a request; `answer` stays None if the client receives no answer."""
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b'{"to": "bob"}', "more_body": False}

        async def send(message: Any) -> None:
            async def deliver() -> None:
                messages.append(message)

            await self.step("send", deliver())

        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/gifts",
            "raw_path": b"/v1/gifts",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"idempotency-key", key.encode()), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
            "state": {},
        }
        try:
            await self._app(scope, receive, send)
        except Killed:
            return
        self.answer = (messages[0]["status"], b"".join(one.get("body", b"") for one in messages[1:]))

    async def _write(self, operation_key: str) -> str:
        """Make a new gift, or return the gift that this operation has made."""
        gift = secrets.token_hex(4)
        try:
            await self._gifts.insert_one({"_id": operation_key, "gift": gift})
        except DuplicateKeyError:
            gift = (await self._gifts.find_one({"_id": operation_key}))["gift"]
        return gift


class MortalFleet:
    """Processes on one database; each attempt runs on another one."""

    def __init__(self, url: str, database: str) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._mongo = MongoStore(url, database)
        self._sync = pymongo.MongoClient[dict[str, Any]](url)[database]
        self._store = StoredRequests(self._mongo.database, self._mongo.calls)
        self._loop.run_until_complete(migrate(self._mongo.database, self._mongo.calls))

    def attempt(self, key: str, *deaths: Death | None) -> list[tuple[int, bytes] | None]:
        """Send one request for each death at the same time; return the answers."""
        attempts = [MortalProcess(self._mongo.database, self._store, death) for death in deaths]

        async def run() -> None:
            await asyncio.gather(*(one.run(key) for one in attempts))

        self._loop.run_until_complete(run())
        return [one.answer for one in attempts]

    def end_leases(self) -> None:
        """Let the time of all leases pass."""
        passed = [{"$set": {"lease_until": "$$NOW"}}]
        self._sync["idempotent_requests"].update_many({}, passed)

    def gifts(self) -> list[str]:
        return [one["gift"] for one in self._sync["gifts"].find()]

    def clear(self) -> None:
        for name in ("gifts", "idempotent_requests"):
            self._sync[name].delete_many({})

    def close(self) -> None:
        self._sync.client.close()
        self._mongo.close()
        self._loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def fleet(mongo_url: str, mongo_database: str) -> Iterator[MortalFleet]:
    made = MortalFleet(mongo_url, mongo_database)
    yield made
    made.close()


def finish(fleet: MortalFleet, key: str) -> tuple[int, bytes]:
    """Retry as a client does, until it has an answer."""
    for _ in range(ATTEMPTS_MAX):
        (answer,) = fleet.attempt(key, None)
        assert answer is not None
        if answer[0] != 409:
            return answer
        fleet.end_leases()
    raise AssertionError("no answer")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_death_at_each_step(fleet: MortalFleet, step: str, is_after: bool) -> None:
    assert fleet.attempt("k-1", Death(step, is_after)) == [None]
    status, body = finish(fleet, "k-1")
    assert status == 201
    assert len(fleet.gifts()) == 1
    assert body == b'{"gift":"%s"}' % fleet.gifts()[0].encode()
    assert fleet.attempt("k-1", None) == [(status, body)]


DEATHS = st.none() | st.builds(Death, st.sampled_from(STEPS), st.booleans())
ROUNDS = st.lists(st.tuples(st.lists(DEATHS, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(ROUNDS)
def test_any_deaths_of_concurrent_attempts(fleet: MortalFleet, rounds: list[tuple[list[Death | None], bool]]) -> None:
    fleet.clear()
    received: list[tuple[int, bytes]] = []
    for deaths, lease_ends in rounds:
        received += [one for one in fleet.attempt("k-1", *deaths) if one is not None and one[0] != 409]
        assert len(fleet.gifts()) >= bool(received), "an answer means that the gift is there"
        if lease_ends:
            fleet.end_leases()
    received.append(finish(fleet, "k-1"))
    assert len(fleet.gifts()) == 1, "never twice"
    assert set(received) == {(201, b'{"gift":"%s"}' % fleet.gifts()[0].encode())}
