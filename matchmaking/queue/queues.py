"""All queues of a shard: a desk for each mode, and a leader that stands by.

Each mode's keys have a hash tag of their own, so that modes are spread over the nodes of a Redis Cluster. A region's
leader runs on a shard of that region.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from matchmaking.calls import CallCounters, Calls
from matchmaking.errors import MatchmakerUnavailable
from matchmaking.matchmaker import Matchmaker
from matchmaking.queue.desk import Desk
from matchmaking.queue.explaining import Explanation, explain
from matchmaking.queue.leader import Leader
from matchmaking.queue.mode import Mode
from matchmaking.queue.quality import MatchQuality
from matchmaking.queue.ticket import QueueTicket

LOOK_MAX = 1_000


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
    backfills: int
    desks: int
    ticket: str
    now_ms: int


class Queues:
    """The queues that a shard takes part in. `run` is its task.

    Args:
        modes: with the seats of each one's room type.
        matchmaker: its client and places are used, and outlive this.
        shard_id, region: whose they are.
        chance: seeds the match functions.
        on_match: told of each match that has got its room.
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
        self.desks: dict[str, Desk] = {}
        self.leaders: dict[str, Leader] = {}
        self._region = region
        self._calls: dict[str, Calls] = {}
        self._doors: list[Calls] = []
        for mode, seats in modes:
            prefix = f"{{{matchmaker.namespace}:{mode.name}}}"
            # Two doors: what the desk says does not wait for the leader's longer calls.
            calls, leading = (
                Calls(matchmaker.client, prefix=prefix, deadline_s=matchmaker.deadline_s) for _ in range(2)
            )
            self.modes[mode.name] = mode
            self._calls[mode.name] = calls
            self._doors += [calls, leading]
            self.desks[mode.name] = Desk(
                shard_id, region, calls, now_s=time.monotonic, now_ms=matchmaker.clock.now_ms
            )
            self.leaders[mode.name] = Leader(
                mode,
                region=region,
                shard_id=shard_id,
                seats=seats,
                calls=leading,
                places=matchmaker.places,
                now_s=time.monotonic,
                chance=chance or random.Random(),  # noqa: S311 - decides who is team one
                on_match=on_match,
            )

    @property
    def counters(self) -> list[CallCounters]:
        """Of the doors to Redis."""
        return [calls.counters for calls in self._doors]

    async def run(self) -> None:
        """Desks and leaders, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for mode in self.modes:
                group.create_task(self.desks[mode].run(), name=f"desk {mode}")
                group.create_task(self.leaders[mode].run(), name=f"leader {mode}")

    async def close(self) -> None:
        """Says what is left to say, gives the leads back, and closes the doors. After `run` has ended."""
        for mode in self.modes:
            with suppress(MatchmakerUnavailable):
                await self.leaders[mode].resign()
                await self.desks[mode].beat()
        for calls in self._doors:
            await calls.aclose()

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
            looked.backfills,
            looked.desks,
            looked.leaders,
            oldest_s,
        )

    async def explain(self, mode: str, player_id: str, *, region: str | None = None) -> Explanation | None:
        """Why a player waits: judged beside the oldest LOOK_MAX tickets. None when it does not wait.

        Args:
            region: which region's leader is asked for its view; without, this shard's.

        Raises:
            KeyError: there is no such mode here.
            MatchmakerUnavailable: Redis does not answer.
        """
        looked = await self._look(mode, limit=LOOK_MAX, player_id=player_id)
        ticket = next((t for t in looked.tickets if t.ticket_id == looked.ticket), None)
        if ticket is None:
            return None
        others = [other for other in looked.tickets if other is not ticket]
        known = self.modes[mode]
        return explain(
            ticket,
            others,
            (),
            known.rules,
            known.match,
            region=self._region if region is None else region,
            now_ms=looked.now_ms,
            chance=random.Random(0),  # noqa: S311
        )

    async def _look(self, mode: str, *, limit: int, player_id: str = "") -> _Looked:
        request = {"limit": limit, "regions": [self._region], "player_id": player_id}
        return await self._calls[mode].run("queue/look", request, _Looked)
