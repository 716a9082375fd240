"""The lifecycle of a shard; `tickwire.server.assembly` wires its parts.

    start     opens the ports, not ready; then connects to the stores, with back-off; then ready
    upkeep    once a second: directory and leases (server/placement/lease_keeper.py), queues, offers of rooms
    drain     not ready; new players are refused; rooms and sessions move to other shards
    stop      not ready; rooms are closed and saved, players receive Goodbye, the shard leaves the directory, and
              pending writes are flushed

While Redis is unavailable rooms keep ticking, joins receive a retryable Error, and leases are renewed once Redis
answers again. While MongoDB is unavailable rooms keep ticking, and saves wait until it answers.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from tickwire.matchmaking import MatchmakingError
from tickwire.retry_delay import RetryDelay
from tickwire.schemas.messages import ErrorCode, Goodbye
from tickwire.server.assembly import build, load_certificate
from tickwire.server.config import ALL_ADDRESSES, Settings
from tickwire.server.errors import ConfigError, NotSavable, Unavailable

log = structlog.get_logger(__name__)

UPKEEP_INTERVAL_S = 1.0
STEP_S_MIN = 0.2
"""The least time of a step of the shutdown."""


class Shard:
    """One shard.

    Args:
        settings: all of them.
        shard_id: unique in the fleet; `shard_name` and a random part when empty.
        on_drain: called when an operator has requested a drain.
        on_failed: called when the shard cannot continue: a task has failed, or a store refuses the settings.

    Attributes:
        parts: the parts of the shard.
        refusal: the error of settings that a store refused after the start.

    Raises:
        ConfigError: a setting cannot be used, or the modules of the game cannot be imported.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        shard_id: str = "",
        on_drain: Callable[[], None] = lambda: None,
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.shard_id = shard_id or f"{settings.shard_name}-{secrets.token_hex(4)}"
        self.settings = settings
        self.parts = build(settings, shard_id=self.shard_id, on_task_ended=self._task_ended)
        self.refusal: ConfigError | None = None
        self._on_drain = on_drain
        self._on_failed = on_failed
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    @property
    def url(self) -> str:
        """Return the URL that other shards redirect clients to."""
        listen = self.settings.listen
        scheme = "wss" if listen.certificate else "ws"
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        return listen.url or f"{scheme}://{host}:{self.parts.edge.port}"

    # -- lifecycle ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the ports and start all tasks. The shard becomes ready as soon as the stores answer.

        Raises:
            ConfigError: a port is in use, or the certificate cannot be read.
        """
        settings, parts = self.settings, self.parts
        await parts.edge.start(settings.listen.host, settings.listen.port, load_certificate(settings))
        try:
            await parts.operations.start(settings.operations.host, settings.operations.port)
        except ConfigError:
            await parts.edge.close(_goodbye("the server cannot start"), deadline_s=0)
            raise
        parts.lease_keeper.set_url(self.url)
        parts.health.block("redis", "Redis has not answered yet")
        parts.health.block("mongo", "MongoDB has not answered yet")
        parts.health.clear("starting")
        for name, work in (
            ("upkeep", self._upkeep()),
            ("loop monitor", parts.loop_monitor.run()),
            ("tick monitor", parts.host.monitor_ticks()),
            ("saver", parts.saver.run(parts.host)),
            ("write-behind", parts.write_behind.run()),
            ("directory calls", parts.directory_publisher.run()),
            ("mongo monitor", self._monitor_mongo()),
            ("queues", parts.queues.run()),
            ("presence", parts.presence.run()),
            ("presence wake", parts.presence_wake.run()),
            ("operator policy", parts.operator_policy.run()),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        if not settings.listen.url and settings.listen.host in ALL_ADDRESSES:
            log.warning(
                "player_url_not_reachable",
                url=self.url,
                hint="set listen.url: other shards redirect players to this address, which is not reachable",
            )
        log.info("shard_started", shard_id=self.shard_id, url=self.url, operations_port=parts.operations.port)

    async def drain(self) -> None:
        """Move every room, with its players, to other shards, for at most `drain_timeout_s`; accept no new players.

        Rooms that could not be moved are left for `stop`. With `drain_timeout_s = 0` no room is moved.
        """
        parts, timeout_s = self.parts, self.settings.drain_timeout_s
        parts.health.block("draining", "the shard is moving its rooms to other shards")
        parts.join_service.is_draining = True
        with suppress(MatchmakingError):
            await parts.lease_keeper.drain()
        if not timeout_s:
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        rooms_left = await parts.room_sender.migrate_all(timeout_s)
        sessions_left = await parts.session_transfer.transfer_all(max(0.0, until_s - loop.time()))
        log.info("shard_drained", rooms_left=rooms_left, sessions_left=sessions_left, **parts.room_sender.results)

    async def stop(self, reason: str = "the server is stopping") -> bool:
        """Save and close every room, send Goodbye to every player, and leave the directory.

        Takes about `shutdown_timeout_s` at most. A step that fails does not prevent the next steps: rooms are saved
        even if Redis is unavailable.

        Args:
            reason: for players, logs and `/readyz`.

        Returns:
            Whether all changes were saved.
        """
        parts, loop = self.parts, asyncio.get_running_loop()
        until_s = loop.time() + self.settings.shutdown_timeout_s

        def left_s(share: float) -> float:
            """Return a share of the time that is left; at least STEP_S_MIN, so that each step is attempted."""
            return max(STEP_S_MIN, (until_s - loop.time()) * share)

        self._is_stopping = True
        parts.health.block("stopping", reason)
        parts.join_service.is_draining = True
        with _shutdown_step("announce"), suppress(MatchmakingError):
            await parts.lease_keeper.drain()
        with _shutdown_step("close rooms"):
            parts.saver.save_changed(parts.host)
            parts.host.close_all(reason)
        with _shutdown_step("close connections"):
            await parts.edge.close(_goodbye(reason), deadline_s=left_s(0.2))
        with _shutdown_step("end tasks of rooms"):
            await parts.host.tasks.wait_ended(left_s(0.1))
        with _shutdown_step("commit transactions"):
            await parts.room_transactions.close(left_s(0.3))
        is_flushed = False
        with _shutdown_step("flush storage"):
            is_flushed = await parts.write_behind.flush(left_s(0.6))
        with _shutdown_step("release leases"):
            await parts.lease_keeper.flush(left_s(0.5))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with _shutdown_step("release presence"):
            await parts.presence.close(left_s(0.3))
        with _shutdown_step("leave queues"):
            await parts.queues.close()
        with _shutdown_step("leave directory"), suppress(MatchmakingError):
            await parts.lease_keeper.deregister()
        with _shutdown_step("close operations port"):
            await parts.operations.stop()
        with _shutdown_step("close Redis"):
            await parts.matchmaker.aclose()
        with _shutdown_step("close MongoDB"):
            await parts.store.ledger.close()
            parts.write_behind.close()
            parts.store.close()
        with _shutdown_step("close recordings"):
            parts.recordings.close()
        log.info("shard_stopped", shard_id=self.shard_id, reason=reason, is_flushed=is_flushed)
        return is_flushed

    # -- background tasks -----------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        parts, delay = self.parts, RetryDelay(UPKEEP_INTERVAL_S)
        last_s = time.monotonic()
        while True:
            try:
                parts.tick_load.measure(time.monotonic() - last_s)
                last_s = time.monotonic()
                await parts.redis_setup.check(last_s)
                parts.backfill.update()
                reply = await parts.lease_keeper.sync(parts.tick_load.share)
                if reply.has_offers:
                    await parts.room_receiver.accept()
                if reply.is_drain_requested:
                    self._on_drain()
                parts.health.clear("redis")
                delay.succeeded()
            except MatchmakingError as error:
                delay.failed()
                parts.health.block("redis", error.detail)
                log.warning("redis_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    async def _monitor_mongo(self) -> None:
        parts, delay = self.parts, RetryDelay(UPKEEP_INTERVAL_S)
        is_set_up = is_migrated = False
        while True:
            try:
                if not is_set_up:
                    await parts.store.check_setup()
                    is_set_up = True
                await parts.store.check()
                if not is_migrated:
                    await parts.store.check_schema(may_migrate=self.settings.mongo.migrate)
                    is_migrated = True
                parts.health.clear("mongo")
                delay.succeeded()
            except ConfigError as error:
                self._refuse(error)
                await asyncio.Event().wait()
            except (Unavailable, NotSavable) as error:
                delay.failed()
                parts.health.block("mongo", error.detail)
                log.warning("mongo_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    def _refuse(self, error: ConfigError) -> None:
        """End the shard because a store has shown, after the start, that the settings cannot work."""
        self.refusal = error
        log.critical("shard_refused", error=str(error))
        self.parts.health.fail("settings", str(error))
        self._on_failed()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Fail the liveness check if a task of the shard ends before `stop` cancels it, for whatever reason."""
        if self._is_stopping and task.cancelled():
            return
        error = None if task.cancelled() else task.exception()
        log.critical("task_failed", task=task.get_name(), exc_info=error)
        self.parts.health.fail(task.get_name(), "its task has failed: restart this shard")
        self._on_failed()


@contextmanager
def _shutdown_step(name: str) -> Iterator[None]:
    """Log any exception of one shutdown step, so that the next steps run."""
    try:
        yield
    except Exception:
        log.exception("shutdown_step_failed", step=name)


def _goodbye(reason: str) -> Goodbye:
    return Goodbye(ErrorCode.UNAVAILABLE, reason, come_back=True, retry_after_ms=1000)
