"""Keeps this shard's players in the matchmaking queues.

The path of one MatchRequest:
    lookup     the game looks the player's skill up, which may take a while (server/placement/skill_lookup.py). The
               client sees this as WAITING, and the session stays on this shard
    enqueued   the mode's queue agent sends it to Redis at its next sync; the player receives its position from time
               to time
    found      the player receives a MatchStatus and a Redirect with a ticket, valid while the seat is reserved; both
               are sent again on request and after a resume
    ended      the player cancels, a friend of its party leaves, or the request times out; or the session ends, so a
               player who loses its connection leaves the queue only after the resume window

Redis decides a cancel (lua/queue/assign.lua): the player receives CANCELLED, or FOUND with a reason if the match was
final before. Each MatchCancel gets exactly one of these answers. A player waits in one queue at a time: a request for
another mode first cancels the previous one, and is carried out after that is decided. If the previous request was
matched, the player is in that match, and the new request is void.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from tickwire.matchmaking import MatchmakerUnavailable, Ticket
from tickwire.matchmaking.labels import from_pairs
from tickwire.matchmaking.queue import (
    MatchRoom,
    Mode,
    QueueAgent,
    QueueNotification,
    QueuePosition,
    QueueRequest,
    Queues,
    SkillRequest,
)
from tickwire.matchmaking.queue.rules import no_skill
from tickwire.schemas.messages import MatchRequest, QueueState, Redirect
from tickwire.server.errors import NoSuchMode, RateLimited, Unavailable
from tickwire.server.observability.traces import record_span
from tickwire.server.placement.client_errors import decode_options, to_client_error
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.match_request import QueueOptions, decode_match_request
from tickwire.server.placement.queued_session import (
    QueuedSession,
    RunningLookup,
    TransferredPosition,
    create_status,
)
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.placement.skill_lookup import SkillLookups
from tickwire.server.rooms.subscriber import Subscriber

log = structlog.get_logger(__name__)

_ENDED = {"cancelled": QueueState.CANCELLED, "left": QueueState.CANCELLED, "timed_out": QueueState.TIMED_OUT}


class QueueService:
    """Enqueues players, delivers their matches, and moves their positions to other shards. Implements `PlayerQueue`.

    Args:
        queues: the queues of this shard.
        join_service: signs tickets.
        quota: limits the rooms that players may create.
        skills: looks up the skill of players.
        now_s: the fleet's clock, UTC, seconds since 1970.

    Attributes:
        results: requests by result.
        skills: see the argument.
    """

    def __init__(
        self,
        *,
        queues: Queues,
        join_service: JoinService,
        quota: RoomQuota,
        skills: SkillLookups,
        now_s: Callable[[], float],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._queues = queues
        self._join_service = join_service
        self._tickets = join_service.tickets
        self._quota = quota
        self.skills = skills
        self._now_s = now_s
        self._queued: dict[str, QueuedSession] = {}

    def __len__(self) -> int:
        return len(self._queued)

    # -- calls of sessions ----------------------------------------------------------------------------------

    def enqueue(self, subscriber: Subscriber, request: MatchRequest) -> None:
        """See `tickwire.server.edge.services.PlayerQueue.enqueue`."""
        queued = self._current(subscriber)
        if queued is not None and queued.mode == request.mode and not queued.is_cancelling:
            self._send_status(queued)
            return
        mode = self._find_mode(request.mode)
        if self._join_service.is_draining:
            raise Unavailable("this shard is draining", retry_after_ms=500)
        options = decode_match_request(request, mode, self._queues.region)
        wait_ms = self._quota.wait_ms(subscriber.player_id, subscriber.address, share=_room_share(mode))
        if wait_ms:
            raise RateLimited("too many rooms were created for matches of this player", retry_after_ms=wait_ms)
        room_options = decode_options(request.options, dict[str, Any], "options")
        self._join_service.check_options(mode.rules.room_type, room_options)
        player = SkillRequest(subscriber.player_id, room_options, is_guest=subscriber.is_guest)
        status = create_status(mode.name, QueueState.WAITING)
        successor = QueuedSession(
            subscriber, player.player_id, player.is_guest, mode.name, mode.default_skill, status, self._now_s()
        )
        if queued is not None and queued.lookup is not None:
            self._abandon_lookup(queued)
            self._look_up(successor, player, options)
        elif queued is not None and queued.redirect is None:
            if not queued.is_cancelling:
                self._start_cancel(queued, "the player has requested another match")
            queued.next_request = lambda: self._enqueue_next(successor, player, options)
        else:
            self._look_up(successor, player, options)

    def cancel(self, subscriber: Subscriber, reason: str) -> bool:
        """See `tickwire.server.edge.services.PlayerQueue.cancel`."""
        queued = self._current(subscriber)
        if queued is None:
            return False
        queued.unanswered_cancels += 1
        if queued.redirect is not None:
            self._answer_cancels(queued)  # too late: the other players know of the match
        elif queued.lookup is not None:
            self._abandon_lookup(queued)
            queued.status = create_status(queued.mode, QueueState.CANCELLED)
            queued.status = msgspec.structs.replace(queued.status, reason=reason)
            self._answer_cancels(queued)
        else:
            self._start_cancel(queued, reason)
            queued.next_request = None
        return True

    def dequeue(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.edge.services.PlayerQueue.dequeue`."""
        queued = self._queued.pop(subscriber.session_id, None)
        if queued is not None and queued.lookup is not None:
            self._abandon_lookup(queued)
        elif queued is not None and queued.redirect is None:
            self._start_cancel(queued, "the session has ended")

    def session_seated(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.edge.services.PlayerQueue.session_seated`."""
        queued = self._queued.get(subscriber.session_id)
        if queued is not None and queued.redirect is not None:
            del self._queued[subscriber.session_id]

    def session_resumed(self, subscriber: Subscriber) -> None:
        """See `tickwire.server.edge.services.PlayerQueue.session_resumed`."""
        queued = self._current(subscriber)
        if queued is not None:
            queued.unanswered_cancels = 0  # a client without an answer sends its MatchCancel again
            self._send_status(queued)

    # -- transfers ------------------------------------------------------------------------------------------

    def has_match(self, subscriber: Subscriber) -> bool:
        """Return whether a session has a match and has not taken its seat yet."""
        queued = self._current(subscriber)
        return queued is not None and queued.redirect is not None

    def is_cancelling(self, subscriber: Subscriber) -> bool:
        """Return whether a session has sent a cancel that Redis has not decided yet."""
        queued = self._queued.get(subscriber.session_id)
        return queued is not None and queued.is_cancelling

    def is_bound(self, subscriber: Subscriber) -> bool:
        """Return whether a session cannot leave this shard now.

        It has a match, a cancel that is not decided, or a lookup of its skill in progress.
        """
        queued = self._queued.get(subscriber.session_id)
        is_looking_up = queued is not None and queued.lookup is not None
        return is_looking_up or self.has_match(subscriber) or self.is_cancelling(subscriber)

    def find_position(self, subscriber: Subscriber) -> TransferredPosition | None:
        """Return the queue position of a session, or None if it is in no queue.

        A room may move with a player whose skill is being looked up: the player is then enqueued with the default.
        """
        queued = self._queued.get(subscriber.session_id)
        if queued is not None and queued.lookup is not None:
            queued.lookup.cancel()
            queued.lookup.complete(queued.skill)
        found = self._find_agent(queued.mode).get_entry(queued.entry_id) if queued is not None else None
        if queued is None or found is None:
            return None
        return TransferredPosition(queued.mode, queued.skill, *found)

    def release_position(self, subscriber: Subscriber) -> None:
        """Release a session's position, which another shard accepts with `accept_position`. Idempotent."""
        queued = self._queued.pop(subscriber.session_id, None)
        if queued is not None:
            self._find_agent(queued.mode).detach(queued.entry_id)
            self.results["transferred"] += 1

    async def accept_position(self, subscriber: Subscriber, position: TransferredPosition) -> None:
        """Continue a queue position that another shard has released. It is lost if this build lacks the mode."""
        agent = self._queues.agents.get(position.mode)
        if agent is None:
            log.warning("queue_position_lost", mode=position.mode, session_id=subscriber.session_id)
            return
        status = create_status(position.mode, QueueState.WAITING)
        player_id = position.entry.player_id
        queued = QueuedSession(
            subscriber,
            player_id,
            subscriber.is_guest or player_id != subscriber.player_id,
            position.mode,
            position.skill,
            status,
            position.enqueued_ms / 1000,
            position.entry.entry_id,
        )
        self._queued[subscriber.session_id] = queued
        self.results["received"] += 1
        with suppress(MatchmakerUnavailable):  # the agent retries
            await agent.attach(
                position.entry,
                position.enqueued_ms,
                lambda notification: self._receive_notification(queued, notification),
            )

    # -- notifications ---------------------------------------------------------------------------------------

    def _receive_notification(self, queued: QueuedSession, notification: QueuePosition | QueueNotification) -> None:
        if isinstance(notification, QueuePosition):
            if not queued.is_cancelling:
                queued.status = create_status(queued.mode, QueueState.WAITING, notification)
                self._send_status(queued)
        elif self._queued.get(queued.subscriber.session_id) is not queued:
            self.results["left" if notification.kind != "found" else "unclaimed"] += 1  # the session has ended
        elif notification.kind == "found" and notification.room is not None:
            self._set_found(queued, notification.room, notification.team)
        else:
            self._set_ended(queued, notification)

    def _set_found(self, queued: QueuedSession, room: MatchRoom, team: int) -> None:
        queued.cancel_reason, queued.next_request = "", None
        queued.status = create_status(queued.mode, QueueState.FOUND)
        queued.redirect = self._create_redirect(queued, room, team)
        queued.expires_at_s = self._tickets.expiry_s()
        self.results["found"] += 1
        mode = self._queues.modes[queued.mode]
        self._quota.spend(queued.player_id, queued.subscriber.address, share=_room_share(mode))
        now_s = self._now_s()
        record_span("match", since_s=min(queued.since_s, now_s), until_s=now_s, mode=queued.mode)
        self._send_status(queued)
        self._answer_cancels(queued)

    def _set_ended(self, queued: QueuedSession, notification: QueueNotification) -> None:
        self._queued.pop(queued.subscriber.session_id, None)
        state, reason = _ENDED[notification.kind], notification.reason
        if queued.is_cancelling and state is QueueState.CANCELLED:
            reason = queued.cancel_reason
        self.results["left" if queued.is_cancelling else notification.kind] += 1
        queued.status = msgspec.structs.replace(create_status(queued.mode, state), reason=reason)
        if queued.unanswered_cancels:
            self._answer_cancels(queued)
        elif queued.next_request is None:
            self._send_status(queued)
        if queued.next_request is not None:
            queued.next_request()

    def _answer_cancels(self, queued: QueuedSession) -> None:
        """Answer each MatchCancel. A FOUND with a reason is such an answer; no Redirect follows it."""
        answer = queued.status
        if answer.state is not QueueState.CANCELLED:
            answer = msgspec.structs.replace(answer, reason="the match was final before the player cancelled")
        for _ in range(queued.unanswered_cancels):
            queued.subscriber.send_message(answer)
        queued.unanswered_cancels = 0

    def _create_redirect(self, queued: QueuedSession, room: MatchRoom, team: int) -> Redirect:
        ticket = Ticket(
            room_id=room.room_id,
            player_id=queued.player_id,
            shard_id=room.shard_id,
            epoch=room.epoch,
            expires_at_s=self._tickets.expiry_s(),
            is_guest=queued.is_guest,
            room_type=room.room_type,
            labels=from_pairs(room.labels),
            mode=queued.mode,
            team=team,
            skill=queued.skill,
        )
        return self._tickets.create_redirect(ticket, room.url)

    def _send_status(self, queued: QueuedSession) -> None:
        queued.subscriber.send_message(queued.status)
        if queued.redirect is not None:
            queued.subscriber.send_message(queued.redirect)

    def _current(self, subscriber: Subscriber) -> QueuedSession | None:
        """Return the request of a session, or None without one, or if its match's reservation has expired."""
        queued = self._queued.get(subscriber.session_id)
        if queued is not None and queued.redirect is not None and self._now_s() >= queued.expires_at_s:
            del self._queued[subscriber.session_id]
            return None
        return queued

    def _look_up(self, queued: QueuedSession, player: SkillRequest, options: QueueOptions) -> None:
        """Look the player's skill up, and enqueue the session when it is known.

        Raises:
            Unavailable: too many players wait on this shard.
        """
        mode = self._queues.modes[queued.mode]
        if mode.skill_of is no_skill:
            self._enqueue(queued, options)
            return

        def complete(skill: float) -> None:
            queued.skill, queued.lookup = skill, None
            self._try_enqueue(queued, options)

        queued.lookup = RunningLookup(self.skills.start(mode, player, complete), complete)
        self._queued[queued.subscriber.session_id] = queued
        self._send_status(queued)

    def _abandon_lookup(self, queued: QueuedSession) -> None:
        """End a request whose skill is being looked up; no other player has seen it."""
        if queued.lookup is not None:
            queued.lookup.cancel()
            queued.lookup = None
        self._queued.pop(queued.subscriber.session_id, None)
        self.results["left"] += 1

    def _enqueue(self, queued: QueuedSession, options: QueueOptions) -> None:
        """Enqueue a session.

        Raises:
            Unavailable: too many players wait on this shard.
        """
        agent = self._find_agent(queued.mode)
        try:
            queued.entry_id = agent.enqueue(
                queued.player_id,
                QueueRequest(queued.skill, options.latencies, options.labels, options.party),
                lambda notification: self._receive_notification(queued, notification),
            )
        except MatchmakerUnavailable as error:
            raise to_client_error(error) from error
        self._queued[queued.subscriber.session_id] = queued
        self.results["enqueued"] += 1
        self._send_status(queued)

    def _enqueue_next(self, queued: QueuedSession, player: SkillRequest, options: QueueOptions) -> None:
        """Start a request that waited for the cancel of the previous one."""
        try:
            self._look_up(queued, player, options)
        except Unavailable as error:
            self._send_cancelled(queued, str(error))

    def _try_enqueue(self, queued: QueuedSession, options: QueueOptions) -> None:
        """Enqueue a session whose client has received WAITING."""
        try:
            self._enqueue(queued, options)
        except Unavailable as error:
            self._queued.pop(queued.subscriber.session_id, None)
            self._send_cancelled(queued, str(error))

    def _send_cancelled(self, queued: QueuedSession, reason: str) -> None:
        cancelled = create_status(queued.mode, QueueState.CANCELLED)
        queued.subscriber.send_message(msgspec.structs.replace(cancelled, reason=reason))

    def _start_cancel(self, queued: QueuedSession, reason: str) -> None:
        queued.cancel_reason = reason
        self._find_agent(queued.mode).dequeue(queued.entry_id)

    # -- modes ----------------------------------------------------------------------------------------------

    def _find_mode(self, name: str) -> Mode:
        try:
            return self._queues.modes[name]
        except KeyError:
            known = ", ".join(sorted(self._queues.modes)) or "none"
            raise NoSuchMode(f"unknown mode {name[:64]!r}; known modes: {known}") from None

    def _find_agent(self, mode: str) -> QueueAgent:
        return self._queues.agents[mode]


def _room_share(mode: Mode) -> float:
    """Return the share of a room that one player of a match counts for."""
    return 1 / (mode.rules.players_min or mode.rules.players_max)
