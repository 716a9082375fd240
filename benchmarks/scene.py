"""How many bytes a second does a 3-D scene of 250 rigid bodies cost one client?

The scene of Reactor's public benchmark (benchmarks/asteroids.py): 250 asteroids that collide, 30 updates a second,
positions in steps of 0.01 and rotations in steps of 0.001; Reactor publishes 15 kB/s on the wire and 10 kB/s without
the headers of the network. A body has a position, a `vec3`, and a rotation, a `quaternion` whose numbers have steps
of 0.0007.

    slow spin       contacts do not change the spin, which stays below 45 degrees per second; the goal
    fast spin       contacts have friction, so that bodies turn faster and faster
    10 bits         slow spin, and fast spin too, with steps of 0.0014
    real columns    slow spin, with the four components of the quaternion in columns with steps of 0.001
    smallest three  slow spin, with the usual encoding of the smallest three in steps of 0.001: their order is fixed,
                    and they jump when another component of the quaternion becomes the largest

The replicator encodes every tick, and one receiver decodes every frame and compares all values with the bodies. On
the wire, a frame takes one TCP segment, whose headers of HEADER_BYTES are counted as a packet capture does. The
benchmark reads no clock: a seed always has the same result.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.asteroids import BOUNDS, FRICTION, PHYSICS_HZ, Asteroids
from benchmarks.receiver import StateReader
from benchmarks.report import Report, ReportRow, goal, report, row
from tickwire import Table, quaternion, real, uint, vec3
from tickwire.schemas.messages import StateDescription
from tickwire.schemas.quaternions import angle_error
from tickwire.schemas.size_profile import IDS
from tickwire.server.replication.bandwidth import BandwidthProfile
from tickwire.server.replication.replicator import Replicator

BODIES, TICK_RATE_HZ = 250, 30.0
SEED = 250
TABLE = "bodies"
RANGE = 64.0
"""Bodies leave the sphere of BOUNDS units a little before they turn."""
assert BOUNDS * 2 < RANGE
HEADER_BYTES = 14 + 20 + 32
"""Ethernet, IPv4, and TCP with timestamps."""
GOAL_KB_PER_SECOND = 15.0
POSITION = ("position_x", "position_y", "position_z")
BITS = 11
_FRACTION = 0.7072
"""The three smaller components of a unit quaternion are at most the square root of one half."""


class Bodies(Table):
    """Rigid bodies."""

    position = vec3(-RANGE, RANGE, step=0.01)
    rotation = quaternion(bits=BITS)


class CoarseBodies(Table):
    """Rigid bodies whose rotation has one bit less."""

    position = vec3(-RANGE, RANGE, step=0.01)
    rotation = quaternion(bits=10)


class RealBodies(Table):
    """Rigid bodies whose rotation is a quaternion of four columns."""

    position = vec3(-RANGE, RANGE, step=0.01)
    qx = real(-1, 1, step=0.001)
    qy = real(-1, 1, step=0.001)
    qz = real(-1, 1, step=0.001)
    qw = real(-1, 1, step=0.001)


class SmallestThree(Table):
    """Rigid bodies whose rotation is the index of the quaternion's largest component and the three others."""

    position = vec3(-RANGE, RANGE, step=0.01)
    largest = uint(bits=2)
    a = real(-_FRACTION, _FRACTION, step=0.001)
    b = real(-_FRACTION, _FRACTION, step=0.001)
    c = real(-_FRACTION, _FRACTION, step=0.001)


class Traffic:
    """The frames of a scene, and their bits by field.

    Args:
        kind: the table of the bodies.
    """

    def __init__(self, kind: type[Table]) -> None:
        self.frame_bytes: list[int] = []
        self.profile = BandwidthProfile({TABLE: kind.fields})
        self.rotation = tuple(field.name for field in kind.fields if field.name not in POSITION)
        self.collisions = 0

    @property
    def mean(self) -> float:
        """The bytes of a mean frame."""
        return statistics.fmean(self.frame_bytes)

    def field_bytes(self, *names: str) -> float:
        """Return the bytes of fields per frame."""
        bits = sum(self.profile.bits[TABLE, name] for name in names)
        return bits / 8 / self.profile.client_ticks


def run(*, quick: bool) -> Report:
    """Run two minutes of the scene, as its authors measured; quick: 20 seconds."""
    seconds = 20.0 if quick else 120.0
    scenes = {
        "slow spin": play(Bodies, seconds),
        "fast spin": play(Bodies, seconds, friction=FRICTION),
        "10 bits": play(CoarseBodies, seconds),
        "10 bits, fast spin": play(CoarseBodies, seconds, friction=FRICTION),
        "real columns": play(RealBodies, seconds),
        "smallest three": play(SmallestThree, seconds),
    }
    rows = [one for subject, traffic in scenes.items() for one in _rows(subject, traffic)]
    rows.append(row("slow spin", "collisions_per_second", "1/s", [scenes["slow spin"].collisions / seconds]))
    wire = _wire_bytes(scenes["slow spin"].mean) * TICK_RATE_HZ / 1000
    goals = [goal("scene_3d_kbytes_per_second", wire, GOAL_KB_PER_SECOND)]
    return report("scene", quick=quick, rows=rows, goals=goals)


def play(kind: type[Table], seconds: float, *, friction: float = 0.0) -> Traffic:
    """Simulate, encode, decode and compare; the first keyframe is not counted.

    Args:
        kind: the table of the bodies, one of the classes above.
        seconds: the time in the scene.
        friction: the friction of contacts.

    Raises:
        RuntimeError: the receiver has another value than the room.
    """
    asteroids = Asteroids(BODIES, np.random.default_rng(SEED), friction)
    bodies, traffic = kind(), Traffic(kind)
    for _ in range(BODIES):
        bodies.spawn()
    replicator = Replicator((bodies,))
    replicator.subscribe(replicator.everyone)
    receiver = StateReader(StateDescription((kind.describe(TABLE),)))
    view = None
    for tick in range(1, round(seconds * TICK_RATE_HZ) + 2):
        for _ in range(round(PHYSICS_HZ / TICK_RATE_HZ)):
            asteroids.step()
        _show(asteroids, bodies)
        replicator.capture(tick)
        frame, view = replicator.update(view, replicator.everyone)
        receiver.apply(frame)
        _compare(bodies, receiver)
        if tick > 1:
            traffic.frame_bytes.append(len(frame))
            replicator.profile(traffic.profile)
    traffic.collisions = asteroids.collisions
    return traffic


def _show(asteroids: Asteroids, bodies: Table) -> None:
    """Copy the bodies into the room's columns."""
    rotations = asteroids.rotations
    columns: dict[str, NDArray[Any]] = {"position": asteroids.positions}
    if isinstance(bodies, RealBodies):
        columns |= zip(("qx", "qy", "qz", "qw"), rotations.T, strict=True)
    elif isinstance(bodies, SmallestThree):
        largest = np.abs(rotations).argmax(axis=1)
        rows = np.arange(len(largest))
        positive = rotations * np.sign(rotations[rows, largest])[:, None]
        others = positive[np.arange(4) != largest[:, None]].reshape(-1, 3)
        columns |= {"largest": largest, **dict(zip("abc", others.T, strict=True))}
    else:
        columns["rotation"] = rotations
    for name, column in columns.items():
        bodies.view(name)[:] = column


def _compare(bodies: Table, receiver: StateReader) -> None:
    shown = receiver.world.table(TABLE)
    for field in bodies.fields:
        # Half a step, and the rounding of 32-bit floats.
        error = float(np.abs(shown.column(field.name) - bodies.view(field.name)).max())
        if error > field.step * 0.5 + 1e-5:
            raise RuntimeError(f"tick {receiver.world.tick}: {field.name} differs by {error}")
    if "rotation" in bodies.groups:
        here, there = shown.column("rotation").astype(np.float64), bodies.view("rotation")
        chords = np.minimum(np.linalg.norm(here - there, axis=1), np.linalg.norm(here + there, axis=1))
        angle = float(4 * np.arcsin(chords.max() / 2))
        if angle > angle_error(BITS if isinstance(bodies, Bodies) else 10):
            raise RuntimeError(f"tick {receiver.world.tick}: a rotation differs by {angle} radians")


def _rows(subject: str, traffic: Traffic) -> list[ReportRow]:
    """Return the traffic in each second, and the parts of a mean frame."""
    frames, rate = traffic.frame_bytes, round(TICK_RATE_HZ)
    seconds = [statistics.fmean(frames[at : at + rate]) for at in range(0, len(frames), rate)]
    rows = [
        row(subject, "wire", "kB/s", [_wire_bytes(size) * rate / 1000 for size in seconds]),
        row(subject, "goodput", "kB/s", [size * rate / 1000 for size in seconds]),
        row(subject, "bytes_per_body_update", "B", [traffic.mean / BODIES]),
    ]
    return rows + [row(subject, f"bytes_per_frame_{part}", "B", [size]) for part, size in parts_of(traffic).items()]


def parts_of(traffic: Traffic) -> dict[str, float]:
    """Return the parts of a mean frame on the wire, in bytes."""
    parts = {
        "positions": traffic.field_bytes(*POSITION),
        "rotations": traffic.field_bytes(*traffic.rotation),
        "ids": traffic.field_bytes(IDS),
    }
    parts["envelope"] = traffic.mean - sum(parts.values())
    parts["network"] = float(HEADER_BYTES)
    return parts


def _wire_bytes(frame_bytes: float) -> float:
    return frame_bytes + HEADER_BYTES
