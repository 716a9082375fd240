"""Creates a Redis client from a URL, for each way in which Redis can be deployed.

    redis://HOST:PORT/DB, rediss://...          one Redis, plain or under TLS
    redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB, rediss+sentinel://...
                                                the master that the sentinels monitor under this name
    redis+cluster://HOST:PORT, rediss+cluster://...
                                                a Redis Cluster, found from one of its nodes

User and password precede the hosts. With sentinels they are those of the master; pass those of the sentinels as
`?sentinel_username=...&sentinel_password=...`. Under TLS, `?ssl_ca_certs=FILE` replaces the certificate authorities
of the system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis import RedisError
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException

Client = Redis | RedisCluster
SENTINEL_PORT = 26379
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_ENCODED = "a / @ : or ? within a password must be percent-encoded"
"""Reported instead of the invalid part, which may be the end of a password."""
_SENTINEL_OPTIONS = frozenset((*_FILES, "sentinel_username", "sentinel_password"))


def connect(url: str, *, deadline_s: float) -> Client:
    """Return a client that opens its connections when they are first needed.

    Raises:
        ValueError: the URL has none of the forms above, or has options that would fail with the first connection.
    """
    _check_parts(url)
    try:
        client = _connect(url, deadline_s)
        if isinstance(client, Redis):  # create a connection without connecting: that checks its options
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)
    except (TypeError, RedisError, RedisClusterException) as error:
        raise ValueError(f"has an option that cannot be used: {str(error).splitlines()[0]}") from error
    return client


def _check_parts(url: str) -> None:
    """Reject parts of a URL that the Redis client ignores, or checks only when it connects.

    Raises:
        ValueError: a port or the database is not a number, or a file of certificates cannot be read.
    """
    try:
        parts = urlsplit(url)
        if "sentinel" not in parts.scheme:  # the netloc of such a URL names several hosts
            _ = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL with a host and a port from 0 to 65535; {_ENCODED}") from error
    database = parts.path.removeprefix("/")
    if parts.scheme in ("redis", "rediss") and database and not (database.isascii() and database.isdecimal()):
        raise ValueError(f"must end with the number of a database, such as /0; {_ENCODED}")
    for name, files in parse_qs(parts.query).items():
        for file in files if name in _FILES else ():
            try:
                Path(file).open("rb").close()
            except OSError as error:
                raise ValueError(f"{name}={file[:200]} cannot be read: {error.strerror}") from error


def _connect(url: str, deadline_s: float) -> Client:
    scheme, _, rest = url.partition("://")
    # One immediate retry covers a connection that Redis has closed. The caller decides on longer waits.
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 1)}
    if scheme in ("redis+cluster", "rediss+cluster"):
        return RedisCluster.from_url(f"{scheme.partition('+')[0]}://{rest}", **options, **_short_timeouts(deadline_s))
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _master(url, options, deadline_s)
    # Only the caller's deadline applies, because it does not count time in which the event loop was blocked.
    return Redis.from_url(url, socket_timeout=None, socket_connect_timeout=None, **options)


def address_from_url(url: str) -> str:
    """Return a URL without credentials and options, for logs."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"


def _short_timeouts(deadline_s: float) -> dict[str, Any]:
    """Return timeouts that leave time to try the next address if one does not answer."""
    return {"socket_timeout": deadline_s / 2, "socket_connect_timeout": deadline_s / 2}


def _master(url: str, options: dict[str, Any], deadline_s: float) -> Redis:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not hosts or not service:
        raise ValueError("must be redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB, where NAME is the master's")
    if database and not (database.isascii() and database.isdecimal()):
        raise ValueError(f"must end with the number of a database, such as /0; {_ENCODED}")
    user, _, password = credentials.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = query.keys() - _SENTINEL_OPTIONS
    if unknown:
        raise ValueError(f"has options that cannot be used with sentinels: {', '.join(sorted(unknown))[:80]}")
    tls: dict[str, Any] = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    tls |= {name: value for name, value in query.items() if name in _FILES}
    sentinel_options = options | tls | _short_timeouts(deadline_s)
    for option in ("username", "password"):
        if f"sentinel_{option}" in query:
            sentinel_options[option] = query[f"sentinel_{option}"]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs=sentinel_options,
        socket_timeout=None,
        socket_connect_timeout=None,
        **options,
        **tls,
    )
    found: Redis = sentinel.master_for(
        service,
        db=int(database or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
    )
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or text.endswith("]"):
        host, port = text, str(SENTINEL_PORT)
    if not (host and port.isascii() and port.isdecimal() and int(port) <= 65_535):
        raise ValueError(f"must name each sentinel as HOST or HOST:PORT; {_ENCODED}")
    return host.strip("[]"), int(port)
