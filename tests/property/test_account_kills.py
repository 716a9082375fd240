"""The process ends at every step of a login, link, unlink, merge or deletion, and another process continues.

No identity is in two accounts, none is lost, and holdings add up. A repeated operation has the result of one.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pymongo import MongoClient

from tests.harness.account_parts import CHEAP, SECRET, AccountParts, MemoryTokenIssuer
from tickwire.server.errors import Conflict, IdentityTaken, InvalidArgument, Unauthorized
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import BanStore, MongoStore, migrate
from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.mongo_transactions import MongoTransactions
from tickwire.services.accounts.account import LinkedIdentity
from tickwire.services.accounts.account_store import now_utc
from tickwire.services.accounts.identities import digest_secret
from tickwire.services.accounts.password_hasher import PasswordHasher

T = TypeVar("T")
DEVICES = tuple(f"device-{number:0>16}" for number in range(5))
STEPS_MAX = 14
LATER = datetime.timedelta(hours=1)


class ProcessKilled(BaseException):
    """The process has ended; no code of it runs any more."""


class Lifespan:
    """Ends a process before or after one of its calls.

    Args:
        calls_left: the number of calls until then; None for never.
        is_done: whether the last call is executed.
    """

    def __init__(self, calls_left: int | None, *, is_done: bool) -> None:
        self.calls_left = calls_left
        self.is_done = is_done

    async def live(self, call: Awaitable[T]) -> T:
        if self.calls_left is None:
            return await call
        self.calls_left -= 1
        if self.calls_left > 0:
            return await call
        if self.is_done and self.calls_left == 0:
            await call
        elif isinstance(call, Coroutine):
            call.close()
        raise ProcessKilled


class MortalCalls(MongoCalls):
    """The calls of a process that may end at each of them."""

    def __init__(self, lifespan: Lifespan) -> None:
        super().__init__(5.0)
        self._lifespan = lifespan

    async def read(self, call: Awaitable[T]) -> T:
        return await self._lifespan.live(super().read(call))

    async def write(self, call: Awaitable[T]) -> T:
        return await self._lifespan.live(super().write(call))


class MortalTokens(MemoryTokenIssuer):
    """The tokens of a process that may end at each call."""

    def __init__(self, shared: MemoryTokenIssuer, lifespan: Lifespan) -> None:
        self.families, self.by_refresh = shared.families, shared.by_refresh
        self._lifespan = lifespan

    async def issue(self, player_id: str, provider: str) -> Any:
        return await self._lifespan.live(super().issue(player_id, provider))

    async def end_family(self, family_id: str) -> None:
        await self._lifespan.live(super().end_family(family_id))

    async def end_all(self, player_id: str, *, except_family: str = "") -> None:
        await self._lifespan.live(super().end_all(player_id, except_family=except_family))


def create_process(
    store: MongoStore, tokens: MemoryTokenIssuer, hasher: PasswordHasher, lifespan: Lifespan
) -> AccountParts:
    """Return the services of a process that ends with its lifespan."""
    store = copy.copy(store)
    store.calls = MortalCalls(lifespan)
    store.transactions = MongoTransactions(store.client, store.calls, store.stale_transactions)
    store.bans = BanStore(store.database, store.calls, FaultIsolation())
    return AccountParts(store, MortalTokens(tokens, lifespan), hasher)


class MortalAccounts(RuleBasedStateMachine):
    """Devices log in, link and unlink; accounts merge and are deleted; processes end."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.name = f"accounts_{secrets.token_hex(6)}"
        self.tokens = MemoryTokenIssuer()
        self.hasher = PasswordHasher(CHEAP)
        self.owners: dict[str, str] = {}
        self.gold: Counter[str] = Counter()
        self.grants = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    @initialize()
    def open(self) -> None:
        async def create() -> MongoStore:
            store = MongoStore(self.url, self.name)
            await migrate(store.database, store.calls)
            return store

        self.store = self.run(create())

    def process(self, calls_left: int | None, *, is_done: bool) -> AccountParts:
        """Return the services of a new process."""
        return create_process(self.store, self.tokens, self.hasher, Lifespan(calls_left, is_done=is_done))

    def survive(self, data: st.DataObject, work: Callable[[AccountParts], Coroutine[Any, Any, T]]) -> T | None:
        """Run an operation whose process may end; repeat it, or let another process resume what is pending.

        Returns its result, or None if it was not repeated; then the model is read from the database.
        """
        calls_left = data.draw(st.none() | st.integers(1, STEPS_MAX))
        try:
            return self.run(work(self.process(calls_left, is_done=data.draw(st.booleans()))))
        except ProcessKilled:
            pass
        if data.draw(st.booleans()):
            return self.run(work(self.process(None, is_done=False)))
        before = sum(self.gold.values())
        self.run(self.process(None, is_done=False).pending.resume(now_utc() + LATER))
        self.read_model()
        assert sum(self.gold.values()) <= before
        return None

    def read_model(self) -> None:
        documents = self.run(self.store.database["accounts"].find().to_list(None))
        self.owners = {one["subject"]: each["_id"] for each in documents for one in each["identities"]}
        players = self.run(self.store.database["players"].find().to_list(None))
        self.gold = Counter({one["_id"]: one["holdings"].get("gold", 0) for one in players})

    def token(self, device: str) -> Any:
        """Return fresh tokens of a device, which has an account."""
        outcome = self.run(self.process(None, is_done=False).login.login_device(device, SECRET, create=False))
        assert outcome.tokens.player_id == self.owners[device]
        return outcome.tokens

    @rule(data=st.data(), device=st.sampled_from(DEVICES))
    def log_in(self, data: st.DataObject, device: str) -> None:
        outcome = self.survive(data, lambda parts: parts.login.login_device(device, SECRET, create=True))
        if outcome is not None:
            known = self.owners.setdefault(device, outcome.tokens.player_id)
            assert outcome.tokens.player_id == known

    @rule(device=st.sampled_from(DEVICES), amount=st.integers(1, 100))
    def grant(self, device: str, amount: int) -> None:
        if device in self.owners:
            self.grants += 1
            parts = self.process(None, is_done=False)
            self.run(parts.grant(f"grant {self.grants}", self.owners[device], gold=amount))
            self.gold[self.owners[device]] += amount

    @rule(data=st.data(), device=st.sampled_from(DEVICES), linked=st.sampled_from(DEVICES))
    def link(self, data: st.DataObject, device: str, linked: str) -> None:
        if device not in self.owners:
            return
        player = self.owners[device]
        identity = LinkedIdentity("device", linked, now_utc(), secret=digest_secret(SECRET))
        try:
            done = self.survive(data, lambda parts: parts.service.link(player, identity))
        except IdentityTaken:
            assert self.owners.get(linked, player) != player
            return
        if done is not None:
            assert self.owners.setdefault(linked, player) == player

    @rule(data=st.data(), device=st.sampled_from(DEVICES))
    def unlink(self, data: st.DataObject, device: str) -> None:
        if device not in self.owners:
            return
        player = self.owners[device]
        others = [one for one, owner in self.owners.items() if owner == player and one != device]
        try:
            done = self.survive(data, lambda parts: parts.service.unlink(player, "device", device))
        except Conflict:
            assert not others
            return
        if done is not None:
            assert others
            del self.owners[device]

    @rule(data=st.data(), source=st.sampled_from(DEVICES), into=st.sampled_from(DEVICES))
    def merge(self, data: st.DataObject, source: str, into: str) -> None:
        if not {source, into} <= self.owners.keys():
            return
        gone, left = self.owners[source], self.owners[into]
        refresh = self.token(source).refresh_token
        try:
            done = self.survive(data, lambda parts: parts.service.merge(left, refresh))
        except InvalidArgument:
            assert gone == left
            return
        if done is not None:
            assert gone != left
            self.owners = {one: left if owner == gone else owner for one, owner in self.owners.items()}
            self.gold[left] += self.gold.pop(gone, 0)
            assert gone not in self.tokens.families.values()

    @rule(data=st.data(), first=st.sampled_from(DEVICES), second=st.sampled_from(DEVICES))
    def merge_both_ways(self, data: st.DataObject, first: str, second: str) -> None:
        """Two processes merge two accounts in opposite directions at the same time; each may end."""
        if not {first, second} <= self.owners.keys() or self.owners[first] == self.owners[second]:
            return
        pairs = [(first, second), (second, first)]
        refresh = [self.token(source).refresh_token for source, _ in pairs]
        lives = [(data.draw(st.none() | st.integers(1, STEPS_MAX)), data.draw(st.booleans())) for _ in pairs]

        async def merge(number: int) -> None:
            parts = self.process(lives[number][0], is_done=lives[number][1])
            try:
                await parts.service.merge(self.owners[pairs[number][1]], refresh[number])
            except (Conflict, Unauthorized, ProcessKilled):
                return

        async def both() -> None:
            await asyncio.gather(merge(0), merge(1))

        total, devices = sum(self.gold.values()), set(self.owners)
        self.run(both())
        self.run(self.process(None, is_done=False).pending.resume(now_utc() + LATER))
        self.read_model()
        assert (sum(self.gold.values()), set(self.owners)) == (total, devices)

    @rule(data=st.data(), device=st.sampled_from(DEVICES))
    def delete(self, data: st.DataObject, device: str) -> None:
        if device not in self.owners:
            return
        player = self.owners[device]

        async def work(parts: AccountParts) -> bool:
            await parts.service.delete(player)
            return True

        if self.survive(data, work):
            self.owners = {one: owner for one, owner in self.owners.items() if owner != player}
            self.gold.pop(player, None)
            assert player not in self.tokens.families.values()

    @invariant()
    def identities_and_holdings_add_up(self) -> None:
        if not hasattr(self, "store"):
            return
        accounts = self.run(self.store.database["accounts"].find().to_list(None))
        found = [(one["subject"], each["_id"]) for each in accounts for one in each["identities"]]
        assert sorted(found) == sorted(self.owners.items()), "each identity is in one account"
        players = self.run(self.store.database["players"].find().to_list(None))
        held = {one["_id"]: one["holdings"].get("gold", 0) for one in players}
        assert +Counter(held) == +self.gold
        for player, amount in held.items():
            sums = self.run(self.store.ledger.sums(player))
            assert sums.get("gold", 0) == amount, "the sum of its entries"
        for account in accounts:
            assert "pending_since" not in account
            assert bool(account["identities"]) != ("merged_into" in account)

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.run(self.store.ledger.close())
                self.store.close()
        finally:
            self.hasher.close()
            self.loop.close()
            with MongoClient[dict[str, Any]](self.url) as client:
                client.drop_database(self.name)


def test_no_account_is_lost_or_divided_whichever_process_ends(mongo_url: str) -> None:
    MortalAccounts.url = mongo_url
    examples = max(20, settings().max_examples // 12)
    run_state_machine_as_test(
        MortalAccounts, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None)
    )


class KillScene:
    """Two accounts, ann and bob; ann has two devices and gold, and bob has gold."""

    def __init__(self, store: MongoStore, hasher: PasswordHasher) -> None:
        self.store, self.hasher = store, hasher
        self.tokens = MemoryTokenIssuer()

    def process(self, calls_left: int | None = None, *, is_done: bool = False) -> AccountParts:
        return create_process(self.store, self.tokens, self.hasher, Lifespan(calls_left, is_done=is_done))

    async def prepare(self) -> None:
        for name in ("accounts", "players", "ledger"):
            await self.store.database[name].delete_many({})
        parts = self.process()
        self.ann, self.bob = [
            (await parts.login.login_device(device, SECRET, create=True)).tokens for device in DEVICES[:2]
        ]
        await parts.service.link(self.ann.player_id, device_of(DEVICES[2]))
        for tokens in (self.ann, self.bob):
            await parts.grant(f"to {tokens.player_id}", tokens.player_id, gold=5)

    async def describe(self) -> dict[str, tuple[list[str], int]]:
        """Return the devices and the gold of each account; ids are not compared."""
        names = {self.ann.player_id: "ann", self.bob.player_id: "bob"}
        held = {one["_id"]: one["holdings"]["gold"] async for one in self.store.database["players"].find()}
        found = {}
        async for one in self.store.database["accounts"].find():
            assert "pending_since" not in one
            devices = sorted(each["subject"] for each in one["identities"])
            assert bool(devices) != ("merged_into" in one)
            name = names.get(one["_id"], "new")
            if devices:
                found[name] = (devices, held.pop(one["_id"], 0))
        assert not any(held.values()), "players without an account hold nothing"
        return found


def device_of(subject: str) -> LinkedIdentity:
    return LinkedIdentity("device", subject, now_utc(), secret=digest_secret(SECRET))


OPERATIONS: dict[str, Callable[[KillScene, AccountParts], Coroutine[Any, Any, Any]]] = {
    "create": lambda scene, parts: parts.login.login_device(DEVICES[3], SECRET, create=True),
    "login": lambda scene, parts: parts.login.login_device(DEVICES[0], SECRET, create=False),
    "link": lambda scene, parts: parts.service.link(scene.ann.player_id, device_of(DEVICES[3])),
    "unlink": lambda scene, parts: parts.service.unlink(scene.ann.player_id, "device", DEVICES[2]),
    "merge": lambda scene, parts: parts.service.merge(scene.bob.player_id, scene.ann.refresh_token),
    "delete": lambda scene, parts: parts.service.delete(scene.ann.player_id),
}
STEPS_LEAST = {"create": 4, "login": 4, "link": 1, "unlink": 1, "merge": 8, "delete": 9}
"""The least number of calls of each operation, so that the test notices when it ends none of them."""


@pytest.mark.parametrize("is_resumed", [False, True], ids=["repeated", "resumed first"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_operation_that_ends_at_each_step_has_the_result_of_one(
    mongo_url: str, mongo_database: str, operation: str, is_done: bool, is_resumed: bool
) -> None:
    store, hasher = MongoStore(mongo_url, mongo_database), PasswordHasher(CHEAP)
    await migrate(store.database, store.calls)
    scene, work = KillScene(store, hasher), OPERATIONS[operation]
    await scene.prepare()
    await work(scene, scene.process())
    expected = await scene.describe()
    step = 0
    while True:
        step += 1
        await scene.prepare()
        try:
            await work(scene, scene.process(step, is_done=is_done))
            break
        except ProcessKilled:
            if is_resumed:
                await scene.process().pending.resume(now_utc() + LATER)
            await work(scene, scene.process())
        assert await scene.describe() == expected, f"ended at call {step}"
        if operation in ("merge", "delete"):
            assert scene.ann.player_id not in scene.tokens.families.values(), f"ended at call {step}"
    assert step > STEPS_LEAST[operation]
    hasher.close()
    await store.ledger.close()
    store.close()
