"""Checks the setup of MongoDB once before its first use: a replica set of the right name, and a user who may write.

The ledger uses MongoDB transactions, which require a replica set or a sharded cluster. A standalone MongoDB answers
all other calls, so a shard would be ready and fail every transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.uri_parser import parse_uri

from tickwire.server.errors import ConfigError, Unavailable
from tickwire.server.storage.mongo_calls import RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.mongo_errors import hosts_from_url

PROBE_S_MAX = 2.0
ACTIONS = frozenset(("find", "insert", "update", "remove"))
"""The actions that a shard needs on its database; the role readWrite includes them."""

_TLS_OPTIONS = (
    "tls",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlsallowinvalidcertificates",
    "tlsallowinvalidhostnames",
)
Client = AsyncIOMotorClient[dict[str, Any]]


async def check_setup(client: Client, database: str, url: str, calls: MongoCalls) -> None:
    """Check that MongoDB is a replica set that this user may write to.

    Raises:
        ConfigError: MongoDB is not a replica set, or not the one that `url` names.
        Unavailable: MongoDB does not answer, or the user lacks a right.
    """
    try:
        hello = await calls.read(client.admin.command("hello"))
    except Unavailable as error:
        if isinstance(error.__cause__, ServerSelectionTimeoutError):
            await _probe_hosts(url, calls)
        raise
    _check_replica_set(hello, hosts_from_url(url))
    status = await calls.read(client.admin.command("connectionStatus", showPrivileges=True))
    missing = missing_actions(status["authInfo"], database)
    if missing:
        detail = (
            f"MongoDB at {hosts_from_url(url)}: the user lacks the rights {', '.join(missing)} on database "
            f"{database}: grant it the role readWrite"
        )
        raise Unavailable("MongoDB cannot be used", retry_after_ms=RETRY_AFTER_MS, detail=detail)


def missing_actions(auth_info: Mapping[str, Any], database: str) -> list[str]:
    """Return the actions that the user may not perform on a database; empty if access control is off."""
    if not auth_info.get("authenticatedUsers"):
        return []
    granted: set[str] = set()
    for privilege in auth_info.get("authenticatedUserPrivileges", ()):
        resource = privilege["resource"]
        is_ours = resource.get("db") in (database, "") and resource.get("collection") == ""
        if is_ours or resource.get("anyResource"):
            granted.update(privilege["actions"])
    return sorted(ACTIONS - granted)


def _check_replica_set(hello: Mapping[str, Any], address: str, wanted: str = "") -> None:
    name = hello.get("setName")
    if not name and hello.get("isreplicaset"):
        detail = f"MongoDB at {address}: the replica set is not initiated yet: run rs.initiate()"
        raise Unavailable("MongoDB cannot be used", retry_after_ms=RETRY_AFTER_MS, detail=detail)
    if not name and hello.get("msg") != "isdbgrid":  # the answer of mongos, in a sharded cluster
        raise ConfigError(
            f"mongo.url: MongoDB at {address} is not a replica set, which transactions require: start mongod with "
            "--replSet NAME and run rs.initiate(); one member is enough"
        )
    if wanted and name != wanted:
        raise ConfigError(
            f'mongo.url: replicaSet={wanted} is wrong: MongoDB at {address} is a member of the replica set "{name}"'
        )


async def _probe_hosts(url: str, calls: MongoCalls) -> None:
    """Connect to each host alone: the driver has found no replica set, and its error does not name what it found."""
    if not url.startswith("mongodb://"):  # the hosts of mongodb+srv:// are in DNS
        return
    parsed = parse_uri(url, validate=False)
    given = {name.lower(): value for name, value in parsed["options"].items()}
    tls = {name: value for name, value in given.items() if name in _TLS_OPTIONS}
    timeout_ms = int(PROBE_S_MAX * 1000)
    for host, port in parsed["nodelist"]:
        try:
            probe: Client = AsyncIOMotorClient(
                host,
                port,
                directConnection=True,
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                **tls,
            )
        except (PyMongoError, ValueError, OSError):
            continue  # no connection to this host
        try:
            hello = await calls.read(probe.admin.command("hello"))
        except Unavailable:
            continue  # the caller raises the first error
        finally:
            probe.close()
        _check_replica_set(hello, f"{host}:{port}", str(given.get("replicaset", "")))
