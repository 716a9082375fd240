"""Rooms move to another shard, between two ticks, with all who play in them.

    giver   offer -> accepted? -> the room stands still -> sent -> taken? -> its players are told where it goes on
    taker           says yes      ------------------------> made -> took ->  it ticks, its players come

The room has one owner at each moment: `take` and `withdraw` are scripts, and whichever runs first decides
(matchmaking/handoffs.py). Nobody takes it, or the taker ends half-way: it goes on here. What a player asks of a room
that stands still is not run, and is asked again where it goes on; what was being written is waited for.

Once its state is sent nothing in the room changes: players who leave, drop or resume are seen to when it is known
where the room is, and the new owner is told of those who have ended their sessions since.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from tickwire.matchmaking import HandoffOffer, Matchmaker, MatchmakerUnavailable, MatchmakingError, ShardStatus
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Redirect
from tickwire.schemas.payloads import decode_payload
from tickwire.server.errors import TickwireError
from tickwire.server.migration.reconnect_pace import RECONNECTS_PER_S, ReconnectPace
from tickwire.server.migration.room_codec import TooLarge, pack, unpack
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.observability.traces import span
from tickwire.server.persistence.saver import RoomSaver, is_durable
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.queue_service import QueueService, TransferredPosition
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

ACCEPTED_S_MAX = 4.0
"""A shard hears of an offer with its heartbeat, once a second."""
TAKEN_S_MAX = 3.0
SENT_S_MAX = 6.0
LOOK_S, FETCH_S = 0.1, 0.02
DEALS_S_MAX = 2.0
DECIDE_S_MAX = 6.0
"""Who cannot find out whether the room was taken goes on after this; if it was, its next renewal says so."""
AT_ONCE_MAX = 4
"""Rooms that move at one time: their players come to the other shards as a stream, and not as one wave."""
PACE_S_MAX = 2.0
"""A room whose players would crowd its new shard waits at most so long: the shard expects it within SENT_S_MAX."""
AGAIN_S = 0.5
LEAVERS_MS = 30_000
LEAVERS_PAUSES_S = (0.2, 0.8, 2.0)
"""When the new owner of a room looks for those who left it during the move."""


class RoomMigrator:
    """A shard's side of both.

    Args:
        shard_id: this shard.
        region, build: of it.
        host: its rooms.
        matchmaker: has the handovers.
        placer: knows how a room is made.
        saver, dealing: durable rooms, and what their players own.
        queueing: knows which players of a room wait for a match.
        passing: writes down where sessions go.
        spawn: runs a task that the shard owns.
        on_moved: told of a room that has gone.

    Attributes:
        results: moved, refused, stayed, kept on the giver's side; taken, failed on the taker's.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        build: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        placer: JoinService,
        saver: RoomSaver,
        dealing: TransactionService,
        queueing: QueueService,
        passing: SessionTransfer,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        on_moved: Callable[[RoomRuntime], None],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._shard_id = shard_id
        self._build = build
        self._host = host
        self._matchmaker = matchmaker
        self._handovers = matchmaker.handovers
        self._ready_shards = ReadyShards(matchmaker, shard_id=shard_id, region=region)
        self._pace = ReconnectPace()
        self._placer = placer
        self._saver = saver
        self._dealing = dealing
        self._queueing = queueing
        self._passing = passing
        self._spawn = spawn
        self._on_moved = on_moved

    # -- giving ---------------------------------------------------------------------------------------------

    async def give_all(self, deadline_s: float) -> int:
        """Move all rooms to other shards, and try those again that could not move.

        While no other shard is ready, rooms with players wait for one.

        Returns:
            How many rooms are left at the deadline.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + deadline_s
        slots = asyncio.Semaphore(AT_ONCE_MAX)
        given: Counter[str] = Counter()
        stuck: set[str] = set()
        players = sum(len(simulation.seats) for simulation in self._host)
        # Half of the time is for offers, and for what must be tried again.
        self._pace = ReconnectPace(max(RECONNECTS_PER_S, 2 * players / max(deadline_s, 1e-3)))

        async def give_one(simulation: RoomRuntime, shards: list[ShardStatus]) -> None:
            async with slots:
                target = self._target(simulation, shards, given)
                if target is not None and simulation.is_open:
                    given[target.info.shard_id] += 1
                    await self.give(simulation, target)

        try:
            async with asyncio.timeout(deadline_s):
                while rooms := [room for room in self._host if self._can_be_copied(room, stuck)]:
                    shards = await self._ready_shards.wait(self._has_players)
                    if not shards or loop.time() + AGAIN_S > until_s:
                        break
                    await asyncio.gather(*(give_one(room, shards) for room in rooms))
                    await asyncio.sleep(AGAIN_S if len(self._host) else 0)
        except TimeoutError:
            pass  # the deadline: the caller receives how many are left
        return len(self._host)

    def _has_players(self) -> bool:
        return any(simulation.seats for simulation in self._host)

    async def give(self, simulation: RoomRuntime, target: ShardStatus) -> bool:
        """Gives a room to a shard; False: it goes on here."""
        room = simulation.room
        with span("migrate", room_type=room.room_type, room_id=room.room_id, to=target.info.shard_id):
            return await self._give(simulation, target)

    async def _give(self, simulation: RoomRuntime, target: ShardStatus) -> bool:
        room, to = simulation.room, target.info.shard_id
        if not self._may_move(simulation):
            self.results["stayed"] += 1
            return False
        offer = HandoffOffer(room.room_id, room.room_type, self._shard_id, "", self._build, len(simulation.seats))
        try:
            await self._handovers.offer(offer, epoch=simulation.epoch, to=to)
            if not await self._is(room.room_id, "accepted", ACCEPTED_S_MAX, LOOK_S):
                self.results["refused"] += 1
                await self._handovers.withdraw(room.room_id, self._shard_id)
                return False
        except MatchmakingError as error:
            log.warning("room_not_offered", room_id=room.room_id, to=to, error=error.detail)
            self.results["refused"] += 1
            return False
        await self._wait_for_pace(simulation)
        if not simulation.is_open:
            return False
        return await self._send(simulation, target)

    async def _wait_for_pace(self, simulation: RoomRuntime) -> None:
        """Wait until the players of the rooms before have had the time to reconnect; the room ticks on meanwhile."""
        players = sum(seat.wire is not None for seat in simulation.seats)
        delay_s = self._pace.delay_s(players, asyncio.get_running_loop().time())
        await asyncio.sleep(min(delay_s, PACE_S_MAX))

    async def _send(self, simulation: RoomRuntime, target: ShardStatus) -> bool:
        room_id = simulation.room.room_id
        self._host.freeze(simulation)
        has_gone = False
        places: dict[str, TransferredPosition] = {}
        try:
            async with asyncio.timeout(DEALS_S_MAX):
                await self._dealing.settled(simulation)
            simulation.seal()
            places = self._places_in(simulation)
            await self._leave_addresses(simulation, target.info.shard_id)
            packed = {session_id: msgspec.msgpack.encode(place) for session_id, place in places.items()}
            await self._handovers.send(room_id, self._shard_id, pack(simulation, packed))
            has_gone = await self._has_gone(room_id)
            if has_gone:  # also of those who have lost their connections since
                await self._leave_addresses(simulation, target.info.shard_id)
        except (MatchmakingError, TickwireError, RoomCodeRaised, TooLarge, TimeoutError) as error:
            log.warning("room_not_moved", room_id=room_id, to=target.info.shard_id, error=str(error))
            has_gone = not await self._withdrawn(room_id)
        except asyncio.CancelledError:  # the deadline of the drain: whoever has it now has it
            has_gone = not await asyncio.shield(self._withdrawn(room_id))
            raise
        finally:
            if has_gone:
                self.results["moved"] += 1
                room = simulation.room
                redirect = Redirect(target.info.url, room_type=room.room_type, room_name=room.name, is_resume=True)
                if simulation.leavers:
                    self._spawn(self._tell_leavers(room_id, tuple(simulation.leavers)), f"leavers of {room_id}")
                self._release_places(simulation, places)
                self._host.let_go(simulation, redirect)
                self._on_moved(simulation)
            else:
                self.results["kept"] += 1
                self._host.thaw(simulation)
                self._spawn(self._take_addresses_back(simulation), f"addresses of {room_id}")
        return has_gone

    async def _leave_addresses(self, simulation: RoomRuntime, shard_id: str) -> None:
        """Write down where disconnected players go: one who was seated meanwhile does not know of the room."""
        away = [seat.subscriber.session_id for seat in simulation.seats if seat.wire is None]
        await asyncio.gather(*(self._passing.leave_address(each, shard_id) for each in away))

    async def _take_addresses_back(self, simulation: RoomRuntime) -> None:
        try:
            await self._leave_addresses(simulation, self._shard_id)
        except MatchmakingError as error:  # they expire
            log.warning("session_address_failed", room_id=simulation.room.room_id, error=str(error))

    def _places_in(self, simulation: RoomRuntime) -> dict[str, TransferredPosition]:
        """Return the places in queues of a room's players, by session."""
        sessions = [seat.subscriber for seat in simulation.seats]
        found = {session.session_id: self._queueing.place_of(session) for session in sessions}
        return {session_id: place for session_id, place in found.items() if place is not None}

    def _release_places(self, simulation: RoomRuntime, sent: Mapping[str, TransferredPosition]) -> None:
        """Leave the places that were sent to the new owner of the room. One that has changed since is given up."""
        for seat in simulation.seats:
            session = seat.subscriber
            place = sent.get(session.session_id)
            if place is not None and self._queueing.place_of(session) == place:
                self._queueing.release(session)

    async def _tell_leavers(self, room_id: str, session_ids: Sequence[str]) -> None:
        """Tell the new owner of a room who has left it since its state was sent."""
        try:
            await self._matchmaker.parcels.put(
                _leavers_of(room_id), msgspec.msgpack.encode(session_ids), ttl_ms=LEAVERS_MS
            )
        except MatchmakingError as error:  # their sessions expire there
            log.warning("leavers_publish_failed", room_id=room_id, sessions=len(session_ids), error=str(error))

    async def _has_gone(self, room_id: str) -> bool:
        if await self._is(room_id, "", TAKEN_S_MAX, FETCH_S):
            return True
        return not await self._withdrawn(room_id)

    async def _withdrawn(self, room_id: str) -> bool:
        """Takes the room back, if nobody has it; asked until Redis says which it is."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + DECIDE_S_MAX
        while loop.time() < until_s:
            try:
                if await self._handovers.withdraw(room_id, self._shard_id):
                    return True
                home = await self._matchmaker.directory.home_of(room_id)
                return home is None or home.shard_id == self._shard_id
            except MatchmakerUnavailable:
                await asyncio.sleep(AGAIN_S)
        return True

    async def _is(self, room_id: str, wanted: str, timeout_s: float, pause_s: float) -> bool:
        """Whether a handover comes to stand so; False when it is over otherwise, or the time is."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while loop.time() < until_s:
            state = await self._handovers.look(room_id)
            if state == wanted:
                return True
            if state in ("", "refused"):
                return False
            await asyncio.sleep(pause_s)
        return False

    def _may_move(self, simulation: RoomRuntime) -> bool:
        if any(self._queueing.is_bound(seat.subscriber) for seat in simulation.seats):
            return False  # a match was found for a player, who is soon there
        return self._can_be_copied(simulation, set()) and simulation.can_migrate()

    def _can_be_copied(self, simulation: RoomRuntime, reported: set[str]) -> bool:
        """Whether nothing of a room would be missing elsewhere; the log names what would, once a room."""
        missing = self._host.find_lost_attributes(simulation).missing
        room_id = simulation.room.room_id
        if missing and room_id not in reported:
            reported.add(room_id)
            log.warning("room_cannot_move", room_id=room_id, room_type=simulation.room.room_type, missing=missing)
        return not missing

    def _target(self, simulation: RoomRuntime, shards: list[ShardStatus], given: Counter[str]) -> ShardStatus | None:
        """Where a room goes: to another build than this one's first, for a deploy; then the least loaded."""
        able = [
            shard
            for shard in shards
            if simulation.room.room_type in shard.info.room_types
            and shard.rooms + given[shard.info.shard_id] < shard.info.rooms_max
            and shard.load < shard.info.load_max
        ]
        return min(
            able,
            key=lambda shard: (
                shard.info.build == self._build,
                shard.rooms + given[shard.info.shard_id],
                shard.info.shard_id,
            ),
            default=None,
        )

    # -- taking ---------------------------------------------------------------------------------------------

    async def hear(self) -> None:
        """Rooms are offered to this shard: says yes or no to each, and makes those that come.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        for offer in await self._handovers.hear(self._shard_id):
            accepts = not self._placer.is_draining and offer.room_type in self._host.room_types
            if await self._handovers.answer(offer.room_id, self._shard_id, accepts=accepts) and accepts:
                self._spawn(self._receive(offer), f"receive {offer.room_id}")

    async def _receive(self, offer: HandoffOffer) -> None:
        """The task of one room that comes."""
        simulation: RoomRuntime | None = None
        self._placer.arriving.add(offer.room_id)
        try:
            data = await self._fetched(offer.room_id)
            if not data:
                return  # its owner has thought better of it
            moved, state = unpack(data)
            simulation = await self._placer.remake(
                moved.world.room_id, moved.world.room_type, moved.world.name, state, code=moved.code, mode=moved.mode
            )
            simulation.room.access = moved.access
            simulation.epoch = await self._taken(offer.room_id)
            await self._own(simulation, moved.places)
            self.results["taken"] += 1
        except (MatchmakingError, TickwireError, ValueError) as error:
            self.results["failed"] += 1
            log.warning("room_not_taken", room_id=offer.room_id, error=str(error))
            if simulation is not None and self._host.get(offer.room_id) is not simulation:
                simulation.close("the room did not come", has_moved=True)
        finally:
            self._placer.arriving.discard(offer.room_id)

    async def _taken(self, room_id: str) -> int:
        """Take a room, and return its epoch. When an answer of Redis is lost, ask what has become of it.

        Raises:
            MatchmakingError: the room is not ours, or Redis does not answer for DECIDE_S_MAX.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + DECIDE_S_MAX
        is_lost = False
        while True:
            try:
                home = await self._matchmaker.directory.home_of(room_id) if is_lost else None
                if home is not None and home.shard_id == self._shard_id:
                    return home.epoch
                return await self._handovers.take(room_id, self._shard_id)
            except MatchmakerUnavailable:
                if loop.time() > until_s:
                    raise
                is_lost = True
                await asyncio.sleep(LOOK_S)

    async def _own(self, simulation: RoomRuntime, places: Mapping[str, msgspec.Raw]) -> None:
        """The room is ours: it ticks at once; the store learns of its owner beside it, and refuses older ones."""
        self._host.adopt(simulation)
        self._placer.settle(simulation)
        self._spawn(self._adopt_places(simulation, places), f"places of {simulation.room.room_id}")
        self._spawn(self._end_leavers(simulation.room.room_id), f"leavers of {simulation.room.room_id}")
        room = simulation.room
        if is_durable(simulation):
            self._spawn(self._claim(room.room_type, room.name, simulation.epoch), f"claim {room.room_id}")

    async def _adopt_places(self, simulation: RoomRuntime, places: Mapping[str, msgspec.Raw]) -> None:
        """Let the players who waited for a match in the room wait on here, at the same place."""
        for seat in list(simulation.seats):
            packed = places.get(seat.subscriber.session_id)
            if packed is None:
                continue
            try:
                place = decode_payload(bytes(packed), TransferredPosition)
            except MalformedMessage as error:  # packed by another build: the client asks for a place again
                log.warning("queue_position_lost", session_id=seat.subscriber.session_id, error=str(error))
                continue
            await self._queueing.adopt(seat.subscriber, place)

    async def _end_leavers(self, room_id: str) -> None:
        """End the sessions of players who left the room on its old shard after its state had been sent.

        The old shard knows that the room is gone, and who has left, some milliseconds after this one has it.
        """
        for pause_s in LEAVERS_PAUSES_S:
            await asyncio.sleep(pause_s)
            try:
                data = await self._matchmaker.parcels.take(_leavers_of(room_id))
                session_ids = decode_payload(data, list[str]) if data is not None else None
            except (MatchmakingError, MalformedMessage) as error:  # the sessions expire
                log.warning("leavers_fetch_failed", room_id=room_id, error=str(error))
                return
            if session_ids is not None:
                for session_id in session_ids:
                    self._placer.reviver.drop(session_id, room_id)
                return

    async def _claim(self, room_type: str, name: str, epoch: int) -> None:
        try:
            await self._saver.claim(room_type, name, epoch)
        except TickwireError as error:
            log.warning("moved_room_not_claimed", room_type=room_type, room_name=name, error=str(error))

    async def _fetched(self, room_id: str) -> bytes:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SENT_S_MAX
        while loop.time() < until_s:
            state, data = await self._handovers.fetch(room_id, self._shard_id)
            if state == "sent":
                return data
            if state != "accepted":
                return b""
            await asyncio.sleep(FETCH_S)
        return b""


def _leavers_of(room_id: str) -> str:
    return f"leavers {room_id}"
