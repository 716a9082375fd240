"""All queues of a shard: a desk for each mode, and a leader that stands by.

Each mode's keys have a hash tag of their own, so that modes are spread over the nodes of a Redis Cluster. A region's
leader runs on a shard of that region.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from tickwire.matchmaking.errors import MatchmakingError
from tickwire.matchmaking.matchmaker import Matchmaker
from tickwire.matchmaking.queue.agent import QueueAgent
from tickwire.matchmaking.queue.assignment import Assigner
from tickwire.matchmaking.queue.explain import Explanation, explain, not_in_line
from tickwire.matchmaking.queue.leader import Leader
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.quality import MatchQuality
from tickwire.matchmaking.queue.ticket import Backfill, QueueTicket
from tickwire.matchmaking.script_runner import ScriptRunner

LOOK_MAX = 500


class QueueStatus(msgspec.Struct, frozen=True):
    """One mode's queue as it stands.

    Args:
        waiting, gathering: tickets; those that gather wait for friends.
        matches: that have no room yet.
        leaders: (region, who, epoch).
        oldest_s: for how long the oldest ticket has waited.
    """

    mode: str
    waiting: int
    gathering: int
    matches: int
    backfills: int
    desks: int
    leaders: Sequence[tuple[str, str, int]]
    oldest_s: float


class _Looked(msgspec.Struct, frozen=True):
    tickets: Sequence[QueueTicket]
    leaders: Sequence[tuple[str, str, int]]
    waiting: int
    gathering: int
    matches: int
    wanting: int
    backfills: Sequence[Backfill]
    desks: int
    own: Sequence[QueueTicket]
    state: str
    now_ms: int


class Queues:
    """The queues that a shard takes part in. `run` is its task.

    Args:
        modes: with the seats of each one's room type.
        matchmaker: its client and places are used, and outlive this.
        shard_id, region: whose they are.
        chance: seeds the match functions.
        on_match: told of each match that has got its room.

    Attributes:
        doors: to Redis.
    """

    def __init__(
        self,
        modes: Iterable[tuple[Mode, int]],
        matchmaker: Matchmaker,
        *,
        shard_id: str,
        region: str,
        chance: random.Random | None = None,
        on_match: Callable[[str, MatchQuality], None] = lambda mode, quality: None,
    ) -> None:
        self.modes: dict[str, Mode] = {}
        self.desks: dict[str, QueueAgent] = {}
        self.leaders: dict[str, Leader] = {}
        self._region = region
        self._calls: dict[str, ScriptRunner] = {}
        self.doors: list[ScriptRunner] = []
        for mode, seats in modes:
            # Two doors: what the desk says does not wait for the leader's longer calls.
            slot = f"{matchmaker.namespace}:{mode.name}"
            calls, leading = matchmaker.script_runner(slot), matchmaker.script_runner(slot)
            self.modes[mode.name] = mode
            self._calls[mode.name] = calls
            self.doors += [calls, leading]
            self.desks[mode.name] = QueueAgent(
                shard_id, region, calls, now_s=time.monotonic, now_ms=matchmaker.clock.now_ms
            )
            assigner = Assigner(
                mode,
                region=region,
                shard_id=shard_id,
                seats=seats,
                calls=leading,
                places=matchmaker.places,
                leases=matchmaker.leases,
                on_match=on_match,
            )
            self.leaders[mode.name] = Leader(
                mode,
                region=region,
                name=f"{shard_id}/{secrets.token_hex(4)}",
                calls=leading,
                assigner=assigner,
                now_s=time.monotonic,
                chance=chance or random.Random(),  # noqa: S311 - decides who is team one
            )

    async def run(self) -> None:
        """Run the desk and the leader of every mode until cancelled, also when there are no modes."""
        if not self.modes:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            for mode in self.modes:
                group.create_task(self.desks[mode].run(), name=f"desk {mode}")
                group.create_task(self.leaders[mode].run(), name=f"leader {mode}")

    async def close(self) -> None:
        """Says what is left to say, gives the leads back, and closes the doors. After `run` has ended."""
        await asyncio.gather(*(self._leave(mode) for mode in self.modes))
        for calls in self.doors:
            await calls.aclose()

    async def _leave(self, mode: str) -> None:
        with suppress(MatchmakingError):
            await self.leaders[mode].resign()
            await self.desks[mode].beat()

    async def status(self, mode: str) -> QueueStatus:
        """How a queue stands.

        Raises:
            KeyError: there is no such mode here.
            MatchmakerUnavailable: Redis does not answer.
        """
        looked = await self._look(mode, limit=1)
        oldest_s = max((ticket.waited_s(looked.now_ms) for ticket in looked.tickets), default=0.0)
        return QueueStatus(
            mode,
            looked.waiting,
            looked.gathering,
            looked.matches,
            looked.wanting,
            looked.desks,
            looked.leaders,
            oldest_s,
        )

    async def explain(self, mode: str, player_id: str) -> Explanation | None:
        """Why a player waits, seen from its nearest region, beside the oldest LOOK_MAX tickets. None when it does not
        wait.

        Raises:
            KeyError: there is no such mode here.
            MatchmakerUnavailable: Redis does not answer.
        """
        looked = await self._look(mode, limit=LOOK_MAX, player_id=player_id)
        if not looked.own:
            return None
        ticket, known = looked.own[0], self.modes[mode]
        if looked.state != "waiting":
            return not_in_line(ticket, is_matched=looked.state == "matched", now_ms=looked.now_ms)
        region = min(ticket.latencies, key=ticket.latencies.__getitem__, default=self._region)
        return await asyncio.to_thread(  # it plays the match function through several times
            explain,
            ticket,
            [other for other in looked.tickets if other.ticket_id != ticket.ticket_id],
            [wanted for wanted in looked.backfills if wanted.region == region] if known.rules.backfill else (),
            known.rules,
            known.match,
            region=region,
            now_ms=looked.now_ms,
            chance=random.Random(0),  # noqa: S311
        )

    async def _look(self, mode: str, *, limit: int, player_id: str = "") -> _Looked:
        request = {"limit": limit, "regions": [self._region], "player_id": player_id}
        return await self._calls[mode].run("queue/look", request, _Looked)
