"""Random requests to the ledger in memory and to the one on MongoDB: results, records and errors are the same."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.harness.ledger_stores import Changes, LedgerStore, create_memory_ledger, create_mongo_ledger, transaction
from tickwire.limits import AMOUNT_MAX
from tickwire.server.errors import NotSavable, StaleEpoch, TickwireError
from tickwire.server.storage import CallSettings, MongoStore, TransactionRequest

T = TypeVar("T")
PLAYERS = ("ann", "bob", "cid")
ITEMS = ("gold", "sword")
KEYS = tuple(f"key:{letter}" for letter in "abcdef")
SESSIONS = ("", "s1", "s2")
FENCES = ("garden/home", "garden/away", "a room")

players = st.sampled_from(PLAYERS)
amounts = st.one_of(
    st.integers(-3, 9).filter(bool), st.sampled_from((AMOUNT_MAX - 5, AMOUNT_MAX - 1, 1 - AMOUNT_MAX, 2**40))
)
changes = st.dictionaries(players, st.dictionaries(st.sampled_from(ITEMS), amounts, min_size=1), max_size=3)
names = st.one_of(st.text("abc$.\0é", max_size=4), st.just("name"))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31),
    st.sampled_from((2**53, 2**63 - 1, -(2**63), 2**63, 2**70)),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
profiles = st.none() | st.dictionaries(names, values, max_size=3)
guesses = st.sampled_from(("newest", "newest", "newest", "older", "newer"))


class TwoLedgers(RuleBasedStateMachine):
    """Each request goes to both, one after the other."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    mongo: ClassVar[LedgerStore]
    store: ClassVar[MongoStore]

    def __init__(self) -> None:
        super().__init__()
        self.run(self.clear())
        self.memory = create_memory_ledger()
        self.stores = (self.mongo, self.memory)
        self.sent: list[TransactionRequest] = []
        self.epoch = -5

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def clear(self) -> None:
        for collection in ("ledger", "players", "fences", "worlds"):
            await self.store.database[collection].delete_many({})

    @rule(
        key=st.sampled_from((*KEYS, "")),
        wanted=changes,
        by=st.tuples(players, st.sampled_from(SESSIONS), st.integers(1, 3)),
        room=st.tuples(st.sampled_from(FENCES), st.sampled_from((0, 10, 20, 30))),
        read=st.dictionaries(players, guesses, max_size=3),
        profile=profiles,
    )
    def commit(
        self,
        key: str,
        wanted: Changes,
        by: tuple[str, str, int],
        room: tuple[str, int],
        read: dict[str, str],
        profile: dict[str, Any] | None,
    ) -> None:
        player, session_id, command_id = by
        if profile is not None:
            read = {player: "newest"} | read
        more = {"older": -1, "newest": 0, "newer": 1}
        found = self.run(self.memory.players.load(list(read)))
        versions = {one: max(0, found[one].version + more[guess]) for one, guess in read.items()}
        request = transaction(
            key or f"{session_id or 'key:'}/{len(self.sent)}",
            wanted,
            player=player,
            session_id=session_id,
            command_id=command_id,
            fence=room[0],
            epoch=room[1],
            reply=bytes([len(self.sent)]),
            versions=versions,
            profile=profile,
        )
        self.send(request)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(self.sent)))

    def send(self, request: TransactionRequest) -> None:
        self.sent.append(request)
        expected, found = (self.run(outcome(store.ledger.commit(request))) for store in self.stores)
        assert found == expected, request

    @rule(name=st.sampled_from(("home", "away")))
    def claim(self, name: str) -> None:
        """Claim a room under an epoch that no other claim and no commit has, as the counter of a fleet ensures."""
        self.epoch += 10
        expected, found = (self.run(newest_epoch(store.claim(name, self.epoch))) for store in self.stores)
        assert found == expected

    @rule()
    def a_week_passes(self) -> None:
        for store in self.stores:
            self.run(store.expire_refusals())

    @invariant()
    def both_have_the_same_records_and_replies(self) -> None:
        expected, found = (self.run(contents(store)) for store in self.stores)
        assert found == expected


async def outcome(commit: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a commit, or its error. The text of NotSavable is the driver's."""
    try:
        return await commit
    except NotSavable:
        return NotSavable
    except TickwireError as error:
        return type(error), str(error)


async def newest_epoch(claim: Coroutine[Any, Any, None]) -> int:
    """Return the newest epoch of a room if the claim failed; 0 if it succeeded."""
    try:
        await claim
    except StaleEpoch as error:
        return error.newest
    return 0


async def contents(store: LedgerStore) -> Any:
    replies = await store.ledger.list_replies(SESSIONS[1:])
    ordered = sorted((one.session_id, one.command_id, one.reply, one.refused) for one in replies)
    return await store.players.load(PLAYERS), await store.holdings(*PLAYERS), ordered


@pytest.mark.timeout(1500)
def test_both_ledgers_answer_alike(mongo_url: str) -> None:
    loop = asyncio.new_event_loop()
    mongo = MongoStore(mongo_url, f"ledgers_{secrets.token_hex(6)}", calls=CallSettings(20.0))
    try:
        TwoLedgers.loop, TwoLedgers.store = loop, mongo
        TwoLedgers.mongo = loop.run_until_complete(create_mongo_ledger(mongo))
        examples = max(25, settings().max_examples // 12)
        run_state_machine_as_test(
            TwoLedgers, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
        )
    finally:
        loop.run_until_complete(mongo.ledger.close())
        loop.run_until_complete(mongo.client.drop_database(mongo.database.name))
        mongo.close()
        loop.close()
