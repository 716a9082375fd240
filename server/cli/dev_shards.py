"""`tickwire dev --shards N`: several shards on this machine, each a process, with the local stores.

The shards are those of `tickwire serve --shards N`: clients are redirected between them, rooms migrate when one is
drained, and a shard that has ended is restarted. With `--reload` a change of the game's code is a deploy: one shard
after the other is drained and starts again with the new code.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import msgspec

from tickwire.schemas.payloads import decode_json
from tickwire.server.admin.views import ShardView
from tickwire.server.api.role import ApiRole
from tickwire.server.config import Operations, Settings
from tickwire.server.dev.bots import run_bots
from tickwire.server.dev.child_process import EmbeddedError
from tickwire.server.dev.code_watch import GameCode
from tickwire.server.dev.local_stores import LocalStores
from tickwire.server.dev.player_api import running_api
from tickwire.server.dev.reloader import watch
from tickwire.server.dev.runner import ACCESS_FILE, Access, is_taken, write_access
from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_room_types
from tickwire.server.supervisor import PORT_MAX, supervise

CALL_S_MAX = 10.0
CHECK_S_MAX = 120.0
DEPLOY_S_MAX = 300.0
POLL_INTERVAL_S = 0.5
PORT_ATTEMPTS_MAX = 1000


class DevShards(msgspec.Struct, frozen=True):
    """The options of `tickwire dev` with several shards.

    Args:
        count: the number of shards.
        arguments: the command line of each shard, after `serve`.
        data_dir: the data directory.
        bots: the number of bots.
        reloads: deploy the game's code when its files change.
    """

    count: int
    arguments: list[str]
    data_dir: Path
    bots: int
    reloads: bool


async def run_dev_shards(settings: Settings, services: LocalStores, options: DevShards) -> int:
    """Run the shards until a signal; return the exit code.

    Args:
        settings: the settings for local use; the ports of the shards count up from theirs.
        services: the running stores.
        options: the options of the command.

    Raises:
        ConfigError: the settings are invalid, or a port is in use; one line for each problem.
        EmbeddedError: a store has ended.
    """
    settings = choose_ports(settings, options.count)
    os.environ.update(to_environment(settings))
    first = settings.operations.port
    fleet = Fleet([f"http://127.0.0.1:{first + n}" for n in range(options.count)], settings.operations.token)
    access = options.data_dir / ACCESS_FILE
    write_access(access, Access(fleet.urls[0], settings.operations.token))
    player_url = f"ws://127.0.0.1:{settings.listen.port}"
    try:
        async with running_api(settings, player_url, partial(os.kill, os.getpid(), signal.SIGTERM)) as api:
            helper = asyncio.create_task(_assist(settings, services, options, fleet, api), name="dev")
            helper.add_done_callback(stop_after_error)
            try:
                code = await supervise(settings, options.count, options.arguments, drains=False)
            finally:
                helper.cancel()
                await asyncio.wait((helper,))
    finally:
        access.unlink(missing_ok=True)
    if not helper.cancelled():
        helper.result()
    services.check()
    return code


def stop_after_error(helper: asyncio.Task[None]) -> None:
    """Stop the process, which reports the error after the shards have ended."""
    if not helper.cancelled() and helper.exception() is not None:
        os.kill(os.getpid(), signal.SIGTERM)


class Fleet:
    """The shards of this machine, through their admin API.

    Args:
        urls: the URLs of their operations ports.
        token: the bearer token of the admin API.
    """

    def __init__(self, urls: list[str], token: str) -> None:
        self.urls = urls
        self._token = token

    async def list_shards(self) -> list[ShardView]:
        """Return the shards in the directory; none if no shard answers yet."""
        return decode_json(await self._call("GET", "/v1/fleet") or b"[]", list[ShardView])

    async def drain(self, shard_id: str) -> None:
        """Request a drain."""
        await self._call("POST", f"/v1/fleet/{shard_id}/drain")

    async def _call(self, method: str, path: str) -> bytes:
        """Call the first shard that answers; return an empty body if none does."""
        timeout, headers = aiohttp.ClientTimeout(total=CALL_S_MAX), {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for url in self.urls:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.request(method, url + path, allow_redirects=False) as answer:
                        body = await answer.read()
                        if answer.status == 200:
                            return body
        return b""


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the settings for local use as variables of the environment, for the processes of the shards."""
    return {
        "TICKWIRE__REDIS__URL": settings.redis.url,
        "TICKWIRE__REDIS__LEASE_S": str(settings.redis.lease_s),
        "TICKWIRE__MONGO__URL": settings.mongo.url,
        "TICKWIRE__MONGO__MIGRATE": "true",
        "TICKWIRE__RECORDINGS__DIRECTORY": settings.recordings.directory,
        "TICKWIRE__OPERATIONS__TOKEN": settings.operations.token,
        "TICKWIRE__OPERATIONS__CONSOLE": settings.operations.console,
        "TICKWIRE__ACCOUNTS__SECRET": settings.accounts.secret,
        "TICKWIRE__AUTH__ACCOUNTS": str(settings.auth.accounts).lower(),
        "TICKWIRE__LISTEN__PLAINTEXT": "true",
        "TICKWIRE__LISTEN__PAGES": settings.listen.pages,
        "TICKWIRE__EDGE__ORIGINS": ",".join(settings.edge.origins),
        "TICKWIRE__CAPACITY__LOAD_MAX": str(settings.capacity.load_max),
        "TICKWIRE__LOGGING__LEVEL": "warning" if settings.logging.level == "info" else settings.logging.level,
    }


def choose_ports(settings: Settings, count: int) -> Settings:
    """Return the settings with ports that are free now for all shards.

    A port of 0 is replaced, as is the default operations port if one of its successors is in use.

    Raises:
        ConfigError: a requested port, or one of its successors, is in use.
    """
    listen, operations = settings.listen, settings.operations
    may_change = operations.port == Operations().port
    return msgspec.structs.replace(
        settings,
        listen=msgspec.structs.replace(listen, port=_choose_port("listen.port", listen.host, listen.port, count)),
        operations=msgspec.structs.replace(
            operations,
            port=_choose_port("operations.port", operations.host, operations.port, count, may_change=may_change),
        ),
    )


def _choose_port(name: str, host: str, port: int, count: int, *, may_change: bool = False) -> int:
    """Return the first of the ports of all shards."""
    wanted = range(port, min(port + count, PORT_MAX + 1)) if port else ()
    taken = [each for each in wanted if is_taken(host, each)]
    if taken and not may_change:
        raise ConfigError(
            f"{name}: port {taken[0]} is in use or cannot be bound; {count} shards need {port} to {port + count - 1}"
        )
    return port if port and not taken else find_free_ports(host, count)


def find_free_ports(host: str, count: int) -> int:
    """Return the first of `count` successive ports that are free now.

    Raises:
        ConfigError: there are none.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        first = 10_000 + secrets.randbelow(10_000)  # below those of the stores
        if not any(is_taken(host, port) for port in range(first, first + count)):
            return first
    raise ConfigError(f"no {count} successive ports are free")


async def _assist(settings: Settings, services: LocalStores, options: DevShards, fleet: Fleet, api: ApiRole) -> None:
    """Print the addresses once all shards are ready; then run the bots, watch the code, and check the stores."""
    while len(await fleet.list_shards()) < options.count:
        await asyncio.sleep(POLL_INTERVAL_S)
    port = settings.listen.port
    addresses = [f"ws://127.0.0.1:{port + n}" for n in range(options.count)]
    lines = {
        "players connect to": "  ".join(addresses),
        "player API at": f"{api.url}/v1/openapi.html",
        "operate at": f"{fleet.urls[0]}/console/#token={settings.operations.token}",
        "play at": "  ".join(f"http{url.removeprefix('ws')}/" for url in addresses),
        "stop with": "Ctrl-C",
    }
    print("\n" + "\n".join(f"  {name:20} {text}" for name, text in lines.items()) + "\n", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(_show(services, fleet), name="live line")
        room_types = load_room_types(settings.rooms)
        if options.bots and "arena" in room_types:
            group.create_task(run_bots(addresses[0], options.bots, seed=1), name="bots")
        if options.reloads:
            code = GameCode(settings.rooms)
            print(f"deploying on changes of Python files in {', '.join(map(str, code.folders))}", flush=True)
            group.create_task(watch(code, lambda: deploy(fleet, options)), name="code")


async def _show(services: LocalStores, fleet: Fleet) -> None:
    """Print a line whenever the shards, rooms or players have changed; stop the process if a store has ended."""
    shown = ""
    while True:
        shards = sorted(await fleet.list_shards(), key=lambda shard: shard.url)
        line = "   ".join(f"{one.url} {one.state}: rooms {one.rooms}, players {one.players}" for one in shards)
        if line != shown:
            print(line, flush=True)
            shown = line
        try:
            services.check()
        except EmbeddedError:
            os.kill(os.getpid(), signal.SIGTERM)  # the caller reports which store has ended, after the shards
            return
        await asyncio.sleep(1.0)


async def deploy(fleet: Fleet, options: DevShards) -> str:
    """Check the game's code, and drain one shard after the other; the supervisor restarts each with the new code.

    Returns:
        A sentence about the result.

    Raises:
        ConfigError: the code is invalid; no shard was drained.
    """
    await check_code(options.arguments)
    before = [shard.shard_id for shard in await fleet.list_shards()]
    try:
        async with asyncio.timeout(DEPLOY_S_MAX):
            for shard_id in before:
                await fleet.drain(shard_id)
                await _wait_replaced(fleet, shard_id, options.count)
    except TimeoutError:
        return f"the deploy was not complete after {DEPLOY_S_MAX:g} s; the console shows the shards"
    return f"deployed to {len(before)} shards"


async def check_code(arguments: list[str]) -> None:
    """Check the game's code in another process, which ends with the call.

    Args:
        arguments: the command line of each shard, after `serve`.

    Raises:
        ConfigError: the code is invalid.
    """
    # Ports and stores are those of running shards; `check` needs neither.
    command = [sys.executable, "-m", "tickwire", "check", *arguments, "--port", "0"]
    checking = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CHECK_S_MAX):
            _, printed = await checking.communicate()
    except TimeoutError as error:
        raise ConfigError(f"the check of the code has taken {CHECK_S_MAX:g} s") from error
    finally:
        if checking.returncode is None:  # it takes too long, or this process stops
            checking.kill()
            await checking.wait()
    if checking.returncode:
        raise ConfigError(printed.decode(errors="replace").strip())


async def _wait_replaced(fleet: Fleet, shard_id: str, count: int) -> None:
    """Wait until a shard has left the directory, and as many shards as before are ready."""
    while True:
        shards = await fleet.list_shards()
        ready = [shard for shard in shards if shard.state == "ready"]
        if shard_id not in {shard.shard_id for shard in shards} and len(ready) >= count:
            return
        await asyncio.sleep(POLL_INTERVAL_S)
