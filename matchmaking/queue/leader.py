"""The leader of one mode in one region: reads what waits, makes matches, finds them rooms.

    lead      a lease in Redis; every shard of the region tries, one has it, and each decision names its epoch
    read      tickets that are new since the last round; everything anew every READ_ALL_S, and when it takes over
    match     the mode's pure function
    commit    atomic: a match takes all its tickets out of the queue, or is not made
    place     a room under the match's own id, so that doing it again finds the same room and the same seats
    assign    the players' desks are told; or, where no room could be had, the tickets wait on in their old places

A leader may end between any two of these: the next one reads matches that have no room yet, and goes on from there.

A leader runs on a shard that also ticks rooms. It never holds the event loop for more than some milliseconds, however
many wait: it reads, sorts, matches and commits in slices, and a game's own match function runs in a thread.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.matchmaking.labels import to_pairs
from tickwire.matchmaking.queue.agent import DESK_S_MAX
from tickwire.matchmaking.queue.assignment import Assigner, CommittedMatch
from tickwire.matchmaking.queue.match_function import STEP_COST, Steps, find_matches, find_matches_in_steps
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.slices import run_in_slices
from tickwire.matchmaking.queue.ticket import Backfill, Match, QueueTicket
from tickwire.matchmaking.script_runner import ScriptRunner

log = structlog.get_logger(__name__)
T = TypeVar("T")

ROUND_S = 0.25
BREATH_S = 0.01
FOLLOW_S = 1.0
LEASE_MS = 3_000
ABANDONED_MS = 15_000
"""A match that has had no room for so long belongs to a region in which nobody leads."""
READ_ALL_S = 2.0
READ_ALL_S_MAX = 10.0
READ_ALL_SHARE_MAX = 0.05
"""Reading everything anew takes no more of the time than this: with many tickets it is done less often."""
SWEEP_S = 1.0
SWEEP_MAX = 500
READ_MAX = 500
COMMIT_PLAYERS_MAX = 400
"""Tickets, and players of matches, in one call: other calls wait while a script runs, our loop while we decode."""
BACKFILLS_MAX = 200
"""Rooms in play that a round considers; at random where more want players."""
TICKETS_MAX = 100_000
"""So many tickets are looked at; the youngest above that wait until there is room."""


class _Read(msgspec.Struct, frozen=True):
    tickets: Sequence[QueueTicket]
    backfills: Sequence[Backfill]
    matches: Sequence[CommittedMatch]
    now_ms: int


class Leadership(msgspec.Struct, frozen=True):
    owner: str
    epoch: int


class _Committed(msgspec.Struct, frozen=True):
    status: str
    made: Sequence[str]
    gone: Sequence[str]


class _Swept(msgspec.Struct, frozen=True):
    status: str
    cancelled: Sequence[str]
    desks: Sequence[str]
    cursor: str
    check_cursor: str


class Leader:
    """Leads while it holds the lease; `run` is its task.

    Args:
        mode: whose queue.
        region: where matches are made.
        name: of this leader, another each run.
        calls: the door to the mode's queue.
        assigner: finds matches their rooms.
        now_s: a monotonic clock.
        chance: seeds the match function.

    Attributes:
        epoch: of the lease; 0 while another leads.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        region: str,
        name: str,
        calls: ScriptRunner,
        assigner: Assigner,
        now_s: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self.epoch = 0
        self._mode = mode
        self._region = region
        self._name = name
        self._calls = calls
        self._now_s = now_s
        self._chance = chance
        self._tickets: dict[str, QueueTicket] = {}
        self._assigner = assigner
        self._last_seq = 0
        self._read_all_s = self._swept_s = self._led_s = -1e9
        self._read_all_took_s = 0.0
        self._check_cursor = "0"
        self._placing: asyncio.Task[None] | None = None

    @property
    def results(self) -> Counter[str]:
        """Matches by what became of them; rounds that raised."""
        return self._assigner.results

    async def run(self) -> None:
        """Leads, or waits to lead, until it is cancelled."""
        try:
            await self._lead_on()
        finally:
            if self._placing is not None:
                self._placing.cancel()
                await asyncio.wait([self._placing])

    async def _lead_on(self) -> None:
        pause_s = FOLLOW_S
        while True:
            started_s = self._now_s()
            try:
                leads = await self._decide()
                # A round begins every ROUND_S, however long it takes; others get their turn in between.
                pause_s = max(BREATH_S, ROUND_S - (self._now_s() - started_s)) if leads else FOLLOW_S
            except MatchmakerUnavailable as error:
                self.epoch = 0
                pause_s = min(5.0, max(ROUND_S, pause_s) * 1.5)
                log.warning("leader_unavailable", mode=self._mode.name, error=error.detail)
            except Exception:
                # The match function may be a game's own; whatever it does, the next round is another chance.
                self.results["error"] += 1
                log.exception("match_round_failed", mode=self._mode.name)
                pause_s = FOLLOW_S
            await asyncio.sleep(pause_s)

    async def resign(self) -> None:
        """Gives the lead back, so that another need not wait for the lease to end. Idempotent.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        epoch, self.epoch = self.epoch, 0
        if epoch:
            request = {"region": self._region, "leader": self._name, "epoch": epoch}
            await self._calls.run("queue/resign", request, dict[str, str])

    async def round(self) -> bool:
        """One round, to its end; gives whether this is the leader.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        leads = await self._decide()
        await self._settled()
        return leads

    async def _decide(self) -> bool:
        """A round up to its matches; they get their rooms while the next one reads and matches."""
        if not await self._lead():
            await self._settled()
            return False
        read = await self._read()
        if not await self._sweep(read.now_ms):
            return False
        await self._take_over(read)
        matches = await self._while_leading(self._match(read))
        if matches is None:
            return False
        await self._settled()
        tickets = {ticket_id: self._tickets[ticket_id] for match in matches for ticket_id in match.tickets}
        made = await self._commit(matches, read.now_ms)
        for match in made:
            for ticket_id in match.tickets:
                self._tickets.pop(ticket_id, None)
        work = self._find_rooms(made, tickets, read.now_ms)
        self._placing = asyncio.create_task(work, name=f"rooms {self._mode.name}")
        return bool(self.epoch)

    async def _take_over(self, read: _Read) -> None:
        """Matches that a leader has left behind: ours get their rooms; those of a region where nobody leads any more
        are given back, so that their players may play elsewhere."""
        ours = [match for match in read.matches if match.region == self._region]
        if ours:
            log.info("matches_taken_over", mode=self._mode.name, count=len(ours))
            await self._find_rooms(ours, {}, read.now_ms)
        others = [match for match in read.matches if match.region != self._region]
        abandoned = [match for match in others if read.now_ms - match.made_ms > ABANDONED_MS]
        if abandoned:
            log.warning("matches_abandoned", mode=self._mode.name, count=len(abandoned))
            await self._assigner.give_back(abandoned)
            self._read_all_s = -1e9

    async def _find_rooms(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> None:
        if not await self._assigner.find_rooms(matches, tickets, now_ms):
            self._read_all_s = -1e9  # some wait again

    async def _settled(self) -> None:
        """Returns when the matches that were made last have their rooms."""
        placing, self._placing = self._placing, None
        if placing is not None:
            await placing

    async def _lead(self) -> bool:
        request = {
            "region": self._region,
            "leader": self._name,
            "lease_ms": LEASE_MS,
            "lately_ms": self._assigner.lately.wait_ms,
        }
        self._led_s = self._now_s()
        lead = await self._calls.run("queue/lead", request, Leadership)
        if lead.owner != self._name:
            self._forget()
            return False
        if lead.epoch != self.epoch:
            log.info("leads", mode=self._mode.name, region=self._region, epoch=lead.epoch)
            self._forget()
            self.epoch = lead.epoch
        return True

    async def _while_leading(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do what may take longer than the lease lasts. Renews the lease meanwhile; returns None if it is lost."""
        task = asyncio.create_task(work, name=f"match {self._mode.name}")
        try:
            while not task.done():
                await asyncio.wait([task], timeout=LEASE_MS / 3000)
                is_due = self._now_s() - self._led_s > LEASE_MS / 3000
                if is_due and not await self._lead():
                    return None
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _forget(self) -> None:
        self.epoch = 0
        self._tickets.clear()
        self._read_all_s = -1e9

    async def _read(self) -> _Read:
        """What there is to know; tickets that were read before stay in mind."""
        interval_s = min(READ_ALL_S_MAX, max(READ_ALL_S, self._read_all_took_s / READ_ALL_SHARE_MAX))
        is_all = self._now_s() - self._read_all_s > interval_s
        known: dict[str, QueueTicket] = {}  # those of before go one by one: to drop thousands at once takes long
        if is_all:
            await self._settled()  # else they would be read as matches that somebody has left behind
            self._read_all_s = self._now_s()
            known, self._tickets = self._tickets, {}
            self._last_seq = 0
        first: _Read | None = None
        while len(self._tickets) < TICKETS_MAX:
            request = {"after": self._last_seq, "limit": READ_MAX, "with_matches": is_all and first is None}
            request["backfills_max"] = BACKFILLS_MAX if first is None else 0
            read = await self._calls.run("queue/read", request, _Read)
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

    async def _sweep(self, now_ms: int) -> bool:
        """Every second: who has waited for too long, and desks that are gone."""
        if self._now_s() - self._swept_s < SWEEP_S:
            return True
        self._swept_s = self._now_s()
        timeout_s = self._mode.rules.timeout_s
        overdue = await run_in_slices(self._filter(lambda ticket: ticket.waited_s(now_ms) > timeout_s))
        desks: Sequence[str] = ()
        cursor = ""
        while cursor != "0":  # once, or until the tickets of all desks that are gone have been found
            request = {
                "region": self._region,
                "leader": self._name,
                "epoch": self.epoch,
                "desk_ms": int(DESK_S_MAX * 1000),
                "gather_ms": int(timeout_s * 1000),
                "overdue": [] if cursor else [ticket.ticket_id for ticket in overdue[:SWEEP_MAX]],
                "limit": SWEEP_MAX,
                "check_cursor": self._check_cursor,
                "desks": desks,
                "cursor": cursor or "0",
            }
            swept = await self._calls.run("queue/sweep", request, _Swept)
            if swept.status == "stale":
                self._forget()
                return False
            for ticket_id in swept.cancelled:
                self._tickets.pop(ticket_id, None)
            desks, cursor, self._check_cursor = swept.desks, swept.cursor, swept.check_cursor
        return True

    def _filter(self, condition: Callable[[QueueTicket], bool]) -> Steps[list[QueueTicket]]:
        """Some of the tickets, in steps."""
        found = []
        for number, ticket in enumerate(list(self._tickets.values())):
            if condition(ticket):
                found.append(ticket)
            if number % STEP_COST == 0:
                yield
        return found

    async def _match(self, read: _Read) -> list[Match]:
        rules, now_ms = self._mode.rules, read.now_ms
        open_to = await run_in_slices(self._filter(lambda t: rules.may_play_in(t, self._region, now_ms)))
        wanted = [b for b in read.backfills if b.region == self._region] if rules.backfill else []
        wanted.sort(key=lambda backfill: backfill.since_ms)
        chance = random.Random(self._chance.getrandbits(64))  # noqa: S311 - decides who is team one
        if self._mode.match is find_matches:
            steps = find_matches_in_steps(open_to, wanted, rules, now_ms=now_ms, chance=chance)
            return await run_in_slices(steps)
        return await asyncio.to_thread(self._mode.match, open_to, wanted, rules, now_ms=now_ms, chance=chance)

    async def _commit(self, matches: Sequence[Match], now_ms: int) -> list[CommittedMatch]:
        made: list[CommittedMatch] = []
        count = max(1, COMMIT_PLAYERS_MAX // self._mode.rules.players_max)
        for first in range(0, len(matches), count):
            named = [self._named(match, now_ms) for match in matches[first : first + count]]
            wanted = {match.match_id: match for match in named}
            request = {
                "region": self._region,
                "leader": self._name,
                "epoch": self.epoch,
                "matches": [self._to_request(match) for match in wanted.values()],
            }
            committed = await self._calls.run(
                "queue/commit", request, _Committed, [msgspec.msgpack.encode(made) for made in wanted.values()]
            )
            if committed.status == "stale":
                self._forget()
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

    def _named(self, match: Match, now_ms: int) -> CommittedMatch:
        players = [
            (member.desk, member.entry_id, member.player_id, team)
            for ticket_id, team in zip(match.tickets, match.teams, strict=True)
            for member in self._tickets[ticket_id].members
        ]
        return CommittedMatch(
            secrets.token_urlsafe(9),
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
