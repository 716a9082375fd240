"""The leader of one mode in one region: reads the queue, makes matches, and assigns rooms to them.

    lead      a lease in Redis; every shard of the region tries to acquire it, and each decision carries its epoch
    read      tickets that are new since the last round; all tickets every READ_ALL_S, and after acquiring the lease
    match     the match function of the mode, which is pure
    commit    atomic: a match removes all of its tickets from the queue, or is not made
    place     a room under the id of the match, so that repeating it finds the same room and the same seats
    assign    notifies the agents of the players; if no room is available, the tickets keep their positions

A leader may end between any two of these steps. The next leader reads the matches without a room and continues.
The steps are methods, which tests call one by one to stop between them.

A leader runs on a shard that also ticks rooms. It blocks the event loop for at most a few milliseconds, regardless of
the size of the queue: it reads, sorts, matches and commits in slices, and runs a game's match function in a thread.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.matchmaking.labels import to_pairs
from tickwire.matchmaking.queue.agent import AGENT_TIMEOUT_S
from tickwire.matchmaking.queue.assignment import Assigner
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.match_function import STEP_COST, Steps, find_matches, find_matches_in_steps
from tickwire.matchmaking.queue.regional_queue import RegionalQueue
from tickwire.matchmaking.queue.slices import run_in_slices
from tickwire.matchmaking.queue.ticket import Backfill, Match, QueueTicket
from tickwire.retry_delay import RetryDelay

log = structlog.get_logger(__name__)
T = TypeVar("T")

ROUND_S = 0.25
ROUND_PAUSE_S_MIN = 0.01
FOLLOWER_INTERVAL_S = 1.0
LEASE_MS = 3_000
ABANDONED_MS = 15_000
"""The age after which a match without a room belongs to a region that has no leader any more."""
READ_ALL_S = 2.0
READ_ALL_S_MAX = 10.0
READ_ALL_SHARE_MAX = 0.05
"""The share of time for reading all tickets. A leader with many tickets reads them all less often."""
SWEEP_S = 1.0
SWEEP_MAX = 500
READ_MAX = 500
COMMIT_PLAYERS_MAX = 400
"""Limits the tickets, or the players of matches, in one call: other calls wait while a script runs."""
BACKFILLS_MAX = 200
"""Running rooms that a round considers; a random sample if more rooms request players."""
TICKETS_MAX = 100_000
"""Tickets that a leader considers; the youngest above this number wait until others have left."""


class QueueContents(msgspec.Struct, frozen=True):
    """The contents of a queue that one round has read: new tickets, backfills, and matches without a room."""

    tickets: Sequence[QueueTicket]
    backfills: Sequence[Backfill]
    matches: Sequence[CommittedMatch]
    now_ms: int


class Leadership(msgspec.Struct, frozen=True):
    """The lease of a queue's leader: its shard, and the epoch that fences earlier leaders."""

    owner: str
    epoch: int


class _Committed(msgspec.Struct, frozen=True):
    status: str
    made: Sequence[str]
    gone: Sequence[str]


class _Swept(msgspec.Struct, frozen=True):
    status: str
    cancelled: Sequence[str]
    agents: Sequence[str]
    cursor: str
    check_cursor: str


class Leader:
    """Makes matches while it holds the lease. Run `run` as a task.

    Args:
        queue: the queue, and the region for which matches are made.
        assigner: assigns rooms to matches.
        name: the name of this leader; must differ in each run.
        environment: a monotonic clock, and the chance of the match function and of the ids of matches.

    Attributes:
        epoch: the epoch of the lease; 0 if another leader holds it.
    """

    def __init__(
        self,
        queue: RegionalQueue,
        assigner: Assigner,
        *,
        name: str,
        environment: MatchmakerEnvironment,
    ) -> None:
        self.epoch = 0
        self._mode = queue.mode
        self._region = queue.region
        self._scripts = queue.scripts
        self._name = name
        self._now_s = environment.monotonic_s
        self._rng, self._ids = environment.rng, environment.ids
        self._tickets: dict[str, QueueTicket] = {}
        self._assigner = assigner
        self._last_seq = 0
        self._read_all_s = self._swept_s = self._renewed_s = -1e9
        self._read_all_took_s = 0.0
        self._check_cursor = "0"
        self._room_task: asyncio.Task[None] | None = None

    @property
    def tickets(self) -> Mapping[str, QueueTicket]:
        """The tickets that have been read and not matched, by id."""
        return self._tickets

    @property
    def results(self) -> Counter[str]:
        """The number of matches by result, and of failed rounds."""
        return self._assigner.results

    async def run(self) -> None:
        """Make matches, or wait for the lease, until cancelled."""
        try:
            await self._run_rounds()
        finally:
            if self._room_task is not None:
                self._room_task.cancel()
                await asyncio.wait([self._room_task])

    async def _run_rounds(self) -> None:
        delay = RetryDelay(ROUND_S)
        while True:
            started_s = self._now_s()
            try:
                is_leader = await self._decide()
                # A round starts every ROUND_S, regardless of its duration; other tasks run in between.
                rest_s = max(ROUND_PAUSE_S_MIN, ROUND_S - (self._now_s() - started_s))
                pause_s = rest_s if is_leader else FOLLOWER_INTERVAL_S
                delay.succeeded()
            except MatchmakerUnavailable as error:
                self.epoch = 0
                delay.failed()
                pause_s = delay.seconds
                log.warning("queue_leader_unavailable", mode=self._mode.name, error=error.detail)
            except Exception:
                # The match function may be part of the game. After an error in it, the next round tries again.
                self.results["error"] += 1
                log.exception("match_round_failed", mode=self._mode.name)
                pause_s = FOLLOWER_INTERVAL_S
            await asyncio.sleep(pause_s)

    async def resign(self) -> None:
        """Release the lease, so that another leader need not wait until it ends. Idempotent.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        epoch, self.epoch = self.epoch, 0
        if epoch:
            request = {"region": self._region, "leader": self._name, "epoch": epoch}
            await self._scripts.run("queue/resign", request, dict[str, str])

    async def round(self) -> bool:
        """Run one round and wait for its rooms.

        Returns:
            Whether this leader holds the lease.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        is_leader = await self._decide()
        await self._wait_for_rooms()
        return is_leader

    async def _decide(self) -> bool:
        """Run one round up to its matches, which get rooms while the next round reads and matches."""
        if not await self.acquire_lease():
            await self._wait_for_rooms()
            return False
        read = await self.read()
        if not await self.sweep(read.now_ms):
            return False
        await self._take_over(read)
        matches = await self._while_leading(self.match(read))
        if matches is None:
            return False
        await self._wait_for_rooms()
        tickets = {ticket_id: self._tickets[ticket_id] for match in matches for ticket_id in match.tickets}
        made = await self.commit(matches, read.now_ms)
        for match in made:
            for ticket_id in match.tickets:
                self._tickets.pop(ticket_id, None)
        work = self.find_rooms(made, tickets, read.now_ms)
        self._room_task = asyncio.create_task(work, name=f"rooms {self._mode.name}")
        return bool(self.epoch)

    async def _take_over(self, read: QueueContents) -> None:
        """Take over the matches that another leader left without a room.

        Matches of this region get rooms. The tickets of matches of a region that has no leader any more are returned
        to the queue, so that other regions can match them.
        """
        ours = [match for match in read.matches if match.region == self._region]
        if ours:
            log.info("matches_taken_over", mode=self._mode.name, count=len(ours))
            await self.find_rooms(ours, {}, read.now_ms)
        others = [match for match in read.matches if match.region != self._region]
        abandoned = [match for match in others if read.now_ms - match.made_ms > ABANDONED_MS]
        if abandoned:
            log.warning("matches_abandoned", mode=self._mode.name, count=len(abandoned))
            await self._assigner.return_tickets(abandoned)
            self._read_all_s = -1e9

    async def find_rooms(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> None:
        """Assign rooms to matches and notify their players; without a room, their tickets return to the queue."""
        if not await self._assigner.find_rooms(matches, tickets, now_ms):
            self._read_all_s = -1e9  # some tickets wait again

    async def _wait_for_rooms(self) -> None:
        """Wait until the assignment of rooms to the last matches has ended."""
        room_task, self._room_task = self._room_task, None
        if room_task is not None:
            await room_task

    async def acquire_lease(self) -> bool:
        """Acquire or renew the lease. Return False if another leader holds it."""
        request = {
            "region": self._region,
            "leader": self._name,
            "lease_ms": LEASE_MS,
            "recent_wait_ms": self._assigner.recent_waits.median_ms,
        }
        self._renewed_s = self._now_s()
        leadership = await self._scripts.run("queue/acquire_leadership", request, Leadership)
        if leadership.owner != self._name:
            self._reset()
            return False
        if leadership.epoch != self.epoch:
            log.info("queue_leadership_acquired", mode=self._mode.name, region=self._region, epoch=leadership.epoch)
            self._reset()
            self.epoch = leadership.epoch
        return True

    async def _while_leading(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Run work that may outlast the lease, and renew the lease meanwhile. Return None if the lease is lost."""
        task = asyncio.create_task(work, name=f"match {self._mode.name}")
        try:
            while not task.done():
                await asyncio.wait([task], timeout=LEASE_MS / 3000)
                is_due = self._now_s() - self._renewed_s > LEASE_MS / 3000
                if is_due and not await self.acquire_lease():
                    return None
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _reset(self) -> None:
        self.epoch = 0
        self._tickets.clear()
        self._read_all_s = -1e9

    async def read(self) -> QueueContents:
        """Read new tickets, backfills and matches; tickets of earlier reads are kept."""
        interval_s = min(READ_ALL_S_MAX, max(READ_ALL_S, self._read_all_took_s / READ_ALL_SHARE_MAX))
        is_all = self._now_s() - self._read_all_s > interval_s
        known: dict[str, QueueTicket] = {}  # removed in steps, because freeing thousands at once blocks the loop
        if is_all:
            await self._wait_for_rooms()  # otherwise these matches are read as those of another leader
            self._read_all_s = self._now_s()
            known, self._tickets = self._tickets, {}
            self._last_seq = 0
        first: QueueContents | None = None
        while len(self._tickets) < TICKETS_MAX:
            request = {"after": self._last_seq, "limit": READ_MAX, "with_matches": is_all and first is None}
            request["backfills_max"] = BACKFILLS_MAX if first is None else 0
            read = await self._scripts.run("queue/read", request, QueueContents)
            first = first or read
            for ticket in read.tickets:
                self._tickets[ticket.ticket_id] = ticket
                self._last_seq = max(self._last_seq, ticket.seq)
                known.pop(ticket.ticket_id, None)
            if len(read.tickets) < READ_MAX:
                break
        if is_all:
            self._read_all_took_s = self._now_s() - self._read_all_s
            await run_in_slices(_clear(known))
        assert first is not None
        return first

    async def sweep(self, now_ms: int) -> bool:
        """Remove overdue tickets and failed agents, once every SWEEP_S. Return False if the lease is lost."""
        if self._now_s() - self._swept_s < SWEEP_S:
            return True
        self._swept_s = self._now_s()
        timeout_s = self._mode.rules.timeout_s
        overdue = await run_in_slices(self._filter(lambda ticket: ticket.waited_s(now_ms) > timeout_s))
        agents: Sequence[str] = ()
        cursor = ""
        while cursor != "0":  # once, or until all tickets of failed agents have been found
            request = {
                "region": self._region,
                "leader": self._name,
                "epoch": self.epoch,
                "agent_ms": int(AGENT_TIMEOUT_S * 1000),
                "gather_ms": int(timeout_s * 1000),
                "overdue": [] if cursor else [ticket.ticket_id for ticket in overdue[:SWEEP_MAX]],
                "limit": SWEEP_MAX,
                "check_cursor": self._check_cursor,
                "agents": agents,
                "cursor": cursor or "0",
            }
            swept = await self._scripts.run("queue/sweep", request, _Swept)
            if swept.status == "stale":
                self._reset()
                return False
            for ticket_id in swept.cancelled:
                self._tickets.pop(ticket_id, None)
            agents, cursor, self._check_cursor = swept.agents, swept.cursor, swept.check_cursor
        return True

    def _filter(self, condition: Callable[[QueueTicket], bool]) -> Steps[list[QueueTicket]]:
        """Return the tickets that meet a condition, in steps."""
        found = []
        for number, ticket in enumerate(list(self._tickets.values())):
            if condition(ticket):
                found.append(ticket)
            if number % STEP_COST == 0:
                yield
        return found

    async def match(self, read: QueueContents) -> list[Match]:
        """Return the matches that the mode's match function makes of the tickets that have been read."""
        rules, now_ms = self._mode.rules, read.now_ms
        open_to = await run_in_slices(self._filter(lambda t: rules.can_play_in(t, self._region, now_ms)))
        wanted = [b for b in read.backfills if b.region == self._region] if rules.backfill else []
        wanted.sort(key=lambda backfill: backfill.since_ms)
        rng = random.Random(self._rng.getrandbits(64))  # noqa: S311 - shuffles teams
        if self._mode.match is find_matches:
            steps = find_matches_in_steps(open_to, wanted, rules, now_ms=now_ms, rng=rng)
            return await run_in_slices(steps)
        return await asyncio.to_thread(self._mode.match, open_to, wanted, rules, now_ms=now_ms, rng=rng)

    async def commit(self, matches: Sequence[Match], now_ms: int) -> list[CommittedMatch]:
        """Remove the tickets of matches from the queue. Return the matches of which no ticket was gone.

        If the lease is lost, `epoch` is 0, and the remaining matches are not committed.
        """
        made: list[CommittedMatch] = []
        count = max(1, COMMIT_PLAYERS_MAX // self._mode.rules.players_max)
        for first in range(0, len(matches), count):
            named = [self._to_committed(match, now_ms) for match in matches[first : first + count]]
            wanted = {match.match_id: match for match in named}
            request = {
                "region": self._region,
                "leader": self._name,
                "epoch": self.epoch,
                "matches": [self._to_request(match) for match in wanted.values()],
            }
            committed = await self._scripts.run(
                "queue/commit", request, _Committed, [msgspec.msgpack.encode(made) for made in wanted.values()]
            )
            if committed.status == "stale":
                self._reset()
                break
            made += [wanted[match_id] for match_id in committed.made]
            self.results["conflict"] += len(wanted) - len(committed.made)
            for ticket_id in committed.gone:
                self._tickets.pop(ticket_id, None)
        return made

    def _to_request(self, match: CommittedMatch) -> tuple[Any, ...]:
        members = [(member, ticket_id) for ticket_id in match.tickets for member in self._tickets[ticket_id].members]
        players = [member.player_id for member, _ in members]
        entries = [f"{member.entry_id} {ticket_id}" for member, ticket_id in members]
        return match.match_id, match.tickets, match.backfill, players, entries

    def _to_committed(self, match: Match, now_ms: int) -> CommittedMatch:
        players = [
            (member.agent_id, member.entry_id, member.player_id, team)
            for ticket_id, team in zip(match.tickets, match.teams, strict=True)
            for member in self._tickets[ticket_id].members
        ]
        return CommittedMatch(
            self._ids.create_id(),
            self._region,
            list(match.tickets),
            players,
            list(match.teams),
            to_pairs(match.labels),
            match.backfill,
            now_ms,
        )


def _clear(tickets: dict[str, QueueTicket]) -> Steps[None]:
    while tickets:
        tickets.popitem()
        if len(tickets) % STEP_COST == 0:
            yield
