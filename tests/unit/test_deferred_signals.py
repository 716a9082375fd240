"""A signal that arrives while a child process is started is handled afterwards."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tickwire.server.dev import local_stores
from tickwire.server.dev.deferred_signals import STOP_SIGNALS, deferred_signals
from tickwire.server.dev.local_stores import LocalStores


class Stopped(Exception):
    """Raised by the signal handler of the tests."""


def stop(number: int, frame: object) -> None:
    raise Stopped(signal.Signals(number).name)


def raise_in_block(number: signal.Signals, steps: list[str]) -> None:
    with deferred_signals():
        signal.raise_signal(number)
        steps.append("the block ends")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_in_the_block_is_handled_after_it(number: signal.Signals) -> None:
    before = signal.signal(number, stop)
    steps: list[str] = []
    try:
        with pytest.raises(Stopped, match=number.name):
            raise_in_block(number, steps)
        assert steps == ["the block ends"]
        assert signal.getsignal(number) is stop
        with pytest.raises(Stopped):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_a_block_without_signals_keeps_the_handlers() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with deferred_signals():
        pass
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_the_block_runs_in_any_thread() -> None:
    ran = []

    def work() -> None:
        with deferred_signals():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert ran == [True]


def test_a_process_that_was_started_during_a_signal_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def start_and_signal(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        process = start(*args, **kwargs)
        signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(local_stores.subprocess, "Popen", start_and_signal)
    stores, before = LocalStores(), signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            stores.spawn("sleep", ["sleep", "600"], tmp_path / "log")
        assert list(stores.pids) == ["sleep"]
    finally:
        signal.signal(signal.SIGTERM, before)
        stores.stop()
    assert stores.pids == {}
