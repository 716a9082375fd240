"""Keeps the presence of this shard's players in Redis, and ends sessions whose player has another one in the fleet.

    a session opens or arrives    it is claimed; of two sessions of a player, the one that was opened last stays
    a session changes             its record is written again: its room, its connection
    once a second                 the shard is kept alive, due records are renewed, notices are read
    Redis has a notice            it is read at once, if Redis can wake the shard
    a session ends                its record is released, unless the session continues on another shard

While Redis is unavailable sessions open and continue; claims, changes and releases are repeated until it answers.
With `refuse`, a player who has a session elsewhere is refused before the new one opens: the other shard reports
whether its session is still in use.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from tickwire.matchmaking import Claim, MatchmakingError, Notice, Presence, PresenceRecord, SessionPolicy
from tickwire.matchmaking.presence import NOTICES_A_CALL_MAX, PARTITIONS, PLAYERS_A_CALL_MAX
from tickwire.retry_delay import RetryDelay
from tickwire.server.edge.services import PresentSession
from tickwire.server.errors import AlreadyConnected
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.presence.presence_settings import PresenceSettings
from tickwire.server.presence.tracked_sessions import TrackedSession, TrackedSessions

log = structlog.get_logger(__name__)

ROUND_INTERVAL_S = 1.0
COLLECT_S = 0.01
"""How long a round waits for further changes: a room that closes changes hundreds of sessions at once."""
CLAIMS_A_ROUND_MAX = 1000
CHALLENGE_TIMEOUT_S, CHALLENGE_INTERVAL_S = 1.0, 0.1
"""How long a new session waits for the shard of the other one, which may end if its client has left it."""
FORWARDS_MAX = 3
TASK = "presence"


class PresenceCounters:
    """The counters of a shard's presence since its start.

    Attributes:
        claims: claims by status (`tickwire.matchmaking.Claim`), and those that failed.
        takeovers: sessions that were ended here because their player has another one, by how that was found: claim,
            renewal, notice.
        renewals: the records that were renewed.
        refused: renewals that were refused: superseded, elsewhere.
        notices: notices by result: ended, alive, forwarded, absent.
    """

    def __init__(self) -> None:
        self.claims: Counter[str] = Counter()
        self.takeovers: Counter[str] = Counter()
        self.renewals = 0
        self.refused: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()


class PresenceKeeper:
    """The presence of one shard's players. Implements `tickwire.server.edge.services.SessionPresence`.

    Args:
        presence: presence in Redis.
        settings: the shard, the policy for duplicates, and the interval of renewals.
        now_s: a monotonic clock.
        isolation: guards each session.

    Attributes:
        counters: the counters.
        sessions: the sessions that presence records.
    """

    def __init__(
        self, presence: Presence, settings: PresenceSettings, now_s: Callable[[], float], isolation: FaultIsolation
    ) -> None:
        self.counters = PresenceCounters()
        self.sessions = TrackedSessions()
        self._presence = presence
        self._shard_id = settings.shard_id
        self._policy: SessionPolicy = settings.policy
        self._renewal_interval_s = settings.renewal_interval_s
        self._now_s = now_s
        self._isolation = isolation
        self._is_answering = True
        self._is_due = asyncio.Event()
        self._woken: set[int] = set()
        self._handled = [0] * PARTITIONS  # the number of the last notice that was handled, by partition
        self._next_round_s = 0.0

    # -- SessionPresence ------------------------------------------------------------------------------------

    async def admit(self, session: PresentSession) -> None:
        """See `tickwire.server.edge.services.SessionPresence.admit`."""
        if self._policy != "refuse" or session.is_guest or not self._is_answering:
            return
        opened_s = self._now_s()
        is_first = True
        while True:
            try:
                claim = await self._claim(session, opened_s, policy="refuse", challenges=is_first)
            except MatchmakingError:
                return  # it opens, as everything does that Redis is not needed for, and is claimed later
            if claim.status != "refused":
                session.opened_us = claim.record.opened_us
                return
            if claim.record.shard_id == self._shard_id:
                await self._challenge_own(session.player_id, claim.record.session_id)
            if self._now_s() - opened_s > CHALLENGE_TIMEOUT_S:
                raise AlreadyConnected("the player has a session already, and may have only one")
            is_first = False
            await asyncio.sleep(CHALLENGE_INTERVAL_S)

    async def is_replaced(self, player_id: str, session_id: str) -> bool:
        """See `tickwire.server.edge.services.SessionPresence.is_replaced`."""
        if self._policy != "replace" or not self._is_answering:
            return False
        try:
            record = await self._presence.get(player_id)
        except MatchmakingError:
            return False
        if record is None or not record.is_connected:
            return False
        return session_id not in (record.session_id, record.previous_session_id)

    def session_opened(self, session: PresentSession) -> None:
        """See `tickwire.server.edge.services.SessionPresence.session_opened`."""
        if not session.is_guest:
            self.sessions.add(session, self._now_s(), is_new=True)
            self._is_due.set()

    def session_arrived(self, session: PresentSession) -> None:
        """See `tickwire.server.edge.services.SessionPresence.session_arrived`."""
        if not session.is_guest:
            self.sessions.add(session, self._now_s(), is_new=False)
            self._is_due.set()

    def session_changed(self, session: PresentSession) -> None:
        """See `tickwire.server.edge.services.SessionPresence.session_changed`."""
        if self.sessions.mark_changed(session.session_id):
            self._is_due.set()

    def session_ended(self, session: PresentSession, *, has_moved: bool = False) -> None:
        """See `tickwire.server.edge.services.SessionPresence.session_ended`."""
        self.sessions.remove(session, has_moved=has_moved)
        self._is_due.set()

    def withdraw(self, session: PresentSession) -> None:
        """See `tickwire.server.edge.services.SessionPresence.withdraw`."""
        if self._policy == "refuse" and not session.is_guest and self.sessions.get(session.session_id) is None:
            self.sessions.ended[session.session_id] = session.player_id
            self._is_due.set()

    # -- rounds ---------------------------------------------------------------------------------------------

    def wake(self, partition: int) -> None:
        """Read the notices of a partition soon."""
        self._woken.add(partition)
        self._is_due.set()

    async def run(self) -> None:
        """Run rounds until this is cancelled."""
        delay = RetryDelay(ROUND_INTERVAL_S)
        while True:
            try:
                await self.sync()
                delay.succeeded()
                self._set_answering(True)
            except MatchmakingError as error:
                delay.failed()
                self._set_answering(False, error.detail)
            await self._wait(delay.seconds)

    def _set_answering(self, is_answering: bool, error: str = "") -> None:
        if is_answering != self._is_answering:
            log.info("presence_available") if is_answering else log.warning("presence_unavailable", error=error)
        self._is_answering = is_answering

    async def _wait(self, seconds: float) -> None:
        """Wait for the next round: for this time, or until something is due. An unavailable Redis is not hurried."""
        if not self._is_answering:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_due.wait()
                await asyncio.sleep(COLLECT_S)

    async def sync(self) -> None:
        """Run one round.

        Raises:
            MatchmakingError: Redis does not answer; what was not written is written by a later round.
        """
        self._is_due.clear()
        now_s = self._now_s()
        is_regular = now_s >= self._next_round_s
        if is_regular:
            self.sessions.mark_due(now_s - self._renewal_interval_s)
        partitions = set(self.sessions.partitions_with_changes()) | self._woken
        await self._release_ended()
        await self._claim_all()
        await asyncio.gather(
            *(self._renew(partition) for partition in (range(PARTITIONS) if is_regular else partitions))
        )
        if is_regular:
            self._next_round_s = now_s + ROUND_INTERVAL_S
        if self.sessions.unclaimed or self.sessions.ended:
            self._is_due.set()

    async def close(self, timeout_s: float) -> None:
        """Release the presence of all players who are left, and of the shard; give up after a timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._release_ended()
                await self._presence.leave(self._shard_id)
        except (MatchmakingError, TimeoutError) as error:  # the shard's key expires
            log.warning("presence_release_failed", error=str(error), sessions=len(self.sessions.ended))

    async def _release_ended(self) -> None:
        for waiting, have_moved in ((self.sessions.ended, False), (self.sessions.moved, True)):
            due = list(waiting.items())
            if not due:
                continue
            released = [(player_id, session_id) for session_id, player_id in due]
            await self._presence.release(self._shard_id, released, have_moved=have_moved)
            for session_id, player_id in due:
                if waiting.get(session_id) == player_id:
                    del waiting[session_id]

    # -- claims ---------------------------------------------------------------------------------------------

    async def _claim_all(self) -> None:
        due = list(self.sessions.unclaimed.values())[:CLAIMS_A_ROUND_MAX]
        results = await asyncio.gather(*(self._claim_tracked(tracked) for tracked in due), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _claim_tracked(self, tracked: TrackedSession) -> None:
        session = tracked.session
        policy: SessionPolicy = "allow" if self._policy == "allow" else "replace"
        claim = await self._claim(session, tracked.opened_s if tracked.is_new else None, policy=policy)
        if tracked.is_over:
            if self.sessions.get(session.session_id) is None:
                self.sessions.ended[session.session_id] = session.player_id
            return
        if tracked.is_new and claim.record.session_id == session.session_id:
            session.opened_us = claim.record.opened_us
        self.sessions.mark_claimed(tracked, self._now_s())
        self.sessions.mark_changed(session.session_id)  # it may have changed since, and its encoding may differ
        if claim.status == "superseded":
            self._end_superseded(tracked, claim.record, "claim")

    async def _claim(
        self, session: PresentSession, opened_s: float | None, *, policy: SessionPolicy, challenges: bool = False
    ) -> Claim:
        age_us = -1 if opened_s is None else max(0, int((self._now_s() - opened_s) * 1e6))
        try:
            claim = await self._presence.claim(
                session.player_id, self._to_record(session), age_us=age_us, policy=policy, challenges=challenges
            )
        except MatchmakingError:
            self.counters.claims["failed"] += 1
            raise
        self.counters.claims[claim.status] += 1
        return claim

    def _to_record(self, session: PresentSession) -> PresenceRecord:
        return PresenceRecord(
            self._shard_id,
            session.session_id,
            session.opened_us,
            session.generations.current,
            session.connection is not None,
            session.room_id,
            session.room_type,
            session.previous_session_id,
        )

    def _end_superseded(self, tracked: TrackedSession, winner: PresenceRecord, found_by: str) -> None:
        """End a session whose player has opened another one later."""
        if self._policy == "allow" or tracked.is_over:
            return
        session = tracked.session
        self.counters.takeovers[found_by] += 1
        log.info(
            "session_superseded",
            session_id=session.session_id,
            player_id=session.player_id,
            by_session=winner.session_id,
            by_shard=winner.shard_id,
            found_by=found_by,
        )
        with self._isolation.guard(TASK, session.session_id):
            session.replace()

    async def _challenge_own(self, player_id: str, session_id: str) -> None:
        """End the other session on this shard if its client has left it; release it if it has ended."""
        tracked = self.sessions.get(session_id)
        if tracked is not None:
            tracked.session.end_if_redirected()
        if self.sessions.get(session_id) is None:
            try:
                await self._presence.release(self._shard_id, [(player_id, session_id)])
            except MatchmakingError:
                return

    # -- renewals -------------------------------------------------------------------------------------------

    async def _renew(self, partition: int) -> None:
        """Renew the changed and due sessions of a partition, and handle its notices."""
        self._woken.discard(partition)
        taken = self.sessions.take_changed(partition)
        for start in range(0, max(1, len(taken)), PLAYERS_A_CALL_MAX):
            part = taken[start : start + PLAYERS_A_CALL_MAX]
            try:
                await self._renew_part(partition, part)
            except MatchmakingError:
                for tracked in taken[start:]:
                    self.sessions.mark_changed(tracked.session.session_id)
                raise

    async def _renew_part(self, partition: int, part: Sequence[TrackedSession]) -> None:
        # With `allow` a player may have several sessions here; the one that was opened last is renewed.
        by_player = {
            tracked.session.player_id: tracked for tracked in sorted(part, key=lambda one: one.session.opened_us)
        }
        records = {player_id: self._to_record(tracked.session) for player_id, tracked in by_player.items()}
        renewal = await self._presence.renew(
            partition, self._shard_id, records, policy=self._policy, acknowledged=self._handled[partition]
        )
        self.counters.renewals += len(records)
        self.sessions.mark_renewed(part, self._now_s())
        self.counters.refused["elsewhere"] += len(renewal.elsewhere)
        self.counters.refused["superseded"] += len(renewal.superseded)
        for player_id, winner in renewal.superseded.items():
            self._end_superseded(by_player[player_id], winner, "renewal")
        if not renewal.was_alive or renewal.restored:
            # Redis has lost records, or they did not count while this shard slept.
            self.sessions.mark_all_changed(partition, besides=records)
            self._is_due.set()
        if len(renewal.notices) == NOTICES_A_CALL_MAX:
            self.wake(partition)
        for notice in renewal.notices:
            await self._handle(partition, notice)

    # -- notices --------------------------------------------------------------------------------------------

    async def _handle(self, partition: int, notice: Notice) -> None:
        """Handle a notice, unless it was handled before and its acknowledgement was lost."""
        if notice.number <= self._handled[partition]:
            return
        tracked = self.sessions.get(notice.session_id)
        if tracked is not None:
            with self._isolation.guard(TASK, notice.session_id):
                self._apply(tracked, notice)
        elif notice.kind == "kicked" and notice.forwards < FORWARDS_MAX:
            delivery = await self._presence.notify(
                notice.player_id,
                notice.kind,
                notice.text,
                session_id=notice.session_id,
                forwards=notice.forwards + 1,
            )
            self.counters.notices["forwarded" if delivery.status == "sent" else "absent"] += 1
        else:
            self.counters.notices["absent"] += 1
        self._handled[partition] = notice.number

    def _apply(self, tracked: TrackedSession, notice: Notice) -> None:
        session = tracked.session
        if notice.kind == "kicked":
            session.kick(notice.text)
        elif notice.kind == "challenged":
            session.end_if_redirected()
        else:
            self._end_superseded(tracked, PresenceRecord(notice.text, "", 0), "notice")
        self.counters.notices["ended" if tracked.is_over else "alive"] += 1
