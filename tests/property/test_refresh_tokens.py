"""Refresh tokens under kills, lost answers, repetitions, copies and clocks that jump, on a real MongoDB.

Invariants: an honest client never loses its login; a family never has two live ends; a copy that is used ends the
family, and so its access tokens; what has ended stays ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.harness.token_processes import Clock, Interrupted, TokenProcess
from tickwire.server.errors import InvalidToken
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.refresh_tokens import REPEAT_S, hash_refresh_token

T = TypeVar("T")
PROCESSES = st.integers(0, 1)
STEPS = st.integers(0, 8)
"""The call after which the process ends; 0 for none, and so is a step that the operation does not reach."""


class RefreshMachine(RuleBasedStateMachine):
    """One player's login at two processes, with an honest client and a thief."""

    url = database = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.store = self.run(self._open())
        self.clocks = [Clock(time.time()), Clock(time.time())]
        self.chain: list[str] = []  # the honest client's tokens, the newest last
        self.access: list[str] = []
        self.has_ended = False
        self.run(self._log_in())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _open(self) -> MongoStore:
        store = MongoStore(self.url, self.database)
        await store.check_schema(may_migrate=True)
        for name in ("refresh_families", "refresh_tokens", "revocations"):
            await store.database[name].delete_many({})
        return store

    async def _log_in(self) -> None:
        tokens = await self.process(0).service.issue("p-ann", "device")
        self.chain, self.access, self.has_ended = [tokens.refresh_token], [tokens.access_token], False

    def process(self, number: int, interrupt_at: int = 0) -> TokenProcess:
        """Start a process; it ends after a call to MongoDB."""
        made = TokenProcess(self.store, self.clocks[number])
        made.calls.interrupt_at = interrupt_at
        return made

    async def refresh(self, process: TokenProcess, token: str) -> str:
        """Return the result of a refresh: a token, "lost" or "refused"."""
        try:
            tokens = await process.service.refresh(token)
        except Interrupted:
            return "lost"
        except InvalidToken:
            return "refused"
        self.access.append(tokens.access_token)
        return tokens.refresh_token

    @rule(number=PROCESSES, step=STEPS)
    def client_refreshes(self, number: int, step: int) -> None:
        """The client uses its newest token; if the answer is lost, it repeats the call until it has one."""
        result = self.run(self.refresh(self.process(number, step), self.chain[-1]))
        if result == "lost":
            result = self.run(self.refresh(self.process(1 - number), self.chain[-1]))
        if self.has_ended:
            assert result == "refused"
            return
        assert result not in ("refused", "lost"), "an honest client never loses its login"
        assert result not in self.chain
        self.chain.append(result)

    @rule(count=st.integers(2, 4), step=STEPS)
    def client_refreshes_at_once(self, count: int, step: int) -> None:
        """Several requests with one token arrive at both processes at the same time, and one of them dies."""

        async def race() -> list[str]:
            processes = [self.process(number % 2, step if number == 0 else 0) for number in range(count)]
            return await asyncio.gather(*(self.refresh(each, self.chain[-1]) for each in processes))

        results = set(self.run(race())) - {"lost"}
        if self.has_ended:
            assert results <= {"refused"}
            return
        assert len(results) == 1, "one successor"
        assert results != {"refused"}
        self.chain += results

    @precondition(lambda self: len(self.chain) > 1)
    @rule(number=PROCESSES)
    def client_repeats_the_call_before(self, number: int) -> None:
        """The same request arrives again, as a proxy may send it."""
        result = self.run(self.refresh(self.process(number), self.chain[-2]))
        assert result == ("refused" if self.has_ended else self.chain[-1])

    @precondition(lambda self: len(self.chain) > 2)
    @rule(number=PROCESSES, step=STEPS, age=st.integers(3, 6))
    def thief_uses_an_old_token(self, number: int, step: int, age: int) -> None:
        """A copy of an older token is used: the family ends, also if the process dies meanwhile."""
        old = self.chain[-min(age, len(self.chain))]
        result = self.run(self.refresh(self.process(number, step), old))
        if result == "lost":
            result = self.run(self.refresh(self.process(1 - number), old))
        assert result == "refused"
        self.has_ended = True

    @precondition(lambda self: len(self.chain) > 1)
    @rule(number=PROCESSES)
    def thief_uses_the_token_before_after_a_while(self, number: int) -> None:
        """The token before the newest one is a copy, too, once the time for repetitions is over."""
        earlier = {"$set": {"used_at": {"$subtract": ["$used_at", int(REPEAT_S * 1000) + 1000]}}}
        self.run(self._update(earlier))
        assert self.run(self.refresh(self.process(number), self.chain[-2])) == "refused"
        self.has_ended = True

    async def _update(self, change: dict[str, Any]) -> None:
        await self.store.database["refresh_families"].update_many({}, [change])

    @rule(number=PROCESSES, step=STEPS)
    def client_logs_out(self, number: int, step: int) -> None:
        """The client logs out, and repeats the call if the answer is lost."""

        async def log_out(process: TokenProcess) -> bool:
            try:
                await process.service.log_out(self.chain[-1])
            except Interrupted:
                return False
            except InvalidToken:
                assert self.has_ended
            return True

        if not self.run(log_out(self.process(number, step))):
            assert self.run(log_out(self.process(1 - number)))
        self.has_ended = True

    @precondition(lambda self: self.has_ended)
    @rule()
    def player_logs_in_again(self) -> None:
        self.run(self._log_in())

    @rule(number=PROCESSES, seconds=st.sampled_from([-90_000.0, -700.0, -1.0, 1.0, 700.0, 90_000.0]))
    def clock_jumps(self, number: int, seconds: float) -> None:
        self.clocks[number].now_s += seconds

    @invariant()
    def one_end_is_live(self) -> None:
        """The current token of a family that has not ended is the client's newest one."""
        live = self.run(self.process(0).service.list_families("p-ann"))
        if self.has_ended:
            assert live == []
        else:
            assert [family.current for family in live] == [hash_refresh_token(self.chain[-1])]

    @invariant()
    def access_tokens_of_an_ended_login_are_refused(self) -> None:
        if not self.has_ended:
            return

        async def check() -> None:
            process = self.process(0)
            for token in self.access[-3:]:
                with pytest.raises(InvalidToken):
                    await process.check.verify(token)

        self.run(check())

    def teardown(self) -> None:
        self.store.close()
        self.runner.close()


def test_honest_client_keeps_its_login_and_copies_end_it(mongo_url: str, mongo_database: str) -> None:
    class Machine(RefreshMachine):
        url, database = mongo_url, mongo_database

    examples = max(12, settings().max_examples // 25)
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None)
    )
