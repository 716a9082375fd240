"""The settings of a shard: defaults, then a TOML file, then the environment. All problems are reported at once.

    [mongo]                          TICKWIRE__MONGO__DATABASE=game
    database = "game"

Every problem is a sentence that names its key. An unknown key is a problem, so that a typing mistake never passes
silently. `repr` shows no secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tickwire.server.api_settings import ApiSettings
from tickwire.server.edge.auth.settings import AuthSettings, Contradiction
from tickwire.server.edge.auth.settings import contradictions as auth_contradictions
from tickwire.server.edge.origins import OriginPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.trusted_proxies import TrustedProxies
from tickwire.server.errors import ConfigError
from tickwire.server.operator_settings import OperatorOidc, OperatorTable
from tickwire.server.operator_settings import find_problems as operator_problems
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.setting_sources import add_environment, add_overrides, build, read_file, redacted
from tickwire.server.setting_types import (
    BindHost,
    Build,
    CallSeconds,
    Claim,
    Count,
    DatabaseName,
    HttpUrl,
    Keys,
    Modules,
    MongoUrl,
    Namespace,
    PlayerUrl,
    Port,
    Ratio,
    RedisUrl,
    Region,
    Seconds,
    SecondsOrNone,
    Secret,
    ShardName,
)
from tickwire.services.accounts.providers.settings import provider_contradictions
from tickwire.services.accounts.settings import AccountSettings

LeaseSeconds = Annotated[float, Meta(ge=2, le=3600)]
"""Leases are renewed once a second: at least one renewal may fail before a room is lost."""
LoadShare = Annotated[float, Meta(gt=0, le=100)]
"""A value above 1 disables the limit."""
ReservationSeconds = Annotated[float, Meta(ge=5, le=3600)]
"""A ticket expires two seconds before its seat is released; the player must use it before."""
SYSTEM_DATABASES = ("admin", "config", "local")
"""The databases of MongoDB itself; transactions in them are refused."""
ALL_ADDRESSES = frozenset(("0.0.0.0", "::"))  # noqa: S104 - for comparisons only


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the TOML file."""


class Listen(Section, frozen=True):
    """Where players connect.

    Args:
        host, port: the address to listen on; port 0 chooses a free port.
        url: the URL that other shards redirect clients to; derived from host and port if empty.
        certificate, key: PEM files; reloaded when they change.
        plaintext: serve ws without TLS, for development or behind a proxy that terminates TLS.
        pages: a directory whose files are served over HTTP at the same address, for development.
    """

    host: BindHost = "127.0.0.1"
    port: Port = 8080
    url: PlayerUrl = ""
    certificate: str = ""
    key: str = ""
    plaintext: bool = False
    pages: str = ""


class Operations(Section, frozen=True):
    """The port for metrics, health and the admin API; never open it to players.

    Args:
        console: a directory with the built console (web/console), served at /console/; empty disables it.
        token: a bearer token that all operators share, with the role admin; at least 32 characters, the same for all
            shards of a fleet. The admin API is disabled if no operator is configured.
        operators: the operators with a token of their own, by name.
        oidc_issuer: the URL of an OpenID Connect issuer whose tokens operators may use.
        oidc_audience: the value of `aud` that these tokens must have.
        oidc_role_claim: the claim with the operator's role, or a list of roles.
        oidc_name_claim: the claim with the operator's name.
    """

    host: BindHost = "127.0.0.1"
    port: Port = 9090
    console: str = ""
    token: Secret = ""
    operators: OperatorTable = {}
    oidc_issuer: HttpUrl = ""
    oidc_audience: str = ""
    oidc_role_claim: Claim = "role"
    oidc_name_claim: Claim = "sub"

    @property
    def oidc(self) -> OperatorOidc:
        """The settings of the issuer."""
        return OperatorOidc(self.oidc_issuer, self.oidc_audience, self.oidc_role_claim, self.oidc_name_claim)

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["token"] = "***" if self.token else ""
        return f"Operations({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class RedisSettings(Section, frozen=True):
    """The Redis of the matchmaker."""

    url: RedisUrl = "redis://127.0.0.1:6379/0"
    namespace: Namespace = "tickwire"
    deadline_s: CallSeconds = 2.0
    lease_s: LeaseSeconds = 10.0
    reservation_s: ReservationSeconds = 15.0

    def __repr__(self) -> str:
        return f"RedisSettings(url={redacted(self.url)!r}, namespace={self.namespace!r})"


class Capacity(Section, frozen=True):
    """The limits above which new rooms are created on other shards.

    Args:
        rooms_max: the number of rooms on this shard.
        load_max: the measured share of the tick interval that its rooms use.
    """

    rooms_max: Count = 1000
    load_max: LoadShare = 0.8


class MongoSettings(Section, frozen=True):
    """The MongoDB of worlds, players and operators.

    Args:
        migrate: migrate the database at the start; otherwise the shard is not ready until `tickwire migrate-db` has
            run.
    """

    url: MongoUrl = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    database: DatabaseName = "tickwire"
    deadline_s: CallSeconds = 5.0
    migrate: bool = False

    def __repr__(self) -> str:
        return f"MongoSettings(url={redacted(self.url)!r}, database={self.database!r})"


class Tickets(Section, frozen=True):
    """The keys that sign Redirect tickets and resume tokens, by id; the same for all shards of a fleet.

    Without keys, a shard creates a random key, which suffices for a single shard.
    """

    keys: Keys = {}
    current: str = ""

    def __repr__(self) -> str:
        return f"Tickets(keys={sorted(self.keys)}, current={self.current!r})"


class Logging(Section, frozen=True):
    """The format and level of the log. The format `auto` is readable in a terminal, and JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Traces(Section, frozen=True):
    """OpenTelemetry traces; requires the extra `traces`.

    Args:
        endpoint: the URL of an OTLP collector, such as http://collector:4318/v1/traces; empty disables traces.
        sample_ratio: the ratio of traces that are sampled, from 0 (none) to 1 (all).
    """

    endpoint: HttpUrl = ""
    sample_ratio: Ratio = 0.01


class Settings(Section, frozen=True):
    """All settings of a shard.

    Args:
        rooms: the Python modules whose ROOMS this shard hosts.
        region: the region of this shard; the matchmaker places and matches players within one region.
        build: the deployed build, as the directory shows it; the version of Tickwire if empty.
        shard_name: the beginning of the shard's id. A random part follows, because a restarted process is a new shard
            to the fleet. The chart sets it to the name of the pod.
        drain_timeout_s: the limit for moving rooms to other shards before a stop; 0 disables the move.
        shutdown_timeout_s: the limit for the orderly stop that follows.
    """

    rooms: Modules = msgspec.field(
        default_factory=lambda: [
            "tickwire.examples.arena",
            "tickwire.examples.plaza",
            "tickwire.examples.cards",
            "tickwire.examples.market",
            "tickwire.examples.tag",
        ]
    )
    region: Region = ""
    build: Build = ""
    shard_name: ShardName = "shard"
    drain_timeout_s: SecondsOrNone = 20.0
    shutdown_timeout_s: Seconds = 15.0
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
    recordings: RecordingSettings = RecordingSettings()
    api: ApiSettings = ApiSettings()
    accounts: AccountSettings = AccountSettings()


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Args:
        path: a TOML file, or None.
        environ: the environment; variables that begin with TICKWIRE__ are read.
        overrides: values of the command line, by key: {"listen.port": 8080}.

    Returns:
        The settings, complete and checked.

    Raises:
        ConfigError: one line for each problem.
    """
    values = read_file(path) if path else {}
    problems = add_environment(values, environ)
    add_overrides(values, overrides or {})
    settings: Settings
    settings, more = build(Settings, values)
    problems += more
    wrong = {problem.partition(":")[0] for problem in problems}
    problems += [f"{keys[0]}: {words}" for keys, words in _contradictions(settings) if not wrong.intersection(keys)]
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Yield the combinations of settings that are invalid: the keys, the one to change first, and the reason."""
    yield from _contradictions_of_listeners(settings)
    yield from _contradictions_of_edge(settings)
    operations = settings.operations
    yield from operator_problems(operations.token, operations.operators, operations.oidc)
    yield from _contradictions_of_api(settings)
    yield from auth_contradictions(settings.auth)
    yield from provider_contradictions(settings.accounts.providers)
    if settings.auth.accounts and settings.auth.issuer == settings.accounts.issuer:
        keys = ("auth.issuer", "accounts.issuer")
        yield keys, f"must not be accounts.issuer ({settings.accounts.issuer}), or tokens of both are mistaken"
    recordings = settings.recordings
    for low, high in (
        ("file_bytes_max", "directory_bytes_max"),
        ("room_bytes_max", "shard_bytes_max"),
        ("file_bytes_max", "shard_bytes_max"),
    ):
        limit = getattr(recordings, high)
        if getattr(recordings, low) > limit:
            keys = (f"recordings.{low}", f"recordings.{high}")
            yield keys, f"must be at most {keys[1]} ({limit}); got {getattr(recordings, low)}"
    tickets, redis = settings.tickets, settings.redis
    if (tickets.keys or tickets.current) and tickets.current not in tickets.keys:
        known = ", ".join(sorted(tickets.keys)) or "no key"
        keys = ("tickets.current", "tickets.keys")
        yield keys, f"must be the id of one of tickets.keys ({known}); got {tickets.current!r}"
    if settings.mongo.database in SYSTEM_DATABASES:
        text = f"must not be one of MongoDB's own ({', '.join(SYSTEM_DATABASES)}), which have no transactions"
        yield ("mongo.database",), text
    if redis.deadline_s > redis.lease_s:
        keys = ("redis.deadline_s", "redis.lease_s")
        yield keys, f"must be at most redis.lease_s ({redis.lease_s:g}), or one slow call loses every room"


def _contradictions_of_listeners(settings: Settings) -> Iterator[Contradiction]:
    listen, operations = settings.listen, settings.operations
    is_one_host = listen.host == operations.host or not ALL_ADDRESSES.isdisjoint((listen.host, operations.host))
    if listen.port == operations.port != 0 and is_one_host:
        yield ("operations.port", "listen.port"), f"must not be the port of listen.port, {listen.port}"
    if listen.certificate and listen.url.startswith("ws://"):
        yield ("listen.url", "listen.certificate"), "must begin with wss://, because listen.certificate is set"
    for section, address in (("listen", listen), ("api", settings.api)):
        first, second = f"{section}.certificate", f"{section}.key"
        certificate, key = (first, second) if address.key else (second, first)
        if bool(address.certificate) != bool(address.key):
            yield (certificate, key), f"must be set, because {key} is"
        if address.certificate and address.plaintext:
            yield (f"{section}.plaintext", first), f"must be false, because {first} is set"


def _contradictions_of_api(settings: Settings) -> Iterator[Contradiction]:
    api, operations = settings.api, settings.operations
    is_one_host = api.host == operations.host or not ALL_ADDRESSES.isdisjoint((api.host, operations.host))
    if api.port == api.operations_port != 0 and is_one_host:
        yield ("api.operations_port", "api.port"), f"must not be the port of api.port, {api.port}"
    yield from _contradictions_of_lists("api", api.origins, api.trusted_proxies)


def _contradictions_of_lists(section: str, origins: list[str], proxies: list[str]) -> Iterator[Contradiction]:
    for key, check, values in (("origins", OriginPolicy, origins), ("trusted_proxies", TrustedProxies, proxies)):
        try:
            check(values)
        except ValueError as error:
            yield (f"{section}.{key}",), str(error)


def _contradictions_of_edge(settings: Settings) -> Iterator[Contradiction]:
    edge = settings.edge
    yield from _contradictions_of_lists("edge", edge.origins, edge.trusted_proxies)
    for low, high, why in (
        ("admission_timeout_s", "handshake_timeout_s", "or no client that waits is admitted in time"),
        ("inputs_per_second_max", "messages_per_second_max", "because each input is a message"),
        ("message_bytes_max", "bytes_per_second_max", "or the largest message never passes"),
    ):
        is_equal_allowed = low != "admission_timeout_s"
        limit, value = getattr(edge, high), getattr(edge, low)
        if value > limit or (value == limit and not is_equal_allowed):
            relation = "at most" if is_equal_allowed else "less than"
            yield (f"edge.{low}", f"edge.{high}"), f"must be {relation} edge.{high} ({limit:g}), {why}; got {value:g}"
    if edge.proxy_protocol and settings.listen.certificate:
        keys = ("edge.proxy_protocol", "listen.certificate")
        yield keys, "must be false, because listen.certificate is set; let the proxy speak TLS"
    if edge.proxy_protocol and not edge.trusted_proxies:
        yield ("edge.proxy_protocol", "edge.trusted_proxies"), "must be false, because edge.trusted_proxies is empty"
