"""The queues of a shard: an agent and a leader for each mode.

The keys of each mode have a hash tag of their own, so that a Redis Cluster spreads modes over its nodes. The leader
of a region runs on a shard of that region.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError
from tickwire.matchmaking.matchmaker import Matchmaker
from tickwire.matchmaking.queue.agent import QueueAgent
from tickwire.matchmaking.queue.assignment import Assigner
from tickwire.matchmaking.queue.explain import Explanation, explain, explain_unmatchable
from tickwire.matchmaking.queue.leader import Leader
from tickwire.matchmaking.queue.match_rooms import MatchRooms
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.quality import MatchQuality
from tickwire.matchmaking.queue.regional_queue import RegionalQueue
from tickwire.matchmaking.queue.relaxation import QueueSnapshot
from tickwire.matchmaking.queue.ticket import Backfill, QueueTicket
from tickwire.matchmaking.scripts import Scripts

TICKETS_INSPECTED_MAX = 500


class QueueStatus(msgspec.Struct, frozen=True):
    """The state of the queue of one mode.

    Args:
        waiting, gathering: the number of complete tickets, and of tickets whose party is incomplete.
        matches: the number of matches without a room.
        backfills: the number of rooms that request players.
        agents: the number of queue agents.
        leaders: (region, owner, epoch).
        oldest_s: the waiting time of the oldest ticket.
    """

    mode: str
    waiting: int
    gathering: int
    matches: int
    backfills: int
    agents: int
    leaders: Sequence[tuple[str, str, int]]
    oldest_s: float


class _Inspection(msgspec.Struct, frozen=True):
    tickets: Sequence[QueueTicket]
    leaders: Sequence[tuple[str, str, int]]
    waiting: int
    gathering: int
    matches: int
    backfill_count: int
    backfills: Sequence[Backfill]
    agents: int
    own: Sequence[QueueTicket]
    state: str
    now_ms: int


class Queues:
    """The queues of a shard. Run `run` as a task.

    Args:
        modes: the modes, with the number of seats of the room type of each.
        matchmaker: provides the connection and the placement; not closed with the queues.
        shard_id, region: the shard and its region.
        on_match: called with the mode and the quality of each match that has a room.

    Attributes:
        modes, agents, leaders: by the name of the mode.
        region: see the argument.
        script_runners: the runners of all queues.
    """

    def __init__(
        self,
        modes: Iterable[tuple[Mode, int]],
        matchmaker: Matchmaker,
        *,
        shard_id: str,
        region: str,
        on_match: Callable[[str, MatchQuality], None] = lambda mode, quality: None,
    ) -> None:
        self.modes: dict[str, Mode] = {}
        self.agents: dict[str, QueueAgent] = {}
        self.leaders: dict[str, Leader] = {}
        self.region = region
        self._is_explaining = False
        self._scripts: dict[str, Scripts] = {}
        self.script_runners: list[Scripts] = []
        for mode, seats in modes:
            # Two runners, so that the agent does not wait for the longer calls of the leader.
            slot = f"{matchmaker.namespace}:{mode.name}"
            scripts, leader_scripts = (matchmaker.connection.create_script_runner(slot) for _ in range(2))
            self.modes[mode.name] = mode
            self._scripts[mode.name] = scripts
            self.script_runners += [scripts, leader_scripts]
            self.agents[mode.name] = QueueAgent(
                shard_id, region, scripts, now_s=matchmaker.environment.monotonic_s, now_ms=matchmaker.clock.now_ms
            )
            queue = RegionalQueue(mode, region, leader_scripts)
            rooms = MatchRooms(
                queue, shard_id=shard_id, seats=seats, placement=matchmaker.placement, leases=matchmaker.leases
            )
            self.leaders[mode.name] = Leader(
                queue,
                Assigner(queue, rooms, on_match=on_match),
                name=f"{shard_id}/{secrets.token_hex(4)}",
                environment=matchmaker.environment,
            )

    async def run(self) -> None:
        """Run the agent and the leader of every mode until cancelled, also without any modes."""
        if not self.modes:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            for mode in self.modes:
                group.create_task(self.agents[mode].run(), name=f"queue agent {mode}")
                group.create_task(self.leaders[mode].run(), name=f"queue leader {mode}")

    async def close(self) -> None:
        """Release the leases, send pending changes, and close the script runners. Call it after `run` has ended."""
        await asyncio.gather(*(self._close_mode(mode) for mode in self.modes))
        for runner in self.script_runners:
            await runner.aclose()

    async def _close_mode(self, mode: str) -> None:
        with suppress(MatchmakingError):
            await self.leaders[mode].resign()
            await self.agents[mode].sync()

    async def get_status(self, mode: str) -> QueueStatus:
        """Return the state of the queue of a mode.

        Raises:
            KeyError: the mode does not exist on this shard.
            MatchmakerUnavailable: Redis does not answer.
        """
        found = await self._inspect(mode, limit=1)
        return QueueStatus(
            mode,
            found.waiting,
            found.gathering,
            found.matches,
            found.backfill_count,
            found.agents,
            found.leaders,
            oldest_s=max((ticket.waited_s(found.now_ms) for ticket in found.tickets), default=0.0),
        )

    async def explain(self, mode: str, player_id: str) -> Explanation | None:
        """Explain why a player waits, or return None if the player does not wait.

        The explanation is for the nearest region of the player, and considers the oldest TICKETS_INSPECTED_MAX
        tickets. It runs in a thread, one at a time: more would take the interpreter from the ticks.

        Raises:
            KeyError: the mode does not exist on this shard.
            MatchmakerUnavailable: Redis does not answer, or this shard explains another wait now.
        """
        if self._is_explaining:
            raise MatchmakerUnavailable("this shard explains another wait now; try again")
        self._is_explaining = True
        try:
            return await self._explain(mode, player_id)
        finally:
            self._is_explaining = False

    async def _explain(self, mode: str, player_id: str) -> Explanation | None:
        found = await self._inspect(mode, limit=TICKETS_INSPECTED_MAX, player_id=player_id)
        if not found.own:
            return None
        ticket, known = found.own[0], self.modes[mode]
        if found.state != "waiting":
            return explain_unmatchable(ticket, is_matched=found.state == "matched", now_ms=found.now_ms)
        region = min(ticket.latencies, key=ticket.latencies.__getitem__, default=self.region)
        backfills = [one for one in found.backfills if one.region == region] if known.rules.backfill else ()
        snapshot = QueueSnapshot(
            others=[other for other in found.tickets if other.ticket_id != ticket.ticket_id],
            backfills=backfills,
            rules=known.rules,
            match=known.match,
            region=region,
            now_ms=found.now_ms,
        )
        rng = random.Random(0)  # noqa: S311 - the same explanation for each call
        return await asyncio.to_thread(explain, ticket, snapshot, rng)  # runs the match function several times

    async def _inspect(self, mode: str, *, limit: int, player_id: str = "") -> _Inspection:
        request = {"limit": limit, "regions": [self.region], "player_id": player_id}
        return await self._scripts[mode].run("queue/inspect", request, _Inspection)
