"""The matchmaking queue as sessions and rooms see it: who waits here, what they are told, which rooms want players.

One MatchRequest, followed:
    enter    the mode's desk says it to Redis with its next beat; the player is told its place now and then
    found    MatchStatus and a Redirect with a ticket, good for as long as the seat is held; asked again, or after a
             resume, the same is said again
    end      cancelled by the player, by a friend who leaves, by the time; or with the session, so a connection that
             is lost leaves the queue when the resume window is over, and not before

A cancel is decided in Redis (lua/queue/assign.lua): the player receives CANCELLED, or FOUND with a reason when the
match was final before. Each MatchCancel has exactly one of these answers. A player waits in one queue at a time: a
request for another mode cancels the place in the one before, and is carried out once that is decided; when it was a
match, the player is in that match, and the request is void.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import structlog

from tickwire.matchmaking import BadRequest, MatchmakerUnavailable, Party, Ticket
from tickwire.matchmaking.labels import check_labels, from_pairs, to_pairs
from tickwire.matchmaking.placement import check_party
from tickwire.matchmaking.queue import (
    Backfill,
    Entry,
    MatchRoom,
    Mode,
    QueueAgent,
    QueueNotification,
    QueuePosition,
    Queues,
)
from tickwire.schemas.messages import MatchRequest, MatchStatus, QueueState, Redirect
from tickwire.server.errors import Internal, Malformed, NoSuchMode, RateLimited, Unavailable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.observability.traces import past_span
from tickwire.server.placement.join_service import JoinService, decode_map, told
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.ports import Subscriber
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

REGIONS_MAX = 32
REGION_CHARACTERS_MAX = 64
LATENCY_MS_MAX = 10_000.0
_ENDED = {"cancelled": QueueState.CANCELLED, "left": QueueState.CANCELLED, "timed_out": QueueState.TIMED_OUT}


class TransferredPosition(msgspec.Struct, frozen=True):
    """A place in a queue, on its way to another shard.

    Args:
        came_ms: when the player came, UTC.
    """

    mode: str
    skill: float
    entry: Entry
    came_ms: int


class _QueuedSession(msgspec.Struct, eq=False):
    """One session in a queue, or with a match that it has not taken its seat in yet."""

    subscriber: Subscriber
    mode: str
    skill: float
    status: MatchStatus
    since_s: float
    entry_id: str = ""
    redirect: Redirect | None = None
    good_until_s: float = 0.0
    leaving_because: str = ""
    cancels: int = 0  # that have no answer yet
    next_request: Callable[[], None] | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it has asked for its place to be cancelled, and Redis has not decided yet."""
        return bool(self.leaving_because)


class QueueService:
    """A shard's players in its queues. Implements `tickwire.server.rooms.ports.PlayerQueue`.

    Args:
        shard_id, region: where this is.
        queues: desks and leaders.
        placer: signs tickets.
        quota: how many rooms players may create.
        host: rooms in play.
        isolation: guards the look at each room.
        now_s: the fleet's clock, UTC, seconds since 1970.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        queues: Queues,
        placer: JoinService,
        quota: RoomQuota,
        host: RoomHost,
        isolation: FaultIsolation,
        now_s: Callable[[], float],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._shard_id = shard_id
        self._region = region
        self._queues = queues
        self._placer = placer
        self._quota = quota
        self._host = host
        self._isolation = isolation
        self._now_s = now_s
        self._waiting: dict[str, _QueuedSession] = {}
        self._wanted: dict[str, tuple[str, Backfill]] = {}  # room: mode, what it wants

    def __len__(self) -> int:
        return len(self._waiting)

    # -- Queue: what sessions call --------------------------------------------------------------------------

    def enter(self, subscriber: Subscriber, request: MatchRequest) -> None:
        """See `tickwire.server.rooms.ports.PlayerQueue.enter`."""
        waiting = self._current(subscriber)
        if waiting is not None and waiting.mode == request.mode and not waiting.is_leaving:
            self._tell(waiting)
            return
        mode = self._mode_of(request.mode)
        if self._placer.is_draining:
            raise Unavailable("this shard is draining", retry_after_ms=500)
        wish = _wish_of(request, mode, self._region)
        wait_ms = self._quota.wait_ms(subscriber.player_id, subscriber.address, share=_share_of_room(mode))
        if wait_ms:
            raise RateLimited("too many rooms were created for matches of this player", retry_after_ms=wait_ms)
        skill = self._skill_of(mode, subscriber, request)
        status = _status(mode.name, QueueState.WAITING)
        begins = _QueuedSession(subscriber, mode.name, skill, status, self._now_s())
        if waiting is not None and waiting.redirect is None:
            if not waiting.is_leaving:
                self._start_leaving(waiting, "the player has asked for another match")
            waiting.next_request = lambda: self._begin_again(begins, wish)
        else:
            self._begin(begins, wish)

    def cancel(self, subscriber: Subscriber, reason: str) -> bool:
        """See `tickwire.server.rooms.ports.PlayerQueue.cancel`."""
        waiting = self._current(subscriber)
        if waiting is None:
            return False
        waiting.cancels += 1
        if waiting.redirect is not None:
            self._answer_cancels(waiting)  # too late: the other players know of the match
        else:
            self._start_leaving(waiting, reason)
            waiting.next_request = None
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.rooms.ports.PlayerQueue.leave`."""
        waiting = self._waiting.pop(subscriber.session_id, None)
        if waiting is not None and waiting.redirect is None:
            self._start_leaving(waiting, "the session has ended")

    def seated(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.rooms.ports.PlayerQueue.seated`."""
        waiting = self._waiting.get(subscriber.session_id)
        if waiting is not None and waiting.redirect is not None:
            del self._waiting[subscriber.session_id]

    def resumed(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.rooms.ports.PlayerQueue.resumed`."""
        waiting = self._current(subscriber)
        if waiting is not None:
            waiting.cancels = 0  # a client that still waits for an answer asks again
            self._tell(waiting)

    # -- going on elsewhere ---------------------------------------------------------------------------------

    def has_match(self, subscriber: Subscriber) -> bool:
        """Whether a match was found for a session, that it has not taken its seat in yet."""
        waiting = self._current(subscriber)
        return waiting is not None and waiting.redirect is not None

    def is_leaving(self, subscriber: Subscriber) -> bool:
        """Whether a session has cancelled its place, and Redis has not decided yet."""
        waiting = self._waiting.get(subscriber.session_id)
        return waiting is not None and waiting.is_leaving

    def is_bound(self, subscriber: Subscriber) -> bool:
        """Whether a session must stay on this shard for a moment: it has a match here, or is cancelling its place."""
        return self.has_match(subscriber) or self.is_leaving(subscriber)

    def place_of(self, subscriber: Subscriber) -> TransferredPosition | None:
        """Where a session waits; None when it does not."""
        waiting = self._waiting.get(subscriber.session_id)
        found = self._desk_of(waiting.mode).entry_of(waiting.entry_id) if waiting is not None else None
        if waiting is None or found is None:
            return None
        return TransferredPosition(waiting.mode, waiting.skill, *found)

    def release(self, subscriber: Subscriber) -> None:
        """A session's place goes on at another shard, which adopts what `place_of` gave. Idempotent."""
        waiting = self._waiting.pop(subscriber.session_id, None)
        if waiting is not None:
            self._desk_of(waiting.mode).release(waiting.entry_id)
            self.results["passed_on"] += 1

    async def adopt(self, subscriber: Subscriber, place: TransferredPosition) -> None:
        """A session has come from another shard, with its place."""
        desk = self._queues.desks.get(place.mode)
        if desk is None:
            log.warning("place_lost", mode=place.mode, session_id=subscriber.session_id)
            return
        status = _status(place.mode, QueueState.WAITING)
        waiting = _QueuedSession(
            subscriber, place.mode, place.skill, status, place.came_ms / 1000, place.entry.entry_id
        )
        self._waiting[subscriber.session_id] = waiting
        self.results["adopted"] += 1
        with suppress(MatchmakerUnavailable):  # the desk asks again by itself
            await desk.adopt(place.entry, place.came_ms, lambda news: self._heard(waiting, news))

    # -- QueueViews: what operators ask -----------------------------------------------------------------------

    @property
    def modes(self) -> Sequence[str]:
        """See `tickwire.server.admin.http_server.QueueViews`; so too those below."""
        return sorted(self._queues.modes)

    async def view(self, mode: str) -> dict[str, Any] | None:
        if mode not in self._queues.modes:
            return None
        try:
            found: dict[str, Any] = msgspec.to_builtins(await self._queues.status(mode))
        except MatchmakerUnavailable as error:
            raise told(error) from error
        return found

    async def explain(self, mode: str, player_id: str) -> dict[str, Any] | None:
        if mode not in self._queues.modes:
            return None
        try:
            explanation = await self._queues.explain(mode, player_id)
        except MatchmakerUnavailable as error:
            raise told(error) from error
        return None if explanation is None else msgspec.to_builtins(explanation)

    # -- rooms that want players ----------------------------------------------------------------------------

    def look_after_rooms(self) -> None:
        """Once a second: rooms of a match that have lost players say so, if their mode wants that."""
        wanted = {}
        for simulation in self._host:
            room_id = simulation.room.room_id
            with self._isolation.guard("upkeep", room_id):
                mode = self._queues.modes.get(simulation.room.mode)
                if mode is not None and mode.rules.backfill and any(_free_seats(simulation, mode)):
                    wanted[room_id] = (mode.name, self._backfill_of(simulation, mode))
        for room_id, (mode_name, _) in self._wanted.items():
            if room_id not in wanted:
                self._desk_of(mode_name).want_nobody(room_id)
        for room_id, (mode_name, now) in wanted.items():
            before = self._wanted.get(room_id)
            if before is not None and msgspec.structs.replace(before[1], since_ms=now.since_ms) == now:
                wanted[room_id] = before  # nothing has changed: it has wanted this since then
            else:
                self._desk_of(mode_name).want(now)
        self._wanted = wanted

    def _backfill_of(self, simulation: RoomRuntime, mode: Mode) -> Backfill:
        return Backfill(
            room_id=simulation.room.room_id,
            region=self._region,
            skill=_skill_in(simulation),
            open=_free_seats(simulation, mode),
            since_ms=int(self._now_s() * 1000),
            labels=to_pairs(check_labels(simulation.room.labels)),
        )

    # -- what the desk hears --------------------------------------------------------------------------------

    def _heard(self, waiting: _QueuedSession, news: QueuePosition | QueueNotification) -> None:
        if isinstance(news, QueuePosition):
            if not waiting.is_leaving:
                waiting.status = _status(waiting.mode, QueueState.WAITING, news)
                self._tell(waiting)
        elif self._waiting.get(waiting.subscriber.session_id) is not waiting:
            self.results["left" if news.kind != "found" else "unclaimed"] += 1  # its session has ended
        elif news.kind == "found" and news.room is not None:
            self._found(waiting, news.room, news.team)
        else:
            self._ended(waiting, news)

    def _found(self, waiting: _QueuedSession, room: MatchRoom, team: int) -> None:
        waiting.leaving_because, waiting.next_request = "", None
        waiting.status = _status(waiting.mode, QueueState.FOUND)
        waiting.redirect = self._redirect(waiting, room, team)
        waiting.good_until_s = self._placer.ticket_expires_s()
        self.results["found"] += 1
        mode = self._queues.modes[waiting.mode]
        self._quota.spend(waiting.subscriber.player_id, waiting.subscriber.address, share=_share_of_room(mode))
        now_s = self._now_s()
        past_span("match", since_s=min(waiting.since_s, now_s), until_s=now_s, mode=waiting.mode)
        self._tell(waiting)
        self._answer_cancels(waiting)

    def _ended(self, waiting: _QueuedSession, letter: QueueNotification) -> None:
        self._waiting.pop(waiting.subscriber.session_id, None)
        state, reason = _ENDED[letter.kind], letter.reason
        if waiting.is_leaving and state is QueueState.CANCELLED:
            reason = waiting.leaving_because
        self.results["left" if waiting.is_leaving else letter.kind] += 1
        waiting.status = msgspec.structs.replace(_status(waiting.mode, state), reason=reason)
        if waiting.cancels:
            self._answer_cancels(waiting)
        elif waiting.next_request is None:
            self._tell(waiting)
        if waiting.next_request is not None:
            waiting.next_request()

    def _answer_cancels(self, waiting: _QueuedSession) -> None:
        """Answer each MatchCancel. A FOUND that is such an answer has a reason, and is not followed by a Redirect."""
        answer = waiting.status
        if answer.state is not QueueState.CANCELLED:
            answer = msgspec.structs.replace(answer, reason="the match was final before the player cancelled")
        for _ in range(waiting.cancels):
            waiting.subscriber.send_message(answer)
        waiting.cancels = 0

    def _redirect(self, waiting: _QueuedSession, room: MatchRoom, team: int) -> Redirect:
        subscriber = waiting.subscriber
        ticket = Ticket(
            room_id=room.room_id,
            player_id=subscriber.player_id,
            shard_id=room.shard_id,
            epoch=room.epoch,
            expires_at_s=self._placer.ticket_expires_s(),
            is_guest=subscriber.is_guest,
            room_type=room.room_type,
            labels=from_pairs(room.labels),
            mode=waiting.mode,
            team=team,
            skill=waiting.skill,
        )
        return self._placer.redirect(ticket, room.url)

    def _tell(self, waiting: _QueuedSession) -> None:
        waiting.subscriber.send_message(waiting.status)
        if waiting.redirect is not None:
            waiting.subscriber.send_message(waiting.redirect)

    def _current(self, subscriber: Subscriber) -> _QueuedSession | None:
        """What a session waits for; None also when its match was found so long ago that the seat is not held now."""
        waiting = self._waiting.get(subscriber.session_id)
        if waiting is not None and waiting.redirect is not None and self._now_s() >= waiting.good_until_s:
            del self._waiting[subscriber.session_id]
            return None
        return waiting

    def _begin(self, waiting: _QueuedSession, wish: Mapping[str, Any]) -> None:
        """Enters the queue.

        Raises:
            Unavailable: too many wait here.
        """
        subscriber, desk = waiting.subscriber, self._desk_of(waiting.mode)
        try:
            waiting.entry_id = desk.enter(
                subscriber.player_id, lambda news: self._heard(waiting, news), skill=waiting.skill, **wish
            )
        except MatchmakerUnavailable as error:
            raise told(error) from error
        self._waiting[subscriber.session_id] = waiting
        self.results["entered"] += 1
        self._tell(waiting)

    def _begin_again(self, waiting: _QueuedSession, wish: Mapping[str, Any]) -> None:
        """Enters the queue for a request that waited for a cancel."""
        try:
            self._begin(waiting, wish)
        except Unavailable as error:
            cancelled = _status(waiting.mode, QueueState.CANCELLED)
            waiting.subscriber.send_message(msgspec.structs.replace(cancelled, reason=str(error)))

    def _start_leaving(self, waiting: _QueuedSession, reason: str) -> None:
        waiting.leaving_because = reason
        self._desk_of(waiting.mode).leave(waiting.entry_id)

    # -- modes ----------------------------------------------------------------------------------------------

    def _mode_of(self, name: str) -> Mode:
        try:
            return self._queues.modes[name]
        except KeyError:
            known = ", ".join(sorted(self._queues.modes)) or "none"
            raise NoSuchMode(f"there is no mode {name[:64]!r} here; known are: {known}") from None

    def _desk_of(self, mode: str) -> QueueAgent:
        return self._queues.desks[mode]

    def _skill_of(self, mode: Mode, subscriber: Subscriber, request: MatchRequest) -> float:
        options = decode_map(request.options, dict[str, Any], "options")
        try:
            skill = float(mode.skill_of(subscriber.player_id, options))
        except Exception as error:
            log.exception("skill_of_raised", mode=mode.name)
            raise Internal("the server failed to look the player up") from error
        if not np.isfinite(skill):
            raise Internal("the player's skill is no number")
        return skill


def _wish_of(request: MatchRequest, mode: Mode, region: str) -> dict[str, Any]:
    """What a client asks for, within bounds."""
    latencies = decode_map(request.latencies, dict[str, float], "latencies")
    if len(latencies) > REGIONS_MAX or not all(0 <= ms <= LATENCY_MS_MAX for ms in latencies.values()):
        raise Malformed(f"latencies are at most {REGIONS_MAX}, of 0 to {LATENCY_MS_MAX:g} ms")
    if any(len(region) > REGION_CHARACTERS_MAX for region in latencies):
        raise Malformed(f"a region has at most {REGION_CHARACTERS_MAX} characters")
    party: tuple[str, int] | None = None
    try:
        asked = check_labels(decode_map(request.labels, dict[str, str], "labels"))
        labels = {name: asked[name] for name in mode.rules.labels if name in asked}  # no others are ever looked at
        if request.party:
            checked = check_party(Party(request.party, request.party_size), size_max=mode.rules.team_size)
            party = (checked.code, checked.size) if checked.size > 1 else None
    except BadRequest as error:
        raise Malformed(str(error)) from error
    return {"latencies": latencies or {region: 0.0}, "labels": to_pairs(labels), "party": party}


def _share_of_room(mode: Mode) -> float:
    """Return how much of a room one player of a match stands for."""
    return 1 / (mode.rules.players_min or mode.rules.players_max)


def _status(mode: str, state: QueueState, place: QueuePosition | None = None) -> MatchStatus:
    if place is None:
        return MatchStatus(state, mode=mode)
    return MatchStatus(state, place.place, place.lately_ms, mode, waiting_for=min(place.missing, 255))


def _free_seats(simulation: RoomRuntime, mode: Mode) -> list[int]:
    """How many more each team may have; none in a room that is locked, or that nobody is in."""
    room, rules = simulation.room, mode.rules
    if room.access == "locked" or not room.players:
        return [0] * rules.teams
    sizes = Counter(player.team for player in room.players.values())
    return [max(0, rules.team_size - sizes[team]) for team in range(1, rules.teams + 1)]


def _skill_in(simulation: RoomRuntime) -> float:
    skill = float(np.mean([player.skill for player in simulation.room.players.values()]))
    if not np.isfinite(skill):
        raise ValueError("a player's skill is no number")
    return skill
