"""One world or one player as JSON lines: for backups, for support, and to leave for good.

The first line says what it is; each other holds a collection's name and a document in MongoDB's Extended JSON. What
is imported comes under a new epoch, or as an entry of the ledger: whoever runs the world is fenced off, and the sums
of the ledger stay what players hold.
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
from tickwire.server.storage.ledger import TransactionRequest
from tickwire.server.storage.mongo import MongoStore
from tickwire.server.storage.world_document import Document, parts_named, put_parts, save_of, world_key, world_of

FORMAT = 1
IMPORT_ROOM = "import"
WORDS_CHARACTERS_MAX = 200
Item = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_\-]{1,64}\Z")]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Epoch = Annotated[int, Meta(ge=0, le=2**62)]


async def export_world(store: MongoStore, room_type: str, name: str) -> AsyncIterator[str]:
    """A world's lines, as it was last saved.

    Raises:
        NotSavable: there is none, or it lacks a part.
        Unavailable: MongoDB does not answer.
    """
    key = world_key(room_type, name)
    for _ in range(5):  # who runs it may drop a part between the two reads: then the head points elsewhere by now
        head = await store.calls.read(store.database["worlds"].find_one({"_id": key}))
        ids = parts_named(head or {})
        parts = await store.calls.read(store.database["world_parts"].find({"_id": {"$in": ids}}).to_list(None))
        if len(parts) == len(ids):
            break
    else:
        raise NotSavable(f"world {key} lacks a part")
    if head is None or "tables" not in head:
        raise NotSavable(f"no world {key} was ever saved")
    yield _header("world", key)
    yield _line("worlds", head)
    for part in parts:
        yield _line("world_parts", part)


async def export_player(store: MongoStore, player_id: str) -> AsyncIterator[str]:
    """A player's lines: the player, and all entries of the ledger that are its own.

    Raises:
        NotSavable: there is no such player.
        Unavailable: MongoDB does not answer.
    """
    player = await store.calls.read(store.database["players"].find_one({"_id": player_id}))
    if player is None:
        raise NotSavable(f"no player {player_id!r} was ever saved")
    yield _header("player", player_id)
    yield _line("players", player)
    theirs = {"$or": [{"entries.player_id": player_id}, {"player_id": player_id}]}
    async for entry in store.calls.each(store.database["ledger"].find(theirs, sort=[("at", 1)])):
        entry["entries"] = [one for one in entry["entries"] if one["player_id"] == player_id]
        if entry["player_id"] != player_id:  # who has asked for it, and what that one was told, is not theirs to have
            entry |= _NOBODYS
        yield _line("ledger", entry)


async def import_lines(store: MongoStore, lines: Iterable[str], *, replace: bool = False) -> str:
    """Puts an exported world or player back; gives its key.

    Args:
        replace: also where there is one already.

    Raises:
        NotSavable: the lines are none that an export gave, or there is one already.
        Unavailable: MongoDB does not answer; asked again it does no harm.
    """
    with _refuses_malformed():
        header, documents = _parsed(lines)
    if header.version > FORMAT:
        raise NotSavable(f"the export is of version {header.version}; this build reads up to {FORMAT}")
    if header.tickwire == "world":
        await _import_world(store, documents, replace=replace)
    elif header.tickwire == "player":
        await _import_player(store, header, documents, replace=replace)
    else:
        raise NotSavable(f"an export of a {header.tickwire!r} cannot be read")
    return header.key


class _Header(msgspec.Struct):
    """The first line of an export."""

    tickwire: str
    version: int
    key: str
    id: str


class _Player(msgspec.Struct):
    """The document of a player, as far as it is imported."""

    player_id: Annotated[str, Meta(min_length=1)] = msgspec.field(name="_id")
    holdings: dict[Item, Amount] = {}
    profile: dict[str, Any] = {}


@contextmanager
def _refuses_malformed() -> Iterator[None]:
    """Turn whatever reading a malformed export raises into one error."""
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, StopIteration),
        BSONError,
    ) as error:
        words = " ".join(str(error).split())[:WORDS_CHARACTERS_MAX] or type(error).__name__
        raise NotSavable(f"these lines are no export: {words}") from error


def _parsed(lines: Iterable[str]) -> tuple[_Header, list[tuple[str, Document]]]:
    first, *rest = [json_util.loads(line) for line in lines if line.strip()]
    documents: list[tuple[str, Document]] = [(line["collection"], line["document"]) for line in rest]
    return msgspec.convert(first, _Header), documents


async def _import_world(store: MongoStore, documents: list[tuple[str, Document]], *, replace: bool) -> None:
    with _refuses_malformed():
        head = next(document for collection, document in documents if collection == "worlds")
        put_parts(head, {part["_id"]: part["data"] for collection, part in documents if collection == "world_parts"})
        world = world_of(head)
        if world is None:
            raise ValueError("it holds no world")
        exported = msgspec.convert(head["epoch"], Epoch)
        save_of(world, exported, 1, None, _now())  # refused before anything is claimed
    there = await store.calls.read(store.database["worlds"].find_one({"_id": world.key}, {"epoch": 1, "tables": 1}))
    if there is not None and "tables" in there and not replace:
        raise NotSavable(f"there is a world {world.key} already")
    epoch = max(exported, int((there or {}).get("epoch", 0))) + 1
    await store.worlds.claim(world.room_type, world.name, epoch)
    fate = (await store.worlds.write([save_of(world, epoch, 1, None, _now())]))[world.key]
    if isinstance(fate, NotSavable | Unavailable):
        raise fate
    if fate != "written":
        raise StaleEpoch(f"world {world.key} was claimed meanwhile: import it again")


async def _import_player(
    store: MongoStore, header: _Header, documents: list[tuple[str, Document]], *, replace: bool
) -> None:
    with _refuses_malformed():
        document = next(document for collection, document in documents if collection == "players")
        wanted = msgspec.convert(document, _Player)
        bson.encode(wanted.profile)
    player_id = wanted.player_id
    now = (await store.players.load([player_id]))[player_id]
    if now.version and not replace:
        raise NotSavable(f"there is a player {player_id!r} already")
    items = sorted(now.holdings.keys() | wanted.holdings.keys())
    changes = {item: wanted.holdings.get(item, 0) - now.holdings.get(item, 0) for item in items}
    booked = await store.ledger.book(
        TransactionRequest(
            key=f"import/{header.id}/{now.version}",
            player_id=player_id,
            session_id="",
            command_id=0,
            fence=IMPORT_ROOM,
            epoch=0,
            changes={player_id: {item: amount for item, amount in changes.items() if amount}},
            versions={player_id: now.version},
            profile=wanted.profile,
        )
    )
    if booked.refused:
        raise NotSavable(f"player {player_id!r} has been changed meanwhile: {booked.refused}")


async def forget_player(store: MongoStore, player_id: str) -> dict[str, int]:
    """Deletes all of a player's data; gives how much was found where. Entries of others that were made in the same
    deal stay, so that their sums still are what they hold. What games keep of players in their rooms' own state is
    theirs to delete.

    Raises:
        Unavailable: MongoDB does not answer; asked again it goes on.
    """
    ledger, worlds = store.database["ledger"], store.database["worlds"]
    asked = {"player_id": player_id}
    taken = await store.calls.write(
        ledger.update_many({"entries.player_id": player_id}, {"$pull": {"entries": {"player_id": player_id}}})
    )
    gone = await store.calls.write(ledger.delete_many(asked | {"entries": []}))
    blanked = await store.calls.write(ledger.update_many(asked, {"$set": _NOBODYS}))
    sessions = 0
    is_theirs = {"$in": [player_id, {"$map": {"input": _SESSIONS, "in": "$$this.v.player_id"}}]}
    has_parts = {"$anyElementTrue": {"$map": {"input": _SESSIONS, "in": {"$isArray": "$$this.v.in_parts"}}}}
    wanted = {"$expr": {"$or": [is_theirs, has_parts]}}
    async for head in store.calls.each(worlds.find(wanted, {"room_type": 1, "name": 1, "sessions": 1})):
        world = await store.worlds.load(head["room_type"], head["name"])
        theirs = [key for key, one in (world.sessions if world else {}).items() if one["player_id"] == player_id]
        for session_id in theirs:
            parts = parts_named({"sessions": {session_id: head["sessions"].get(session_id)}})
            await store.calls.write(
                worlds.update_one({"_id": head["_id"]}, {"$unset": {f"sessions.{session_id}": ""}})
            )
            await store.calls.write(store.database["world_parts"].delete_many({"_id": {"$in": parts}}))
        sessions += len(theirs)
    await store.calls.write(store.database["quarantine"].delete_many({"value.player_id": player_id}))
    player = await store.calls.write(store.database["players"].delete_one({"_id": player_id}))
    return {
        "players": player.deleted_count,
        "ledger entries": max(taken.modified_count, gone.deleted_count + blanked.modified_count),
        "sessions": sessions,
    }


_NOBODYS = {"player_id": "", "session_id": "", "reply": b""}
"""What an entry says of who asked for it, when that is not to be said."""
_SESSIONS = {"$objectToArray": {"$ifNull": ["$sessions", {}]}}


def _header(kind: str, key: str) -> str:
    header = {"tickwire": kind, "version": FORMAT, "key": key, "exported_at": _now(), "id": secrets.token_hex(8)}
    return json_util.dumps(header)


def _line(collection: str, document: dict[str, Any]) -> str:
    options = json_util.CANONICAL_JSON_OPTIONS
    return json_util.dumps({"collection": collection, "document": document}, json_options=options)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
