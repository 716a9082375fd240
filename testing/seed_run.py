"""One run of a test with one seed, and its outcome: passed, skipped or failed.

`@seeds` catches the exceptions of a test before pytest does. Some of them do not mean a failure: those with which
pytest skips a test, or ends a session. They are recognised by their names, because the decorator works without
pytest, too.
"""

from __future__ import annotations

import bdb
import unittest
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tickwire.testing import test_run
from tickwire.testing.schedule import SchedulePlan
from tickwire.testing.test_run import TestRun


class RunOutcome(NamedTuple):
    """The outcome of a run.

    Args:
        error: the failure; None if the run has passed, or was skipped.
        run: the run.
        state: lines about the last state of the room after a failure.
        skip: the exception that has skipped the run, or has declared its failure as expected; None for neither.
    """

    error: BaseException | None
    run: TestRun
    state: Sequence[str] = ()
    skip: BaseException | None = None

    @property
    def kind(self) -> tuple[object, ...] | None:
        """The kind of the failure, by which failures of two runs are compared; None if the run has not failed."""
        return None if self.error is None else kind_of_failure(self.error)

    @property
    def is_expected_failure(self) -> bool:
        """Whether the run has called `pytest.xfail`."""
        return _is_of_pytest(self.skip, "XFailed")

    @property
    def is_timeout(self) -> bool:
        """Whether pytest-timeout has ended the run. Its limit applies once to a test, so a repeated run may hang."""
        return _is_of_pytest(self.error, "Failed") and str(self.error).startswith("Timeout")


def run_once(
    call: Callable[..., None], seed: int, plan: SchedulePlan | None = None, *, is_recording: bool = False
) -> RunOutcome:
    """Run a test with one seed.

    Args:
        call: the test.
        seed: the seed.
        plan: the choices that the run keeps; None keeps all.
        is_recording: whether the run records its choices.

    Raises:
        BaseException: an exception that ends the session, such as KeyboardInterrupt.
    """
    __tracebackhide__ = True
    with test_run.running(TestRun(plan, is_recording=is_recording)) as run:
        try:
            call(seed=seed)
        except BaseException as error:
            if _ends_session(error):
                raise
            if _is_skip(error):
                return RunOutcome(None, run, skip=error)
            return RunOutcome(error, run, run.describe_state())
    return RunOutcome(None, run)


def kind_of_failure(error: BaseException) -> tuple[object, ...]:
    """Return the kind of a failure: the type of the exception, and the innermost line outside of the test kit.

    For worlds that differ, the line is that of the check, so that table and field are a part of the kind.
    """
    place: tuple[object, ...] = ()
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if not str(frame.f_globals.get("__name__")).startswith("tickwire.testing."):
            place = frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next
    difference = getattr(error, "difference", None)
    return type(error), *place, getattr(difference, "table", None), getattr(difference, "field", None)


def _ends_session(error: BaseException) -> bool:
    """Return whether nothing may run afterwards: `pytest.exit`, also that of a debugger, is an Exception."""
    return isinstance(error, (KeyboardInterrupt, GeneratorExit, bdb.BdbQuit)) or _is_of_pytest(error, "Exit")


def _is_skip(error: BaseException) -> bool:
    names = ("Skipped", "XFailed")
    return isinstance(error, unittest.SkipTest) or any(_is_of_pytest(error, name) for name in names)


def _is_of_pytest(error: BaseException | None, name: str) -> bool:
    """Return whether an exception is one of pytest's outcomes, which have an attribute `msg`."""
    return type(error).__name__ == name and hasattr(error, "msg")
