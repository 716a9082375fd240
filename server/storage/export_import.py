"""Exports, imports and deletes worlds and players as JSON lines, for backups, support and deletion requests.

The first line is a header; each other line has a collection's name and a document in MongoDB's Extended JSON. A world
is imported under a new epoch, which fences off a shard that runs it. A player is imported by a transaction of the
ledger, so that the sums of the ledger stay equal to the holdings of players.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import bson
import msgspec
from bson import json_util
from bson.errors import BSONError
from msgspec import Meta

from tickwire.limits import AMOUNT_MAX
from tickwire.server.errors import NotSavable, StaleEpoch, Unavailable
from tickwire.server.storage.ledger_documents import TransactionRequest
from tickwire.server.storage.mongo import MongoStore
from tickwire.server.storage.player_data import PLAYER_COLLECTIONS
from tickwire.server.storage.world_document import (
    Document,
    create_world_write,
    insert_parts,
    list_part_ids,
    world_from_document,
    world_key,
)

FORMAT = 1
IMPORT_ROOM = "import"
ERROR_CHARACTERS_MAX = 200
Item = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_\-]{1,64}\Z")]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Epoch = Annotated[int, Meta(ge=0, le=2**62)]


async def export_world(store: MongoStore, room_type: str, name: str) -> AsyncIterator[str]:
    """Yield the lines of a world, as it was last saved.

    Raises:
        NotSavable: the world was never saved, or a part is missing.
        Unavailable: MongoDB does not answer.
    """
    key = world_key(room_type, name)
    for _ in range(5):  # the owner may delete a part between the two reads; the root then has new ones
        root = await store.calls.read(store.database["worlds"].find_one({"_id": key}))
        ids = list_part_ids(root or {})
        parts = await store.calls.read(store.database["world_parts"].find({"_id": {"$in": ids}}).to_list(None))
        if len(parts) == len(ids):
            break
    else:
        raise NotSavable(f"world {key} cannot be exported: a part is missing")
    if root is None or "tables" not in root:
        raise NotSavable(f"world {key} does not exist: it was never saved")
    yield _header("world", key)
    yield _line("worlds", root)
    for part in parts:
        yield _line("world_parts", part)


async def export_player(store: MongoStore, player_id: str) -> AsyncIterator[str]:
    """Yield the lines of a player: its record, its account, its own entries of the ledger, and all other documents.

    Accounts that were merged into the player's belong to it. Secrets and their hashes are left out.

    Raises:
        NotSavable: the player does not exist.
        Unavailable: MongoDB does not answer.
    """
    accounts = store.database["accounts"].find({"merged_into": player_id}, {"_id": True})
    ids = [player_id, *[one["_id"] async for one in store.calls.iterate(accounts)]]
    players = await store.calls.read(store.database["players"].find({"_id": {"$in": ids}}).to_list(None))
    account = await store.calls.read(store.database["accounts"].find_one({"_id": player_id}, {"_id": True}))
    if account is None and all(player["_id"] != player_id for player in players):
        raise NotSavable(f"player {player_id!r} does not exist: it was never saved")
    yield _header("player", player_id)
    for player in sorted(players, key=lambda one: one["_id"] != player_id):  # an import reads the first one
        yield _line("players", player)
    for collection in PLAYER_COLLECTIONS:
        hidden = dict.fromkeys(collection.hidden, 0)
        async for document in store.calls.iterate(
            store.database[collection.name].find(collection.find(ids), hidden or None)
        ):
            yield _line(collection.name, document)
    theirs = {"$or": [{"entries.player_id": {"$in": ids}}, {"player_id": {"$in": ids}}]}
    async for entry in store.calls.iterate(store.database["ledger"].find(theirs, sort=[("at", 1)])):
        entry["entries"] = [one for one in entry["entries"] if one["player_id"] in ids]
        if entry["player_id"] not in ids:  # the command and its reply are another player's data
            entry |= _BLANK_COMMAND
        yield _line("ledger", entry)


async def import_lines(store: MongoStore, lines: Iterable[str], *, replace: bool = False) -> str:
    """Import an exported world or player, and return its key.

    Args:
        store: the store to import to.
        lines: the lines of an export.
        replace: whether to replace an existing world or player.

    Raises:
        NotSavable: the lines are not an export, or the world or player exists and `replace` is False.
        StaleEpoch: another shard has claimed the world during the import.
        Unavailable: MongoDB does not answer; the call is safe to repeat.
    """
    with _refuses_malformed():
        header, documents = _parsed(lines)
    if header.version > FORMAT:
        raise NotSavable(f"the export has version {header.version}; this build reads versions up to {FORMAT}")
    if header.tickwire == "world":
        await _import_world(store, documents, replace=replace)
    elif header.tickwire == "player":
        await _import_player(store, header, documents, replace=replace)
    else:
        raise NotSavable(f"the export is of a {header.tickwire!r}; this build reads exports of a 'world' or 'player'")
    return header.key


class _Header(msgspec.Struct):
    """The first line of an export."""

    tickwire: str
    version: int
    key: str
    id: str


class _ExportedPlayer(msgspec.Struct):
    """The imported fields of a player's document."""

    player_id: Annotated[str, Meta(min_length=1)] = msgspec.field(name="_id")
    holdings: dict[Item, Amount] = {}
    profile: dict[str, Any] = {}


@contextmanager
def _refuses_malformed() -> Iterator[None]:
    """Convert all errors that a malformed export can cause into one."""
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, StopIteration),
        BSONError,
    ) as error:
        reason = " ".join(str(error).split())[:ERROR_CHARACTERS_MAX] or type(error).__name__
        raise NotSavable(f"the lines are not a valid export: {reason}") from error


def _parsed(lines: Iterable[str]) -> tuple[_Header, list[tuple[str, Document]]]:
    first, *rest = [json_util.loads(line) for line in lines if line.strip()]
    documents: list[tuple[str, Document]] = [(line["collection"], line["document"]) for line in rest]
    return msgspec.convert(first, _Header), documents


async def _import_world(store: MongoStore, documents: list[tuple[str, Document]], *, replace: bool) -> None:
    with _refuses_malformed():
        root = next(document for collection, document in documents if collection == "worlds")
        insert_parts(
            root, {part["_id"]: part["data"] for collection, part in documents if collection == "world_parts"}
        )
        world = world_from_document(root)
        if world is None:
            raise ValueError("it contains no world")
        exported = msgspec.convert(root["epoch"], Epoch)
        create_world_write(world, exported, 1, None, _now())  # raises before the world is claimed
    stored = await store.calls.read(store.database["worlds"].find_one({"_id": world.key}, {"epoch": 1, "tables": 1}))
    if stored is not None and "tables" in stored and not replace:
        raise NotSavable(f"world {world.key} exists already: use --replace to replace it")
    epoch = max(exported, int((stored or {}).get("epoch", 0))) + 1
    await store.worlds.claim(world.room_type, world.name, epoch)
    outcome = (await store.worlds.write([create_world_write(world, epoch, 1, None, _now())]))[world.key]
    if isinstance(outcome, NotSavable | Unavailable):
        raise outcome
    if outcome != "written":
        raise StaleEpoch(f"world {world.key} was claimed by another shard during the import: import it again")


async def _import_player(
    store: MongoStore, header: _Header, documents: list[tuple[str, Document]], *, replace: bool
) -> None:
    with _refuses_malformed():
        document = next(document for collection, document in documents if collection == "players")
        player = msgspec.convert(document, _ExportedPlayer)
        bson.encode(player.profile)
    player_id = player.player_id
    now = (await store.players.load([player_id]))[player_id]
    if now.version and not replace:
        raise NotSavable(f"player {player_id!r} exists already: use --replace to replace it")
    items = sorted(now.holdings.keys() | player.holdings.keys())
    changes = {item: player.holdings.get(item, 0) - now.holdings.get(item, 0) for item in items}
    result = await store.ledger.commit(
        TransactionRequest(
            key=f"import/{header.id}/{now.version}",
            player_id=player_id,
            session_id="",
            command_id=0,
            fence=IMPORT_ROOM,
            epoch=0,
            changes={player_id: {item: amount for item, amount in changes.items() if amount}},
            versions={player_id: now.version},
            profile=player.profile,
        )
    )
    if result.refused:
        raise NotSavable(f"player {player_id!r} was changed during the import: {result.refused}: import it again")


async def delete_player(store: MongoStore, player_id: str) -> dict[str, int]:
    """Delete all data of a player but its account, and return the number of deleted items by kind.

    The account, if there is one, must be marked as being deleted before, and deleted after the call:
    `PendingOperations.delete_player` does both.

    The entries of other players in the same transactions stay, so that their sums still equal what they hold. Data of
    players that games store in the state or the timers of their rooms is not deleted.

    Raises:
        Unavailable: MongoDB does not answer; a repeated call continues.
    """
    ledger, worlds = store.database["ledger"], store.database["worlds"]
    own = {"player_id": player_id}
    taken = await store.calls.write(
        ledger.update_many({"entries.player_id": player_id}, {"$pull": {"entries": {"player_id": player_id}}})
    )
    gone = await store.calls.write(ledger.delete_many(own | {"entries": []}))
    blanked = await store.calls.write(ledger.update_many(own, {"$set": _BLANK_COMMAND}))
    sessions = 0
    is_theirs = {"$in": [player_id, {"$map": {"input": _SESSIONS, "in": "$$this.v.player_id"}}]}
    has_parts = {"$anyElementTrue": {"$map": {"input": _SESSIONS, "in": {"$isArray": "$$this.v.in_parts"}}}}
    filters = {"$expr": {"$or": [is_theirs, has_parts]}}
    async for root in store.calls.iterate(worlds.find(filters, {"room_type": 1, "name": 1, "sessions": 1})):
        world = await store.worlds.load(root["room_type"], root["name"])
        theirs = [key for key, one in (world.sessions if world else {}).items() if one["player_id"] == player_id]
        for session_id in theirs:
            parts = list_part_ids({"sessions": {session_id: root["sessions"].get(session_id)}})
            await store.calls.write(
                worlds.update_one({"_id": root["_id"]}, {"$unset": {f"sessions.{session_id}": ""}})
            )
            await store.calls.write(store.database["world_parts"].delete_many({"_id": {"$in": parts}}))
        sessions += len(theirs)
    documents = 0
    for collection in PLAYER_COLLECTIONS:
        if not collection.kept:
            result = await store.calls.write(
                store.database[collection.name].delete_many(collection.find([player_id]))
            )
            documents += result.deleted_count
    player = await store.calls.write(store.database["players"].delete_one({"_id": player_id}))
    return {
        "players": player.deleted_count,
        "ledger entries": max(taken.modified_count, gone.deleted_count + blanked.modified_count),
        "sessions": sessions,
        "other documents": documents,
    }


_BLANK_COMMAND = {"player_id": "", "session_id": "", "reply": b""}
"""Replaces the fields of an entry that belong to the player whose command it was."""
_SESSIONS = {"$objectToArray": {"$ifNull": ["$sessions", {}]}}


def _header(kind: str, key: str) -> str:
    header = {"tickwire": kind, "version": FORMAT, "key": key, "exported_at": _now(), "id": secrets.token_hex(8)}
    return json_util.dumps(header)


def _line(collection: str, document: dict[str, Any]) -> str:
    options = json_util.CANONICAL_JSON_OPTIONS
    return json_util.dumps({"collection": collection, "document": document}, json_options=options)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
