"""The Redis script runner: runs Lua scripts, many of them in one round trip.

A call that is made while a batch is in flight waits for the next batch. An idle shard has one round trip for each
call; a busy shard shares one among hundreds. Every change of state is one script, so it is atomic. Every script is
safe to repeat, because Redis may have run a call whose reply was lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
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
from tickwire.matchmaking.redis_errors import REDIS_ERRORS, describe_error, is_script_fault
from tickwire.matchmaking.scripts import CallCounters

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH_CALLS_MAX = 256
"""Calls in one batch. Encoding 256 calls and decoding their replies blocks the event loop for up to 3 ms."""
WAITING_CALLS_MAX = 10_000
"""Waiting calls above which further calls fail at once, because they would exceed their deadline anyway."""


class Call(msgspec.Struct, eq=False):
    """A call of a script that waits for its batch."""

    script: str
    keys: tuple[str, ...]
    args: tuple[bytes, ...]
    reply: asyncio.Future[bytes]


class ScriptRunner:
    """Runs scripts on the keys of one slot. Close it with `aclose`.

    Args:
        client: returns bytes; not closed with the runner.
        prefix: the prefix of all keys, with the hash tag.
        deadline_s: the longest that one call may take, including the wait for its batch. Time in which the event loop
            was blocked does not count.
        address: the address of Redis for operators, without credentials.
        observe: receives the duration of each round trip, in seconds.

    Attributes:
        address: the address of Redis.
    """

    def __init__(
        self,
        client: Client,
        *,
        prefix: str,
        deadline_s: float,
        address: str = "",
        observe: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.prefix = prefix
        self.counters = CallCounters()
        self._observe = observe
        self._client = client
        self.address = address
        self._deadline_s = deadline_s
        self._waiting: deque[Call] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    async def run(
        self,
        script: str,
        request: Mapping[str, Any] | msgspec.Struct,
        reply_type: type[T],
        packed: Sequence[bytes] = (),
    ) -> T:
        """Run one script of `lua/`. See `tickwire.matchmaking.scripts.Scripts.run`."""
        if self._is_closed:
            raise MatchmakerUnavailable("the connection to Redis is closed")
        if len(self._waiting) >= WAITING_CALLS_MAX:
            self.counters.failures["crowded"] += 1
            raise MatchmakerUnavailable(f"more than {WAITING_CALLS_MAX} calls wait for Redis")
        data = msgspec.msgpack.encode(request)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(
            Call(script, (f"{self.prefix}:epoch",), (self.prefix.encode(), data, *packed), future),
        )
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="calls to Redis")
        try:
            async with LoopTimeout(self._deadline_s):
                found = await future
        except TimeoutError as error:
            self.counters.failures["timeout"] += 1
            raise self._describe_unavailable(error) from error
        try:
            return msgspec.msgpack.decode(found, type=reply_type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.counters.failures["script"] += 1
            raise MatchmakingError(f"{script}.lua returned an invalid reply: {error}") from error

    async def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        try:
            async with LoopTimeout(self._deadline_s):
                await self._client.execute_command("PING")
        except REDIS_ERRORS as error:
            raise self._unavailable(error) from error

    async def aclose(self) -> None:
        """Cancel all calls in flight. Idempotent."""
        self._is_closed = True
        pump = self._sender
        # The Redis client was seen to return a result when it is cancelled, so cancel until the task ends.
        while pump is not None and not pump.done():
            pump.cancel()
            await asyncio.wait([pump], timeout=0.1)

    async def _send_all(self) -> None:
        """Send batches while calls wait. Only one such task runs at a time."""
        try:
            while self._waiting and not self._is_closed:
                count = min(len(self._waiting), BATCH_CALLS_MAX)
                batch = [self._waiting.popleft() for _ in range(count)]
                batch = [call for call in batch if not call.reply.done()]  # the caller may have been cancelled
                if batch:
                    await self._send(batch)
        finally:
            self._sender = None
            for call in self._waiting:
                if not call.reply.done():
                    call.reply.set_exception(MatchmakerUnavailable("the connection to Redis is closed"))
            self._waiting.clear()

    async def _send(self, batch: list[Call]) -> None:
        started = time.monotonic()
        try:
            async with LoopTimeout(self._deadline_s):
                results = await self._execute(batch, by_digest=True)
                unknown = [at for at, result in enumerate(results) if isinstance(result, NoScriptError)]
                if unknown:  # Redis was restarted or failed over: send the scripts again
                    again = await self._execute([batch[at] for at in unknown], by_digest=False)
                    for at, result in zip(unknown, again, strict=True):
                        results[at] = result
        except REDIS_ERRORS as error:
            results = [error] * len(batch)
        except Exception as error:  # the callers receive the error, and the next batch is sent
            log.exception("redis_batch_failed", calls=len(batch))
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for call in batch:
                if not call.reply.done():
                    call.reply.set_exception(MatchmakerUnavailable("the connection to Redis is closed"))
            raise
        self.counters.calls += len(batch)
        self._observe(time.monotonic() - started)
        for call, result in zip(batch, results, strict=True):
            if call.reply.done():
                continue
            if isinstance(result, Exception):
                call.reply.set_exception(self._to_error(result, call.script))
            else:
                call.reply.set_result(result)

    async def _execute(self, batch: list[Call], *, by_digest: bool) -> list[bytes | Exception]:
        commands = [_command(call, by_digest=by_digest) for call in batch]
        if isinstance(self._client, RedisCluster):  # its pipelines do not support scripts
            runs = (self._client.execute_command(*command) for command in commands)
            found = await asyncio.gather(*runs, return_exceptions=True)
            return [cast("bytes | Exception", result) for result in found]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return cast("list[bytes | Exception]", await pipe.execute(raise_on_error=False))

    def _to_error(self, error: Exception, script: str) -> MatchmakingError:
        if is_script_fault(error):
            self.counters.failures["script"] += 1
            return MatchmakingError(f"{script}.lua failed: {error}")
        return self._unavailable(error)

    def _unavailable(self, error: Exception) -> MatchmakerUnavailable:
        self.counters.failures[type(error).__name__] += 1
        return self._describe_unavailable(error)

    def _describe_unavailable(self, error: Exception) -> MatchmakerUnavailable:
        detail = f"{self.address or 'Redis'}: {describe_error(error, self._deadline_s)}"
        return MatchmakerUnavailable("Redis does not answer", detail=detail)


def _command(call: Call, *, by_digest: bool) -> list[Any]:
    text, digest = load_script(call.script)
    head = ["EVALSHA", digest] if by_digest else ["EVAL", text]
    return [*head, len(call.keys), *call.keys, *call.args]


@cache
def load_script(name: str) -> tuple[str, str]:
    """Return the text of a script, preceded by the prelude of its folder, and its SHA-1 for EVALSHA."""
    folder, _, file = name.rpartition("/")
    scripts = files("tickwire.matchmaking") / "lua" / folder
    prelude = scripts / "_prelude.lua"
    text = (prelude.read_text() if prelude.is_file() else "") + (scripts / f"{file}.lua").read_text()
    return text, sha1(text.encode()).hexdigest()  # noqa: S324 - the digest of EVALSHA, no secret
