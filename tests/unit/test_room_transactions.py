"""A room starts transactions from any hook: they are committed in order and once, and move and are saved with it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tickwire import Player, Room, Table, TooManyTransactions, Transaction, TransactionOutcome, grant, spend, uint
from tickwire.schemas.messages import Command
from tickwire.server.errors import NotSavable, StaleEpoch
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room_restart import create_restart_point
from tickwire.server.rooms.room_transactions import PENDING_TRANSACTIONS_MAX
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest
from tickwire.server.rooms.task_runner import TaskRunner
from tickwire.server.rooms.transactions import Decision
from tickwire.server.storage.world_document import create_world_write, world_from_document
from tickwire.testing.ledger_faults import LedgerFault
from tickwire.testing.memory_ledger import MemoryLedger


class Scores(Table):
    score = uint(bits=8)


class Casino(Room):
    """Pays, and notes each outcome."""

    room_type = "casino"
    durable = True
    uses_ledger = True
    scores: Scores

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.notes: list[Any] = []

    def restore(self, saved: Any) -> None:
        self.notes = []

    def pay(self, number: int, amount: int = 5, player_id: str = "ann") -> None:
        moves = grant(player_id, "gold", amount) if amount > 0 else spend(player_id, "gold", -amount)
        self.transact(Transaction(moves, key=f"{self.room_id}/{number}", reply=(number, "x")), self.paid)

    def paid(self, outcome: TransactionOutcome) -> None:
        number, _ = outcome.transaction.reply
        self.notes.append((number, outcome.refused or "committed"))

    def fail(self, outcome: TransactionOutcome) -> None:
        raise RuntimeError("requested failure in a callback")

    def on_command(self, player: Player, name: str, payload: Any) -> Transaction:
        return Transaction(grant(player.id, "chip"), reply=len(self.notes))

    async def wait(self, outcome: TransactionOutcome) -> None: ...

    def too_many(self, outcome: TransactionOutcome, more: int) -> None: ...


class LastPay(Casino):
    room_type = "last_pay"
    durable = False

    def on_dispose(self) -> None:
        self.pay(99)


class Poor(Room):
    room_type = "poor"


def casino_of(runtime: RoomRuntime) -> Casino:
    assert isinstance(runtime.room, Casino)
    return runtime.room


class LedgerBank:
    """The services of a shard that commit transactions, over a ledger in memory, and a host."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.ledger = ledger or MemoryLedger()
        self.fenced: list[str] = []
        self.now_s = 0.0
        self.transactions = TransactionService(self.ledger, self.ledger, on_fenced=self.fenced.append, timeout_s=20.0)
        self.service = RoomTransactionService(self.transactions, lambda: self.now_s)
        self.host: RoomHost = create_host(Casino, LastPay, commit=self.service.commit)

    def create(self, room_type: str = "casino", room_id: str = "r") -> RoomRuntime:
        return self.host.create(RoomSpec(room_id, room_type, "home", epoch=1), {})

    async def finish(self) -> None:
        await eventually(lambda: not self.service._tasks)


@pytest.fixture
def bank() -> LedgerBank:
    return LedgerBank()


async def test_transactions_are_committed_in_order_and_their_outcome_is_reported(bank: LedgerBank) -> None:
    runtime = bank.create()
    room = casino_of(runtime)
    room.pay(1)
    room.pay(2, -100)
    room.pay(3, -2)
    assert room.notes == [], "nothing runs before the hook has returned"
    assert len(room.transactions) == 3
    await bank.finish()
    assert room.notes == [(1, "committed"), (2, "not enough gold"), (3, "committed")]
    assert bank.ledger.all_holdings() == {"ann": {"gold": 3}}
    assert len(room.transactions) == bank.service.pending == 0
    assert bank.transactions.results == {"committed": 2, "refused": 1}


async def test_records_of_players_in_the_room_are_updated_and_others_may_be_absent(bank: LedgerBank) -> None:
    runtime = bank.create()
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    room = casino_of(runtime)
    room.pay(1)
    room.pay(2, player_id="bob")
    await bank.finish()
    assert seat.player.holdings == {"gold": 5}
    assert bank.ledger.holdings("bob") == {"gold": 5}
    assert not runtime.is_idle


async def test_a_transaction_with_a_used_key_is_applied_once(bank: LedgerBank) -> None:
    room = casino_of(bank.create())
    room.pay(1)
    room.pay(1)
    room.pay(1, 6)
    await bank.finish()
    assert bank.ledger.all_holdings() == {"ann": {"gold": 5}}
    assert [note for _, note in room.notes[:2]] == ["committed", "committed"]
    assert "has the key" in room.notes[2][1], "the same key with other moves is refused"


async def test_a_lost_answer_is_repeated_and_reported_once(bank: LedgerBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.server.persistence.room_transactions.RETRY_S", 0.001)
    room = casino_of(bank.create())
    bank.ledger.fail_next(LedgerFault.ANSWER_LOST, LedgerFault.UNAVAILABLE, LedgerFault.NONE, LedgerFault.UNAVAILABLE)
    room.pay(1)
    room.pay(2)
    await bank.finish()
    assert room.notes == [(1, "committed"), (2, "committed")]
    assert bank.ledger.all_holdings() == {"ann": {"gold": 10}}


async def test_a_command_completes_a_pending_transaction_with_an_unknown_outcome_first(bank: LedgerBank) -> None:
    """The task of the room sleeps meanwhile. The outcome is reported once."""
    runtime = bank.create()
    room = casino_of(runtime)
    bank.ledger.fail_next(LedgerFault.ANSWER_LOST)
    room.pay(1)
    await eventually(lambda: bank.transactions.results["unavailable"] == 1)
    await bank.transactions.wait_settled(runtime)
    assert room.notes == [(1, "committed")]
    await bank.finish()
    assert room.notes == [(1, "committed")]


async def test_a_failed_move_with_an_unknown_outcome_is_reported_once(
    bank: LedgerBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.persistence.room_transactions.RETRY_S", 0.001)
    runtime = bank.create()
    room = casino_of(runtime)
    bank.ledger.fail_next(LedgerFault.ANSWER_LOST)
    bank.ledger.hold_commits()
    room.pay(1)
    await eventually(lambda: bank.transactions.waiting == 1)
    bank.host.freeze(runtime)
    bank.ledger.release_commits()
    await bank.finish()
    assert room.notes == [], "the answer was lost"
    bank.host.unfreeze(runtime)
    await bank.finish()
    assert room.notes == [(1, "committed")]


async def test_a_repetition_that_is_due_in_a_move_waits_for_the_end_of_the_move(
    bank: LedgerBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.persistence.room_transactions.RETRY_S", 0.001)
    monkeypatch.setattr("tickwire.server.persistence.transactions.RETRY_AFTER_MS", 1)
    runtime = bank.create()
    room = casino_of(runtime)
    bank.ledger.fail_next(*[RuntimeError("requested fault, after which nothing is pending in the ledger")] * 1000)
    room.pay(1)
    await eventually(lambda: bank.transactions.results["unavailable"] > 0 and not bank.transactions.waiting)
    bank.host.freeze(runtime)
    await bank.transactions.wait_settled(runtime)
    bank.ledger.set_available()
    await bank.finish()
    assert (room.notes, bank.ledger.all_holdings()) == ([], {}), "its state may be in transfer"
    bank.host.unfreeze(runtime)
    await bank.finish()
    assert room.notes == [(1, "committed")]


async def test_an_exception_of_the_callback_is_contained_and_the_next_transaction_runs(bank: LedgerBank) -> None:
    room = casino_of(bank.create())
    with capture_logs() as logs:
        room.transact(Transaction(grant("ann", "gold"), key="k"), room.fail)
        room.transact(Transaction(grant("ann", "gold"), key="l"))
        room.pay(3)
        await bank.finish()
    assert [line["hook"] for line in logs if line["event"] == "room_code_raised"] == ["fail"]
    assert room.notes == [(3, "committed")]


async def test_a_fault_of_the_store_is_a_refusal(bank: LedgerBank) -> None:
    room = casino_of(bank.create())
    bank.ledger.fail_next(NotSavable("too large"))
    room.pay(1)
    await bank.finish()
    assert room.notes == [(1, "the transaction cannot be stored")]


async def test_a_room_that_another_shard_owns_commits_nothing(bank: LedgerBank) -> None:
    room = casino_of(bank.create())
    bank.ledger.fail_next(StaleEpoch("a newer owner"))
    room.pay(1)
    await bank.finish()
    assert bank.fenced == ["casino/home"]
    assert room.notes == []
    assert bank.ledger.all_holdings() == {}


async def test_a_command_is_decided_again_after_a_callback(bank: LedgerBank) -> None:
    """The callback may have changed the data of the room that the decision was based on."""
    runtime = bank.create()
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    command = Command(1, "chip")
    decision = seat.run_command(command)
    assert isinstance(decision, Decision)
    casino_of(runtime).pay(1)
    await bank.finish()
    outcome = await bank.transactions.run(seat, command, decision)
    assert outcome.reply.payload == b"\x01", "the number of notes after the callback"
    assert bank.ledger.all_holdings() == {"ann": {"gold": 5, "chip": 1}}


# -- closing and moving ---------------------------------------------------------------------------------------------


async def test_a_closed_room_is_paid_and_not_called(bank: LedgerBank) -> None:
    runtime = bank.create("last_pay")
    casino_of(runtime).pay(1)
    bank.host.close("r", "over")
    await bank.finish()
    assert bank.ledger.all_holdings() == {"ann": {"gold": 10}}, "also what it pays in on_dispose"
    assert casino_of(runtime).notes == []


async def test_transactions_of_a_closed_room_are_given_up_with_a_line_in_the_log(
    bank: LedgerBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.persistence.room_transactions.RETRY_S", 0.001)
    runtime = bank.create("last_pay")
    bank.ledger.set_unavailable()
    bank.host.close("r", "over")
    with capture_logs() as logs:
        await eventually(lambda: bank.transactions.results["unavailable"] > 2)
        assert bank.service.pending == 1
        bank.now_s = 1000.0
        await bank.finish()
    (line,) = [line for line in logs if line["event"] == "room_transactions_abandoned"]
    assert line["transactions"] == [("r/99", (("ann", "gold", 5),))]
    assert bank.service.abandoned == 1
    assert not runtime.is_open


async def test_close_waits_for_transactions_and_cancels_those_that_take_longer() -> None:
    bank = LedgerBank()
    casino_of(bank.create()).pay(1)
    bank.host.close_all("the server is stopping")
    await bank.service.close(20.0)
    assert bank.ledger.all_holdings() == {"ann": {"gold": 5}}
    bank.ledger.set_unavailable()
    casino_of(bank.create()).pay(2)
    bank.host.close_all("the server is stopping")
    with capture_logs() as logs:
        await bank.service.close(0.0)
    assert [line["event"] for line in logs] == ["room_transactions_abandoned"]
    assert not bank.service._tasks


def moved(runtime: RoomRuntime) -> RoomRuntime:
    _, checkpoint = decode_room(encode_room(runtime))
    return create_runtime(Casino, checkpoint, name="home")


def saved(runtime: RoomRuntime) -> RoomRuntime:
    """Return the room, restored from the document in the store."""
    world = encode_world("casino", "home", "r", runtime.checkpoint())
    write = create_world_write(world, 1, 1, None, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    document = world_from_document(write.root)
    assert document is not None
    return create_runtime(Casino, decode_world(document), name="home")


@pytest.mark.parametrize("passes", [moved, saved])
async def test_pending_transactions_move_and_are_saved(passes: Callable[[RoomRuntime], RoomRuntime]) -> None:
    bank, other = LedgerBank(), LedgerBank()
    runtime = bank.create()
    bank.host.freeze(runtime)
    for number, amount in ((1, 5), (2, 2**40), (3, -100)):
        casino_of(runtime).pay(number, amount)
    await bank.finish()
    assert bank.ledger.all_holdings() == {}, "a frozen room starts no commit"
    restored = passes(runtime)
    restored.start(other.service.commit, TaskRunner(RoomCounters()))
    await other.finish()
    assert casino_of(restored).notes == [(1, "committed"), (2, "committed"), (3, "committed")]
    assert other.ledger.all_holdings() == {"ann": {"gold": 5 + 2**40 - 100}}


async def test_a_room_restored_from_before_the_decision_is_paid_once_and_called_again() -> None:
    bank = LedgerBank()
    runtime = bank.create()
    bank.host.freeze(runtime)
    casino_of(runtime).pay(1)
    restored = saved(runtime)
    bank.host.unfreeze(runtime)
    await bank.finish()
    assert casino_of(runtime).notes == [(1, "committed")]
    restored.start(bank.service.commit, TaskRunner(RoomCounters()))  # the crash: the save is from before the commit
    await bank.finish()
    assert casino_of(restored).notes == [(1, "committed")]
    assert bank.ledger.all_holdings() == {"ann": {"gold": 5}}
    assert bank.transactions.results == {"committed": 1, "repeated": 1}


async def test_a_move_waits_for_the_transaction_in_flight(bank: LedgerBank) -> None:
    runtime = bank.create()
    room = casino_of(runtime)
    bank.ledger.hold_commits()
    room.pay(1)
    room.pay(2)
    await eventually(lambda: bank.transactions.waiting == 1)
    bank.host.freeze(runtime)
    settling = asyncio.create_task(bank.transactions.wait_settled(runtime))
    await asyncio.sleep(0)
    assert not settling.done()
    bank.ledger.release_commits()
    await settling
    assert room.notes == [(1, "committed")]
    assert len(room.transactions) == 1, "the second one moves"
    await bank.finish()
    bank.host.unfreeze(runtime)
    await bank.finish()
    assert room.notes == [(1, "committed"), (2, "committed")]


@pytest.mark.parametrize("by_command", [False, True])
async def test_a_transaction_in_flight_updates_the_records_of_a_restarted_room(
    by_command: bool, bank: LedgerBank
) -> None:
    runtime = bank.create()
    seat = bank.host.seat("r", SeatRequest(RecordingSubscriber("ann"), "ann"), lambda seat: None)
    bank.ledger.hold_commits()
    if by_command:
        command = Command(1, "buy")
        decision = seat.run_command(command)
        assert isinstance(decision, Decision)
        running = asyncio.ensure_future(bank.transactions.run(seat, command, decision))
    point = create_restart_point(runtime)
    if not by_command:
        casino_of(runtime).pay(1)  # after the restart point
    await eventually(lambda: bank.transactions.waiting == 1)
    assert bank.host.restart(runtime, Casino, point)
    restarted = bank.host.get("r")
    assert restarted is not None
    assert restarted is not runtime
    bank.ledger.release_commits()
    if by_command:
        assert (await running).reply.ok
    await bank.finish()
    assert restarted.room.players["ann"].record.holdings == ({"chip": 1} if by_command else {"gold": 5})


async def test_a_method_that_the_new_build_lacks_is_logged(bank: LedgerBank, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = bank.create()
    casino_of(runtime).pay(1)
    monkeypatch.delattr(Casino, "paid")
    with capture_logs() as logs:
        await bank.finish()
    assert [line["method"] for line in logs if line["event"] == "room_method_missing"] == ["paid"]
    assert bank.ledger.all_holdings() == {"ann": {"gold": 5}}


# -- refused calls --------------------------------------------------------------------------------------------------


def test_invalid_calls_are_refused() -> None:
    room = casino_of(create_runtime(Casino))
    good = Transaction(grant("ann", "gold"), key="k")
    wrong: Any = grant("ann", "gold")
    with pytest.raises(ValueError, match="key"):
        room.transact(Transaction(grant("ann", "gold")))
    with pytest.raises(ValueError, match="profile"):
        room.transact(Transaction(profile={"a": 1}, key="k"))
    with pytest.raises(TypeError, match="needs a Transaction"):
        room.transact(wrong)
    with pytest.raises(TypeError):
        room.transact(Transaction(grant("ann", "gold"), key="k", reply=object()), room.paid)
    for method in (lambda outcome: None, room.wait, room.too_many, print, casino_of(create_runtime(Casino)).paid):
        with pytest.raises(TypeError, match="transact: "):
            room.transact(good, method)
    with pytest.raises(TypeError, match="uses_ledger"):
        create_runtime(Poor).room.transact(good)
    assert len(room.transactions) == 0
    room.transact(good, room.paid)
    assert len(room.transactions) == 1


def test_the_number_of_pending_transactions_has_a_limit() -> None:
    room = casino_of(create_runtime(Casino))
    for number in range(PENDING_TRANSACTIONS_MAX):
        room.pay(number)
    with pytest.raises(TooManyTransactions):
        room.pay(PENDING_TRANSACTIONS_MAX)
