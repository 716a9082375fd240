"""A Redis client by URL, whichever way Redis is run.

    redis://HOST:PORT/DB, rediss://...          one Redis, plain or under TLS
    redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB, rediss+sentinel://...
                                                the master that the sentinels know by this name
    redis+cluster://HOST:PORT, rediss+cluster://...
                                                a Redis Cluster, found from one of its nodes

User and password stand before the hosts, as ever; with sentinels they are the master's, and the sentinels' own are
given as `?sentinel_username=...&sentinel_password=...`. Under TLS `?ssl_ca_certs=FILE` says who is trusted, if not
those whom the system trusts.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

Client = Redis | RedisCluster
SENTINEL_PORT = 26379


def client_of(url: str, *, deadline_s: float) -> Client:
    """A client whose connections are made when they are first needed.

    Raises:
        ValueError: the URL is none of those above.
    """
    scheme, _, rest = url.partition("://")
    # One more try at once covers a connection that Redis closed; longer waits are the caller's to choose.
    options: dict[str, Any] = {
        "socket_timeout": deadline_s,
        "socket_connect_timeout": deadline_s,
        "retry": Retry(NoBackoff(), 1),
    }
    if scheme in ("redis+cluster", "rediss+cluster"):
        return RedisCluster.from_url(f"{scheme.partition('+')[0]}://{rest}", **options)
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _master(url, options)
    return Redis.from_url(url, **options)


def _master(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    who, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not hosts or not service:
        raise ValueError("wants redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB, where NAME is the master's")
    user, _, password = who.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    tls: dict[str, Any] = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    tls |= {name: value for name, value in query.items() if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    sentinel_options = options | tls
    for option in ("username", "password"):
        if f"sentinel_{option}" in query:
            sentinel_options[option] = query[f"sentinel_{option}"]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")], sentinel_kwargs=sentinel_options, **options, **tls
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
    if not host:
        return text, SENTINEL_PORT
    return host.strip("[]"), int(port)
