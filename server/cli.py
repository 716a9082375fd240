"""The command `tickwire`: serve, dev, check, token, and what is done to what is stored.

An operator's problems are one sentence, never a traceback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
import uvloop

from matchmaking import MatchmakingError
from server import __version__
from server.config import Settings, load
from server.dev import DEV_TOKEN, run_dev
from server.edge.auth import mint
from server.embedded import EmbeddedError
from server.errors import ConfigError, TickwireError
from server.ops import logs, traces
from server.ops.bytes import fetch_bytes, table_of
from server.rooms.typescript import types_of
from server.shard import Shard, ask_to_drain, room_types
from server.storage import Store, archive
from server.storing import export_of, export_to, make_steps, with_store
from server.supervisor import supervise

T = TypeVar("T")
app = typer.Typer(add_completion=False, no_args_is_help=True, help="A real-time game session server.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="a TOML file of settings")]
Rooms = Annotated[str, typer.Option(help="Python modules that offer ROOMS, with commas between them")]
Port = Annotated[int | None, typer.Option(help="where players connect")]


@app.command()
def serve(
    config: Config = None,
    shards: Annotated[int, typer.Option(min=1, max=64, help="processes; ports count up")] = 1,
    rooms: Rooms = "",
    port: Port = None,
) -> None:
    """Runs one shard, or several on this machine, with the Redis and MongoDB of the settings."""
    settings = _settings(config, rooms, port)
    if shards == 1:
        _run(_serve(settings))
    else:
        arguments = ["--config", str(config)] if config else []
        arguments += ["--rooms", rooms] if rooms else []
        logs.configure(format=settings.logging.format, level=settings.logging.level)
        _run(supervise(settings, shards, arguments))


@app.command()
def dev(
    config: Config = None,
    rooms: Rooms = "",
    port: Port = None,
    bots: Annotated[int, typer.Option(min=0, max=1000, help="bots that play in arena")] = 20,
    data: Annotated[Path, typer.Option(help="where Redis and MongoDB keep their data")] = Path(".tickwire"),
) -> None:
    """Runs everything on this machine: real stores as child processes, one shard, bots."""
    settings = _settings(config, rooms, port)
    level = "warning" if settings.logging.level == "info" else settings.logging.level
    logs.configure(format=settings.logging.format, level=level)
    _run(_dev(settings, data, bots))


@app.command()
def check(config: Config = None) -> None:
    """Reads the settings and shows them, without secrets."""
    settings = _settings(config, "", None)
    for name in settings.__struct_fields__:
        typer.echo(f"{name} = {getattr(settings, name)!r}")


@app.command()
def token(
    player: Annotated[str, typer.Argument(help="who it is for")],
    config: Config = None,
    ttl_s: Annotated[float, typer.Option(min=1, help="for how long, in seconds")] = 3600.0,
) -> None:
    """Prints a token for a player, signed with auth.secret: for development."""
    try:
        typer.echo(mint(_settings(config, "", None).auth, player, ttl_s=ttl_s, now_s=time.time()))
    except ConfigError as error:
        _fail(str(error))


@app.command()
def migrate(config: Config = None) -> None:
    """Brings the database to what this build wants: indexes and validators. Safe while shards run, and to repeat."""
    steps = _stored(config, make_steps)
    typer.echo(f"steps made: {', '.join(map(str, steps))}" if steps else "the database is as this build wants it")


@app.command()
def export(
    kind: Annotated[str, typer.Argument(help="world or player")],
    key: Annotated[str, typer.Argument(help="TYPE/NAME of a world, or a player's id")],
    config: Config = None,
) -> None:
    """Prints a world or a player as JSON lines."""
    try:
        lines_of = export_of(kind, key)
    except ValueError as error:
        _fail(str(error))
    _stored(config, export_to(sys.stdout, lines_of))


@app.command(name="import")
def import_(
    file: Annotated[typer.FileText, typer.Argument(help="what export has printed; - for standard input")],
    replace: Annotated[bool, typer.Option("--replace", help="also what is there already")] = False,
    config: Config = None,
) -> None:
    """Puts an exported world or player back. A shard that runs the world is fenced off, and loads it anew."""
    key = _stored(config, lambda store: archive.import_lines(store, file, replace=replace))
    typer.echo(f"imported {key}")


@app.command()
def forget(
    player: Annotated[str, typer.Argument(help="a player's id")],
    config: Config = None,
) -> None:
    """Deletes all of a player's data, for good. End the player's sessions first."""
    found = _stored(config, lambda store: archive.forget_player(store, player))
    typer.echo(", ".join(f"{count} {what}" for what, count in found.items()))


@app.command()
def drain(
    shard: Annotated[str, typer.Argument(help="a shard's id, as its log and the directory have it")],
    config: Config = None,
) -> None:
    """Asks a shard to give its rooms to others, with those who play in them, and to end."""
    settings = _settings(config, "", None)
    try:
        if not asyncio.run(ask_to_drain(settings.redis, shard)):
            _fail(f"there is no shard {shard!r} in the directory")
    except (MatchmakingError, ConfigError) as error:
        _fail(str(error))
    typer.echo(f"{shard} is asked to drain")


@app.command(name="bytes")
def show_bytes(
    room: Annotated[str, typer.Argument(help="a room's id; without one, the fullest room")] = "",
    url: Annotated[str, typer.Option(help="the shard's operations port")] = "http://127.0.0.1:9090",
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    config: Config = None,
) -> None:
    """Says which field of a running room costs how many bytes, and what could be done about it."""
    try:
        report = asyncio.run(fetch_bytes(url, _operations_token(_settings(config, "", None)), room))
    except LookupError as error:
        _fail(str(error))
    typer.echo(msgspec.json.encode(report).decode() if json else table_of(report))


@app.command()
def types(
    modules: Annotated[list[str], typer.Argument(help="Python modules that offer ROOMS")],
) -> None:
    """Prints what the rooms' tables and inputs are made of, as TypeScript."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        typer.echo(types_of(room_types(modules)), nl=False)
    except ConfigError as error:
        _fail(str(error))


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


def main() -> None:
    """The console script."""
    app()


def _settings(config: Path | None, rooms: str, port: int | None) -> Settings:
    # The games of whoever starts the command are importable from where it is started.
    sys.path.insert(0, str(Path.cwd()))
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        _fail(str(error))
    if rooms:
        settings = msgspec.structs.replace(settings, rooms=[part.strip() for part in rooms.split(",")])
    if port is not None:
        settings = msgspec.structs.replace(settings, listen=msgspec.structs.replace(settings.listen, port=port))
    return settings


def _operations_token(settings: Settings) -> str:
    """Of the settings; else the one that `tickwire dev`, started in this folder, has made for its run."""
    if settings.operations.token or not DEV_TOKEN.is_file():
        return settings.operations.token
    return DEV_TOKEN.read_text().strip()


def _stored(config: Path | None, work: Callable[[Store], Awaitable[T]]) -> T:
    logs.configure(format="auto", level="warning")
    try:
        return with_store(_settings(config, "", None).mongo, work)
    except TickwireError as error:
        raise _fail(str(error)) from error


def _fail(problem: str) -> Any:
    for line in problem.splitlines():
        typer.echo(f"tickwire: {line}", err=True)
    raise typer.Exit(2)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        uvloop.run(work)
    except* (ConfigError, EmbeddedError) as group:
        _fail("\n".join(str(error) for error in group.exceptions))


def _stop_events(count: int) -> list[asyncio.Event]:
    """Each SIGTERM or SIGINT sets the next one; the one after the last ends the process at once."""
    events = [asyncio.Event() for _ in range(count)]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        unset = [event for event in events if not event.is_set()]
        if not unset:
            os._exit(1)
        unset[0].set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return events


async def _serve(settings: Settings) -> None:
    """A first signal drains the shard, a second saves and closes now."""
    draining, hurried = _stop_events(2)
    shard = Shard(settings)
    shard.on_drain = shard.on_failed = draining.set
    logs.configure(format=settings.logging.format, level=settings.logging.level, shard_id=shard.shard_id)
    stop_traces = traces.start(settings.traces.endpoint, settings.traces.share, shard.shard_id)
    await shard.start()
    try:
        await draining.wait()
        tasks = [asyncio.create_task(shard.drain(), name="drain"), asyncio.create_task(hurried.wait(), name="hurry")]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await shard.stop()
        await asyncio.to_thread(stop_traces)
    if not shard.health.is_alive:
        raise typer.Exit(1)


async def _dev(settings: Settings, data: Path, bots: int) -> None:
    await run_dev(settings, data, bots=bots, stopping=_stop_events(1)[0])
