"""The command `tickwire`: runs shards, checks settings, issues tokens, and works on stored data.

Every problem is printed as one line, never as a traceback. Exit codes: see `tickwire.server.process`.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer
import uvloop

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.matchmaking import MatchmakingError
from tickwire.schemas import kernel
from tickwire.schemas.terminal_text import escape_controls
from tickwire.server import __version__
from tickwire.server.admin.views import LAST_S_MAX, RECORD_S_MAX, DrainRequested
from tickwire.server.api.process import run_api
from tickwire.server.api.startup_check import find_api_problems
from tickwire.server.cli.bandwidth import fetch_report, format_report
from tickwire.server.cli.data import export_reader, migrate_schema, player_deleter, with_store, write_export
from tickwire.server.cli.dev_shards import DevShards, run_dev_shards
from tickwire.server.cli.drain import request_drain
from tickwire.server.cli.player_check import PlayerCheckFailed, check_player
from tickwire.server.cli.record import RecordFailed, record_room, save
from tickwire.server.cli.replay import ReplayOptions, replay_file, serve_replay
from tickwire.server.codegen.csharp import DEFAULT_NAMESPACE, generate_csharp
from tickwire.server.codegen.game_api import GameApi
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.gdscript import generate_gdscript
from tickwire.server.codegen.json_document import generate_json
from tickwire.server.codegen.typescript import generate_typescript
from tickwire.server.config import Settings, load
from tickwire.server.dev.child_process import EmbeddedError
from tickwire.server.dev.game_template import SDK_FILE, create_game
from tickwire.server.dev.runner import DATA, Access, read_access, run_dev
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.errors import ConfigError, TickwireError
from tickwire.server.game_modules import load_room_types
from tickwire.server.observability import logs
from tickwire.server.process import EXIT_FAILED, EXIT_USAGE, run_shard
from tickwire.server.startup_check import find_problems
from tickwire.server.storage import MongoStore, export_import
from tickwire.server.supervisor import supervise

T = TypeVar("T")
SHOWN_EVENTS = frozenset(["room_code_raised"])
"""Log events that `tickwire dev` shows as text of its own (server/dev/error_report.py)."""
TOKEN_S_MAX = 10 * 365 * 86_400.0
# Tracebacks of unexpected exceptions show no local variables, which may be secrets.
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A real-time game session server.",
)
codegen = typer.Typer(no_args_is_help=True, help="Generate code for clients from the rooms of a game.")
app.add_typer(codegen, name="codegen")


def _printable(text: str) -> str:
    """Check an argument that is an id or a key."""
    if not text or len(text) > ID_CHARACTERS_MAX or not text.isprintable():
        raise typer.BadParameter(f"must have 1 to {ID_CHARACTERS_MAX} printable characters")
    return text


def _player_url(text: str) -> str:
    """Check an argument that is the URL of a shard or of a fleet."""
    if not re.fullmatch(r"wss?://[^\s/]+(/\S*)?", text):
        raise typer.BadParameter("must be a URL that begins with ws:// or wss://")
    try:
        _ = urlsplit(text).port
    except ValueError as error:
        raise typer.BadParameter(f"must be a valid URL: {error}") from error
    return text


def _finite(number: float) -> float:
    """Check an option that is a duration; the limits of click accept nan."""
    if not math.isfinite(number):
        raise typer.BadParameter("must be a finite number")
    return number


ID_CHARACTERS_MAX = 1024
SETTINGS_FILE = Path("tickwire.toml")


class ProcessRole(Enum):
    """The role of a process."""

    SHARD = "shard"
    API = "api"


Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"a TOML file of settings; by default {SETTINGS_FILE}, if it exists"),
]
Rooms = Annotated[str, typer.Option(help="Python modules with ROOMS, separated by commas")]
Modules = Annotated[list[str], typer.Argument(help="Python modules with ROOMS")]
Port = Annotated[int | None, typer.Option(help="the port for players")]
Data = Annotated[Path, typer.Option(help="the data directory of `tickwire dev`")]


@app.command()
def serve(
    config: Config = None,
    shards: Annotated[int, typer.Option(min=1, max=64, help="the number of processes; their ports count up")] = 1,
    rooms: Rooms = "",
    port: Port = None,
) -> None:
    """Run one shard, or several on this machine, with the Redis and MongoDB of the settings."""
    settings = _settings(config, rooms, port)
    logs.configure(format=settings.logging.format, level=settings.logging.level)
    if shards == 1:
        _run(run_shard(settings))
    else:
        _run(supervise(settings, shards, _shard_arguments(config, rooms)))


@app.command(name="api")
def serve_api(
    config: Config = None,
    port: Annotated[int | None, typer.Option(help="the port of the player API")] = None,
) -> None:
    """Run one process of the player HTTP API, with the Redis and MongoDB of the settings."""
    settings = _settings(config, overrides={} if port is None else {"api.port": port})
    logs.configure(format=settings.logging.format, level=settings.logging.level)
    _run(run_api(settings))


@app.command()
def dev(  # noqa: PLR0913 the options of the command
    config: Config = None,
    rooms: Rooms = "",
    port: Port = None,
    bots: Annotated[int, typer.Option(min=0, max=1000, help="the number of bots that play arena")] = 20,
    data: Data = DATA,
    shards: Annotated[int, typer.Option(min=1, max=16, help="the number of shards; their ports count up")] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="restart rooms when their code changes")] = False,
) -> None:
    """Run Redis and MongoDB as child processes, one shard or several, and bots on this machine."""
    settings = _settings(config, rooms, port)
    level = "warning" if settings.logging.level == "info" else settings.logging.level
    logs.configure(format=settings.logging.format, level=level, hides=SHOWN_EVENTS)
    run_shards = None
    if shards > 1:
        options = DevShards(shards, _shard_arguments(config, rooms), data, bots, reload)
        run_shards = partial(run_dev_shards, options=options)
    _exit(lambda: run_dev(settings, data, bots=bots, reloads=reload, run_shards=run_shards))


@app.command(name="new")
def new_game(
    name: Annotated[str, typer.Argument(help="the name of the game and of its folder")],
) -> None:
    """Create a game in a new folder: a room, its test, a browser client, settings and an image."""
    try:
        files = create_game(name, Path.cwd())
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    for file in files:
        typer.echo(f"{name}/{file}")
    if SDK_FILE not in files:
        typer.echo(f"{name}/{SDK_FILE} is missing: this installation has no built SDK; see {name}/README.md")
    typer.echo(f"next: cd {name} && tickwire dev")


@app.command()
def check(
    config: Config = None,
    rooms: Rooms = "",
    port: Port = None,
    role: Annotated[
        ProcessRole, typer.Option(help="the role of the process: shard (tickwire serve), or api")
    ] = ProcessRole.SHARD,
) -> None:
    """Print the settings without secrets, and check everything that a process needs except its stores."""
    settings = _settings(config, rooms, port)
    for name in settings.__struct_fields__:
        typer.echo(f"{name} = {getattr(settings, name)!r}")
    is_api = role is ProcessRole.API
    checked = find_api_problems(settings, needs_accounts=True) if is_api else find_problems(settings)
    problems = asyncio.run(checked)
    if problems:
        _fail("\n".join(problems), EXIT_USAGE)


@app.command()
def token(
    player: Annotated[str, typer.Argument(help="the player's id", callback=_printable)],
    config: Config = None,
    ttl_s: Annotated[
        float, typer.Option(min=1, max=TOKEN_S_MAX, callback=_finite, help="the lifetime of the token, seconds")
    ] = 3600.0,
) -> None:
    """Print a token for a player, signed with auth.secret, for development."""
    settings = _settings(config)
    if len(player) > PLAYER_CHARACTERS_MAX:
        _fail(f"the player's id must have at most {PLAYER_CHARACTERS_MAX} characters", EXIT_USAGE)
    try:
        typer.echo(issue_token(settings.auth, player, ttl_s=ttl_s, now_s=time.time()))
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)


@app.command(name="connect")
def connect_player(
    url: Annotated[
        str, typer.Argument(help="the URL for players, such as wss://play.game.example", callback=_player_url)
    ],
    config: Config = None,
    timeout_s: Annotated[float, typer.Option(min=1, max=3600, callback=_finite, help="time limit, seconds")] = 30.0,
) -> None:
    """Open a session as a player does, with a token if auth.secret is set, and end it, to check the connection."""
    auth = _settings(config).auth
    signed = issue_token(auth, "connect-check", ttl_s=timeout_s + 60, now_s=time.time()) if auth.secret else ""
    try:
        typer.echo(escape_controls(asyncio.run(check_player(url, signed, timeout_s))))
    except PlayerCheckFailed as error:
        _fail(str(error), EXIT_FAILED)


@app.command(name="migrate-db")
def migrate_db(config: Config = None) -> None:
    """Migrate the database to the schema of this build. Safe to repeat, and safe while shards run."""
    steps = _stored(config, migrate_schema)
    typer.echo(f"migrated: step {', '.join(map(str, steps))}" if steps else "the database is up to date")


@app.command()
def export(
    kind: Annotated[str, typer.Argument(help="world or player")],
    key: Annotated[str, typer.Argument(help="TYPE/NAME of a world, or a player's id", callback=_printable)],
    config: Config = None,
) -> None:
    """Print a world or a player as JSON lines."""
    try:
        read_lines = export_reader(kind, key)
    except ValueError as error:
        _fail(str(error), EXIT_USAGE)
    _stored(config, write_export(sys.stdout, read_lines))


@app.command(name="import")
def import_(
    file: Annotated[
        typer.FileText, typer.Argument(encoding="utf-8", help="the output of `tickwire export`; - for standard input")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="replace data that exists")] = False,
    config: Config = None,
) -> None:
    """Import an exported world or player. A shard that runs the world is fenced off and loads it again."""
    key = _stored(config, lambda store: export_import.import_lines(store, file, replace=replace))
    typer.echo(f"imported {escape_controls(key)}")


@app.command(name="delete-player")
def delete_player(
    player: Annotated[str, typer.Argument(help="a player's id", callback=_printable)],
    config: Config = None,
) -> None:
    """Delete a player with its account and all its data permanently. End its sessions first."""
    found = _stored(config, player_deleter(_settings(config).accounts, player))
    typer.echo(", ".join(f"{count} {what}" for what, count in found.items()))


@app.command()
def drain(
    shard: Annotated[
        str, typer.Argument(help="the id of a shard, as in its log and in the directory", callback=_printable)
    ],
    config: Config = None,
) -> None:
    """Request that a shard moves its rooms and players to other shards and stops. Kubernetes restarts it."""
    settings = _settings(config)
    try:
        found = asyncio.run(request_drain(settings.redis, shard))
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except MatchmakingError as error:
        _fail(error.detail, EXIT_FAILED)
    if found is None:
        _fail(f"the directory lists no shard {shard!r}", EXIT_FAILED)
    typer.echo(f"requested a drain of {shard}" if found else f"{shard} is draining already")
    typer.echo(DrainRequested(int(found)).note)


@app.command(name="bandwidth")
def show_bandwidth(
    room: Annotated[str, typer.Argument(help="the id of a room; by default the room with the most players")] = "",
    url: Annotated[str, typer.Option(help="the URL of the operations port; by default that of `tickwire dev`")] = "",
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Print the bandwidth that each field of a running room costs, with advice."""
    access = _access(config, data, url)
    try:
        report = asyncio.run(fetch_report(access.url, access.token, room))
    except LookupError as error:
        _fail(str(error), EXIT_FAILED)
    text = msgspec.json.encode(report).decode() if json else format_report(report)
    typer.echo(escape_controls(text, is_block=True))


@app.command()
def record(  # noqa: PLR0913 the options of the command
    room: Annotated[str, typer.Argument(help="the id of a room", callback=_printable)],
    last_s: Annotated[
        float, typer.Option("--last", min=0.1, max=LAST_S_MAX, callback=_finite, help="the last seconds to write")
    ] = 10.0,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0, max=RECORD_S_MAX, callback=_finite, help="record the next seconds"),
    ] = 0.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the file; by default the name of the recording")
    ] = None,
    url: Annotated[str, typer.Option(help="the URL of the operations port; by default that of `tickwire dev`")] = "",
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Record a room of a running shard, its last seconds or the next ones, and download the recording."""
    access = _access(config, data, url)
    body = {"seconds": seconds} if seconds else {"last_s": last_s}
    try:
        name, contents = asyncio.run(record_room(access.url, access.token, room, body))
        file = output or Path(name)
        save(file, contents)
    except RecordFailed as error:
        _fail(str(error), EXIT_FAILED)
    typer.echo(escape_controls(f"{file}: {len(contents)} bytes"))


@app.command()
def replay(  # noqa: PLR0913 the options of the command
    file: Annotated[Path, typer.Argument(help="a recording of a room")],
    config: Config = None,
    rooms: Rooms = "",
    verify: Annotated[bool, typer.Option("--verify", help="replay all ticks and compare their checksums")] = False,
    at: Annotated[int | None, typer.Option(min=0, help="show the state after this tick")] = None,
    show: Annotated[str, typer.Option(help="the table to show, with --at or --bisect; by default a summary")] = "",
    bisect: Annotated[str, typer.Option(help="show the first tick of a condition, such as 'ships[7].x > 500'")] = "",
    scan: Annotated[bool, typer.Option("--scan", help="--bisect looks at every tick")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="serve a page that plays the recording")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="the port of the page; 0 chooses a free one")] = 0,
) -> None:
    """Replay a recording of a room with the game's present code."""
    settings = _settings(config, rooms)
    logs.configure(format=settings.logging.format, level="error", hides=SHOWN_EVENTS)
    options = ReplayOptions(verify=verify, at=at, show=show, bisect=bisect, scan=scan)
    try:
        if serve:
            serve_replay(file, load_room_types(settings.rooms), port, _print_block)
            return
        lines, is_equal = replay_file(file, load_room_types(settings.rooms), options)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except TickwireError as error:
        _fail(error.detail, EXIT_FAILED)
    typer.echo(escape_controls("\n".join(lines), is_block=True))
    raise typer.Exit(0 if is_equal else EXIT_FAILED)


@codegen.command(name="typescript")
def codegen_typescript(modules: Modules) -> None:
    """Print the types of rooms as TypeScript: tables, inputs, options, commands and events."""
    _generate(modules, generate_typescript)


@codegen.command(name="csharp")
def codegen_csharp(
    modules: Modules,
    namespace: Annotated[str, typer.Option(help="The namespace of the generated types.")] = DEFAULT_NAMESPACE,
) -> None:
    """Print the types of rooms as C#: tables, inputs, options, commands and events."""
    _generate(modules, lambda api: generate_csharp(api, namespace))


@codegen.command(name="gdscript")
def codegen_gdscript(modules: Modules) -> None:
    """Print the classes of rooms as GDScript: tables, inputs, options, commands and events."""
    _generate(modules, generate_gdscript)


@codegen.command(name="json")
def codegen_json(modules: Modules) -> None:
    """Print a description of rooms as JSON, for generators in other languages."""
    _generate(modules, generate_json)


@app.command()
def version() -> None:
    """Print the version, and which implementation of the codec runs."""
    typer.echo(__version__)
    typer.echo(f"kernel: {kernel.describe()}")


def _print_block(text: str) -> None:
    typer.echo(escape_controls(text, is_block=True))


def _settings(
    config: Path | None, rooms: str = "", port: int | None = None, overrides: dict[str, Any] | None = None
) -> Settings:
    if config is None and SETTINGS_FILE.is_file():
        config = SETTINGS_FILE
    # The game's modules are importable from the working directory.
    sys.path.insert(0, str(Path.cwd()))
    overrides = dict(overrides or {})
    if rooms:
        overrides["rooms"] = [part.strip() for part in rooms.split(",") if part.strip()]
    if port is not None:
        overrides["listen.port"] = port
    try:
        return load(config, os.environ, overrides)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)


def _access(config: Path | None, data: Path, url: str) -> Access:
    """Return the access to the admin API: that of the settings, or of the `tickwire dev` with this data directory."""
    settings = _settings(config)
    try:
        found = None if settings.operations.token else read_access(data)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    default = found or Access(f"http://127.0.0.1:{settings.operations.port}", settings.operations.token)
    return Access(url or default.url, default.token)


def _generate(modules: list[str], generate: Callable[[GameApi], str]) -> None:
    sys.path.insert(0, str(Path.cwd()))
    try:
        settings = load(None, {}, {"rooms": modules})
        typer.echo(generate(read_game(load_room_types(settings.rooms))), nl=False)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)


def _shard_arguments(config: Path | None, rooms: str) -> list[str]:
    """Return the options of each shard of several."""
    return [*(["--config", str(config)] if config else []), *(["--rooms", rooms] if rooms else [])]


def _stored(config: Path | None, work: Callable[[MongoStore], Awaitable[T]]) -> T:
    logs.configure(format="auto", level="warning")
    settings = _settings(config)
    try:
        return with_store(settings.mongo, work)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except TickwireError as error:
        _fail(error.detail, EXIT_FAILED)


def _run(work: Coroutine[Any, Any, int]) -> None:
    _exit(lambda: uvloop.run(work))


def _exit(work: Callable[[], int]) -> None:
    """Run the work, and end the command with the exit code that it returns."""
    try:
        code = work()
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except EmbeddedError as error:
        _fail(str(error), EXIT_FAILED)
    raise typer.Exit(code)


def _fail(problem: str, code: int) -> NoReturn:
    """Print each problem on a line, and end the command."""
    for line in problem.splitlines():
        typer.echo(f"tickwire: {escape_controls(line)}", err=True)
    raise typer.Exit(code)
