"""The port to the store of the matchmaker: each change of its state is one script, which runs at once or not at all.

A script reads and changes the state of one slot: the rooms of a fleet, or the queue of one mode. Redis runs the
scripts of `lua/` (script_runner.py). The in-process store of `tickwire.testing` runs functions under the same names.
The parts of the matchmaker use this port alone, so that they are the same on both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class CallCounters(msgspec.Struct):
    """Calls and failures since the start."""

    calls: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)


class Scripts(Protocol):
    """Runs scripts on the keys of one slot. Every script is safe to repeat."""

    @property
    def counters(self) -> CallCounters:
        """The calls and failures since the start."""

    @property
    def address(self) -> str:
        """The address of the store for operators, without credentials."""

    async def run(
        self,
        script: str,
        request: Mapping[str, Any] | msgspec.Struct,
        reply_type: type[T],
        packed: Sequence[bytes] = (),
    ) -> T:
        """Run one script.

        Args:
            script: the path of the script below `lua/`, without the extension, such as "rooms/place".
            request: the request of the script.
            reply_type: the type of its reply.
            packed: msgpack values that the script stores or returns without decoding them.

        Returns:
            The decoded reply.

        Raises:
            MatchmakerUnavailable: the store does not answer in time, or cannot write now. The script may have run.
            MatchmakingError: the script failed because of an error in it, or its reply is invalid.
        """
        ...

    async def ping(self) -> None:
        """Check that the store answers.

        Raises:
            MatchmakerUnavailable: the store does not answer.
        """

    async def aclose(self) -> None:
        """Cancel all calls in flight. Idempotent."""


class ScriptConnection(Protocol):
    """A connection to the store, from which the scripts of all slots run."""

    def create_script_runner(self, slot: str) -> Scripts:
        """Return a runner of scripts on the keys of one slot: those that begin with {SLOT}."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
