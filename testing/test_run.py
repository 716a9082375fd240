"""The current run of a test: the harnesses that it has created, and the parts of the test kit that observe them.

`@seeds` and `check_determinism` call a test several times. They cannot pass anything to the harnesses that the test
creates, so a harness registers itself here. Without a run, `register` returns a schedule and `tick_done` returns.
Imports nothing of the server, because the pytest plugin imports it in every project.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tickwire.testing.room_description import describe_state
from tickwire.testing.schedule import Choice, Schedule, SchedulePlan

CHOICES_MAX = 200_000
"""A recorded run has at most this many choices, about 40 MB. A longer one is not shrunk."""


class ObservedHarness(Protocol):
    """A harness, as the test kit sees it. `tickwire.testing.room_harness.RoomHarness` is one."""

    @property
    def runtime(self) -> Any:
        """The RoomRuntime that runs now."""

    @property
    def is_open(self) -> bool:
        """Whether the room exists."""

    @property
    def seed(self) -> int:
        """The seed of the run."""

    @property
    def tick(self) -> int:
        """The number of the newest tick."""


class HarnessObserver(Protocol):
    """Observes each tick of each harness of a run."""

    def __call__(self, number: int, harness: ObservedHarness, /) -> None:
        """Observe a tick.

        Args:
            number: the number of the harness in the run, from 1.
            harness: the harness.
        """


class TestRun:
    """One call of a test.

    Args:
        plan: the choices that the run keeps; None keeps all.
        is_recording: whether `choices` receives them.
        on_tick: called after each tick of each harness.

    Attributes:
        choices: the kept choices, if the run records them.
        is_truncated: whether there were more than CHOICES_MAX.
        last: the harness that was created, or has ticked, last; None before the first.
        has_outside_harness: whether a harness has ticked that was created before the run, as by a fixture.
        is_reported: whether the failure of the run has a report already.
    """

    __test__ = False  # pytest collects no class of this name

    def __init__(
        self, plan: SchedulePlan | None = None, *, is_recording: bool = False, on_tick: HarnessObserver | None = None
    ) -> None:
        self.plan = plan
        self.choices: list[Choice] = []
        self.is_truncated = False
        self.has_outside_harness = False
        self.is_reported = False
        self.last: ObservedHarness | None = None
        self._closers: list[Callable[[], None]] = []
        self._state: Sequence[str] = ()
        self._is_recording = is_recording
        self._on_tick = on_tick
        self._numbers: weakref.WeakKeyDictionary[ObservedHarness, int] = weakref.WeakKeyDictionary()
        self._count = 0
        self._parent: TestRun | None = None

    def set_parent(self, parent: TestRun | None) -> None:
        """Set the run that contains this one: it observes the same harnesses."""
        self._parent = parent

    def add(self, harness: ObservedHarness) -> None:
        """Number a new harness."""
        self._count += 1
        self._numbers[harness] = self._count
        self.last = harness
        self._state = ()  # of a harness that an expected exception has closed
        if self._parent is not None:
            self._parent.add(harness)

    def register(self, harness: ObservedHarness, seed: int) -> Schedule:
        """Add a harness, and return its schedule."""
        self.add(harness)
        prefix = f"room {self._count}: " if self._count > 1 else ""
        reference = weakref.ref(harness)

        def observe(stream: str, number: int, effect: str, amount: float) -> None:
            if len(self.choices) >= CHOICES_MAX:
                self.is_truncated = True
                return
            source = reference()
            tick = 0 if source is None else source.tick
            self.choices.append(Choice(stream, number, effect, amount, tick))

        return Schedule(seed, self.plan, prefix=prefix, observe=observe if self._is_recording else None)

    def closing(self, harness: ObservedHarness) -> None:
        """Keep the state of a harness that closes because of an exception: of several, the one that ticked last."""
        if sys.exc_info()[1] is not None and (harness is self.last or not self._state):
            self._state = describe_state(harness)
        if self._parent is not None:
            self._parent.closing(harness)

    def describe_state(self) -> Sequence[str]:
        """Return lines about the last state of the newest harness; nothing without one, or if a report has them."""
        return () if self.is_reported else self._state or describe_state(self.last)

    def close_later(self, close: Callable[[], None]) -> None:
        """Call `close` at the end of the run."""
        self._closers.append(close)

    def close(self) -> None:
        """Close the harnesses that were passed to `close_later`, the newest first."""
        while self._closers:
            self._closers.pop()()

    def tick_done(self, harness: ObservedHarness) -> None:
        """Observe a tick of a harness."""
        self.last = harness
        self.has_outside_harness = self.has_outside_harness or harness not in self._numbers
        if self._on_tick is not None:
            self._on_tick(self._numbers.get(harness, 0), harness)
        if self._parent is not None:
            self._parent.tick_done(harness)


_current: TestRun | None = None


def current() -> TestRun | None:
    """Return the current run, or None."""
    return _current


@contextmanager
def running(run: TestRun) -> Iterator[TestRun]:
    """Make a run the current one inside a `with`. Tests run one at a time on the main thread."""
    global _current  # noqa: PLW0603 a harness has no other way to find its run
    previous, _current = _current, run
    run.set_parent(previous)
    try:
        yield run
    finally:
        try:
            run.close()
        finally:
            _current = previous


def register(harness: ObservedHarness, seed: int) -> Schedule:
    """Register a new harness with the current run, and return its schedule."""
    return Schedule(seed) if _current is None else _current.register(harness, seed)


def close_later(close: Callable[[], None]) -> bool:
    """Call `close` at the end of the current run. Returns False without one."""
    if _current is None:
        return False
    _current.close_later(close)
    return True


def mark_reported() -> None:
    """Note that the failure of the current run has a report."""
    if _current is not None:
        _current.is_reported = True


def closing(harness: ObservedHarness) -> None:
    """Notify the current run that a harness is about to close."""
    if _current is not None:
        _current.closing(harness)


def tick_done(harness: ObservedHarness) -> None:
    """Notify the current run of a tick of a harness."""
    if _current is not None:
        _current.tick_done(harness)
