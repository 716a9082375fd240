"""The command line: locust's options, and those of the swarm.

A TOML file (`--config`) can contain the same options:

[tool.locust]
host = "wss://game.example"
users = 2000
mix = "wanderer=8 churner=1 reconnector=1"
shape = "storm"
slo = ["input_p99=75ms", "late_ticks=0.1%"]
"""

from __future__ import annotations

import argparse
import os
import re
import ssl
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
from locust import User
from locust.argument_parser import LocustArgumentParser

from tickwire.loadtest.load_plan import Plan, Shape
from tickwire.loadtest.metrics import TIMES
from tickwire.loadtest.option_limits import problems
from tickwire.loadtest.slo import COUNTS, SHARES, ServiceLevel, parse_level
from tickwire.loadtest.swarm import Habits, SwarmSettings, Tokens

TOKEN_ENVIRON = "TICKWIRE_LOADTEST_TOKEN"  # noqa: S105 - the name of a variable
RUN_S = 60.0


class OptionError(Exception):
    """An option is invalid. The message is shown to the user."""


def add_to(parser: LocustArgumentParser) -> None:
    """Add the swarm's options to locust's."""
    group = parser.add_argument_group("Tickwire swarm")

    def option(name: str, text: str, **more: Any) -> None:
        group.add_argument(name, help=text, env_var="TICKWIRE_LOADTEST_" + name[2:].replace("-", "_").upper(), **more)

    option("--mix", "players by weight: 'wanderer=8 churner=1'", default="wanderer=1")
    option("--shape", "the number of players over time", choices=get_args(Shape), default="ramp")
    option(
        "--warmup",
        "seconds from the last player's start to the shape's event, or to a step's measurement",
        type=float,
        default=10.0,
    )
    option("--base", "spike: the number of players before the spike", type=int, default=0)
    option("--step-players", "steps: the number of players that each step adds", type=int, default=100)
    option("--step-seconds", "steps: how long each step is measured", type=float, default=20.0)
    option("--during", "rolling: a command that replaces the shards", default="")
    levels = f"{', '.join((*SHARES, *COUNTS))}, or a time ({', '.join(TIMES)}) with _p99 and the like"
    option("--slo", f"a service level, NAME=LIMIT; may be repeated. {levels}", action="append", default=[])
    option("--load-lateness", "ms: the largest p99 lateness of a valid load", type=float, default=20.0)
    option("--report", "the HTML file of the report", default="")
    option("--summary", "the JSON file of the summary, for CI", default="")
    option(
        "--entry",
        "a further address of first connections, used in turn with --host; may be repeated",
        action="append",
        default=[],
    )
    option("--room", "the room type that players join", default="arena")
    option("--room-name", "the room's name; without it any open room", default="")
    option("--room-players", "the number of players for each room name; 0: one name for all", type=int, default=0)
    option("--room-options", "the options of each Join, as JSON", default="{}")
    option("--input-hz", "inputs per second and player", type=float, default=10.0)
    option(
        "--quiet-ticks", "a tick may change nothing: do not count missed ticks", action="store_true", default=False
    )
    option("--mode", "Queuers: the queue", default="skirmish")
    option("--party-size", "Queuers: the size of each party", type=int, default=2)
    option("--match-seconds", "Queuers: the time limit of a match", type=float, default=60.0)
    option("--spend-room", "Spenders: the room type that they join", default="market")
    option("--spend", "Spenders: the command that earns", default="work")
    option("--purse", "Spenders: the command that returns the balance", default="purse")
    option("--item", "Spenders: the item that is earned", default="gold")
    option("--token-file", f"a file with one token for all players; else {TOKEN_ENVIRON}; else guests", default="")
    option("--token-secret-file", "a file with auth.secret, which signs a token for each player", default="")
    option("--token-audience", "the aud of signed tokens", default="")
    option("--token-issuer", "the iss of signed tokens", default="")
    option("--ca", "a PEM file of trusted certificate authorities", default="")
    option("--build-name", "the build that players report", default="tickwire-loadtest")


def urls_from_options(host: str | None, entries: list[str]) -> list[str]:
    """Return the addresses of first connections.

    Raises:
        OptionError: one of them is not a WebSocket address.
    """
    urls = [host or "ws://127.0.0.1:8080", *entries]
    for url in urls:
        scheme, separator, rest = url.partition("://")
        if scheme in ("ws", "wss") and separator:
            continue
        better = {"http": f"ws://{rest}", "https": f"wss://{rest}"}.get(scheme, f"ws://{rest or url}")
        raise OptionError(f"{url!r} is not a WebSocket address: did you mean {better!r}?")
    return urls


def plan_from_options(options: argparse.Namespace) -> Plan:
    """Return the plan of the run.

    Raises:
        OptionError: an option is invalid.
    """
    wrong = next(problems(options), "")
    if wrong:
        raise OptionError(wrong)
    if options.shape == "rolling" and not options.during:
        raise OptionError("--shape rolling requires --during COMMAND, which replaces the shards")
    if options.shape == "steps" and not options.slo:
        raise OptionError("--shape steps requires at least one --slo, because it ends when a service level breaks")
    players = int(options.num_users or 1)
    return Plan(
        shape=cast("Shape", options.shape),
        players=players,
        rate=float(options.spawn_rate or 10.0),
        seconds=float(options.run_time or RUN_S),
        warmup_s=options.warmup,
        base=options.base,
        step_players=max(1, min(options.step_players, players)),
        step_s=options.step_seconds,
    )


def levels_from_options(options: argparse.Namespace) -> list[ServiceLevel]:
    """Return the service levels.

    Raises:
        OptionError: a level is invalid.
    """
    try:
        return [parse_level(text) for text in options.slo]
    except ValueError as error:
        raise OptionError(f"--slo {error}") from error


def habits_from_options(options: argparse.Namespace) -> Habits:
    """Return the players' behaviour.

    Raises:
        OptionError: `--room-options` is not a JSON object.
    """
    try:
        room_options = msgspec.json.decode(options.room_options, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise OptionError(f"--room-options is not a JSON object: {error}") from error
    return Habits(
        room=options.room,
        room_name=options.room_name,
        room_players=options.room_players,
        options=room_options,
        input_hz=options.input_hz,
        has_quiet_ticks=options.quiet_ticks,
        mode=options.mode,
        party_size=options.party_size,
        match_s_max=options.match_seconds,
        spend_room=options.spend_room,
        spend=options.spend,
        purse=options.purse,
        item=options.item,
    )


def settings_from_options(host: str | None, options: argparse.Namespace) -> SwarmSettings:
    """Return the settings of a swarm.

    Args:
        host: `--host`.
        options: the other options.

    Raises:
        OptionError: an option is invalid, or a file cannot be read.
    """
    return SwarmSettings(
        urls=urls_from_options(host, options.entry),
        tokens=tokens_from_options(options),
        habits=habits_from_options(options),
        tls=tls_from_options(options),
        build=options.build_name,
    )


def tokens_from_options(options: argparse.Namespace) -> Tokens:
    """Return the players' tokens.

    Raises:
        OptionError: a file cannot be read.
    """
    fixed = _secret(options.token_file) or os.environ.get(TOKEN_ENVIRON, "")
    secret = _secret(options.token_secret_file)
    return Tokens(fixed, secret, options.token_audience, options.token_issuer)


def tls_from_options(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS settings; None for the system's trusted certificates.

    Raises:
        OptionError: the file cannot be read.
    """
    if not options.ca:
        return None
    try:
        return ssl.create_default_context(cafile=options.ca)
    except (OSError, ssl.SSLError) as error:
        raise OptionError(f"--ca {options.ca}: {error.strerror or error}") from error


def select_players(mix: str, classes: list[type[User]]) -> list[type[User]]:
    """Return the player classes of a mix, and set their weights: `wanderer=8 churner=1`, with spaces or commas.

    Raises:
        OptionError: a name or a weight is invalid, or no weight is above 0.
    """
    known = {name_of(user_class): user_class for user_class in classes}
    wanted: list[type[User]] = []
    for part in filter(None, re.split(r"[\s,]+", mix)):
        name, _, weight = part.partition("=")
        if name not in known:
            raise OptionError(f"--mix: unknown players {name!r}; the names are {', '.join(sorted(known))}")
        try:
            known[name].weight = float(weight or 1)
        except ValueError as error:
            raise OptionError(f"--mix: {part!r} must have a number after the =") from error
        if known[name].weight > 0:
            wanted.append(known[name])
    if not wanted:
        raise OptionError("--mix: no player has a weight above 0; for example --mix 'wanderer=8 churner=1'")
    return wanted


def name_of(user_class: type[User]) -> str:
    """Return the name of a player class in a mix: SlowReader is slow_reader."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", user_class.__name__).lower()


def _secret(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise OptionError(f"{file}: {error.strerror}") from error
