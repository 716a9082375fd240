"""The command line: locust's own, and what a swarm of ours is told beside it. A TOML file (`--config`) says the same:

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
from tickwire.loadtest.swarm import Habits, Tokens

TOKEN_ENVIRON = "TICKWIRE_LOADTEST_TOKEN"  # noqa: S105 - the name of a variable
RUN_S = 60.0


class OptionError(Exception):
    """What was asked for cannot be; the words are for whoever typed it."""


def add_to(parser: LocustArgumentParser) -> None:
    """Adds the swarm's options to locust's."""
    group = parser.add_argument_group("Tickwire swarm")

    def option(name: str, text: str, **more: Any) -> None:
        group.add_argument(name, help=text, env_var="TICKWIRE_LOADTEST_" + name[2:].replace("-", "_").upper(), **more)

    option("--mix", "players by weight: 'wanderer=8 churner=1'", default="wanderer=1")
    option("--shape", "how many players when", choices=get_args(Shape), default="ramp")
    option("--warmup", "seconds from when all are there until what a shape does to them", type=float, default=10.0)
    option("--base", "spike: players who are there before", type=int, default=0)
    option("--step-players", "steps: so many more each time", type=int, default=100)
    option("--step-seconds", "steps: for so long each is looked at", type=float, default=20.0)
    option("--during", "rolling: a command that replaces the shards", default="")
    levels = f"{', '.join((*SHARES, *COUNTS))}, or a time ({', '.join(TIMES)}) with _p99 and the like"
    option("--slo", f"a service level, NAME=LIMIT; may be repeated. {levels}", action="append", default=[])
    option("--load-lateness", "ms; a load that is later, at p99, has measured itself", type=float, default=20.0)
    option("--report", "an HTML file with charts, at the end", default="")
    option("--summary", "a JSON file for CI, at the end", default="")
    option(
        "--entry",
        "one more address where players connect first, in turn with --host; repeatable",
        action="append",
        default=[],
    )
    option("--room", "the room type that players join", default="arena")
    option("--room-name", "the room's name; without, any open room", default="")
    option("--room-players", "rooms of one name each for so many players", type=int, default=0)
    option("--room-options", "options of each Join, as JSON", default="{}")
    option("--input-hz", "inputs a second and player", type=float, default=10.0)
    option(
        "--quiet-ticks", "a tick may change nothing: do not count missed ticks", action="store_true", default=False
    )
    option("--mode", "Matchmakers: the queue", default="skirmish")
    option("--party-size", "Matchmakers: friends who queue together", type=int, default=2)
    option("--match-seconds", "Matchmakers: a match is found within", type=float, default=60.0)
    option("--spend-room", "Spenders: the room type that they join", default="market")
    option("--spend", "Spenders: the command that earns", default="work")
    option("--purse", "Spenders: the command that says what there is", default="purse")
    option("--item", "Spenders: what is earned", default="gold")
    option("--token-file", f"a file with one token for all; else {TOKEN_ENVIRON}; else guests", default="")
    option("--token-secret-file", "a file with auth.secret: each player has a token of its own", default="")
    option("--token-audience", "the aud of those", default="")
    option("--token-issuer", "the iss of those", default="")
    option("--ca", "a PEM file of authorities to trust", default="")
    option("--build-name", "what players say that their build is", default="tickwire-loadtest")


def urls_from_options(host: str | None, entries: list[str]) -> list[str]:
    """The addresses where players connect first.

    Raises:
        OptionError: one is not the address of a WebSocket.
    """
    urls = [host or "ws://127.0.0.1:8080", *entries]
    for url in urls:
        scheme, separator, rest = url.partition("://")
        if scheme in ("ws", "wss") and separator:
            continue
        better = {"http": f"ws://{rest}", "https": f"wss://{rest}"}.get(scheme, f"ws://{rest or url}")
        raise OptionError(f"{url!r} is not the address of a WebSocket: did you mean {better!r}?")
    return urls


def plan_from_options(options: argparse.Namespace) -> Plan:
    """What the run is to be.

    Raises:
        OptionError: it cannot be.
    """
    wrong = next(problems(options), "")
    if wrong:
        raise OptionError(wrong)
    if options.shape == "rolling" and not options.during:
        raise OptionError("--shape rolling needs --during COMMAND, which replaces the shards")
    if options.shape == "steps" and not options.slo:
        raise OptionError("--shape steps goes up until a service level breaks: give at least one --slo")
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
    """The service levels.

    Raises:
        OptionError: there is no such level.
    """
    try:
        return [parse_level(text) for text in options.slo]
    except ValueError as error:
        raise OptionError(f"--slo {error}") from error


def habits_from_options(options: argparse.Namespace) -> Habits:
    """What players do.

    Raises:
        OptionError: `--room-options` is no JSON object.
    """
    try:
        room_options = msgspec.json.decode(options.room_options, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise OptionError(f"--room-options is no JSON object: {error}") from error
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


def tokens_from_options(options: argparse.Namespace) -> Tokens:
    """Who players say they are.

    Raises:
        OptionError: a file cannot be read.
    """
    fixed = _secret(options.token_file) or os.environ.get(TOKEN_ENVIRON, "")
    secret = _secret(options.token_secret_file)
    return Tokens(fixed, secret, options.token_audience, options.token_issuer)


def tls_from_options(options: argparse.Namespace) -> ssl.SSLContext | None:
    """What is trusted; None: what the system trusts.

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
    """The players of a mix, with their weights set: `wanderer=8 churner=1`, with spaces or commas between them.

    Raises:
        OptionError: there are no such players, or it is no mix.
    """
    known = {name_of(user_class): user_class for user_class in classes}
    wanted: list[type[User]] = []
    for part in filter(None, re.split(r"[\s,]+", mix)):
        name, _, weight = part.partition("=")
        if name not in known:
            raise OptionError(f"--mix: there are no players {name!r}; there are {', '.join(sorted(known))}")
        try:
            known[name].weight = float(weight or 1)
        except ValueError as error:
            raise OptionError(f"--mix: {part!r} has no number behind the =") from error
        if known[name].weight > 0:
            wanted.append(known[name])
    if not wanted:
        raise OptionError("--mix: nobody is left; as in --mix 'wanderer=8 churner=1'")
    return wanted


def name_of(user_class: type[User]) -> str:
    """What a mix calls a class of players: SlowReader is slow_reader."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", user_class.__name__).lower()


def _secret(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise OptionError(f"{file}: {error.strerror}") from error
