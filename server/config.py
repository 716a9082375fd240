"""A shard's settings: defaults, then a TOML file, then the environment. All problems are told at once.

    [mongo]                          TICKWIRE__MONGO__DATABASE=game
    database = "game"

Every problem is a sentence that names its key; an unknown key is one, so that a typing mistake never passes
silently. Secrets do not show in `repr`.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from server.edge.auth_settings import AuthSettings
from server.edge.auth_settings import problems as auth_problems
from server.edge.origins import Origins
from server.edge.proxies import TrustedProxies
from server.edge.settings import EdgeSettings
from server.errors import ConfigError

ENVIRONMENT_PREFIX = "TICKWIRE__"
LEASE_S_MIN = 2.0
"""Leases are renewed once a second: one renewal may fail without losing a room."""
RESERVATION_S_MIN = 5.0
"""A ticket ends two seconds before its seat is given back, and the player must get there first."""
_SECRET_SECTIONS = frozenset(("tickets", "auth", "operations"))
TOKEN_CHARACTERS_MIN = 32


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the TOML file."""


class Listen(Section, frozen=True):
    """Where players connect.

    Args:
        host, port: the socket; port 0 takes a free one.
        url: what other shards tell clients to connect to; made from host and port when empty.
        certificate, key: PEM files; taken into use again when they change.
        plaintext: speak plain ws without them: for development, or behind something that speaks TLS.
        pages: a folder whose files are served over HTTP at the same address: for development.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    url: str = ""
    certificate: str = ""
    key: str = ""
    plaintext: bool = False
    pages: str = ""


class Operations(Section, frozen=True):
    """The port for metrics, health and the admin API; never open it to players.

    Args:
        console: a folder with the built console (web/console), served at /console/; empty: there is none.
        token: what the admin API wants to be shown, at least 32 characters; the same for all shards of a fleet.
            Without one there is no admin API.
    """

    host: str = "127.0.0.1"
    port: int = 9090
    console: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Operations(host={self.host!r}, port={self.port}, token={'***' if self.token else ''!r})"


class RedisSettings(Section, frozen=True):
    """The matchmaker's Redis."""

    url: str = "redis://127.0.0.1:6379/0"
    namespace: str = "tickwire"
    deadline_s: float = 2.0
    lease_s: float = 10.0
    reservation_s: float = 15.0

    def __repr__(self) -> str:
        return f"RedisSettings(url={_redacted(self.url)!r}, namespace={self.namespace!r})"


class Capacity(Section, frozen=True):
    """How full a shard may be before new rooms are made elsewhere.

    Args:
        rooms_max: rooms on this shard.
        load_max: share of the tick interval that its rooms use, as measured.
    """

    rooms_max: int = 1000
    load_max: float = 0.8


class MongoSettings(Section, frozen=True):
    """The worlds' MongoDB.

    Args:
        migrate: do at the start what `tickwire migrate` does; else a shard is not ready until that was done.
    """

    url: str = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    database: str = "tickwire"
    deadline_s: float = 5.0
    migrate: bool = False

    def __repr__(self) -> str:
        return f"MongoSettings(url={_redacted(self.url)!r}, database={self.database!r})"


class Tickets(Section, frozen=True):
    """Keys that sign Redirect tickets: by id, in hex or as text; all shards of a fleet have the same.

    Without keys a shard makes one for itself, which is enough for one shard alone.
    """

    keys: dict[str, str] = {}
    current: str = ""

    def __repr__(self) -> str:
        return f"Tickets(keys={sorted(self.keys)}, current={self.current!r})"


class Logging(Section, frozen=True):
    """`auto` is readable in a terminal and JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Traces(Section, frozen=True):
    """OpenTelemetry; wants the extra `traces`.

    Args:
        endpoint: of an OTLP collector over HTTP, such as http://collector:4318/v1/traces; empty: none are sent.
        share: of all traces, up to 1.
    """

    endpoint: str = ""
    share: float = 0.01


class Settings(Section, frozen=True):
    """All of a shard's settings.

    Args:
        rooms: Python modules whose ROOMS dictionary is hosted here.
        region: where this shard is, for the matchmaker: rooms and matches are of one region.
        build: what is deployed here, as the directory shows it; the version of Tickwire when empty.
        drain_s: how long a shard that is to stop may take to give its rooms to others; 0: it does not.
        shutdown_s: how long an orderly stop may take after that.
    """

    rooms: list[str] = msgspec.field(
        default_factory=lambda: ["examples.arena", "examples.plaza", "examples.cards", "examples.market"]
    )
    region: str = ""
    build: str = ""
    drain_s: float = 20.0
    shutdown_s: float = 15.0
    capacity: Capacity = Capacity()
    listen: Listen = Listen()
    operations: Operations = Operations()
    edge: EdgeSettings = EdgeSettings()
    auth: AuthSettings = AuthSettings()
    redis: RedisSettings = RedisSettings()
    mongo: MongoSettings = MongoSettings()
    tickets: Tickets = Tickets()
    logging: Logging = Logging()
    traces: Traces = Traces()


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Args:
        path: a TOML file, or None.
        environ: the environment; names that begin with TICKWIRE__ count.

    Raises:
        ConfigError: one line for each problem.
    """
    values = _read(path) if path else {}
    for name, text in sorted(environ.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _put(values, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), text)
    problems: list[str] = []
    settings: Settings = _build(Settings, values, "", problems)
    _check(settings, problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def _put(values: dict[str, Any], keys: list[str], text: str) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = values[key] = {}
        values = inner
    values[keys[-1]] = _FromEnvironment(text)


class _FromEnvironment(str):
    """Text that may stand for a number, or a list with commas: the environment knows no types."""

    __slots__ = ()


def _build(section: type[Any], values: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """One section of the settings, with defaults for what is wrong, so that every problem is found."""
    kinds = {name: kind for name, kind in get_type_hints(section).items() if name in section.__struct_fields__}
    known: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{where}{key}"
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, 1)
            problems.append(f"{path}: unknown key" + (f"; did you mean {where}{near[0]}?" if near else ""))
        elif isinstance(kinds[key], type) and issubclass(kinds[key], msgspec.Struct):
            if isinstance(value, Mapping):
                known[key] = _build(kinds[key], value, f"{path}.", problems)
            else:
                problems.append(f"{path}: wants a table, not {_shown(value, path)}")
        else:
            _convert(known, key, value, kinds[key], path, problems)
    return section(**known)


def _convert(known: dict[str, Any], key: str, value: Any, kind: Any, path: str, problems: list[str]) -> None:
    is_text = isinstance(value, _FromEnvironment)
    if is_text and kind == list[str]:
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif is_text:
        value = str(value)
    try:
        known[key] = msgspec.convert(value, kind, strict=not is_text)
    except msgspec.ValidationError as error:
        problems.append(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}; it is {_shown(value, path)}")


def _shown(value: Any, path: str) -> str:
    kind = "str" if isinstance(value, str) else type(value).__name__
    if path.split(".")[0] in _SECRET_SECTIONS:
        return kind
    return f"{kind} {_redacted(str(value))[:40]!r}"


def _check(settings: Settings, problems: list[str]) -> None:
    for name, port in (("listen.port", settings.listen.port), ("operations.port", settings.operations.port)):
        if not 0 <= port <= 65535:
            problems.append(f"{name}: {port} is no port; wants 0 to 65535")
    tickets = settings.tickets
    if tickets.keys and tickets.current not in tickets.keys:
        problems.append(f"tickets.current: {tickets.current!r} is not one of tickets.keys")
    for key_id, key in tickets.keys.items():
        if len(key) < 32:
            problems.append(f"tickets.keys.{key_id}: is too short; wants at least 32 characters")
    if settings.operations.token and len(settings.operations.token) < TOKEN_CHARACTERS_MIN:
        problems.append(f"operations.token: is too short; wants at least {TOKEN_CHARACTERS_MIN} characters")
    if settings.traces.share > 1:
        problems.append(f"traces.share: is at most 1; it is {settings.traces.share}")
    if bool(settings.listen.certificate) != bool(settings.listen.key):
        problems.append("listen.certificate: certificate and key go together")
    problems += auth_problems(settings.auth)
    _check_edge(settings, problems)
    if settings.redis.lease_s < LEASE_S_MIN:
        problems.append(f"redis.lease_s: must be at least {LEASE_S_MIN:g}")
    if settings.redis.reservation_s < RESERVATION_S_MIN:
        problems.append(f"redis.reservation_s: must be at least {RESERVATION_S_MIN:g}")
    _check_region(settings.region, problems)
    _check_limits(settings, "", problems)
    for section in ("capacity", "edge", "auth", "redis", "mongo", "traces"):
        _check_limits(getattr(settings, section), f"{section}.", problems)


def _check_region(region: str, problems: list[str]) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{0,64}", region):
        problems.append(f"region: has at most 64 of A-Z a-z 0-9 _ . -, not {region[:80]!r}")


def _check_edge(settings: Settings, problems: list[str]) -> None:
    edge = settings.edge
    for key, check in (("origins", Origins), ("trusted_proxies", TrustedProxies)):
        try:
            check(getattr(edge, key))
        except ValueError as error:
            problems.append(f"edge.{key}: {error}")
    if edge.gate_wait_s_max >= edge.handshake_timeout_s:
        problems.append("edge.gate_wait_s_max: must be less than edge.handshake_timeout_s, or waiting is in vain")
    if edge.proxy_protocol and settings.listen.certificate:
        problems.append("edge.proxy_protocol: cannot go with listen.certificate; let the proxy speak TLS")
    if edge.proxy_protocol and not edge.trusted_proxies:
        problems.append("edge.proxy_protocol: needs edge.trusted_proxies, or nobody's header is believed")


def _check_limits(section: msgspec.Struct, where: str, problems: list[str]) -> None:
    """Every number here is a limit, a time or a size: none of them makes sense at 0, below it, or without end."""
    for key in section.__struct_fields__:
        value = getattr(section, key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not (math.isfinite(value) and value > 0):
            problems.append(f"{where}{key}: must be more than 0, and finite; it is {value}")


def _redacted(url: str) -> str:
    """A connection string without its user and password, wherever they stand."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if "@" in rest:
        rest = f"***@{rest.rpartition('@')[2]}"
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", f"{scheme}{separator}{rest}")
