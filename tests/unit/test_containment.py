"""Nothing that a game raises leaves its room: every exception type, in every hook."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tickwire import (
    CommandRefused,
    Input,
    InputBatch,
    Player,
    Room,
    SaveData,
    Table,
    Transaction,
    boolean,
    grant,
    real,
)
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, Reply
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.errors import TickwireError
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import TicksStalled
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest
from tickwire.server.rooms.transactions import Decision


class Unprintable(Exception):
    """A game's own error, whose text cannot be made."""

    def __str__(self) -> str:
        raise SystemExit("instructed to fail while it is written")

    __repr__ = __str__


def exception_types() -> Iterator[type[BaseException]]:
    """Yield every built-in exception type, also those that are not an Exception."""
    seen: list[type[BaseException]] = [BaseException]
    for kind in seen:
        seen += [sub for sub in kind.__subclasses__() if sub.__module__ == "builtins" and sub not in seen]
    yield from seen
    yield from (asyncio.CancelledError, CommandRefused, Unprintable, msgspec.ValidationError)


def error_of(kind: type[BaseException]) -> BaseException:
    """Return an instance, whatever arguments the type requires."""
    words = "told to fail"
    unicode = ("utf-8", b"x", 0, 1, words), ("utf-8", "x", 0, 1, words), ("x", 0, 1, words)
    for arguments in ((), (words,), (words, [ValueError("inner")]), *unicode):
        with suppress(TypeError):
            return kind(*arguments)
    raise AssertionError(f"no arguments for {kind.__name__}")


class LooseStones(Table):
    x = real(-100, 100, step=1 / 16)


class TrapInput(Input):
    is_pressed = boolean()


class Trap(Room):
    """A room that raises one exception in one hook."""

    room_type = "trap"
    tick_rate_hz = 200.0
    uses_ledger = True
    ticks_when_empty = True
    input_type = TrapInput
    stones: LooseStones
    raising: tuple[str, BaseException] | None = None

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.visit("__init__")

    def visit(self, hook: str) -> None:
        if self.raising is not None and self.raising[0] == hook:
            raise self.raising[1]

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.visit("on_create")

    def restore(self, saved: Any) -> None:
        self.visit("restore")

    def save(self) -> SaveData:
        self.visit("save")
        return SaveData()

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.stones.spawn(x=1.0)
        player.send("welcome")
        self.visit("on_join")

    def on_input(self, player: Player, input: TrapInput) -> None:
        self.visit("on_input")

    def on_tick(self, dt: float) -> None:
        self.visit("on_tick")

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        self.visit("on_command")
        return Transaction(grant(player.id, "gold")) if name == "earn" else None

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        self.visit("on_transaction")

    def on_disconnect(self, player: Player) -> None:
        self.visit("on_disconnect")

    def on_resume(self, player: Player) -> None:
        self.visit("on_resume")

    def on_leave(self, player: Player) -> None:
        self.visit("on_leave")

    def on_tuned(self) -> None:
        self.visit("on_tuned")

    def on_dispose(self) -> None:
        self.visit("on_dispose")

    def can_migrate(self) -> bool:
        self.visit("can_migrate")
        return True


class BatchTrap(Trap):
    """The same for a room that takes all inputs of a tick at once."""

    def on_inputs(self, inputs: InputBatch[TrapInput]) -> None:
        self.visit("on_inputs")


HOOKS = (
    "__init__",
    "on_create",
    "restore",
    "save",
    "on_join",
    "on_input",
    "on_inputs",
    "on_tick",
    "on_command",
    "on_transaction",
    "on_disconnect",
    "on_resume",
    "on_leave",
    "on_tuned",
    "on_dispose",
    "can_migrate",
)
REFUSE_THE_ROOM = ("__init__", "on_create", "restore")
END_THE_ROOM = ("on_input", "on_inputs", "on_tick")


def made(hook: str, counters: RoomCounters, saved: RoomCheckpoint | None) -> RoomRuntime:
    kind = BatchTrap if hook == "on_inputs" else Trap
    return create_runtime(kind, saved, counters=counters)


def play(hook: str, error: BaseException, counters: RoomCounters) -> list[str]:
    """Take a room through its life while one hook raises. Return what the server made of the error."""
    saved = made("", RoomCounters(), None).checkpoint()
    Trap.raising = (hook, error)
    found: list[str] = []
    try:
        runtime = made(hook, counters, saved if hook == "restore" else None)
        seat = runtime.seat(SeatRequest(RecordingSubscriber("p"), "p"))
        seat.push_input(InputMessage(1, 0, pack_input(Trap.input_fields, {"is_pressed": True})))
        runtime.step()
        reply = seat.run_command(Command(1, "look"))
        if isinstance(reply, Reply) and not reply.ok:
            found.append(reply.error.name)
        deal = seat.run_command(Command(2, "earn"))
        if isinstance(deal, Decision):
            runtime.apply_transaction(seat, "earn", deal.transaction, {})
        seat.disconnected()
        seat.resumed("r", 0)
        runtime.notify_tuned()
        if not runtime.can_migrate():
            found.append("stays")
        runtime.checkpoint()
        seat.leave("left")
        runtime.close("over")
    except (TickwireError, RoomCodeRaised) as raised:
        found.append(type(raised).__name__)
    finally:
        Trap.raising = None
    return found


def test_the_hooks_of_this_test_are_all_that_a_room_has() -> None:
    declared = {name for name in vars(Room) if name.startswith("on_")} | {
        "save",
        "restore",
        "can_migrate",
        "__init__",
    }
    assert set(HOOKS) == declared


@pytest.mark.parametrize("hook", HOOKS)
def test_an_exception_of_a_hook_affects_only_its_room_and_is_counted(hook: str) -> None:
    for kind in exception_types():
        check_containment(kind, hook)


def check_containment(kind: type[BaseException], hook: str) -> None:
    """Raise one type in one hook, and compare what becomes of it with the documentation."""
    counters = RoomCounters()
    found = play(hook, error_of(kind), counters)
    is_refusal = kind is CommandRefused and hook in ("on_join", "on_command")
    assert counters.room_errors["trap"] == (0 if is_refusal else 2 if hook == "on_command" else 1)
    match hook:
        case "on_join":
            assert found == ["JoinRefused" if is_refusal else "RoomFailed"]
        case "on_command":
            assert found == ["COMMAND_FAILED"]
        case "save":
            assert found == ["RoomCodeRaised"]
        case "can_migrate":
            assert found == ["stays"]
        case _ if hook in REFUSE_THE_ROOM:
            assert found == ["RoomFailed"]
        case _ if hook in END_THE_ROOM:
            assert found == ["RoomCodeRaised"]
        case _:
            assert found == []


@pytest.mark.parametrize("kind", [CommandRefused, KeyboardInterrupt, SystemExit, asyncio.CancelledError, Unprintable])
async def test_a_room_that_raises_in_a_tick_closes_alone(kind: type[BaseException]) -> None:
    closed: list[str] = []
    host = create_host(Trap, on_closed=lambda runtime, reason: closed.append(runtime.room.room_id))

    def make(room_id: str) -> RoomRuntime:
        return host.create(RoomSpec(room_id, "trap", epoch=1), {})

    try:
        bad, good = make("bad"), make("good")
        bad.room.raising = ("on_tick", kind("told to fail"))  # type: ignore[attr-defined]
        await eventually(lambda: closed == ["bad"])
        later = make("later")
        ticks = good.tick
        await eventually(lambda: good.tick > ticks + 3 and later.tick > 3)
    finally:
        host.close_all("over")


async def test_a_server_error_in_the_tick_of_a_room_closes_that_room_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    host = create_host(Trap, on_closed=lambda runtime, reason: closed.append(runtime.room.room_id))

    def broken() -> None:
        raise ZeroDivisionError("a fault of the server")

    try:
        for part in ("simulate", "encode", "write"):
            bad = host.create(RoomSpec(part, "trap", epoch=1), {})
            good = host.create(RoomSpec(f"{part} good", "trap", epoch=1), {})
            monkeypatch.setattr(bad, part, broken)
            await eventually(lambda part=part: part in closed)
            ticks = good.tick
            await eventually(lambda good=good, ticks=ticks: good.tick > ticks + 3)
        assert closed == ["simulate", "encode", "write"]
    finally:
        host.close_all("over")


async def test_stalled_tick_groups_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.server.rooms.host.STALLED_S_MAX", 0.05)
    host = create_host(Trap)
    watching = asyncio.create_task(host.monitor_ticks())
    try:
        room = host.create(RoomSpec("r", "trap", epoch=1), {})
        await eventually(lambda: room.tick > 20)
        assert not watching.done()
        for group in host.tick_scheduler.groups:
            assert group._timer is not None
            group._timer.cancel()
        await eventually(watching.done)
        assert isinstance(watching.exception(), TicksStalled)
    finally:
        watching.cancel()
        host.close_all("over")
