"""How many bytes does a tick cost one client? Compared with the same world as plain FlatBuffers, msgpack and JSON.

The frames are those that a room writes, including WebSocket headers. A client that sends inputs at 10 Hz receives an
acknowledgement with every second tick, which is counted too. The peers send changed values with ids, as floats, in
WebSocket frames of their own. One entity in ten turns each tick, so that motion is not entirely steady.
"""

from __future__ import annotations

import statistics
import struct

import flatbuffers
import msgspec
import numpy as np

from benchmarks import processes
from benchmarks.peers import colyseus
from benchmarks.report import Report, ReportRow, goal, report, row
from benchmarks.rooms import Movers, move, spawn
from benchmarks.server_under_load import LOAD_CORE, Load
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.state_messages import STATE_OVERHEAD_BYTES_MAX, frame_ack
from tickwire.server.replication.replicator import Replicator

COUNTS = (8, 50, 200, 1000)
GOALS = {8: 25.0, 50: 58.0, 200: 185.0, 1000: 850.0}
"""The bytes a client and tick by the number of moving entities, acknowledgements and headers included."""
TICK_S = 1 / 20
TICKS = 600
"""Also for a quick run: the first ticks, in which everything starts to move, must not count for much."""
ACKNOWLEDGED_SHARE = 0.5


def run(*, quick: bool, peers: bool = False) -> Report:
    """Run the benchmark; with `peers`, also measure the bytes of Colyseus for the same game."""
    rows: list[ReportRow] = []
    figures: dict[int, tuple[float, float]] = {}
    for count in COUNTS:
        sizes, keyframe = measure(count, TICKS)
        for subject, values in sizes.items():
            rows.append(row(subject, f"bytes_per_client_tick_{count}", "B", values))
        rows.append(row("tickwire", f"keyframe_bytes_per_entity_{count}", "B", [keyframe / count]))
        figures[count] = statistics.fmean(sizes["tickwire"]), keyframe / count
    if peers:
        processes.pin_this(LOAD_CORE)
        for count, variant in ((50, "float32"), (50, "int16"), (200, "float32"), (200, "int16")):
            turn = colyseus.measure(variant, Load(count, 10.0, 4.0 if quick else 10.0))
            subject = f"colyseus {colyseus.version()} {variant}"
            rows.append(row(subject, f"bytes_per_client_tick_{count}", "B", [turn.bytes_per_tick]))
    goals = [
        *(goal(f"bytes_per_tick_{count}", figures[count][0], wanted) for count, wanted in GOALS.items()),
        goal("keyframe_bytes_per_entity", figures[50][1], 12),
        goal("state_frame_overhead", STATE_OVERHEAD_BYTES_MAX, 8),
    ]
    return report("bandwidth", quick=quick, rows=rows, goals=goals)


def measure(count: int, ticks: int) -> tuple[dict[str, list[float]], int]:
    """Return the bytes of each tick by subject, and the size of the keyframe."""
    random = np.random.default_rng(count)
    movers = Movers()
    for _ in range(count):
        spawn(movers, random)
    replication = Replicator((movers,))
    replication.subscribe(replication.everyone)
    replication.capture(1)
    first, view = replication.update(None, replication.everyone)
    acknowledgement = len(frame_ack(1, 1)) * ACKNOWLEDGED_SHARE
    sizes: dict[str, list[float]] = {
        "tickwire": [],
        "flatbuffers keyframes": [],
        "msgpack patch": [],
        "json patch": [],
    }
    for tick in range(2, ticks + 2):
        turning = random.random(count) < 0.1
        movers.heading[turning] += random.normal(0, 0.5, int(turning.sum())).astype(np.float32)
        move(movers, TICK_S)
        replication.capture(tick)
        frame, view = replication.update(view, replication.everyone)
        sizes["tickwire"].append(len(frame) + acknowledgement)
        for subject, data in by_other_means(movers).items():
            sizes[subject].append(len(binary_frame(data)))
    keyframe, _ = replication.update(None, replication.everyone)
    return sizes, max(len(first), len(keyframe))


def by_other_means(movers: Movers) -> dict[str, bytes]:
    """Return the same tick in other encodings. The hp never changes, so patches omit it."""
    columns = (movers.ids.tolist(), movers.x.tolist(), movers.y.tolist(), movers.heading.tolist())
    patch = [[id, round(x, 2), round(y, 2), round(heading, 3)] for id, x, y, heading in zip(*columns, strict=True)]
    return {
        "flatbuffers keyframes": plain_flatbuffers(movers),
        "msgpack patch": msgpack_patch(columns),
        "json patch": msgspec.json.encode(patch),
    }


def plain_flatbuffers(movers: Movers) -> bytes:
    """Encode all entities as a vector of structs {id: uint, x, y, heading: float, hp: ubyte}, 20 bytes each."""
    builder = flatbuffers.Builder(64 + 20 * len(movers))
    builder.StartVector(20, len(movers), 4)
    for id, x, y, heading, hp in zip(
        movers.ids.tolist(),
        movers.x.tolist(),
        movers.y.tolist(),
        movers.heading.tolist(),
        movers.hp.tolist(),
        strict=True,
    ):
        builder.Prep(4, 20)
        builder.Pad(3)
        builder.PrependUint8(hp)
        for value in (heading, y, x):
            builder.PrependFloat32(value)
        builder.PrependUint32(id)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def msgpack_patch(columns: tuple[list[float], ...]) -> bytes:
    """Encode an array of [id, x, y, heading] with msgpack's 32-bit floats."""
    count = len(columns[0])
    out = bytearray(struct.pack(">BH", 0xDC, count))
    for id, x, y, heading in zip(*columns, strict=True):
        out += b"\x94" + msgspec.msgpack.encode(int(id)) + struct.pack(">BfBfBf", 0xCA, x, 0xCA, y, 0xCA, heading)
    return bytes(out)
