"""The guarantees of the world store and the write-behind queue, on a real MongoDB."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bson import json_util
from pymongo.errors import BulkWriteError

from tests.harness.polling import eventually
from tickwire.server.dev import local_stores
from tickwire.server.errors import NotSavable, StaleEpoch, Unavailable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.world_codec import decode_world
from tickwire.server.rooms.checkpoint import RejectedRow
from tickwire.server.storage import CallSettings, MongoStore, SavedTable, SavedWorld, WriteBehind
from tickwire.server.storage.world_document import INLINE_BYTES_MAX, PART_BYTES, create_world_write

STORED = Path(__file__).parent.parent / "stored"
TABLE = SavedTable(
    [{"name": "x", "kind": "real", "bits": 10, "low": -1.0, "high": 1.0, "step": 0.5, "as": "uint16"}],
    b"\1\0\0\0",
    {"x": b"\2\0"},
    1,
)


def world(tick: int = 5, name: str = "home", **changes: Any) -> SavedWorld:
    made = SavedWorld(name, "garden", tick, {"ships": TABLE}, {"planted": 3, "by": ["a", "b"]}, 2, 7)
    return msgspec.structs.replace(made, **changes)


def nested(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"end": 1}
    for _ in range(depth):
        made = {"in": made}
    return made


def large(size: int, byte: bytes = b"\2") -> SavedTable:
    return msgspec.structs.replace(TABLE, columns={"x": byte * size}, count=size // 2)


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    yield made
    made.close()


@pytest.fixture
async def behind(store: MongoStore) -> AsyncIterator[WriteBehind]:
    made = WriteBehind(store.worlds, on_fenced=lambda _: None, now_s=time.monotonic)
    yield made
    made.close()


def put(behind: WriteBehind, saved: SavedWorld, epoch: int = 1) -> None:
    behind.put(saved.key, partial(msgspec.structs.replace, saved), epoch)


async def stored(store: MongoStore, key: str = "garden/home") -> dict[str, Any]:
    return await store.database["worlds"].find_one({"_id": key}) or {}


async def parts(store: MongoStore) -> list[str]:
    return [part["_id"] async for part in store.database["world_parts"].find()]


# -- worlds -------------------------------------------------------------------------------------------------------


async def test_saved_world_is_loaded(store: MongoStore) -> None:
    assert await store.worlds.load("garden", "home") is None
    assert await store.worlds.claim("garden", "home", 1) is None
    assert await store.worlds.load("garden", "home") is None, "claimed and never saved"
    await store.worlds.save(world(), 1)
    await store.worlds.save(world(6), 1)
    assert await store.worlds.load("garden", "home") == world(6)
    assert await store.worlds.claim("garden", "home", 2) == world(6)
    assert await store.worlds.claim("garden", "home", 2) == world(6), "safe to repeat"


async def test_a_write_with_an_older_epoch_never_lands(store: MongoStore) -> None:
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(world(5), 1)
    await store.worlds.claim("garden", "home", 2)
    with pytest.raises(StaleEpoch):
        await store.worlds.save(world(99), 1)
    with pytest.raises(StaleEpoch) as stale:
        await store.worlds.claim("garden", "home", 1)
    assert stale.value.newest == 2
    assert await store.worlds.load("garden", "home") == world(5)


async def test_second_owner_with_the_same_epoch_is_refused(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    """Redis has lost its epoch counter and its clock: the fence in MongoDB still admits one owner only."""
    other = MongoStore(mongo_url, mongo_database)
    assert await store.worlds.claim("garden", "home", 7) is None
    assert await store.worlds.claim("garden", "home", 7) is None, "a claim can be repeated by its owner"
    with pytest.raises(StaleEpoch) as stale:
        await other.worlds.claim("garden", "home", 7)
    assert stale.value.newest == 7
    await store.worlds.save(world(tick=1), 7)
    assert await store.worlds.claim("garden", "home", 7) == world(tick=1), "also after a full write"
    with pytest.raises(StaleEpoch):
        await other.worlds.claim("garden", "home", 7)
    assert await other.worlds.claim("garden", "home", 8) is not None
    with pytest.raises(StaleEpoch):
        await store.worlds.save(world(tick=2), 7)
    with pytest.raises(StaleEpoch):
        await store.worlds.claim("garden", "home", 7)
    other.close()


async def test_a_late_write_of_the_same_owner_does_not_undo_a_newer_one(store: MongoStore) -> None:
    """MongoDB executes a call after its deadline, behind the next call of the same owner."""
    now = datetime.datetime.now(datetime.UTC)
    await store.worlds.claim("garden", "home", 1)
    first = create_world_write(world(1), 1, 1, None, now)
    second = create_world_write(world(2), 1, 2, first.stored_sections, now)
    third = create_world_write(world(3), 1, 3, None, now)
    for late in (first, second):
        assert await store.worlds.write([third]) in ({"garden/home": "written"}, {"garden/home": "mismatch"})
        assert await store.worlds.write([late]) == {"garden/home": "mismatch"}
        assert await store.worlds.load("garden", "home") == world(3)
    await store.worlds.claim("garden", "home", 2)
    assert await store.worlds.write([create_world_write(world(9), 1, 9, None, now)]) == {"garden/home": "stale"}
    assert await store.worlds.write([create_world_write(world(4), 2, 1, None, now)]) == {"garden/home": "written"}, (
        "counted anew"
    )


async def test_two_names_with_a_slash_are_two_worlds(store: MongoStore) -> None:
    await store.worlds.save(world(1, "a/b"), 1)
    await store.worlds.save(world(2, "a"), 1)
    loaded = [await store.worlds.load("garden", name) for name in ("a/b", "a")]
    assert [found.tick for found in loaded if found] == [1, 2]


async def test_stored_world_has_the_documented_layout(store: MongoStore) -> None:
    await store.worlds.save(world(sessions={"s1": {"player_id": "ann", "is_guest": False}}), 3)
    document = await stored(store)
    assert document["_id"] == "garden/home"
    assert (document["room_type"], document["name"], document["epoch"], document["tick"]) == ("garden", "home", 3, 5)
    ships = document["tables"]["ships"]
    assert ships["fields"][0] == {
        "name": "x", "kind": "real", "bits": 10, "low": -1.0, "high": 1.0, "step": 0.5, "as": "uint16",
    }  # fmt: skip
    assert ships["columns"] == {"x": b"\2\0"}
    assert document["state"] == {"version": 2, "value": {"planted": 3, "by": ["a", "b"]}}
    assert document["sessions"]["s1"]["player_id"] == "ann"


@pytest.mark.parametrize("name", ["world_format_1", "world_format_1_texts", "world_format_2"])
async def test_world_of_an_older_format_is_read_and_rewritten(store: MongoStore, name: str) -> None:
    document = json_util.loads((STORED / f"{name}.json").read_text())
    await store.database["worlds"].insert_one(document)
    room_type, _, room_name = document["_id"].partition("/")
    found = await store.worlds.claim(room_type, room_name, 8)
    assert found is not None
    state = decode_world(found)
    assert state.tick == document["tick"]
    if room_type == "garden":
        flowers = state.tables["flowers"]
        assert flowers.fields[0].dequantise(flowers.values[0]).tolist() == [-1.5, -0.5, 0.5]
        assert (state.state_version, state.state) == (1, {"planted": 3})
        assert (state.state_error, state.rejected, bool(state.set_aside)) == (None, (), False)
        assert [seat.data for seat in state.seats] == ([{"name": "Ann"}] if document.get("format") == 2 else [])
    else:
        texts = state.tables["notes"].texts
        assert texts is not None
        assert texts.tolist() == [["bøard".encode(), b""], [b"\0\xff", b""]]
    await store.worlds.save(found, 8)
    assert (await stored(store, document["_id"]))["format"] == 2
    assert await store.worlds.load(room_type, room_name) == found


async def test_world_of_a_newer_format_is_not_changed(store: MongoStore) -> None:
    await store.worlds.save(world(), 1)
    await store.database["worlds"].update_one({"_id": "garden/home"}, {"$set": {"format": 99}})
    with pytest.raises(NotSavable) as refused:
        await store.worlds.claim("garden", "home", 2)
    assert refused.value.detail.endswith("the format is 99; this build reads formats up to 2")


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"tick": "late"}},
        {"$unset": {"state": ""}},
        {"$set": {"tables": {"ships": 7}}},
        {"$set": {"tables.ships.columns.x": b"odd"}},
        {"$set": {"tables.ships.fields.0.kind": "colour"}},
    ],
)
async def test_damaged_world_raises_not_savable(store: MongoStore, damage: dict[str, Any]) -> None:
    await store.worlds.save(world(), 1)
    await store.database["worlds"].update_one({"_id": "garden/home"}, damage)
    behind = WriteBehind(store.worlds, on_fenced=lambda _: None, now_s=time.monotonic)
    with pytest.raises(NotSavable) as refused:
        await RoomSaver(store.worlds, behind, store.quarantine, FaultIsolation()).claim("garden", "home", 2)
    assert str(refused.value) == "the room's stored world cannot be read", "no detail for players"
    assert refused.value.detail.startswith("world garden/home")
    assert not refused.value.retryable
    behind.close()


@pytest.mark.parametrize(
    ("damage", "path"),
    [
        ({"sessions": {"s": {"player_id": "p"}}}, "sessions.s"),
        ({"sessions": {"s": {"player_id": "p", "session": {"player_id": 5}}}}, "sessions.s"),
        ({"labels": {"map": ["no text"]}}, "labels.map"),
    ],
)
async def test_unreadable_session_or_label_is_moved_to_the_quarantine(
    store: MongoStore, damage: dict[str, Any], path: str
) -> None:
    await store.worlds.save(world(state={"planted": 3}, state_version=1), 1)
    await store.database["worlds"].update_one({"_id": "garden/home"}, {"$set": damage})
    behind = WriteBehind(store.worlds, on_fenced=lambda _: None, now_s=time.monotonic)
    saver = RoomSaver(store.worlds, behind, store.quarantine, FaultIsolation())
    for _ in range(2):  # stored once, however often it is found
        state = await saver.claim("garden", "home", 2)
        assert state is not None
        state = await saver.quarantine("garden/home", 2, state)
        assert (state.seats, state.labels, state.rejected) == ((), {}, ())
        (part,) = [part async for part in store.database["quarantine"].find()]
        assert (part["world"], part["epoch"], part["path"]) == ("garden/home", 2, path)
        assert part["value"] == next(iter(next(iter(damage.values())).values()))
    behind.close()


async def test_world_is_unchanged_if_its_invalid_part_cannot_be_quarantined(store: MongoStore) -> None:
    behind = WriteBehind(store.worlds, on_fenced=lambda _: None, now_s=time.monotonic)
    saver = RoomSaver(store.worlds, behind, store.quarantine, FaultIsolation())
    state = msgspec.structs.replace(
        decode_world(world()), rejected=(RejectedRow("state.planted", 2**80, "too large"),)
    )
    with pytest.raises(NotSavable):
        await saver.quarantine("garden/home", 2, state)
    assert await store.database["quarantine"].count_documents({}) == 0
    behind.close()


async def test_undeclared_data_is_stored_and_written_only_when_it_changes(
    store: MongoStore, behind: WriteBehind
) -> None:
    large_one = large(2 * INLINE_BYTES_MAX)
    aside = {
        "aside_tables": {"old": large_one},
        "aside_columns": {"ships": {"hp": TABLE}},
        "aside_state": {"best": [1]},
    }
    for tick in (1, 2):
        put(behind, world(tick, **aside))
        assert await behind.flush(10)
        assert await store.worlds.load("garden", "home") == world(tick, **aside)
        assert len(await parts(store)) == 1
    written = behind.bytes_written
    fewer = aside | {"aside_columns": {"ships": {"hp": msgspec.structs.replace(TABLE, ids=b"", count=0)}}}
    put(behind, world(3, **fewer))
    assert await behind.flush(10)
    assert behind.bytes_written - written < 1000
    assert await store.worlds.claim("garden", "home", 2) == world(3, **fewer)
    put(behind, world(4), 2)
    assert await behind.flush(10)
    assert await store.worlds.claim("garden", "home", 3) == world(4)
    assert await parts(store) == []


# -- large ones ---------------------------------------------------------------------------------------------------


async def test_large_world_is_stored_in_parts_and_loaded_complete(store: MongoStore) -> None:
    big = world(tables={"ships": large(40_000_000)}, state={"long": "x" * 20_000_000})
    await store.worlds.save(big, 1)
    assert len(await parts(store)) == -(-40_000_000 // PART_BYTES) + -(-20_000_000 // PART_BYTES)
    head = await stored(store)
    assert head["tables"]["ships"]["columns"]["x"]["bytes"] == 40_000_000
    assert await store.worlds.claim("garden", "home", 2) == big


async def test_unreferenced_parts_are_deleted(store: MongoStore, behind: WriteBehind) -> None:
    await store.worlds.claim("garden", "home", 1)
    sizes = (3 * INLINE_BYTES_MAX, 3 * INLINE_BYTES_MAX + 2, 100, 5 * INLINE_BYTES_MAX)
    for tick, size in enumerate(sizes):
        wanted = world(tick, tables={"ships": large(size)})
        put(behind, wanted)
        assert await behind.flush(10)
        assert await store.worlds.load("garden", "home") == wanted
        assert len(await parts(store)) == (1 if size > INLINE_BYTES_MAX else 0)
    await store.database["world_parts"].insert_one(
        {"_id": "garden/home#1.99.x.0", "world": "garden/home", "epoch": 1, "at": 0, "data": b"never pointed at"}
    )
    assert await store.worlds.claim("garden", "home", 2) == wanted
    assert len(await parts(store)) == 1


async def test_thousands_of_small_sections_stay_below_the_document_limit(store: MongoStore) -> None:
    sessions = {f"s{n}": {"player_id": f"p{n}", "is_guest": True, "frames": [b"x" * 50_000]} for n in range(400)}
    full = world(sessions=sessions)
    await store.worlds.save(full, 1)
    stats = await store.database.command(
        "aggregate", "worlds", pipeline=[{"$project": {"size": {"$bsonSize": "$$ROOT"}}}], cursor={}
    )
    assert stats["cursor"]["firstBatch"][0]["size"] < 10_000_000
    assert await store.worlds.load("garden", "home") == full


async def test_values_of_players_are_never_read_as_references_to_parts(store: MongoStore) -> None:
    await store.worlds.save(world(1, "secret", tables={"ships": large(100_000)}), 1)
    (part,) = await parts(store)
    trick = {"in_parts": [part], "bytes": 1, "as": "bytes"}
    tricked = world(state={"said": trick}, sessions={"s": {"player_id": "p", "data": trick}})
    await store.worlds.save(tricked, 1)
    assert await store.worlds.load("garden", "home") == tricked


# -- who was there ------------------------------------------------------------------------------------------------


async def test_session_is_found_only_by_its_room_and_its_id(store: MongoStore) -> None:
    kept = {"player_id": "ann", "is_guest": False}
    await store.worlds.save(world(room_id="r1", labels={"map": "ice"}, sessions={"s1": kept}), 1)
    found = await store.worlds.find_player("r1", "s1")
    assert found is not None
    assert (found.room_type, found.name, found.player_id, found.labels) == ("garden", "home", "ann", {"map": "ice"})
    for wrong in (("r2", "s1"), ("r1", "s2"), ("r1", ""), ("r1", "$x.y"), ("r1", "s1.player_id")):
        assert await store.worlds.find_player(*wrong) is None


# -- written behind -----------------------------------------------------------------------------------------------


async def test_write_behind_coalesces_by_room_and_writes_the_newest_snapshot(
    store: MongoStore, behind: WriteBehind
) -> None:
    for tick in range(100):
        put(behind, world(tick))
        put(behind, world(tick, "other"))
    assert len(behind) == 2
    assert await behind.flush(10)
    assert behind.saves == 2
    loaded = await store.worlds.load("garden", "home")
    assert loaded is not None
    assert loaded.tick == 99
    assert (len(behind), behind.lag_s) == (0, 0.0)


async def test_only_changed_sections_are_written(store: MongoStore, behind: WriteBehind) -> None:
    columns = {"x": b"\2" * 1000, "y": b"\3" * 1000}
    table = msgspec.structs.replace(TABLE, columns=columns, count=500)
    put(behind, world(1, tables={"ships": table}, sessions={"s": {"player_id": "p"}}))
    assert await behind.flush(10)
    whole = behind.bytes_written
    moved = msgspec.structs.replace(table, columns=columns | {"x": b"\4" * 1000})
    wanted = world(2, tables={"ships": moved})
    put(behind, wanted)
    assert await behind.flush(10)
    assert behind.bytes_written - whole == 1000, "one column; removing a session writes no bytes"
    assert await store.worlds.load("garden", "home") == wanted
    assert (await stored(store))["sessions"] == {}


async def test_deleted_document_is_written_in_full(store: MongoStore, behind: WriteBehind) -> None:
    put(behind, world(1))
    assert await behind.flush(10)
    await store.database["worlds"].delete_one({"_id": "garden/home"})
    put(behind, world(2))
    assert await behind.flush(10)
    assert await store.worlds.load("garden", "home") == world(2)


async def test_fenced_world_is_dropped_and_reported(store: MongoStore) -> None:
    told: list[str] = []
    behind = WriteBehind(store.worlds, on_fenced=told.append, now_s=time.monotonic)
    await store.worlds.claim("garden", "first", 1)
    put(behind, world(1, "first"))
    assert await behind.flush(10)
    for name in ("home", "first"):  # a world new to this writer, and one that it has written before
        await store.worlds.claim("garden", name, 5)
        put(behind, world(9, name), 1)
    put(behind, world(1, "other"), 1)
    assert await behind.flush(10)
    assert told == ["garden/home", "garden/first"]
    assert await store.worlds.load("garden", "other") == world(1, "other")
    assert await store.worlds.load("garden", "home") is None
    assert await store.worlds.load("garden", "first") == world(1, "first")
    behind.close()


def _raises() -> SavedWorld:
    raise ValueError("cannot be packed")


@pytest.mark.parametrize(
    "bad",
    [
        lambda: world(1, "bad", state={"a key with a \0": 1}),
        lambda: world(1, "bad", state={"huge": 2**70}),
        lambda: world(1, "bad", state=nested(200)),
        lambda: world(1, "bad", state=nested(5000)),
        lambda: world(1, "bad", sessions={"s": nested(200)}),
        lambda: world(1, "bad", labels=nested(200)),
        _raises,
    ],
    ids=["nul", "huge", "200 deep", "5000 deep", "a session 200 deep", "labels 200 deep", "raises"],
)
async def test_invalid_world_is_dropped_and_the_others_are_saved(
    store: MongoStore, behind: WriteBehind, bad: Callable[[], SavedWorld]
) -> None:
    behind.put("garden/bad", bad, 1)
    others = [world(), *(world(1, f"room {number}") for number in range(5))]
    for other in others:
        put(behind, other)
    assert await behind.flush(10)
    assert (behind.failures, behind.saves) == (1, len(others))
    for other in others:
        assert await store.worlds.load("garden", other.name) == other
    assert await store.worlds.load("garden", "bad") is None
    behind.put("garden/bad", lambda: world(2, "bad"), 1)
    assert await behind.flush(10)
    assert await store.worlds.load("garden", "bad") == world(2, "bad"), "the next snapshot is valid"


async def test_exception_of_one_world_does_not_stop_the_writer(store: MongoStore) -> None:
    """The exception may come from any step of the write."""

    def faulty(key: str) -> None:
        raise ZeroDivisionError("a fault of the shard")

    await store.worlds.claim("garden", "fenced", 2)
    behind = WriteBehind(store.worlds, on_fenced=faulty, now_s=time.monotonic, interval_s=0.01)
    task = asyncio.create_task(behind.run())
    put(behind, world(1, "fenced"), 1)
    put(behind, world(1, "other"), 1)
    await eventually(lambda: len(behind) == 0)
    put(behind, world(2, "other"), 1)
    await eventually(lambda: behind.saves == 2)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    behind.close()


async def test_temporarily_refused_world_stays_queued_and_the_others_are_saved(
    store: MongoStore, behind: WriteBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB reports a full disk with many error codes; 8 is one of them."""
    bulk_write = type(store.worlds._worlds).bulk_write
    codes = iter((8, 14031))

    async def full(self: Any, operations: list[Any], **more: Any) -> Any:
        code = next(codes, 0)
        if not code:
            return await bulk_write(self, operations, **more)
        others = [one for one in operations if "full" not in repr(one)]
        done = await bulk_write(self, others, **more)
        at = next(at for at, one in enumerate(operations) if "full" in repr(one))
        details = {"writeErrors": [{"index": at, "code": code, "errmsg": "28: No space left on device"}]}
        raise BulkWriteError(details | {"nMatched": done.matched_count, "nUpserted": done.upserted_count})

    monkeypatch.setattr(type(store.worlds._worlds), "bulk_write", full)
    put(behind, world(1, "full"))
    put(behind, world(1, "other"))
    assert not await behind._write_all()
    assert (behind.saves, behind.failures, len(behind)) == (1, 1, 1)
    assert store.calls.write_error
    assert await store.worlds.load("garden", "other") == world(1, "other")
    assert await behind.flush(10)
    assert await store.worlds.load("garden", "full") == world(1, "full")
    assert not store.calls.write_error


async def test_last_write_survives_an_outage_and_is_retried(tmp_path: Path) -> None:
    services = await asyncio.to_thread(local_stores.start, tmp_path, with_redis=False)
    store = MongoStore(services.mongo_url, "outage", calls=CallSettings(3.0))
    behind = WriteBehind(store.worlds, on_fenced=lambda _: None, now_s=time.monotonic, interval_s=0.05)
    running = asyncio.create_task(behind.run())
    try:
        await store.worlds.claim("garden", "home", 1)
        os.kill(services.pids["mongod"], signal.SIGSTOP)
        for tick in range(50):
            put(behind, world(tick))
        await eventually(lambda: behind.failures > 0, 30)
        with pytest.raises(Unavailable):
            await store.check()
        assert len(behind) == 1
        assert not await behind.flush(0.1)
        put(behind, world(50))
        os.kill(services.pids["mongod"], signal.SIGCONT)
        await asyncio.wait_for(behind.wait_written(world().key), 20)
        loaded = await store.worlds.load("garden", "home")
        assert loaded is not None
        assert loaded.tick == 50
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        behind.close()
        store.close()
        os.kill(services.pids["mongod"], signal.SIGCONT)
        await asyncio.to_thread(services.stop)
