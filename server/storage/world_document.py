"""Converts worlds to and from documents of MongoDB, in sections that are written when they change.

A document, as mongosh shows it:

    _id         "arena/lobby"                     room type / name
    format      2                                 of this layout
    epoch       3                                 the owner's epoch; a write with an older one is refused
    save        17                                the number of the owner's save; a write with a lower one is refused
    tick 4711, saved_at, room_id, labels, next_entity_id, next_channel
    tables      { ships: { count: 2,
                           fields: [ { name: "x", kind: "real", bits: 15, low: -500, high: 500, step: 0.03125,
                                       as: "uint16" }, ... ],
                           ids: BinData (uint32), columns: { x: BinData (as `as` says) }, texts: { name: ["..."] },
                           channels: BinData (uint16; absent: all in EVERYONE) } }
    clock       { tick_rate_hz: 20, timers: [ { number, method, arguments: [BinData], due, interval }, ... ] }
                                                  due and interval are counted in ticks
    transactions [ { key, moves: [[player, item, amount], ...], reply: BinData, then }, ... ]
                                                  started by the room and not decided yet; absent without any
    state       { version: 1, value: the result of the room's save(), error: why it does not fit its declaration }
    aside       { tables, columns, state }        stored data that the room's build does not declare, in the same
                                                  form; columns: { TABLE: { FIELD: a table of this field alone } }
    sessions    { SESSION: { player_id, session: {...}, entity: [table, id], data, ... } }    the sessions in the room

Numbers in BinData are little-endian. A large section is stored in documents of its own (collection world_parts) of at
most PART_BYTES each. The root document then has { in_parts: [ids], bytes, as: "bytes" | "bson" } at its path. Pure.
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
"""Larger sections are stored in parts."""
ROOT_BYTES_MAX = 8 * 1024 * 1024
"""The limit for all sections in the root document together: half of MongoDB's limit for a document."""
Document = dict[str, Any]


class SavedTable(msgspec.Struct, frozen=True):
    """One saved table. All arrays are little-endian.

    Args:
        fields: name, kind and bits of each field, and for columns `as`, a numpy type.
        ids: (entities,) uint32.
        columns: by field, (entities,) of the type that the field's `as` names, quantised.
        texts: by field, a list of str, or of bytes for a blob.
        channels: (entities,) uint16; empty if all entities are in the channel EVERYONE.
    """

    fields: list[dict[str, Any]]
    ids: bytes
    columns: dict[str, bytes] = {}
    count: int = 0
    texts: dict[str, list[Any]] = {}
    channels: bytes = b""


class SavedWorld(msgspec.Struct, frozen=True):
    """The saved world of a durable room.

    Args:
        state: the game's own state, which is not in tables.
        state_version: the version of the layout of `state`.
        sessions: the sessions in the room, by session id.
        state_error: why the state does not fit its declaration; empty if it fits; None if unknown.
        labels: the room's labels; text, unless a game has set other values.
        aside_tables: stored tables that the room's build does not declare.
        aside_columns: stored columns that the room's build does not declare, by table and field.
        aside_state: stored fields of the state that the room's build does not declare.
        clock: the timers of the room; empty if a build without timers has saved it.
        transactions: transactions that the room has started, and that are not decided yet.
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
    clock: dict[str, Any] = {}
    transactions: list[Any] = []

    @property
    def key(self) -> str:
        """The id of the document."""
        return world_key(self.room_type, self.name)


def world_key(room_type: str, name: str) -> str:
    """Return the id of a world's document. A room type must not contain a slash; a name may."""
    return f"{room_type}/{name}"


# -- encoding -----------------------------------------------------------------------------------------------------


def sections_from_world(world: SavedWorld) -> dict[str, Any]:
    """Return the sections of a world by their path, without the scalars that change with each save."""
    sections: dict[str, Any] = {
        "next_entity_id": world.next_entity_id,
        "next_channel": world.next_channel,
        "room_id": world.room_id,
        "labels": world.labels,
        "state": {"version": world.state_version, "value": world.state}
        | ({} if world.state_error is None else {"error": world.state_error}),
    }
    for name, table in world.tables.items():
        sections |= _sections_from_table(f"tables.{name}", table)
    for name, table in world.aside_tables.items():
        sections |= _sections_from_table(f"aside.tables.{name}", table)
    for name, fields in world.aside_columns.items():
        for field, table in fields.items():
            sections |= _sections_from_table(f"aside.columns.{name}.{field}", table)
    if world.aside_state:
        sections["aside.state"] = world.aside_state
    if world.clock:
        sections["clock"] = world.clock
    if world.transactions:
        sections["transactions"] = world.transactions
    for session_id, session in world.sessions.items():
        sections[f"sessions.{session_id}"] = session
    return sections


def _sections_from_table(at: str, table: SavedTable) -> dict[str, Any]:
    sections: dict[str, Any] = {f"{at}.count": table.count, f"{at}.fields": table.fields, f"{at}.ids": table.ids}
    sections |= {f"{at}.columns.{field}": data for field, data in table.columns.items()}
    sections |= {f"{at}.texts.{field}": texts for field, texts in table.texts.items()}
    if table.channels:
        sections[f"{at}.channels"] = table.channels
    return sections


class StoredSection(msgspec.Struct, frozen=True):
    """The known content of the store at a path.

    Args:
        digest: of the section.
        parts: ids of the part documents; empty if the section is in the root document.
    """

    digest: bytes
    parts: tuple[str, ...] = ()


class WorldWrite(msgspec.Struct, frozen=True):
    """One write of a world: first the new parts, then the root document; then unreferenced parts are deleted.

    Args:
        is_full: whether `root` replaces the document; otherwise it updates the changed sections.
        root: the document, or the operators of the update.
        dropped: ids of the parts that this write leaves unreferenced.
        stored_sections: the content of the store after the write.
        size: the approximate number of bytes written.
    """

    key: str
    epoch: int
    number: int
    is_full: bool
    root: Document
    parts: list[Document]
    dropped: tuple[str, ...]
    stored_sections: dict[str, StoredSection]
    size: int


def create_world_write(
    world: SavedWorld, epoch: int, number: int, stored: Mapping[str, StoredSection] | None, now: datetime.datetime
) -> WorldWrite:
    """Return the write that makes the store contain this world.

    Args:
        world: the world.
        epoch: the owner's epoch.
        number: the number of this save; greater than that of the owner's save before it.
        stored: the known content of the store; None if unknown, so that the write is a full one.
        now: the time of the save, UTC.

    Raises:
        bson.errors.BSONError: MongoDB cannot hold a value.
        OverflowError: MongoDB cannot hold an integer.
    """
    name = f"{epoch}.{number}"
    sections = sections_from_world(world)
    packed = {
        path: value if isinstance(value, bytes) else bson.encode({"": value}) for path, value in sections.items()
    }
    inline_max = _inline_max([len(data) for data in packed.values()])
    before = stored or {}
    after: dict[str, StoredSection] = {}
    changed: Document = {}
    parts: list[Document] = []
    for path, data in packed.items():
        section, old = StoredSection(hashlib.blake2b(data, digest_size=16).digest()), before.get(path)
        is_large = len(data) > inline_max
        if old is not None and old.digest == section.digest and bool(old.parts) == is_large:
            after[path] = old
            continue
        if is_large:
            new_parts = _split(world.key, f"{name}.{path}", epoch, data)
            section = msgspec.structs.replace(section, parts=tuple(part["_id"] for part in new_parts))
            parts += new_parts
            kind = "bytes" if isinstance(sections[path], bytes) else "bson"
            changed[path] = {"in_parts": list(section.parts), "bytes": len(data), "as": kind}
        else:
            changed[path] = sections[path]
        after[path] = section
    scalars = {"format": FORMAT, "epoch": epoch, "save": number, "tick": world.tick, "saved_at": now}
    kept = {part for section in after.values() for part in section.parts}
    return WorldWrite(
        key=world.key,
        epoch=epoch,
        number=number,
        is_full=stored is None,
        root=_full(world, scalars | changed) if stored is None else _update(scalars | changed, before, after),
        parts=parts,
        dropped=tuple(part for section in before.values() for part in section.parts if part not in kept),
        stored_sections=after,
        size=sum(len(packed[path]) for path in changed),
    )


def _inline_max(sizes: Sequence[int]) -> int:
    """Return the size limit for sections in the root document that keeps the document below ROOT_BYTES_MAX."""
    limit = INLINE_BYTES_MAX
    while limit > 256 and sum(size for size in sizes if size <= limit) > ROOT_BYTES_MAX:
        limit //= 4
    return limit


def _split(key: str, name: str, epoch: int, data: bytes) -> list[Document]:
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


def _full(world: SavedWorld, at_paths: Mapping[str, Any]) -> Document:
    """Return the document that a `$set` of all paths would make of an empty document."""
    document: Document = {"_id": world.key, "room_type": world.room_type, "name": world.name}
    document |= {"tables": {}, "sessions": {}}
    for path, value in at_paths.items():
        *folders, leaf = path.split(".")
        inner = document
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[leaf] = value
    return document


def _update(changed: Document, before: Mapping[str, StoredSection], after: Mapping[str, StoredSection]) -> Document:
    gone = [path for path in before if path not in after]
    return {"$set": changed} | ({"$unset": dict.fromkeys(gone, "")} if gone else {})


# -- decoding -----------------------------------------------------------------------------------------------------


def list_part_ids(document: Document) -> list[str]:
    """Return the ids of all parts that a world's document references."""
    return [part for inner, name in _locations(document) for part in _referenced_parts(inner[name])]


def insert_parts(document: Document, parts: Mapping[str, bytes]) -> None:
    """Replace the references to parts in a document with the sections that the parts contain.

    Raises:
        KeyError: a referenced part is missing; the error has its id.
    """
    for inner, name in list(_locations(document)):
        ids = _referenced_parts(inner[name])
        if ids:
            data = b"".join(parts[part] for part in ids)
            inner[name] = data if inner[name]["as"] == "bytes" else bson.decode(data)[""]


def _locations(document: Document) -> Iterator[tuple[Document, str]]:
    """Yield the locations of sections. Values elsewhere are not references to parts, whatever games store there."""
    aside = _subdocument(document, "aside")
    tables = [*_tables_in(document), *_tables_in(aside)]
    for fields in _subdocument(aside, "columns").values():
        tables += [table for table in fields.values() if isinstance(table, dict)] if isinstance(fields, dict) else []
    folders = [folder for t in tables for folder in (t, _subdocument(t, "columns"), _subdocument(t, "texts"))]
    for folder in (*folders, _subdocument(document, "sessions")):
        yield from ((folder, name) for name in folder)
    yield from ((document, name) for name in ("state", "labels", "clock", "transactions") if name in document)
    yield from ((aside, name) for name in ("state",) if name in aside)


def _tables_in(folder: Document) -> list[Document]:
    return [table for table in _subdocument(folder, "tables").values() if isinstance(table, dict)]


def _subdocument(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _referenced_parts(value: Any) -> list[str]:
    is_pointer = isinstance(value, dict) and isinstance(value.get("in_parts"), list)
    return list(value["in_parts"]) if is_pointer else []


def world_from_document(document: Document | None) -> SavedWorld | None:
    """Return the world in a document of this format or an older one, after `insert_parts`; None if none was saved.

    Raises:
        ValueError: a newer build has written the document, or it is not a valid world.
    """
    if document is None or "tables" not in document:
        return None  # never saved, or claimed and never saved
    written_as = document.get("format", 1)
    if written_as > FORMAT:
        raise ValueError(f"the format is {written_as}; this build reads formats up to {FORMAT}")
    try:
        if written_as == 1:
            document = _from_format_1(document)
        state = document["state"]
        flat = document | {"state": state["value"], "state_version": state["version"]}
        flat["state_error"] = state.get("error")
        flat |= {f"aside_{name}": part for name, part in document.get("aside", {}).items()}
        return msgspec.convert(flat, SavedWorld)
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the document is not a valid world: {error!r}") from error


def _from_format_1(document: Document) -> Document:
    """Convert format 1, which had columns of int64, text as bytes, a state without a version, and no sessions."""
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
