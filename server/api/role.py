"""The lifecycle of a process of the role `api`.

    start     opens the ports, not ready; then connects to the stores, with back-off; then ready
    announce  not ready; requests are accepted for `api.drain_delay_s`, so that load balancers notice
    stop      no more connections; requests in flight are finished, for at most `api.drain_timeout_s`

While a store does not answer, the process is not ready, and operations that need it answer 503.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from tickwire.matchmaking import MatchmakingError
from tickwire.matchmaking.redis_checks import check_permissions
from tickwire.retry_delay import RetryDelay
from tickwire.server.api.assembly import build_api
from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError, NotSavable, Unavailable

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S = 1.0


class ApiRole:
    """One process of the role.

    Args:
        settings: all of them.
        on_failed: called when the process cannot continue: a task has failed, or a store refuses the settings.

    Attributes:
        process_id: unique in the fleet.
        parts: the parts of the process.
        refusal: the error of settings that a store refused after the start.

    Raises:
        ConfigError: a setting cannot be used.
    """

    def __init__(self, settings: Settings, *, on_failed: Callable[[], None] = lambda: None) -> None:
        self.process_id = f"api-{settings.shard_name}-{secrets.token_hex(4)}"
        self.settings = settings
        self.parts = build_api(settings, process_id=self.process_id)
        self.refusal: ConfigError | None = None
        self._on_failed = on_failed
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    @property
    def url(self) -> str:
        """The URL of the API at this process."""
        api = self.settings.api
        host = f"[{api.host}]" if ":" in api.host else api.host
        return f"{'https' if api.certificate else 'http'}://{host}:{self.parts.server.port}"

    async def start(self) -> None:
        """Open the ports and start all tasks. The process becomes ready as soon as the stores answer.

        Raises:
            ConfigError: a port is in use.
        """
        settings, parts, health = self.settings, self.parts, self.parts.context.health
        health.block("redis", "Redis has not answered yet")
        health.block("mongo", "MongoDB has not answered yet")
        await parts.server.start(settings.api.host, settings.api.port)
        try:
            await parts.operations.start(settings.operations.host, settings.api.operations_port)
        except ConfigError:
            await parts.server.stop()
            raise
        health.clear("starting")
        self._spawn("redis monitor", self._monitor_redis())
        self._spawn("mongo monitor", self._monitor_mongo())
        for service in parts.services:
            for name, work in service.tasks.items():
                self._spawn(name, work())
        if parts.certificate is not None:
            self._spawn("certificate", self._reload_certificate())
        log.info("api_started", process_id=self.process_id, url=self.url, operations_port=parts.operations.port)

    async def announce_stop(self, hurried: asyncio.Event) -> None:
        """Report that the process stops, and accept requests until load balancers have noticed.

        Args:
            hurried: ends the wait.
        """
        self.parts.context.health.block("draining", "the process is stopping")
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.api.drain_delay_s):
                await hurried.wait()

    async def stop(self) -> None:
        """Finish the requests in flight, close the ports, and disconnect from the stores."""
        parts, context = self.parts, self.parts.context
        self._is_stopping = True
        context.health.block("stopping", "the process is stopping")
        await parts.server.stop(self.settings.api.drain_timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await parts.operations.stop()
        await parts.rules.aclose()
        await context.redis.aclose()
        context.store.close()
        log.info("api_stopped", process_id=self.process_id)

    # -- background tasks -----------------------------------------------------------------------------------

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    async def _monitor_redis(self) -> None:
        health, delay = self.parts.context.health, RetryDelay(CHECK_INTERVAL_S)
        runner = self.parts.context.redis.create_script_runner(f"{self.settings.redis.namespace}:api")
        while True:
            try:
                await check_permissions(runner)
                health.clear("redis")
                delay.succeeded()
            except MatchmakingError as error:
                delay.failed()
                health.block("redis", error.detail)
                log.warning("redis_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    async def _monitor_mongo(self) -> None:
        store, health, delay = self.parts.context.store, self.parts.context.health, RetryDelay(CHECK_INTERVAL_S)
        is_set_up = is_migrated = False
        while True:
            try:
                if not is_set_up:
                    await store.check_setup()
                    is_set_up = True
                await store.check()
                if not is_migrated:
                    await store.check_schema(may_migrate=self.settings.mongo.migrate)
                    is_migrated = True
                health.clear("mongo")
                delay.succeeded()
            except ConfigError as error:
                self.refusal = error
                log.critical("api_refused", error=str(error))
                health.fail("settings", str(error))
                self._on_failed()
                await asyncio.Event().wait()
            except (Unavailable, NotSavable) as error:
                delay.failed()
                health.block("mongo", error.detail)
                log.warning("mongo_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    async def _reload_certificate(self) -> None:
        certificate = self.parts.certificate
        assert certificate is not None, "started only with a certificate"
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            certificate.reload_if_changed()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Fail the liveness check if a task ends before `stop` cancels it, for whatever reason."""
        if self._is_stopping and task.cancelled():
            return
        error = None if task.cancelled() else task.exception()
        log.critical("task_failed", task=task.get_name(), exc_info=error)
        self.parts.context.health.fail(task.get_name(), "its task has failed: restart this process")
        self._on_failed()
