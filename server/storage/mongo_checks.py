"""Checks how MongoDB is set up, once before it is used: a replica set, of the right name, and a user who may write.

Deals are transactions, which need a replica set or a sharded cluster. A MongoDB without one answers everything else,
so that a shard would be ready and never write a deal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.uri_parser import parse_uri

from tickwire.server.errors import ConfigError, Unavailable
from tickwire.server.storage.mongo_calls import RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.mongo_errors import address_of

PROBE_S_MAX = 2.0
ACTIONS = frozenset(("find", "insert", "update", "remove"))
"""What a shard does to its database; the role readWrite holds all of them."""

_TLS_OPTIONS = (
    "tls",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlsallowinvalidcertificates",
    "tlsallowinvalidhostnames",
)
Client = AsyncIOMotorClient[dict[str, Any]]


async def check_setup(client: Client, database: str, url: str, calls: MongoCalls) -> None:
    """Return when MongoDB can be used.

    Raises:
        ConfigError: it is no replica set, or another one than `url` names.
        Unavailable: it does not answer, or the user lacks a right.
    """
    try:
        hello = await calls.read(client.admin.command("hello"))
    except Unavailable as error:
        if isinstance(error.__cause__, ServerSelectionTimeoutError):
            await _probe_hosts(url, calls)
        raise
    _check_replica_set(hello, address_of(url))
    status = await calls.read(client.admin.command("connectionStatus", showPrivileges=True))
    missing = missing_actions(status["authInfo"], database)
    if missing:
        detail = (
            f"MongoDB at {address_of(url)}: the user lacks the rights {', '.join(missing)} on database {database}: "
            "grant it the role readWrite"
        )
        raise Unavailable("MongoDB cannot be used", retry_after_ms=RETRY_AFTER_MS, detail=detail)


def missing_actions(auth_info: Mapping[str, Any], database: str) -> list[str]:
    """Return the rights that the user lacks on a database; none where users are not checked."""
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
    if not name and hello.get("msg") != "isdbgrid":  # mongos of a sharded cluster says so
        raise ConfigError(
            f"mongo.url: MongoDB at {address} is not a replica set, and transactions need one: start mongod with "
            "--replSet NAME and run rs.initiate(); one member is enough"
        )
    if wanted and name != wanted:
        raise ConfigError(
            f'mongo.url: replicaSet={wanted} is wrong: MongoDB at {address} is a member of the replica set "{name}"'
        )


async def _probe_hosts(url: str, calls: MongoCalls) -> None:
    """Ask each host by itself what it is: the driver finds no replica set, and does not say what it found instead."""
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
            continue  # of this host nothing can be said
        try:
            hello = await calls.read(probe.admin.command("hello"))
        except Unavailable:
            continue  # the error that led here says so
        finally:
            probe.close()
        _check_replica_set(hello, f"{host}:{port}", str(given.get("replicaset", "")))
