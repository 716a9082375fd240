"""`tickwire dev`: a whole Tickwire on this machine in one command: real stores, one shard, bots, a line a second."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from server import embedded
from server.config import Settings
from server.shard import Shard

DEV_TOKEN = Path(".tickwire") / "operations-token"
"""Where a run writes what its admin API wants to be shown; nobody else may read it."""


WEB = Path(__file__).parent.parent / "web" / "dist"
"""The built web client, in a checkout."""


def settings_for(services: embedded.Services, settings: Settings) -> Settings:
    """The settings, with the stores that were started, plain ws if there is no certificate, and a token if none."""
    token = settings.operations.token or secrets.token_urlsafe(32)
    console = settings.operations.console or _built("console")
    pages = settings.listen.pages or _built("demo")
    return msgspec.structs.replace(
        settings,
        operations=msgspec.structs.replace(settings.operations, token=token, console=console),
        listen=msgspec.structs.replace(settings.listen, plaintext=True, pages=pages),
        redis=msgspec.structs.replace(settings.redis, url=services.redis_url, lease_s=3.0),
        mongo=msgspec.structs.replace(settings.mongo, url=services.mongo_url, migrate=True),
    )


def _built(name: str) -> str:
    """A part of the web client, if it has been built (`make web`)."""
    folder = WEB / name
    return str(folder) if (folder / "index.html").is_file() else ""


async def run_dev(settings: Settings, data_dir: Path, *, bots: int, stopping: asyncio.Event) -> None:
    """Runs until `stopping` is set.

    Raises:
        EmbeddedError, ConfigError: one sentence that says what is in the way.
    """
    print(f"starting redis-server and mongod (data in {data_dir}/) ...", flush=True)
    services = embedded.start(data_dir)
    try:
        shard = Shard(settings_for(services, settings))
        DEV_TOKEN.parent.mkdir(exist_ok=True)
        DEV_TOKEN.touch(mode=0o600)
        DEV_TOKEN.write_text(shard.settings.operations.token)
        await shard.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_show(shard, stopping), name="live line")
                playing = group.create_task(_play(shard, bots), name="bots")
                await stopping.wait()
                print("\nstopping: saving the rooms ...", flush=True)
                playing.cancel()
        finally:
            await shard.stop()
    finally:
        services.stop()
        DEV_TOKEN.unlink(missing_ok=True)
    print("stopped; `make run` finds the world again.", flush=True)


async def _play(shard: Shard, bots: int) -> None:
    while not shard.health.is_ready:
        await asyncio.sleep(0.05)
    operations = f"http://127.0.0.1:{shard.operations.port}"
    lines = {
        "players connect to": f"{shard.url}   (subprotocol tickwire.1; see docs/protocol.md)",
        "metrics and health": f"{operations}/metrics  /livez  /readyz",
    }
    if shard.settings.operations.console:
        # Behind the #, which is sent to nobody.
        lines["operate at"] = f"{operations}/console/#token={shard.settings.operations.token}"
    if shard.settings.listen.pages:
        lines["play at"] = f"{shard.url.replace('ws', 'http', 1)}/"
    else:
        lines["play at"] = "nothing yet: the web client is built by `make web`"
    lines["stop with"] = "Ctrl-C"
    print("\n" + "\n".join(f"  {name:20} {text}" for name, text in lines.items()) + "\n", flush=True)
    if bots and "arena" in shard.host.room_types:
        from examples.bots import run_bots

        await run_bots(shard.url, bots, seed=1)


async def _show(shard: Shard, stopping: asyncio.Event) -> None:
    counters = shard.host.counters
    before = (0, 0, 0, 0)
    while not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 1.0)
        now = (counters.ticks, counters.ticks_late, counters.bytes_sent, counters.player_ticks)
        ticks, late, bytes_sent, player_ticks = (a - b for a, b in zip(now, before, strict=True))
        before = now
        players = sum(len(simulation.seats) for simulation in shard.host)
        line = (
            f"rooms {len(shard.host):3d}   players {players:4d}   ticks {ticks:4d}/s   late {late:3d}   "
            f"{bytes_sent / max(1, player_ticks):6.1f} bytes a player and tick"
        )
        end, start = ("", "\r") if sys.stdout.isatty() else ("\n", "")
        print(f"{start}{line}", end=end, flush=True)
