"""The tick loop with slow rooms and with empty ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from structlog.testing import capture_logs

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host
from tickwire import Player, Room, Table, uint
from tickwire.schemas.messages import Command
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest
from tickwire.server.rooms.slow_log import LOG_INTERVAL_S, SlowLog


class Ages(Table):
    ticks = uint(bits=32)


class Cellar(Room):
    """Counts its ticks, also without players."""

    room_type = "cellar"
    tick_rate_hz = 100.0
    empty_timeout_s = 60.0
    ages: Ages

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.delay_s: float = options.get("delay_s", 0.0)
        self.ticked = 0
        self.ages.spawn()

    def on_tick(self, dt: float) -> None:
        self.ticked += 1
        time.sleep(self.delay_s)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        time.sleep(payload)

    def on_leave(self, player: Player) -> None:
        self.ages.spawn(ticks=99)


class Mine(Cellar):
    """A world that ticks without players."""

    room_type = "mine"
    ticks_when_empty = True


class Brief(Mine):
    """A slow room that stays for a moment."""

    room_type = "brief"
    tick_rate_hz = 100.0
    empty_timeout_s = 0.2


def host_of(*kinds: type[Room]) -> tuple[RoomHost, list[str]]:
    closed: list[str] = []
    host = create_host(
        *kinds,
        on_closed=lambda runtime, reason: closed.append(f"{runtime.room.room_id}: {reason}"),
    )
    return host, closed


def make(host: RoomHost, room_type: str, room_id: str = "", **options: Any) -> RoomRuntime:
    return host.create(RoomSpec(room_id or room_type, room_type, epoch=1), options)


async def test_an_empty_room_does_not_tick_unless_it_declares_it() -> None:
    host, _ = host_of(Cellar, Mine)
    try:
        cellar, mine = make(host, "cellar"), make(host, "mine")
        await eventually(lambda: mine.tick > 20)
        assert cellar.tick == 1
        assert host.counters.ticks == mine.tick + 1
    finally:
        host.close_all("over")


async def test_a_room_ticks_while_it_has_players_and_once_after_the_last() -> None:
    host, _ = host_of(Cellar)
    try:
        cellar = make(host, "cellar")
        seat = host.seat("cellar", SeatRequest(RecordingSubscriber("p"), "p"), lambda seat: None)
        await eventually(lambda: cellar.tick > 5)
        seat.disconnected()
        tick = cellar.tick
        await eventually(lambda: cellar.tick > tick + 5)  # who is away has a seat
        seat.leave("left")
        tick = cellar.tick
        await eventually(lambda: cellar.is_idle)
        assert cellar.tick == tick + 1
        assert cellar.changed_tick == cellar.tick, "what on_leave did is there to be saved"
        host.seat("cellar", SeatRequest(RecordingSubscriber("q"), "q"), lambda seat: None).leave("at once")
        assert not cellar.is_idle
        await eventually(lambda: cellar.is_idle)
        assert cellar.changed_tick == cellar.tick == tick + 2
        seat = host.seat("cellar", SeatRequest(RecordingSubscriber("p"), "p"), lambda seat: None)
        await eventually(lambda: cellar.tick > tick + 5)
    finally:
        host.close_all("over")


async def test_an_empty_room_stays_open_for_its_empty_timeout_at_any_speed() -> None:
    host, closed = host_of(Brief)
    try:
        slow = make(host, "brief", "slow", delay_s=0.05)  # a fifth of its ticks come
        started = time.monotonic()
        await eventually(lambda: closed == ["slow: empty"])
        assert slow.tick < Brief.empty_timeout_s * Brief.tick_rate_hz
        assert time.monotonic() - started > Brief.empty_timeout_s
    finally:
        host.close_all("over")


async def test_a_slow_tick_and_a_slow_command_are_logged_with_the_room_and_counted() -> None:
    host, _ = host_of(Cellar, Mine)
    try:
        with capture_logs() as lines:
            make(host, "mine", "slow one", delay_s=0.02)
            good = make(host, "mine", "good one")
            await eventually(lambda: good.tick > 5)
            seat = host.seat("good one", SeatRequest(RecordingSubscriber("p"), "p"), lambda seat: None)
            seat.run_command(Command(1, "wait", msgspec.msgpack.encode(0.02)))
        slow = {
            (line["hook"], line["room_id"], line["room_type"]): line["duration_ms"]
            for line in lines
            if line["event"] == "room_code_slow"
        }
        assert slow["tick", "slow one", "mine"] >= 20
        assert slow["on_command", "good one", "mine"] >= 20
        assert host.counters.slow_room_calls["mine"] >= 5
    finally:
        host.close_all("over")


def test_slow_calls_of_one_room_are_logged_once_per_interval() -> None:
    room = Cellar(room_id="r", name="", seed=1)
    counters = RoomCounters()
    slow_log = SlowLog(room, 0.05, counters)
    with capture_logs() as lines:
        for number in range(100):
            slow_log.record("tick", 0.3, now_s=number * 0.1)
            slow_log.record("tick", 0.024, now_s=number * 0.1)
        slow_log.record("tick", 0.3, now_s=LOG_INTERVAL_S)
        slow_log.record("on_join", 0.3, now_s=LOG_INTERVAL_S)
    assert [(line["hook"], line["slow_calls"]) for line in lines] == [("tick", 1), ("tick", 100), ("on_join", 1)]
    assert counters.slow_room_calls["cellar"] == 102


def test_rooms_with_a_low_tick_rate_have_the_same_time_limit() -> None:
    counters = RoomCounters()
    SlowLog(Cellar(room_id="r", name="", seed=1), 1.0, counters).record("tick", 0.06, now_s=0.0)
    assert counters.slow_room_calls.total() == 1


def hold_up(seconds: float) -> None:
    """Block the event loop, as another room does whose code is slow."""
    time.sleep(seconds)


async def test_after_a_long_block_ticks_are_skipped_and_their_numbers_have_no_gap() -> None:
    host, _ = host_of(Mine)
    try:
        mine = make(host, "mine")
        await eventually(lambda: mine.tick > 3)
        before, ticked = mine.tick, mine.room.ticked  # type: ignore[attr-defined]
        hold_up(0.3)  # thirty ticks
        await eventually(lambda: mine.tick > before + 3)
        assert host.counters.ticks_skipped >= 20
        assert mine.tick - before == mine.room.ticked - ticked  # type: ignore[attr-defined]
        assert mine.tick - before < 20, "and not all at once, either"
    finally:
        host.close_all("over")
