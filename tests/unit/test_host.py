"""The tick groups of the host: which rooms tick together, and that a failed room does not affect the others."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from tests.harness.polling import eventually
from tests.harness.runtimes import create_host
from tests.harness.tick_simulation import SimulatedClock
from tickwire import Room
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tick_loop import SEAT_WORK_S
from tickwire.server.rooms.tick_scheduler import GROUP_SHARE_MAX

RATE_HZ = 100.0
SEATS_MAX = int(GROUP_SHARE_MAX / RATE_HZ / SEAT_WORK_S)
"""The seats of the rooms that a tick group holds."""


class ClockRoom(Room):
    """Counts its ticks, and the order in which rooms of its kind had theirs."""

    room_type = "clock"
    tick_rate_hz = RATE_HZ
    empty_timeout_s = 60.0
    ticks_when_empty = True
    max_players = SEATS_MAX // 2
    order: ClassVar[list[str]] = []

    def on_tick(self, dt: float) -> None:
        ClockRoom.order.append(self.room_id)
        if self.name == "bad" and self.tick == 3:
            raise RuntimeError("told to fail")


class Slow(ClockRoom):
    room_type = "slow"
    tick_rate_hz = 50.0


class Big(ClockRoom):
    room_type = "big"
    max_players = 2 * SEATS_MAX


def host_with(*rooms: tuple[str, str]) -> tuple[RoomHost, list[tuple[str, str]]]:
    closed: list[tuple[str, str]] = []

    def note(runtime: RoomRuntime, reason: str) -> None:
        closed.append((runtime.room.room_id, reason))

    host = create_host(ClockRoom, Slow, Big, on_closed=note)
    for number, (room_type, name) in enumerate(rooms):
        host.create(RoomSpec(f"r{number}", room_type, name, epoch=1), {})
    return host, closed


async def test_small_rooms_of_one_rate_share_a_tick_group_and_a_large_one_is_alone() -> None:
    host, _ = host_with(("clock", ""), ("clock", ""), ("clock", ""), ("slow", ""), ("big", ""), ("big", ""))
    try:
        groups = [[runtime.room.room_id for runtime in group.runtimes] for group in host.tick_scheduler.groups]
        assert groups == [["r0", "r1"], ["r2"], ["r3"], ["r4"], ["r5"]]
        ClockRoom.order.clear()
        await eventually(lambda: min(runtime.tick for runtime in host) >= 5)
        at = [number for number, room_id in enumerate(ClockRoom.order) if room_id == "r0"]
        assert all(ClockRoom.order[number + 1] == "r1" for number in at[:-1]), "one beat, one after the other"
    finally:
        host.close_all("over")
    assert host.tick_scheduler.groups == []


async def test_a_failed_room_closes_alone_and_its_capacity_is_reused() -> None:
    host, closed = host_with(("clock", "bad"), ("clock", "good"))
    try:
        await eventually(lambda: closed == [("r0", "the room's code failed")])
        (good,) = host
        tick = good.tick
        await eventually(lambda: good.tick > tick + 5)
        host.create(RoomSpec("r9", "clock", epoch=1), {})
        assert len(host.tick_scheduler.groups) == 1
    finally:
        host.close_all("over")


async def test_no_tick_follows_the_last_room_of_a_tick_group() -> None:
    host, _ = host_with(("clock", ""))
    (runtime,) = host
    await eventually(lambda: runtime.tick > 2)
    host.close("r0", "over")
    tick = runtime.tick
    await asyncio.sleep(0.05)
    assert runtime.tick == tick


def test_an_empty_room_closes_after_its_empty_timeout_by_the_clock_of_the_host() -> None:
    closed: list[str] = []
    clock = SimulatedClock()
    host = create_host(Slow, on_closed=lambda runtime, reason: closed.append(reason), clock=clock)
    host.create(RoomSpec("r", "slow", "", epoch=1), {})
    clock.run(Slow.empty_timeout_s - 1.0)
    assert closed == []
    clock.run(2.0)
    assert closed == ["empty"]
