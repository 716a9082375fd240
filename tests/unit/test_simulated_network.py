"""The simulated network and the clock that jumps: order, latency, loss, breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_network import Deliveries, Network, NetworkLink
from tickwire.testing.virtual_loop import LoopStuck, VirtualLoop, create_virtual_loop


class RecordedLink:
    """A direction of a connection that records the arrivals."""

    def __init__(self, network: Network, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        self.deliveries = Deliveries(self.loop)
        self.arrived: list[tuple[float, bytes | None]] = []
        stream = Schedule(seed).stream("ann to server")
        self.link = NetworkLink(self.deliveries, self.loop, network, stream, self.receive)

    def receive(self, data: bytes | None) -> None:
        self.arrived.append((round(self.loop.time(), 6), data))

    def play(self, messages: int, interval_s: float = 0.01) -> list[float]:
        """Send numbered messages, and return the delay of each; they arrive in order."""
        for number in range(messages):
            self.link.send(b"%d" % number)
            self.loop.run_until(self.loop.time() + interval_s)
        self.loop.run_until(self.loop.time() + 60)
        assert [data for _, data in self.arrived] == [b"%d" % number for number in range(messages)]
        self.loop.end()
        return [at - number * interval_s for number, (at, _) in enumerate(self.arrived)]


def test_a_perfect_network_delivers_at_once() -> None:
    assert RecordedLink(Network()).play(5) == pytest.approx([0.0] * 5, abs=1e-6)


def test_a_fixed_latency_delays_each_message_equally() -> None:
    assert RecordedLink(Network(latency_ms=30)).play(5) == pytest.approx([0.03] * 5, abs=1e-6)


def test_jitter_is_within_its_range_unless_an_earlier_message_is_later() -> None:
    delays = RecordedLink(Network(latency_ms=(20, 90))).play(300)
    assert min(delays) >= 0.0199
    assert max(delays) <= 0.0901
    assert len({round(delay, 3) for delay in delays}) > 20


def test_a_lost_message_delays_the_later_ones_of_its_direction() -> None:
    delays = RecordedLink(Network(latency_ms=10, loss=0.02)).play(500)
    late = [delay for delay in delays if delay > 0.011]
    assert max(delays) == pytest.approx(0.21, abs=1e-3)
    assert len(late) > 100, "each loss delays the messages of the next 0.2 s"
    assert min(delays) == pytest.approx(0.01, abs=1e-6)


def test_one_seed_is_one_network() -> None:
    network = Network(latency_ms=(1, 100), loss=0.1)
    assert RecordedLink(network, 5).play(100) == RecordedLink(network, 5).play(100)
    assert RecordedLink(network, 5).play(100) != RecordedLink(network, 6).play(100)


def test_flush_delivers_everything_in_the_order_of_its_times() -> None:
    wire = RecordedLink(Network(latency_ms=50))
    wire.link.send(b"1")
    wire.link.send(b"2")
    wire.deliveries.flush()
    assert wire.arrived == [(0.0, b"1"), (0.0, b"2")]
    wire.loop.end()


def test_a_dropped_direction_delivers_nothing_more() -> None:
    wire = RecordedLink(Network(latency_ms=50))
    wire.link.send(b"1")
    wire.link.drop()
    wire.loop.run_until(1)
    assert wire.arrived == []
    wire.loop.end()


def test_a_message_that_causes_another_one_keeps_the_order() -> None:
    wire = RecordedLink(Network())
    received: list[bytes | None] = []

    def receive(data: bytes | None) -> None:
        received.append(data)
        if data == b"1":
            wire.link.send(b"echo")

    wire.link._receive = receive
    wire.link.send(b"1")
    wire.link.send(b"2")
    wire.loop.run_until(0)
    assert received == [b"1", b"2", b"echo"]
    wire.loop.end()


@pytest.mark.parametrize(
    "values",
    [
        {"latency_ms": -1},
        {"latency_ms": (5, 2)},
        {"loss": 1.0},
        {"loss": -0.1},
        {"retransmission_ms": -1},
        {"breaks_per_minute": -1},
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Network(**values)


# -- the clock --------------------------------------------------------------------------------------------------


def test_the_clock_jumps_to_the_next_timer() -> None:
    loop, seen = VirtualLoop(), []

    async def sleep() -> None:
        await asyncio.sleep(3600)
        seen.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(60)
        seen.append(loop.time())

    task = loop.create_task(sleep())
    loop.run_until(3599)
    assert seen == []
    assert loop.time() == 3599
    loop.run_until(4000)
    assert seen == pytest.approx([3600, 3610])
    assert task.done()
    loop.end()


def test_a_condition_stops_the_clock_early() -> None:
    loop = VirtualLoop()
    task = loop.create_task(asyncio.sleep(5))
    loop.run_until(100, task.done)
    assert loop.time() == pytest.approx(5)
    loop.end()


def test_a_function_for_a_thread_runs_in_place() -> None:
    loop = VirtualLoop()

    async def call() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(max, 3, 4)

    task = loop.create_task(call())
    loop.run_until(0)
    assert task.result() == 4
    assert loop.time() == 0
    loop.end()


def test_a_coroutine_that_never_waits_is_an_error() -> None:
    loop = VirtualLoop()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    task = loop.create_task(spin())
    with pytest.raises(LoopStuck, match="without waiting"):
        loop.run_until(1)
    assert not task.done()
    loop.end()


def test_the_end_of_the_loop_cancels_its_tasks() -> None:
    loop, ended = VirtualLoop(), []

    async def wait() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    task = loop.create_task(wait())
    loop.run_until(1)
    loop.end()
    assert ended == [True]
    assert task.cancelled()


async def test_a_loop_inside_of_another_one_is_refused() -> None:
    with pytest.raises(RuntimeError, match="write the test as a plain function"):
        create_virtual_loop()
