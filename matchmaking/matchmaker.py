"""The matchmaker: which shard and room a player goes to, who owns a room, which seats are taken. In Redis.

Every change of state is one Lua script, so it happens as a whole or not at all. All keys carry one hash tag, so
that they live in one slot of a Redis Cluster. Every call ends within the deadline: what Redis does not answer by
then is MatchmakerUnavailable, and may or may not have happened; every call is safe to repeat.

    PREFIX:shards           sorted set: shard id -> when it was last heard of
    PREFIX:shard:ID         hash, TTL: url, version, region, state, load, players, rooms
    PREFIX:rooms:TYPE       set of room ids
    PREFIX:names:TYPE       hash: name -> room id
    PREFIX:epochs:TYPE      hash: name -> the last epoch given; never deleted
    PREFIX:room:ID          hash, TTL is the lease: type, name, shard, epoch, seats
    PREFIX:seats:ID         sorted set: player -> end of the reservation in ms; once seated, 1e15 + when
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any, Literal, TypeVar, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from matchmaking.errors import MatchmakerUnavailable, RoomFull, StaleLease

T = TypeVar("T")


class Ttls(msgspec.Struct, frozen=True):
    """How long things last without being renewed, milliseconds."""

    shard_ms: int = 10_000
    lease_ms: int = 10_000
    reservation_ms: int = 15_000


class ShardInfo(msgspec.Struct, frozen=True):
    """A shard as it registers."""

    shard_id: str
    url: str
    version: str
    region: str = ""
    state: Literal["ready", "draining"] = "ready"
    rooms_max: int = 1000


class ShardStatus(msgspec.Struct, frozen=True):
    """A live shard as the directory knows it; `load` is the share of the tick interval in use."""

    info: ShardInfo
    load: float
    players: int
    rooms: int


class Placement(msgspec.Struct, frozen=True):
    """Where a player goes; a seat is held until `reserved_until_s` (UTC, by Redis's clock)."""

    room_id: str
    room_type: str
    name: str | None
    shard_id: str
    url: str
    epoch: int
    is_new: bool
    reserved_until_s: float


class Lease(msgspec.Struct, frozen=True):
    """A room that a shard owns, and who is seated in it."""

    room_id: str
    room_type: str
    name: str | None
    epoch: int
    seats: int
    players: Sequence[str] = ()


class Matchmaker:
    """A shard's door to Redis.

    Args:
        redis: a client that decodes responses.
        namespace: prefix of all keys, for fleets that share a Redis.
        ttls: how long things last.
        deadline_s: the longest that one call may take.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        namespace: str = "tickwire",
        ttls: Ttls | None = None,
        deadline_s: float = 2.0,
    ) -> None:
        self.ttls = ttls or Ttls()
        self._redis = redis
        self._prefix = f"{{{namespace}}}"
        self._deadline_s = deadline_s
        self._place = redis.register_script(_script("place"))
        self._seat = redis.register_script(_script("seat"))
        self._renew = redis.register_script(_script("renew"))
        self._release = redis.register_script(_script("release"))

    @classmethod
    def from_url(
        cls, url: str, *, namespace: str = "tickwire", ttls: Ttls | None = None, deadline_s: float = 2.0
    ) -> Matchmaker:
        """A matchmaker on a Redis given by URL (redis://, rediss:// for TLS)."""
        redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            # One more try at once covers a connection that Redis closed; longer waits are the caller's to choose.
            retry=Retry(NoBackoff(), 1),
        )
        return cls(redis, namespace=namespace, ttls=ttls, deadline_s=deadline_s)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Returns when Redis answers.

        Raises:
            MatchmakerUnavailable: it does not.
        """
        await self._call(self._redis.ping())

    # -- shards ---------------------------------------------------------------------------------------------

    async def register(self, shard: ShardInfo) -> None:
        """Puts a shard into the directory; it is gone after the TTL unless it beats."""
        fields: dict[Any, Any] = msgspec.to_builtins(shard) | {"load": 0.0, "players": 0, "rooms": 0}
        key = self._key("shard", shard.shard_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=fields)
            pipe.pexpire(key, self.ttls.shard_ms)
            pipe.sadd(self._key("shards"), shard.shard_id)
            await self._call(pipe.execute())

    async def heartbeat(self, shard_id: str, *, load: float, players: int, rooms: int) -> bool:
        """Keeps a shard in the directory.

        Returns:
            False when the directory has lost it: register again.
        """
        key = self._key("shard", shard_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.pexpire(key, self.ttls.shard_ms)
            pipe.exists(key)
            is_known, _ = await self._call(pipe.execute())
        if is_known:
            figures: dict[Any, Any] = {"load": load, "players": players, "rooms": rooms}
            await self._call(self._redis.hset(key, mapping=figures))
        return bool(is_known)

    async def deregister(self, shard_id: str) -> None:
        """Takes a shard out of the directory. Idempotent."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key("shard", shard_id))
            pipe.srem(self._key("shards"), shard_id)
            await self._call(pipe.execute())

    async def shards(self) -> list[ShardStatus]:
        """The live shards, by id."""
        ids = sorted(await self._call(cast("Awaitable[set[str]]", self._redis.smembers(self._key("shards")))))
        async with self._redis.pipeline(transaction=False) as pipe:
            for shard_id in ids:
                pipe.hgetall(self._key("shard", shard_id))
            found = await self._call(pipe.execute())
        gone = [shard_id for shard_id, fields in zip(ids, found, strict=True) if "url" not in fields]
        if gone:
            await self._call(self._redis.srem(self._key("shards"), *gone))
        return [_status(fields) for fields in found if "url" in fields]

    # -- rooms and seats ------------------------------------------------------------------------------------

    async def place(
        self, *, room_type: str, player_id: str, shard_id: str, seats: int, name: str | None = None
    ) -> Placement:
        """Join or create: finds a room and holds a seat in it.

        By name: exactly that room; made here, under a greater epoch, when nobody's lease on it is alive.
        Else an open room on `shard_id`, else the fullest open one on a live shard, else a new one here.

        Raises:
            RoomFull: the room of that name has no seat left.
            MatchmakerUnavailable: Redis does not answer, or this shard is not registered (yet).
        """
        keys = [self._key(part) for part in ("shards", f"rooms:{room_type}", f"names:{room_type}")]
        keys.append(self._key(f"epochs:{room_type}"))
        new_id = secrets.token_urlsafe(9)
        args: list[Any] = [self._prefix, room_type, player_id, shard_id, seats, name or "", new_id]
        result = await self._call(self._place(keys, [*args, self.ttls.lease_ms, self.ttls.reservation_ms]))
        if result[0] == "full":
            raise RoomFull(f"room {name!r} has no seat left")
        if result[0] == "unregistered":
            raise MatchmakerUnavailable("this shard is not in the directory yet")
        _, room_id, owner, url, epoch, is_new, room_name, until_ms = result
        return Placement(
            room_id, room_type, room_name or None, owner, url, int(epoch), bool(is_new), int(until_ms) / 1000
        )

    async def seat(self, room_id: str, player_id: str, epoch: int) -> None:
        """A reservation becomes a seat; one that ran out does so too while a seat is free. Idempotent.

        Raises:
            RoomFull: no seat is left.
            StaleLease: the room has another owner or is gone.
            MatchmakerUnavailable: Redis does not answer.
        """
        keys = [self._key("room", room_id), self._key("seats", room_id)]
        result = await self._call(self._seat(keys, [player_id, epoch]))
        if result == "full":
            raise RoomFull("the seat that was held has run out, and no other is left")
        if result == "stale":
            raise StaleLease("the room has another owner or has ended")

    async def unseat(self, room_id: str, player_id: str) -> None:
        """Gives a seat or a reservation back. Idempotent."""
        await self._call(self._redis.zrem(self._key("seats", room_id), player_id))

    async def renew(self, leases: Sequence[Lease], shard_id: str) -> set[str]:
        """Renews the leases of a shard's rooms and makes their seats what the shard says.

        Records that Redis has lost are made again.

        Returns:
            The ids of rooms that another owner has: close them.
        """
        if not leases:
            return set()
        async with self._redis.pipeline(transaction=False) as pipe:
            for lease in leases:
                await self._renew(self._room_keys(lease, "epochs"), self._renewal(lease, shard_id), client=pipe)
            results = await self._call(pipe.execute())
        return {lease.room_id for lease, result in zip(leases, results, strict=True) if result == "lost"}

    async def release(self, lease: Lease, shard_id: str) -> None:
        """A room has ended: its record goes at once, if it is still ours. Idempotent."""
        args: list[Any] = [lease.room_id, shard_id, lease.epoch, lease.name or ""]
        await self._call(self._release(self._room_keys(lease), args))

    def _renewal(self, lease: Lease, shard_id: str) -> list[Any]:
        head = [lease.room_id, shard_id, lease.epoch, self.ttls.lease_ms, lease.room_type, lease.name or ""]
        return [*head, lease.seats, *lease.players]

    def _room_keys(self, lease: Lease, *more: str) -> list[str]:
        keys = [self._key("room", lease.room_id), self._key("seats", lease.room_id)]
        return keys + [self._key(f"{part}:{lease.room_type}") for part in ("rooms", "names", *more)]

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await call
                # redis-py may answer a cancellation with the result; whoever cancelled us waits for our end.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError
                return result
        except (RedisError, OSError, TimeoutError) as error:
            raise MatchmakerUnavailable(f"Redis does not answer: {type(error).__name__}") from error


def _status(fields: dict[str, str]) -> ShardStatus:
    info = msgspec.convert({name: fields[name] for name in ShardInfo.__struct_fields__}, ShardInfo, strict=False)
    return ShardStatus(info, float(fields["load"]), int(fields["players"]), int(fields["rooms"]))


def _script(name: str) -> str:
    return (files("matchmaking") / "lua" / f"{name}.lua").read_text()
