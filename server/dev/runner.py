"""`tickwire dev`: runs real stores, one shard, the player API and bots on this machine, with a status line.

Several instances can run at the same time, each with its own data directory and its own port for players. The data
directory is locked. If the default operations port is in use, a free port is chosen.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Container, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server.api.role import ApiRole
from tickwire.server.api_settings import ApiSettings
from tickwire.server.config import Operations, Settings
from tickwire.server.dev import local_stores as embedded
from tickwire.server.dev.child_process import EmbeddedError
from tickwire.server.dev.code_watch import GameCode
from tickwire.server.dev.deferred_signals import STOP_SIGNALS
from tickwire.server.dev.error_report import print_room_error
from tickwire.server.dev.local_stores import LocalStores
from tickwire.server.dev.player_api import read_account_secret, running_api
from tickwire.server.dev.reloader import reload_shard, watch
from tickwire.server.edge.origins import LOOPBACK
from tickwire.server.errors import ConfigError
from tickwire.server.process import EXIT_FAILED, EXIT_STOPPED, stop_events, tune_process
from tickwire.server.shard import Shard
from tickwire.server.startup_check import find_problems

DATA = Path(".tickwire")
"""The default data directory of Redis and MongoDB."""
WEB = Path(__file__).resolve().parents[2] / "web" / "dist"
"""The built web client of a checkout."""
ACCESS_FILE = "operations.json"
RunShards = Callable[[Settings, LocalStores], Coroutine[Any, Any, int]]
"""Runs shards with the settings for local use until a signal, and returns the exit code."""
BOTS_LOOKS_MAX = 10
"""Bots that have not joined after this many seconds are reported."""


class Access(msgspec.Struct, frozen=True):
    """The access to the admin API of a running `tickwire dev`, for commands with the same data directory.

    Args:
        url: the URL of the operations port.
        token: the bearer token of the admin API; only the user may read it.
    """

    url: str
    token: str


def read_access(data_dir: Path) -> Access | None:
    """Return the access to the `tickwire dev` that uses this data directory, or None.

    Raises:
        ConfigError: the file exists and cannot be read.
    """
    path = data_dir / ACCESS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Access)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def run_dev(
    settings: Settings, data_dir: Path, *, bots: int, reloads: bool = False, run_shards: RunShards | None = None
) -> int:
    """Run the stores, a shard, the player API and bots until a signal; return the exit code.

    The stores are started before the event loop, so that a signal during their start ends the process at once.

    Args:
        settings: the settings of the shard; see `settings_for` for the changes.
        data_dir: the data directory of the stores.
        bots: the number of bots.
        reloads: restart the rooms with the new code when the game's files change.
        run_shards: runs several shards as processes, instead of one in this process.

    Raises:
        EmbeddedError: a store cannot be started, or the data directory is in use.
        ConfigError: the settings are invalid; one line for each problem.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    print(f"starting redis-server and mongod (data in {data_dir}/) ...", flush=True)
    with embedded.running(data_dir) as services:
        if run_shards is not None:
            code: int = uvloop.run(run_shards(settings_for(services, settings, data_dir), services))
        else:
            sys.dont_write_bytecode |= reloads  # bytecode is found by the second of a change; two may be in one
            code = uvloop.run(_run_shard(settings, services, data_dir, bots=bots, reloads=reloads))
    print(f"stopped; the data are kept in {data_dir}/", flush=True)
    return code


def settings_for(services: LocalStores, settings: Settings, data_dir: Path) -> Settings:
    """Return the settings for local use: with the URLs of the stores, accounts, a token for operators, and no TLS.

    Recordings are stored in the data directory.

    The load of the rooms has no limit: a development server has no other shard that could take a room.
    """
    token = settings.operations.token or secrets.token_urlsafe(32)
    console = settings.operations.console or _built("console")
    pages = settings.listen.pages or _built("demo")
    port = _free_port("operations.port", settings.operations.host, settings.operations.port, Operations().port)
    api, api_defaults = settings.api, ApiSettings()
    api = msgspec.structs.replace(
        api,
        port=_free_port("api.port", api.host, api.port, api_defaults.port),
        operations_port=_free_port(
            "api.operations_port", settings.operations.host, api.operations_port, api_defaults.operations_port
        ),
        plaintext=True,
        origins=[*api.origins, LOOPBACK],
    )
    recordings = settings.recordings.directory or str(data_dir.absolute() / "recordings")
    return msgspec.structs.replace(
        settings,
        recordings=msgspec.structs.replace(settings.recordings, directory=recordings),
        operations=msgspec.structs.replace(settings.operations, port=port, token=token, console=console),
        listen=msgspec.structs.replace(settings.listen, plaintext=True, pages=pages),
        edge=msgspec.structs.replace(settings.edge, origins=[*settings.edge.origins, LOOPBACK]),
        redis=msgspec.structs.replace(settings.redis, url=services.redis_url, lease_s=3.0),
        mongo=msgspec.structs.replace(settings.mongo, url=services.mongo_url, migrate=True),
        capacity=msgspec.structs.replace(settings.capacity, load_max=100.0),
        api=api,
        accounts=msgspec.structs.replace(
            settings.accounts, secret=settings.accounts.secret or read_account_secret(data_dir)
        ),
        auth=msgspec.structs.replace(settings.auth, accounts=True),
    )


def _free_port(name: str, host: str, port: int, default: int) -> int:
    """Return the port; 0, which chooses a free one, if it is the default port and in use."""
    if port != default or not is_taken(host, port):
        return port
    print(f"{name}: {port} is in use; choosing a free port", flush=True)
    return 0


def is_taken(host: str, port: int) -> bool:
    """Return whether a port cannot be bound now."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return True
    return False


def _built(name: str) -> str:
    """Return the directory of a part of the web client; empty if it has not been built (`make web`)."""
    folder = WEB / name
    return str(folder) if (folder / "index.html").is_file() else ""


async def _run_shard(settings: Settings, services: LocalStores, data_dir: Path, *, bots: int, reloads: bool) -> int:
    """Run the shard until a signal arrives, or until a store or a task of the shard fails; return the exit code."""
    (stopping,) = stop_events(1)
    settings = settings_for(services, settings, data_dir)
    problems = await find_problems(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    shard = Shard(settings, on_drain=stopping.set, on_failed=stopping.set)
    shard.parts.host.counters.recent_errors.on_error = print_room_error
    await shard.start()
    tune_process()
    access = data_dir / ACCESS_FILE
    is_saved = False
    try:
        async with running_api(settings, shard.url, stopping.set) as api:
            write_access(access, Access(f"http://127.0.0.1:{shard.parts.operations.port}", settings.operations.token))
            report = _BotReport(count_bots(bots, shard.parts.host.room_types), shard.url)
            async with asyncio.TaskGroup() as group:
                group.create_task(_show(shard, services, stopping, report), name="live line")
                playing = group.create_task(_play(shard, api, bots, report.observe), name="bots")
                watching = group.create_task(_watch(shard), name="code") if reloads else None
                await stopping.wait()
                print("\nstopping: saving the rooms ...", flush=True)
                playing.cancel()
                if watching is not None:
                    watching.cancel()
    finally:
        access.unlink(missing_ok=True)
        is_saved = await shard.stop()
    services.check()
    return EXIT_STOPPED if shard.parts.health.is_alive and is_saved else EXIT_FAILED


async def _watch(shard: Shard) -> None:
    code = GameCode(shard.settings.rooms)
    print(f"reloading on changes of Python files in {', '.join(map(str, code.folders))}", flush=True)
    await watch(code, lambda: reload_shard(shard, code))


def write_access(path: Path, access: Access) -> None:
    """Write a file atomically, readable by the user only."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(access))
    new.replace(path)


def count_bots(bots: int, room_types: Container[str]) -> int:
    """Return how many of the requested bots play: none if the arena, which they play, is not among the rooms."""
    return bots if "arena" in room_types else 0


class _BotReport:
    """Reports bots that cannot join, with the reason.

    Args:
        count: the number of bots.
        url: the URL that they connect to.
    """

    def __init__(self, count: int, url: str) -> None:
        self._count = count
        self._url = url
        self._joined: set[str] = set()
        self._errors: dict[str, str] = {}
        self._reported = ""
        self._looks = 0

    def observe(self, bot: str, error: str) -> None:
        """Record that a bot has joined, or with an error that it could not join or has lost its connection."""
        if error:
            self._errors[bot] = error
        else:
            self._joined.add(bot)
            self._errors.pop(bot, None)

    def news(self) -> str:
        """Return a line about bots that have not joined yet; empty if their error was reported before.

        Call it once a second. Bots that neither join nor fail are reported after BOTS_LOOKS_MAX seconds.
        """
        self._looks += 1
        errors = [error for bot, error in self._errors.items() if bot not in self._joined]
        missing = self._count - len(self._joined)
        if not errors and self._looks >= BOTS_LOOKS_MAX:
            errors = [f"no answer within {self._looks} s"] * missing
        if not errors or errors[0] == self._reported or self._reported.startswith("no answer"):
            return ""
        self._reported = errors[0]
        return f"{len(errors)} of {self._count} bots cannot connect to {self._url}: {escape_controls(self._reported)}"


async def _play(shard: Shard, api: ApiRole, bots: int, observe: Callable[[str, str], None]) -> None:
    while not (shard.parts.health.is_ready and api.parts.context.health.is_ready):
        await asyncio.sleep(0.05)
    operations = f"http://127.0.0.1:{shard.parts.operations.port}"
    lines = {
        "players connect to": f"{shard.url}   (subprotocol tickwire.1; see docs/protocol.md)",
        "player API at": f"{api.url}/v1/openapi.html",
        "metrics and health": f"{operations}/metrics  /livez  /readyz",
    }
    if shard.settings.operations.console:
        # In the fragment, which browsers do not send.
        lines["operate at"] = f"{operations}/console/#token={shard.settings.operations.token}"
    if shard.settings.listen.pages:
        lines["play at"] = f"{shard.url.replace('ws', 'http', 1)}/"
    else:
        lines["play at"] = "not available: build the web client with `make web`"
    lines["stop with"] = "Ctrl-C"
    print("\n" + "\n".join(f"  {name:20} {text}" for name, text in lines.items()) + "\n", flush=True)
    if count_bots(bots, shard.parts.host.room_types):
        from tickwire.server.dev.bots import run_bots

        await run_bots(shard.url, bots, seed=1, observe=observe)
    elif bots:
        print("no bots: bots play arena, which is not among the rooms", flush=True)


async def _show(shard: Shard, services: LocalStores, stopping: asyncio.Event, report: _BotReport) -> None:
    counters = shard.parts.host.counters
    before = (0, 0, 0, 0)
    while not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 1.0)
        now = (counters.ticks, counters.ticks_late, counters.bytes_sent, counters.player_ticks)
        ticks, late, bytes_sent, player_ticks = (a - b for a, b in zip(now, before, strict=True))
        before = now
        players = sum(len(runtime.seats) for runtime in shard.parts.host)
        line = (
            f"rooms {len(shard.parts.host):3d}   players {players:4d}   ticks {ticks:4d}/s   late {late:3d}   "
            f"{bytes_sent / max(1, player_ticks):6.1f} bytes a player and tick"
        )
        end, start = ("", "\r") if sys.stdout.isatty() else ("\n", "")
        print(f"{start}{line}", end=end, flush=True)
        news = report.news()
        if news:
            print(f"\n{news}" if end == "" else news, flush=True)
        try:
            services.check()
        except EmbeddedError:
            stopping.set()  # the caller reports which store has ended, once the rooms are closed
