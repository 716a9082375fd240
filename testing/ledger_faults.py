"""The faults of a ledger in memory, on request or by chance: the store of a live shard has them, too."""

from __future__ import annotations

import asyncio
import datetime
import enum
from collections import deque
from collections.abc import Callable

from tickwire.server.errors import Unavailable
from tickwire.testing.schedule import ChoiceStream

RETRY_AFTER_MS = 10
"""When a client repeats a command that a fault has left open: soon, because a test waits for it."""


class LedgerFault(enum.Enum):
    """The fault of one commit.

    Attributes:
        NONE: the commit succeeds.
        UNAVAILABLE: the store does not answer, and has committed nothing.
        ANSWER_LOST: the store commits, and its answer does not arrive.
    """

    NONE = "none"
    UNAVAILABLE = "unavailable"
    ANSWER_LOST = "answer lost"


class LedgerFaults:
    """Decides which calls of a ledger fail.

    Args:
        now: returns the time.
        stream: the chance of random faults.

    Attributes:
        commits_held: the commits that wait for `release_commits`.
    """

    def __init__(self, now: Callable[[], datetime.datetime], stream: ChoiceStream) -> None:
        self.commits_held = 0
        self._now = now
        self._stream = stream
        self._next: deque[LedgerFault | Exception] = deque()
        self._chances = (0.0, 0.0)
        self._unavailable_until: datetime.datetime | None = None
        self._may_commit = asyncio.Event()
        self._may_commit.set()

    def fail_next(self, *faults: LedgerFault | Exception) -> None:
        """Let the next commits fail, one fault each, after those of earlier calls.

        Args:
            faults: by default one UNAVAILABLE. An exception is raised by the commit, which writes nothing.
        """
        self._next.extend(faults or (LedgerFault.UNAVAILABLE,))

    def fail_randomly(self, *, unavailable: float = 0.0, answer_lost: float = 0.0) -> None:
        """Let each of the commits from now on fail by chance, if `fail_next` plans nothing for it.

        Args:
            unavailable: the probability of UNAVAILABLE, 0 to 1.
            answer_lost: the probability of ANSWER_LOST, 0 to 1.
        """
        if min(unavailable, answer_lost) < 0 or unavailable + answer_lost > 1:
            raise ValueError(f"the probabilities must be 0 to 1 together, not {unavailable} and {answer_lost}")
        self._chances = unavailable, answer_lost

    def set_unavailable(self, seconds: float | None = None) -> None:
        """Let all calls fail from now on, for some seconds of the ledger's clock, or until `set_available`."""
        longest = datetime.datetime.max.replace(tzinfo=datetime.UTC)
        until = longest if seconds is None else self._now() + datetime.timedelta(seconds=seconds)
        self._unavailable_until = until

    def set_available(self) -> None:
        """Let calls succeed again, and discard all planned and random faults."""
        self._unavailable_until = None
        self._chances = 0.0, 0.0
        self._next.clear()
        self.release_commits()

    def hold_commits(self) -> None:
        """Let all commits wait, before they write anything, until `release_commits`."""
        self._may_commit.clear()

    def release_commits(self) -> None:
        """Let all commits continue that wait."""
        self._may_commit.set()

    # -- the ledger calls these -----------------------------------------------------------------------------

    def check_available(self) -> None:
        """Check that the ledger answers.

        Raises:
            Unavailable: it does not.
        """
        if self._unavailable_until is not None and self._now() < self._unavailable_until:
            raise Unavailable("the ledger does not answer", retry_after_ms=RETRY_AFTER_MS)

    async def wait_for_turn(self) -> None:
        """Wait while commits are held. Let other tasks run in any case, as a call over a network does."""
        self.commits_held += 1
        try:
            await asyncio.sleep(0)
            await self._may_commit.wait()
        finally:
            self.commits_held -= 1

    def next_fault(self) -> LedgerFault:
        """Return the fault of the commit that begins now.

        Raises:
            Exception: the one that was planned for this commit.
        """
        fault = self._next.popleft() if self._next else self._random_fault()
        if isinstance(fault, Exception):
            raise fault
        return fault

    def _random_fault(self) -> LedgerFault:
        unavailable, answer_lost = self._chances
        if not unavailable and not answer_lost:
            return LedgerFault.NONE
        chance = self._stream.rng.random()
        if chance >= unavailable + answer_lost:
            return LedgerFault.NONE
        fault = LedgerFault.UNAVAILABLE if chance < unavailable else LedgerFault.ANSWER_LOST
        return fault if self._stream.keeps(fault.value) else LedgerFault.NONE


def check_fault(fault: LedgerFault, *faults: LedgerFault) -> None:
    """Raise the error of a fault, if it is one of some.

    Raises:
        Unavailable: it is.
    """
    if fault in faults:
        raise Unavailable(f"the commit failed: {fault.value}", retry_after_ms=RETRY_AFTER_MS)
