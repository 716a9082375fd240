"""Golden vectors: sequences of frames, and the world after each, for every client to agree with.

`python -m tests.golden` writes schemas/golden/ from the encoder itself; `make golden` calls it. The folder version_4
has the state of schema version 4 and later, version_5 the messages that version 5 adds; the other files are the same
sequences for version 3. A file is JSON:

    name, about      what it shows
    description      tables and fields, as in Joined
    steps            frame: a whole message, in hex
                     tick: the client's tick after it
                     channels: the client's contents after it, by channel and table: ids, columns, texts (in hex), and
                     the checksum of all of the channel's tables
                     values: of a table with vectors or quaternions, these in the game's units, by table and name

acknowledgements.json has single messages instead: the client's last sequence number, the message, and its meaning.
authentication.json has messages of both sides: the side, the type, the fields by name, and the message in hex.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from tests.harness.frames import apply
from tickwire.client.world import World
from tickwire.schemas.codec import decode_server, encode_client, encode_server
from tickwire.schemas.columns import checksum
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    InputAck,
    Message,
    StateDescription,
    StateFrame,
    TokenExpiring,
)
from tickwire.schemas.state_messages import encode_ack
from tickwire.schemas.table_frames import encode_table_state
from tickwire.server.replication.column_groups import quaternion, vec2, vec3
from tickwire.server.replication.columns import angle, blob, boolean, entity, enumeration, real, sint, text, uint
from tickwire.server.replication.entity_ids import EntityIds
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import NOBODY, Table

FOLDER = Path(__file__).parent.parent / "schemas" / "golden"
STRUCTS = "version_4/"
AUTHENTICATION = "version_5/authentication.json"


class GoldenShips(Table):
    x = real(-100, 100, step=1 / 32)
    y = real(-100, 100, step=1 / 32)
    heading = angle(bits=8)
    hp = uint(bits=7)


class Kinds(Table):
    is_on = boolean()
    small = uint(bits=3)
    wide = sint(bits=53)
    mood = enumeration("calm", "merry", "curious")
    friend = entity()
    name = text(bytes_max=16)
    seal = blob(bytes_max=4)


class GoldenBodies(Table):
    position = vec3(-64, 64, step=0.01)
    rotation = quaternion(bits=10)
    aim = vec2(-1, 1, step=1 / 64)
    hp = uint(bits=7)


class Stage:
    """A room without a clock, and one client."""

    kinds_of_tables: ClassVar[dict[str, type[Table]]] = {"ships": GoldenShips, "kinds": Kinds}

    def __init__(self, checksum_ticks: int = 5) -> None:
        self.ids = ids = EntityIds()
        self.tables = [kind(ids) for kind in self.kinds_of_tables.values()]
        self.replication = Replicator(tuple(self.tables), checksum_ticks=checksum_ticks)
        self.watched = frozenset({0})
        self.view: Any = None
        self.tick = 0

    def next(self, ticks: int = 1) -> bytes:
        """The next frame for the client; empty when there is nothing to say."""
        self.tick += ticks
        for table in self.tables:
            table.compact()
        interest = self.replication.get_interest(self.watched)
        self.replication.subscribe(interest)
        self.replication.capture(self.tick)
        data, self.view = self.replication.update(self.view, interest)
        return next(frame_payloads(data), b"")

    @property
    def ships(self) -> GoldenShips:
        """The table of the ships."""
        (ships,) = (table for table in self.tables if isinstance(table, GoldenShips))
        return ships

    @property
    def kinds(self) -> Kinds:
        """The table with every kind of field."""
        (kinds,) = (table for table in self.tables if isinstance(table, Kinds))
        return kinds


class BodyStage(Stage):
    """A room with vectors and quaternions, and one client."""

    kinds_of_tables: ClassVar[dict[str, type[Table]]] = {"bodies": GoldenBodies}

    @property
    def bodies(self) -> GoldenBodies:
        """The table of the bodies."""
        (bodies,) = (table for table in self.tables if isinstance(table, GoldenBodies))
        return bodies


def motion(stage: Stage) -> Iterator[bytes]:
    """Steady motion, turning, stopping: all predictors; an angle that wraps; a jump that is written as it is."""
    chance = np.random.default_rng(1)
    ships = stage.ships
    for number in range(24):
        ships.spawn(x=number - 12, y=-number, heading=number / 4, hp=100)
    for tick in range(24):
        ships.x += np.cos(ships.heading) * np.float32(0.3)
        ships.y += np.sin(ships.heading) * np.float32(0.3)
        is_turning = chance.random(24) < (0.1 if tick < 16 else 0.9)
        ships.heading[is_turning] += np.float32(0.5)
        if tick % 4 == 3:
            ships.hp[tick % 24] -= 7
        if tick == 10:
            ships.x[3], ships.y[3] = 99.0, -99.0
        yield stage.next()


def coming_and_going(stage: Stage) -> Iterator[bytes]:
    """Entities come, go, and come under the ids of others; a channel is empty and fills again."""
    for tick in range(12):
        if tick in (1, 2, 5, 9):
            for number in range(3):
                stage.ships.spawn(x=number, hp=tick)
        if tick in (4, 7):
            for ship in list(stage.ships)[: 9 if tick == 7 else 1]:
                stage.ships.despawn(ship.id)
        stage.ships.x += np.float32(0.25)
        yield stage.next()
    stage.ids.tick = 1 << 20
    stage.ids.recycle((stage.ships, stage.kinds), in_use=())
    stage.ships.spawn(hp=1)
    yield stage.next()


def kinds(stage: Stage) -> Iterator[bytes]:
    """Every kind of field, at its least and its greatest; texts that change, are emptied, and are not ASCII."""
    first = stage.kinds.spawn(name="ann", seal=b"\0\1")
    second = stage.kinds.spawn(is_on=True, small=7, wide=-(2**52), mood=2, friend=first.id, name="bøb")
    yield stage.next()
    second.wide, first.wide, first.name = 2**52 - 1, 5, "ann of the hill"
    yield stage.next()
    first.seal, first.mood, second.name = b"\xff\xff\xff\xff", 1, ""
    yield stage.next()
    second.friend = second.id
    yield stage.next()


def skipped_ticks(stage: Stage) -> Iterator[bytes]:
    """A client that was skipped receives one delta from its baseline; after a long pause, a keyframe."""
    for number in range(5):
        stage.ships.spawn(x=number)
    for ticks in (1, 1, 3, 1, 40, 1, 251, 1):
        stage.ships.x += np.float32(0.5)
        yield stage.next(ticks)


def quiet(stage: Stage) -> Iterator[bytes]:
    """Entities that rest and move again: their movement before the rest is the prediction of one tick."""
    for number in range(24):
        stage.ships.spawn(x=number)
    speed = np.arange(24, dtype=np.float32) % 5 / 32
    speed[7] = 2.0
    for moves in (True, True, True, False, True, True, True, False, False, True, False, True):
        if moves:
            stage.ships.x += speed
        yield stage.next()


def several_channels(stage: Stage) -> Iterator[bytes]:
    """Parts: entities move between channels, also to one without viewers; channels are watched and dropped."""
    stage.watched = frozenset({0, 1, 2})
    wanderer, hidden = stage.ships.spawn(x=1.0, channel=1), stage.ships.spawn(x=50.0, channel=NOBODY)
    for number in range(6):
        stage.ships.spawn(x=-number, channel=number % 3)
        stage.kinds.spawn(name=f"n{number}", channel=number % 3)
    for tick in range(14):
        stage.ships.x += np.float32(0.25)
        wanderer.channel = {3: 2, 5: 7, 8: 1, 10: NOBODY, 12: 0}.get(tick, wanderer.channel)
        hidden.x += 1.0
        if tick == 6:
            stage.watched = frozenset({0, 2})
        if tick == 9:
            stage.watched = frozenset({0, 1, 2})
        yield stage.next()
    stage.view = None  # an unknown view: a complete frame
    stage.watched = frozenset({1})
    yield stage.next()


def large_ticks(stage: Stage) -> Iterator[bytes]:
    """Ticks above 65,535 and above 2^31: a delta has the lowest 16 bits of its tick."""
    for number in range(5):
        stage.ships.spawn(x=number)
    for ticks in (65_530, 1, 3, 1, 2, 40, 1, 65_530, 1, 1 << 31, 1, 250, 1, 251, 1):
        stage.ships.x += np.float32(0.5)
        yield stage.next(ticks)


def groups(stage: BodyStage) -> Iterator[bytes]:
    """Vectors and quaternions: bodies that tumble through many forms of a quaternion, and a quaternion of zeros."""
    bodies = stage.bodies
    for number in range(8):
        bodies.spawn(position=(number - 6, -number, number / 4), aim=(1, number / 12), hp=100)
    phases = np.arange(8)[:, None] * np.array([0.1, 0.9, 1.7, 2.3])
    for tick in range(24):
        bodies.rotation[:8] = np.cos(tick * np.array([0.31, 0.13, 0.43, 0.23]) + phases)
        bodies.position += np.float32(0.05)
        if tick == 10:
            bodies.rotation[3] = 0
        if tick == 12:
            visitor = bodies.spawn(position=(1, 2, 3), rotation=(0, 0.6, 0, -0.8))
        yield stage.next()
        if tick == 14:
            visitor.despawn()


SEQUENCES: tuple[Callable[[Any], Iterator[bytes]], ...] = (
    motion,
    coming_and_going,
    kinds,
    skipped_ticks,
    quiet,
    several_channels,
    large_ticks,
    groups,
)
STAGES: dict[Any, type[Stage]] = {groups: BodyStage}


def made() -> dict[str, bytes]:
    """Every file by name."""
    files = {f"{play.__name__}.json": _file(play, has_structs=False) for play in SEQUENCES}
    files |= {f"{STRUCTS}{play.__name__}.json": _file(play, has_structs=True) for play in SEQUENCES}
    return files | {f"{STRUCTS}acknowledgements.json": _acknowledgements(), AUTHENTICATION: _authentication()}


def held(world: World) -> dict[str, Any]:
    """Return the state of a client by channel, in the form of the files."""
    channels = {}
    for channel, (_, tables) in sorted(world.state.channels.items()):
        shown = {
            name: {
                "ids": table.ids.tolist(),
                "columns": table.values.tolist(),
                "texts": [[data.hex() for data in row] for row in table.texts.tolist()],
            }
            for name, table in zip(world._names, tables, strict=True)
        }
        channels[str(channel)] = {"tables": shown, "checksum": checksum(tables).hex()}
    return channels


def values_of(world: World) -> dict[str, Any]:
    """Return the vectors and quaternions of a client, in the form of the files."""
    return {
        table.name: {group.name: _rounded(world.table(table.name).column(group.name)) for group in table.groups}
        for table in world.description.tables
        if table.groups
    }


def _rounded(column: Any) -> list[list[float]]:
    return [[round(number, 5) + 0.0 for number in row] for row in column.tolist()]


def _file(play: Callable[[Any], Iterator[bytes]], *, has_structs: bool) -> bytes:
    stage = STAGES.get(play, Stage)()
    description = StateDescription(tuple(kind.describe(name) for name, kind in stage.kinds_of_tables.items()))
    world = World(description)
    steps = []
    for frame in play(stage):
        if not frame:
            continue
        message = decode_server(frame, last_tick=world.tick)
        assert isinstance(message, StateFrame)
        assert apply(world, message)
        if not has_structs:
            frame = encode_table_state(message)
        step = {"frame": frame.hex(), "tick": world.tick, "channels": held(world)}
        steps.append(step | ({"values": values} if (values := values_of(world)) else {}))
    about = " ".join((play.__doc__ or "").split())
    content = {
        "name": play.__name__,
        "about": about,
        "description": _described(description),
        "steps": steps,
    }
    return (json.dumps(content, separators=(",", ":")).replace('{"frame"', '\n{"frame"') + "\n").encode()


def _described(description: StateDescription) -> dict[str, Any]:
    """Return a description as the first files have it: a table without groups does not mention them."""
    described: dict[str, Any] = msgspec.to_builtins(description)
    for table in described["tables"]:
        if not table["groups"]:
            del table["groups"]
    return described


def _acknowledgements() -> bytes:
    """Sequence numbers that are restored from their lowest 16 bits: around 0, 2^16 and 2^32."""
    numbers = [
        (0, 0),
        (7, 5),
        (65_536, 65_536),
        (65_540, 65_535),
        (65_540, 65_537),
        (200_000, 196_608),
        (300_000, 267_233),
    ]
    numbers += [(2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 32_000)]
    steps = []
    for tick, (last_seq, seq) in enumerate(numbers, start=2**32 - len(numbers)):
        frame = encode_ack(tick, seq)
        assert decode_server(frame, last_seq=last_seq) == InputAck(tick, seq)
        steps.append({"frame": frame.hex(), "last_seq": last_seq, "tick": tick, "seq": seq})
    about = " ".join((_acknowledgements.__doc__ or "").split())
    content = {"name": "acknowledgements", "about": about, "steps": steps}
    return (json.dumps(content, separators=(",", ":")).replace('{"frame"', '\n{"frame"') + "\n").encode()


def _authentication() -> bytes:
    """Messages with which a running session authenticates: empty, ordinary, and with the greatest values."""
    client = [Authenticate(), Authenticate("header.claims.signature")]
    server = [Authenticated(), Authenticated("ann", 900_000), Authenticated("zoë", 2**32 - 1)]
    server += [TokenExpiring(), TokenExpiring(60_000), TokenExpiring(2**32 - 1)]
    steps = [_message("client", message, encode_client(message)) for message in client]
    steps += [_message("server", message, encode_server(message)) for message in server]
    about = " ".join((_authentication.__doc__ or "").split())
    content = {"name": "authentication", "about": about, "steps": steps}
    return (json.dumps(content, separators=(",", ":")).replace('{"side"', '\n{"side"') + "\n").encode()


def _message(side: str, message: Message, data: bytes) -> dict[str, Any]:
    return {
        "side": side,
        "type": type(message).__name__,
        "fields": msgspec.to_builtins(message),
        "message": data.hex(),
    }


if __name__ == "__main__":
    for name, data in made().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_bytes(data)
        print(f"{FOLDER.name}/{name}: {len(data)} bytes")
