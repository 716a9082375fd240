"""What a world looks like in MongoDB: pieces, each at a path of its document, and which of them have changed.

A document, as mongosh shows it:

    _id         "arena/lobby"                     room type / name
    format      2                                 of this layout
    epoch       3                                 whoever writes must own it
    save        17                                which of its owner's saves this was: a late one is refused, too
    tick 4711, saved_at, room_id, labels, next_entity_id, next_channel
    tables      { ships: { count: 2,
                           fields: [ { name: "x", kind: "real", bits: 15, low: -500, high: 500, step: 0.03125,
                                       as: "uint16" }, ... ],
                           ids: BinData (uint32), columns: { x: BinData (as `as` says) }, texts: { name: ["..."] },
                           channels: BinData (uint16; absent: all in everybody's) } }
    state       { version: 1, value: what the room's own save() gave, error: why that does not fit its declaration }
    aside       { tables, columns, state }        what was stored and the room's build does not declare, in the same
                                                  form; columns: { TABLE: { FIELD: a table of this field alone } }
    sessions    { SESSION: { player_id, session: {...}, entity: [table, id], data, ... } }    who was playing

Numbers in BinData are little-endian. A piece that is large lies in documents of its own (collection world_parts), of
PART_BYTES at most each, and its place says { in_parts: [ids], bytes, as: "bytes" | "bson" }. Pure.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
import msgspec

FORMAT = 2
PART_BYTES = 4 * 1024 * 1024
INLINE_BYTES_MAX = 64 * 1024
"""A larger piece lies in parts."""
HEAD_BYTES_MAX = 8 * 1024 * 1024
"""Of all pieces that do not: half of what MongoDB takes."""
Document = dict[str, Any]


class SavedTable(msgspec.Struct, frozen=True):
    """One table: `ids` uint32, each column of the type that its field names, quantised as `fields` say.

    Args:
        fields: name, kind, bits, and for columns `as`: a numpy type; little-endian, as all here.
        texts: a list for each text field, by name: of str, or of bytes where the field is a blob.
        channels: uint16 for each entity; empty: all are in everybody's channel.
    """

    fields: list[dict[str, Any]]
    ids: bytes
    columns: dict[str, bytes] = {}
    count: int = 0
    texts: dict[str, list[Any]] = {}
    channels: bytes = b""


class SavedWorld(msgspec.Struct, frozen=True):
    """A durable room between two runs.

    Args:
        state: what the game keeps beside the tables, and in which version of its layout.
        sessions: who played, by session id.
        state_error: why the state does not fit its declaration; empty if it does; None if that is not known.
        labels: of texts, unless a game has set others.
        aside_tables, aside_columns, aside_state: what was stored and is not declared.
    """

    name: str
    room_type: str
    tick: int
    tables: dict[str, SavedTable]
    state: dict[str, Any]
    state_version: int = 1
    next_entity_id: int = 1
    next_channel: int | None = None
    room_id: str = ""
    labels: dict[str, Any] = {}
    sessions: dict[str, dict[str, Any]] = {}
    aside_tables: dict[str, SavedTable] = {}
    aside_columns: dict[str, dict[str, SavedTable]] = {}
    aside_state: dict[str, Any] = {}
    state_error: str | None = None

    @property
    def key(self) -> str:
        """The document's id."""
        return world_key(self.room_type, self.name)


def world_key(room_type: str, name: str) -> str:
    """The id of a world's document. A room type holds no slash; a name may."""
    return f"{room_type}/{name}"


# -- pieces -------------------------------------------------------------------------------------------------------


def pieces_of(world: SavedWorld) -> dict[str, Any]:
    """A world's pieces by their path in the document; scalars that change with each save are not among them."""
    pieces: dict[str, Any] = {
        "next_entity_id": world.next_entity_id,
        "next_channel": world.next_channel,
        "room_id": world.room_id,
        "labels": world.labels,
        "state": {"version": world.state_version, "value": world.state}
        | ({} if world.state_error is None else {"error": world.state_error}),
    }
    for name, table in world.tables.items():
        pieces |= _pieces_of_table(f"tables.{name}", table)
    for name, table in world.aside_tables.items():
        pieces |= _pieces_of_table(f"aside.tables.{name}", table)
    for name, fields in world.aside_columns.items():
        for field, table in fields.items():
            pieces |= _pieces_of_table(f"aside.columns.{name}.{field}", table)
    if world.aside_state:
        pieces["aside.state"] = world.aside_state
    for session_id, session in world.sessions.items():
        pieces[f"sessions.{session_id}"] = session
    return pieces


def _pieces_of_table(at: str, table: SavedTable) -> dict[str, Any]:
    pieces: dict[str, Any] = {f"{at}.count": table.count, f"{at}.fields": table.fields, f"{at}.ids": table.ids}
    pieces |= {f"{at}.columns.{field}": data for field, data in table.columns.items()}
    pieces |= {f"{at}.texts.{field}": texts for field, texts in table.texts.items()}
    if table.channels:
        pieces[f"{at}.channels"] = table.channels
    return pieces


class Section(msgspec.Struct, frozen=True):
    """What the store is known to hold at a path: a digest of it, and the parts that it lies in, if it does."""

    digest: bytes
    parts: tuple[str, ...] = ()


class WorldWrite(msgspec.Struct, frozen=True):
    """One world, ready to be written: parts first, then the head, then what nothing points at any more is dropped.

    Args:
        is_whole: the head replaces the document; else it is an update of what has changed.
        head: the document, or the update's operators.
        holds: what the store holds afterwards.
        size: bytes of all that is written, about.
    """

    key: str
    epoch: int
    number: int
    is_whole: bool
    head: Document
    parts: list[Document]
    dropped: tuple[str, ...]
    holds: dict[str, Section]
    size: int


def save_of(
    world: SavedWorld, epoch: int, number: int, holds: Mapping[str, Section] | None, now: datetime.datetime
) -> WorldWrite:
    """What must be written so that the store holds this world.

    Args:
        number: which of this owner's saves it is; each is greater than the one before.
        holds: what the store holds by now; None when that is not known, and all is written.

    Raises:
        bson.errors.BSONError, OverflowError: it is nothing that MongoDB can hold.
    """
    name = f"{epoch}.{number}"
    pieces = pieces_of(world)
    packed = {path: value if isinstance(value, bytes) else bson.encode({"": value}) for path, value in pieces.items()}
    inline_max = _inline_max([len(data) for data in packed.values()])
    before = holds or {}
    after: dict[str, Section] = {}
    changed: Document = {}
    parts: list[Document] = []
    for path, data in packed.items():
        piece, old = Section(hashlib.blake2b(data, digest_size=16).digest()), before.get(path)
        is_large = len(data) > inline_max
        if old is not None and old.digest == piece.digest and bool(old.parts) == is_large:
            after[path] = old
            continue
        if is_large:
            made = _parts_of(world.key, f"{name}.{path}", epoch, data)
            piece = msgspec.structs.replace(piece, parts=tuple(part["_id"] for part in made))
            parts += made
            kind = "bytes" if isinstance(pieces[path], bytes) else "bson"
            changed[path] = {"in_parts": list(piece.parts), "bytes": len(data), "as": kind}
        else:
            changed[path] = pieces[path]
        after[path] = piece
    scalars = {"format": FORMAT, "epoch": epoch, "save": number, "tick": world.tick, "saved_at": now}
    kept = {part for piece in after.values() for part in piece.parts}
    return WorldWrite(
        key=world.key,
        epoch=epoch,
        number=number,
        is_whole=holds is None,
        head=_whole(world, scalars | changed) if holds is None else _update(scalars | changed, before, after),
        parts=parts,
        dropped=tuple(part for piece in before.values() for part in piece.parts if part not in kept),
        holds=after,
        size=sum(len(packed[path]) for path in changed),
    )


def _inline_max(sizes: Sequence[int]) -> int:
    """Up to which size pieces lie in the head, so that all of them fit."""
    limit = INLINE_BYTES_MAX
    while limit > 256 and sum(size for size in sizes if size <= limit) > HEAD_BYTES_MAX:
        limit //= 4
    return limit


def _parts_of(key: str, name: str, epoch: int, data: bytes) -> list[Document]:
    return [
        {
            "_id": f"{key}#{name}.{at}",
            "world": key,
            "epoch": epoch,
            "at": at,
            "data": data[start : start + PART_BYTES],
        }
        for at, start in enumerate(range(0, len(data), PART_BYTES))
    ]


def _whole(world: SavedWorld, at_paths: Mapping[str, Any]) -> Document:
    """The document that a `$set` of all paths would make of an empty one."""
    document: Document = {"_id": world.key, "room_type": world.room_type, "name": world.name}
    document |= {"tables": {}, "sessions": {}}
    for path, value in at_paths.items():
        *folders, leaf = path.split(".")
        inner = document
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[leaf] = value
    return document


def _update(changed: Document, before: Mapping[str, Section], after: Mapping[str, Section]) -> Document:
    gone = [path for path in before if path not in after]
    return {"$set": changed} | ({"$unset": dict.fromkeys(gone, "")} if gone else {})


# -- back ---------------------------------------------------------------------------------------------------------


def parts_named(document: Document) -> list[str]:
    """The ids of all parts that a world's document points at."""
    return [part for inner, name in _places(document) for part in _parts_at(inner[name])]


def put_parts(document: Document, parts: Mapping[str, bytes]) -> None:
    """Puts parts into their places.

    Raises:
        KeyError: one is missing.
    """
    for inner, name in list(_places(document)):
        ids = _parts_at(inner[name])
        if ids:
            data = b"".join(parts[part] for part in ids)
            inner[name] = data if inner[name]["as"] == "bytes" else bson.decode(data)[""]


def _places(document: Document) -> Iterator[tuple[Document, str]]:
    """Where pieces are: nowhere else is anything taken for a pointer, whatever games and players have put there."""
    aside = _folder(document, "aside")
    tables = [*_tables_in(document), *_tables_in(aside)]
    for fields in _folder(aside, "columns").values():
        tables += [table for table in fields.values() if isinstance(table, dict)] if isinstance(fields, dict) else []
    folders = [folder for t in tables for folder in (t, _folder(t, "columns"), _folder(t, "texts"))]
    for folder in (*folders, _folder(document, "sessions")):
        yield from ((folder, name) for name in folder)
    yield from ((document, name) for name in ("state", "labels") if name in document)
    yield from ((aside, name) for name in ("state",) if name in aside)


def _tables_in(folder: Document) -> list[Document]:
    return [table for table in _folder(folder, "tables").values() if isinstance(table, dict)]


def _folder(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _parts_at(value: Any) -> list[str]:
    is_pointer = isinstance(value, dict) and isinstance(value.get("in_parts"), list)
    return list(value["in_parts"]) if is_pointer else []


def world_of(document: Document | None) -> SavedWorld | None:
    """The world of a document of this format or an older one, parts in their places; None where none was saved.

    Raises:
        ValueError: a newer build has written it, or it is no world.
    """
    if document is None or "tables" not in document:
        return None  # never saved, or claimed and never saved
    written_as = document.get("format", 1)
    if written_as > FORMAT:
        raise ValueError(f"it is of format {written_as}; this build reads up to {FORMAT}")
    try:
        if written_as == 1:
            document = _from_1(document)
        state = document["state"]
        flat = document | {"state": state["value"], "state_version": state["version"]}
        flat["state_error"] = state.get("error")
        flat |= {f"aside_{name}": part for name, part in document.get("aside", {}).items()}
        return msgspec.convert(flat, SavedWorld)
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no world: {error!r}") from error


def _from_1(document: Document) -> Document:
    """Format 1 had columns of int64, texts as bytes, a state without a version, and no sessions."""
    tables = {}
    for name, table in document["tables"].items():
        fields = [f if f["kind"] in ("text", "blob") else f | {"as": "int64"} for f in table["fields"]]
        kinds = {field["name"]: field["kind"] for field in fields}
        texts = {
            field: [value.decode() if kinds[field] == "text" else value for value in values]
            for field, values in table.get("texts", {}).items()
        }
        tables[name] = table | {"fields": fields, "texts": texts}
    return document | {"tables": tables, "state": {"version": 1, "value": document["state"]}}
