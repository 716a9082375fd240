"""A desk: a shard's place at the queue of one mode, where it speaks for its players who wait.

enter, leave    are kept and said with the next beat; what is said twice happens once
a leave         is decided in Redis (lua/queue/assign.lua): the waiter receives "left", or a match that came first
a beat          one script: says all that is new, hears all letters. Letters come until they are said to be read
now and then    asks whether all who wait here are still known: whom Redis has forgotten enters again, with the
                time that it has waited
release, adopt  a player goes on at another desk, without a gap: whatever is decided meanwhile reaches it
silence         a desk that is not heard of for DESK_S_MAX is gone, and its players with it
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import count, islice
from typing import Literal, Protocol

import msgspec
import structlog

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError
from tickwire.matchmaking.queue.slices import run_in_slices
from tickwire.matchmaking.queue.ticket import Backfill, Entry
from tickwire.matchmaking.script_runner import ScriptRunner

log = structlog.get_logger(__name__)

BEAT_S = 0.2
DESK_S_MAX = 10.0
ASK_S = 1.0
KNOWN_S = 5.0
ENTERING_MAX = LEAVING_MAX = 250
"""So many enter and leave in one call: other calls wait while a script runs."""
ASKED_MAX = 100
ASKED_AT_ONCE_MAX = 20
"""Players whose place is asked for in a second, and in a beat."""
KNOWN_MAX = 1000
"""Players of whom a beat asks whether they are still known."""
LETTERS_MAX = 500
WAITING_MAX = 20_000


class MatchRoom(msgspec.Struct, frozen=True):
    """Where a match is played."""

    room_id: str
    room_type: str
    shard_id: str
    url: str
    epoch: int
    until_ms: int
    labels: Sequence[str] = ()


class QueueNotification(msgspec.Struct, frozen=True, array_like=True):
    """What a desk is told of one of its players. Packed by `mail` in lua/queue.lua.

    Args:
        number: grows from letter to letter; 0 for one that the desk makes itself.
        kind: "left" answers `QueueAgent.leave`; a leave that came too late is answered with "found".
    """

    number: int
    entry_id: str
    kind: Literal["found", "cancelled", "timed_out", "left"]
    reason: str = ""
    team: int = 0
    match_id: str = ""
    room: MatchRoom | None = None


class QueuePosition(msgspec.Struct, frozen=True):
    """Where a player stands.

    Args:
        place: from 1; 0 while friends are missing.
        missing: so many of the party have not asked yet.
        lately_ms: how long others have waited lately; 0: not known.
    """

    place: int
    missing: int
    lately_ms: int


class QueueListener(Protocol):
    """Told of one player's fortune: of places as long as it waits, and of a letter at the end."""

    def __call__(self, news: QueuePosition | QueueNotification, /) -> None: ...


class _Adopted(msgspec.Struct, frozen=True):
    adopted: Sequence[str]


class _EnqueuedPlayer(msgspec.Struct, frozen=True):
    """A player who waits here."""

    entry: Entry
    came_ms: int
    waiter: QueueListener


class _SyncReply(msgspec.Struct, frozen=True):
    letters: Sequence[QueueNotification]
    unknown: Sequence[str]
    places: Sequence[tuple[str, int, int]]
    waiting: int
    lately_ms: int


class QueueAgent:
    """One mode's. Used on the loop's thread; `run` is its task.

    Args:
        shard_id: whose it is.
        region: where that is.
        calls: the door to the mode's queue.
        now_s: a monotonic clock.
        now_ms: UTC, milliseconds.

    Attributes:
        waiting_in_all: how many tickets wait, at all desks, as of the last beat.
    """

    def __init__(
        self,
        shard_id: str,
        region: str,
        calls: ScriptRunner,
        *,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self.waiting_in_all = 0
        # Another each run: a shard that was restarted under its old name speaks for none of those before.
        self._run = secrets.token_hex(4)
        self._numbers = count(1)
        self.desk_id = f"{shard_id}/{self._run}"
        self._region = region
        self._calls = calls
        self._now_s = now_s
        self._now_ms = now_ms
        self._here: dict[str, _EnqueuedPlayer] = {}
        self._entering: deque[Entry] = deque()
        self._leaving: dict[str, _EnqueuedPlayer] = {}  # until Redis has decided
        self._backfills: dict[str, Backfill] = {}
        self._wanting: dict[str, None] = {}
        self._filled: dict[str, None] = {}
        self._asking: deque[str] = deque()
        self._asks_left = 0
        self._checking: deque[str] = deque()  # of these it is asked whether they are known
        self._read = self._deleted = 0  # letters up to these numbers have been read here, and may be deleted in Redis
        self._is_again = self._is_leaving = False
        self._asked_s = self._known_s = now_s()
        self._has_news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._here)

    def enter(
        self,
        player_id: str,
        waiter: QueueListener,
        *,
        skill: float,
        latencies: Mapping[str, float],
        labels: Sequence[str] = (),
        party: tuple[str, int] | None = None,
    ) -> str:
        """A player begins to wait; gives the entry by which it leaves.

        Args:
            latencies: round trips in ms, by region.
            labels: KEY=VALUE.
            party: a code, and how many share it.

        Raises:
            MatchmakerUnavailable: too many wait at this desk.
        """
        if len(self._here) + len(self._leaving) >= WAITING_MAX:
            raise MatchmakerUnavailable("too many players wait here", retry_after_ms=5000)
        code, size = party or ("", 1)
        rounded = [(region, max(0, round(ms))) for region, ms in latencies.items()]
        entry_id = f"{self._run}.{next(self._numbers):x}"
        entry = Entry(entry_id, player_id, self.desk_id, code, size, 0, skill, rounded, labels)
        self._here[entry_id] = _EnqueuedPlayer(entry, self._now_ms(), waiter)
        self._entering.append(entry)
        self._asking.append(entry_id)
        self._has_news.set()
        return entry_id

    def leave(self, entry_id: str) -> None:
        """Asks Redis to take a player out of the queue. Idempotent.

        The waiter receives the answer as its last letter: "left", or what was decided before, such as "found".
        """
        found = self._here.pop(entry_id, None)
        if found is not None:
            self._leaving[entry_id] = found
            self._has_news.set()

    def entry_of(self, entry_id: str) -> tuple[Entry, int] | None:
        """An entry that waits here, and when it came, UTC ms: what another desk adopts."""
        found = self._here.get(entry_id)
        return (found.entry, found.came_ms) if found is not None else None

    def release(self, entry_id: str) -> None:
        """A player goes on waiting at another desk, and is told nothing more here. From now on this desk takes no
        letter off: one that is for the player is still there when it is adopted. Idempotent."""
        self._is_leaving = True
        self._here.pop(entry_id, None)

    async def adopt(self, entry: Entry, came_ms: int, waiter: QueueListener) -> None:
        """A player who waited at another desk waits here, in its place; one whom Redis has forgotten enters again.

        Raises:
            MatchmakerUnavailable: Redis does not answer; it is asked again with the beats.
        """
        before, entry = entry.desk, msgspec.structs.replace(entry, desk=self.desk_id)
        self._here[entry.entry_id] = _EnqueuedPlayer(entry, came_ms, waiter)
        self._asking.append(entry.entry_id)
        self._has_news.set()
        request = {"desk": self.desk_id, "entries": [(entry.player_id, entry.entry_id, before)]}
        found = await self._calls.run("queue/adopt", request, _Adopted)
        if entry.entry_id not in found.adopted and entry.entry_id in self._here:
            self._entering.append(msgspec.structs.replace(entry, since_ms=came_ms))
            self._has_news.set()

    def want(self, backfill: Backfill) -> None:
        """A room wants players; said again when what it wants has changed."""
        self._backfills[backfill.room_id] = backfill
        self._wanting[backfill.room_id] = None
        self._filled.pop(backfill.room_id, None)
        self._has_news.set()

    def want_nobody(self, room_id: str) -> None:
        """A room wants no players any more. Idempotent."""
        if self._backfills.pop(room_id, None) is not None:
            self._wanting.pop(room_id, None)
            self._filled[room_id] = None
            self._has_news.set()

    async def run(self) -> None:
        """Beats as long as anybody waits here, until it is cancelled."""
        pause_s = BEAT_S
        while True:
            if not (self._here or self._backfills or self._leaving or self._filled):
                self._has_news.clear()
                await self._has_news.wait()
            try:
                is_more = await self.beat()
                pause_s = 0.0 if is_more else BEAT_S
            except MatchmakingError as error:
                pause_s = min(5.0, max(pause_s, BEAT_S) * 1.5)
                log.warning("queue_unavailable", error=error.detail, retry_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)

    async def beat(self) -> bool:
        """Says and hears all there is; gives whether there is more already.

        Raises:
            MatchmakerUnavailable: Redis does not answer; what was to be said is said again.
        """
        entering = [entry for entry in self._take_entering() if entry.entry_id in self._here]
        leaving = [waits.entry for waits in islice(self._leaving.values(), LEAVING_MAX)]
        wanting, filled = list(self._wanting), list(self._filled)
        request = {
            "desk": self.desk_id,
            "region": self._region,
            "read": self._deleted,
            "after": self._read,
            "is_again": self._is_again,
            "enter": [(e.entry_id, e.player_id, e.party, e.size, e.since_ms) for e in entering],
            "leave": [(entry.player_id, entry.entry_id) for entry in leaving],
            "known": self._known(),
            "ask": self._ask(),
            "backfills": [self._backfills[room_id] for room_id in wanting],
            "filled": filled,
            "letters_max": LETTERS_MAX,
        }
        try:
            heard = await self._calls.run(
                "queue/desk", request, _SyncReply, [msgspec.msgpack.encode(entry) for entry in entering]
            )
        except MatchmakingError:
            self._entering.extendleft(reversed(entering))
            self._is_again = True
            self._known_s = 0.0  # who knows what it has lost
            raise
        self._is_again = False
        for said, done in ((self._wanting, wanting), (self._filled, filled)):
            for name in done:
                said.pop(name, None)
        self.waiting_in_all = heard.waiting
        await run_in_slices(self._hear(heard, leaving))  # for each player a ticket is signed and sent
        return bool(self._entering or self._leaving or self._checking) or len(heard.letters) >= LETTERS_MAX

    def _take_entering(self) -> list[Entry]:
        return [self._entering.popleft() for _ in range(min(len(self._entering), ENTERING_MAX))]

    def _known(self) -> list[tuple[str, str]]:
        """Of whom it is asked whether Redis knows them: of all in turn, once in KNOWN_S."""
        if self._now_s() - self._known_s >= KNOWN_S:
            self._known_s = self._now_s()
            self._wanting |= dict.fromkeys(self._backfills)
            entering = {entry.entry_id for entry in self._entering}
            self._checking.clear()
            self._checking.extend(entry_id for entry_id in self._here if entry_id not in entering)
        checked = [self._checking.popleft() for _ in range(min(len(self._checking), KNOWN_MAX))]
        return [(self._here[entry_id].entry.player_id, entry_id) for entry_id in checked if entry_id in self._here]

    def _ask(self) -> list[tuple[str, str]]:
        """Of whom the place is asked: of all in turn, ASKED_MAX a second."""
        if self._now_s() - self._asked_s >= ASK_S:
            self._asked_s = self._now_s()
            self._asks_left = min(len(self._asking), ASKED_MAX)
        asked: list[tuple[str, str]] = []
        count = min(self._asks_left, len(self._asking), ASKED_AT_ONCE_MAX)
        self._asks_left -= count
        for _ in range(count):
            entry_id = self._asking.popleft()
            if entry_id in self._here:
                asked.append((self._here[entry_id].entry.player_id, entry_id))
                self._asking.append(entry_id)
        return asked

    def _hear(self, heard: _SyncReply, leaving: Sequence[Entry]) -> Generator[None, None, None]:
        told = set()
        for letter in heard.letters:
            if letter.number > self._read:
                self._read = letter.number
                told.add(letter.entry_id)
                self._deliver(letter)
                yield
        if not self._is_leaving:
            self._deleted = self._read
        # With letters left unread, those that have left, or are unknown, may have been matched: they are asked about
        # again when all are read.
        if len(heard.letters) < LETTERS_MAX:
            for entry in leaving:
                self._deliver(QueueNotification(0, entry.entry_id, "left"))
            for entry_id in heard.unknown:
                if entry_id in self._here and entry_id not in told:
                    waits = self._here[entry_id]
                    self._entering.append(msgspec.structs.replace(waits.entry, since_ms=waits.came_ms))
        for entry_id, place, missing in heard.places:
            if entry_id in self._here:
                self._notify(self._here[entry_id], QueuePosition(place, missing, heard.lately_ms))

    def _deliver(self, letter: QueueNotification) -> None:
        """Gives a player its last letter; one that has had it gets no other."""
        waits = self._here.pop(letter.entry_id, None) or self._leaving.pop(letter.entry_id, None)
        if waits is not None:
            self._notify(waits, letter)

    def _notify(self, waits: _EnqueuedPlayer, news: QueuePosition | QueueNotification) -> None:
        try:
            waits.waiter(news)
        except Exception:  # one player's fault; the others hear theirs
            log.exception("queue_listener_failed", player_id=waits.entry.player_id)
