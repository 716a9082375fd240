"""Scripts on Redis, run many in one round trip.

A call that comes while others are on their way waits for them and goes with the next batch, so that a quiet shard
has one round trip a call and a busy one shares it among hundreds. Every change of state is one script, so it happens
as a whole or not at all; and every script is safe to repeat, because a call that was not answered may have happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar, cast

import msgspec
import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.redis_client import Client
from tickwire.matchmaking.redis_errors import REDIS_ERRORS, is_script_fault, reason_of

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH_CALLS_MAX = 256
"""Packing so many calls, and reading their answers, holds the event loop for up to 3 ms."""
WAITING_CALLS_MAX = 10_000
"""Above this, calls are refused at once: what waits would be answered too late."""


class Call(msgspec.Struct, eq=False):
    """One script that waits for its turn."""

    script: str
    keys: tuple[str, ...]
    args: tuple[bytes, ...]
    answer: asyncio.Future[bytes]


class CallCounters(msgspec.Struct):
    """Totals since the start."""

    calls: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)


class ScriptRunner:
    """A door to Redis. Close it with `aclose`.

    Args:
        client: not owned; answers in bytes.
        prefix: of all keys, with the hash tag.
        deadline_s: the longest that one call may take, waiting and all; time in which the event loop was blocked does
            not count.
        address: of Redis, as operators know it; without credentials.

    Attributes:
        address: as given.
        observe: told of each round trip, seconds.
    """

    def __init__(self, client: Client, *, prefix: str, deadline_s: float, address: str = "") -> None:
        self.prefix = prefix
        self.counters = CallCounters()
        self.observe: Callable[[float], object] = lambda seconds: None
        self._client = client
        self.address = address
        self._deadline_s = deadline_s
        self._waiting: deque[Call] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._is_closed = False

    async def run(
        self,
        script: str,
        request: Mapping[str, Any] | msgspec.Struct,
        answer: type[T],
        packed: Sequence[bytes] = (),
    ) -> T:
        """Runs one script of `lua/`.

        Args:
            script: its name without the ending.
            request: what it is asked; what is None is left out.
            answer: what it answers.
            packed: what the script passes on as it is; it need not unpack that.

        Raises:
            MatchmakerUnavailable: Redis does not answer in time, or cannot write now. It may have
                happened.
            MatchmakingError: the script failed, which is a mistake of ours.
        """
        if self._is_closed:
            raise MatchmakerUnavailable("the door to Redis is closed")
        if len(self._waiting) >= WAITING_CALLS_MAX:
            self.counters.failures["crowded"] += 1
            raise MatchmakerUnavailable("too many calls wait for Redis")
        data = msgspec.msgpack.encode(request)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(
            Call(script, (f"{self.prefix}:epoch",), (self.prefix.encode(), data, *packed), future),
        )
        if self._pump is None:
            self._pump = asyncio.create_task(self._send_all(), name="calls to Redis")
        try:
            async with LoopTimeout(self._deadline_s):
                found = await future
        except TimeoutError as error:
            self.counters.failures["timeout"] += 1
            raise self._unavailable_because(error) from error
        try:
            return msgspec.msgpack.decode(found, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.counters.failures["script"] += 1
            raise MatchmakingError(f"{script}.lua answered what it should not: {error}") from error

    async def ping(self) -> None:
        """Returns when Redis answers.

        Raises:
            MatchmakerUnavailable: it does not.
        """
        try:
            async with LoopTimeout(self._deadline_s):
                await self._client.execute_command("PING")
        except REDIS_ERRORS as error:
            raise self._unavailable(error) from error

    async def aclose(self) -> None:
        """Ends what is under way. Idempotent."""
        self._is_closed = True
        pump = self._pump
        # The Redis client was seen to answer a cancellation with a result, so it is asked until it ends.
        while pump is not None and not pump.done():
            pump.cancel()
            await asyncio.wait([pump], timeout=0.1)

    async def _send_all(self) -> None:
        """The task that owns the way to Redis while anybody waits."""
        try:
            while self._waiting and not self._is_closed:
                count = min(len(self._waiting), BATCH_CALLS_MAX)
                batch = [self._waiting.popleft() for _ in range(count)]
                batch = [call for call in batch if not call.answer.done()]  # whoever asked may have gone
                if batch:
                    await self._send(batch)
        finally:
            self._pump = None
            for call in self._waiting:
                if not call.answer.done():
                    call.answer.set_exception(MatchmakerUnavailable("the door to Redis is closed"))
            self._waiting.clear()

    async def _send(self, batch: list[Call]) -> None:
        started = time.monotonic()
        try:
            async with LoopTimeout(self._deadline_s):
                results = await self._execute(batch, by_digest=True)
                unknown = [at for at, result in enumerate(results) if isinstance(result, NoScriptError)]
                if unknown:  # Redis was restarted or failed over: it is told the scripts again
                    again = await self._execute([batch[at] for at in unknown], by_digest=False)
                    for at, result in zip(unknown, again, strict=True):
                        results[at] = result
        except REDIS_ERRORS as error:
            results = [error] * len(batch)
        except Exception as error:  # whoever asked is told, and the next batch is sent
            log.exception("redis_batch_failed", calls=len(batch))
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for call in batch:
                if not call.answer.done():
                    call.answer.set_exception(MatchmakerUnavailable("the door to Redis is closed"))
            raise
        self.counters.calls += len(batch)
        self.observe(time.monotonic() - started)
        for call, result in zip(batch, results, strict=True):
            if call.answer.done():
                continue
            if isinstance(result, Exception):
                call.answer.set_exception(self._named(result, call.script))
            else:
                call.answer.set_result(result)

    async def _execute(self, batch: list[Call], *, by_digest: bool) -> list[bytes | Exception]:
        commands = [_command(call, by_digest=by_digest) for call in batch]
        if isinstance(self._client, RedisCluster):  # its pipelines take no scripts
            runs = (self._client.execute_command(*command) for command in commands)
            found = await asyncio.gather(*runs, return_exceptions=True)
            return [cast("bytes | Exception", result) for result in found]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return cast("list[bytes | Exception]", await pipe.execute(raise_on_error=False))

    def _named(self, error: Exception, script: str) -> MatchmakingError:
        if is_script_fault(error):
            self.counters.failures["script"] += 1
            return MatchmakingError(f"{script}.lua failed: {error}")
        return self._unavailable(error)

    def _unavailable(self, error: Exception) -> MatchmakerUnavailable:
        self.counters.failures[type(error).__name__] += 1
        return self._unavailable_because(error)

    def _unavailable_because(self, error: Exception) -> MatchmakerUnavailable:
        detail = f"{self.address or 'Redis'}: {reason_of(error, self._deadline_s)}"
        return MatchmakerUnavailable("Redis does not answer", detail=detail)


def _command(call: Call, *, by_digest: bool) -> list[Any]:
    text, digest = source_of(call.script)
    head = ["EVALSHA", digest] if by_digest else ["EVAL", text]
    return [*head, len(call.keys), *call.keys, *call.args]


@cache
def source_of(name: str) -> tuple[str, str]:
    """A script's text, with what all of its kind begin with, and its SHA-1, by which Redis knows it."""
    folder = files("tickwire.matchmaking") / "lua"
    kind, _, _ = name.rpartition("/")
    prelude = folder / f"{kind or 'rooms'}.lua"
    text = (prelude.read_text() if prelude.is_file() else "") + (folder / f"{name}.lua").read_text()
    return text, sha1(text.encode()).hexdigest()  # noqa: S324 - Redis's name for it, no secret
