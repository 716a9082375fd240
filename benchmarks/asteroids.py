"""The asteroids of the benchmark `scene`: rigid spheres in a sphere, with a planetoid in its middle. Pure and seeded.

The scene follows the public description of Reactor's transform benchmark (kinematicsoup.com/reactor/benchmarks, and
the read-me and assets of github.com/KinematicSoup/benchmarks): 250 bodies of 0.25 to 1 units start at random places
in a sphere of 31.5 units (50 for 1,000 bodies, at the same density) with speeds of 1 to 4 units per second in random
directions, and turn by at most 45 degrees per second. A body accelerates or brakes by 5 units/s^2 until it has its
own speed again, and is pulled back by 10 units/s^2 outside of the sphere. Bodies collide with each other and with the
planetoid, whose radius is 5. Nothing damps their motion, contacts do not bounce, and a body turns by at most 7
radians per second (the defaults of Unity's physics). Physics run at 60 Hz, twice a tick.

The description leaves open how much a contact changes the spin. Without friction, bodies keep their slow spin. With
the friction of 0.6 that is the default of Unity's physics, the mean spin triples within a minute. The bodies there
are convex meshes; here they are spheres with a radius of RADIUS times their size, near that of the meshes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]

PHYSICS_HZ = 60.0
BOUNDS = 50.0 * (250 / 1000) ** (1 / 3)
SIZE_MIN, SIZE_MAX = 0.25, 1.0
SPEED_MIN, SPEED_MAX = 1.0, 4.0
START_SPIN_MAX = np.pi / 4
ACCELERATION, BOUNDS_ACCELERATION = 5.0, 10.0
PLANETOID_RADIUS = 5.0
RADIUS = 0.8
"""The meshes are about 1.8 units long at size 1."""
FRICTION = 0.6
"""The default of Unity's physics."""
SPIN_LIMIT = 7.0
_STICKING = 2 / 7
"""The share of the tangential speed at a contact that the impulse removes from a solid sphere that does not slip."""


class Asteroids:
    """The bodies.

    Args:
        count: the number of bodies.
        random: places, directions, speeds and spins.
        friction: the friction of contacts, 0 to 1.

    Attributes:
        positions: (bodies, 3).
        rotations: (bodies, 4) unit quaternions x, y, z, w; continuous: their sign does not jump.
        collisions: the number of contacts so far.
    """

    def __init__(self, count: int, random: np.random.Generator, friction: float = 0.0) -> None:
        self._friction = friction
        sizes = random.uniform(SIZE_MIN, SIZE_MAX, count)
        self._radii, self._masses = RADIUS * sizes, sizes**3
        self._speeds = random.uniform(SPEED_MIN, SPEED_MAX, count)
        self._velocities = _directions(random, count) * self._speeds[:, None]
        self._spins = _in_sphere(random, count) * START_SPIN_MAX
        outside = PLANETOID_RADIUS + SIZE_MAX
        places = _in_sphere(random, count)
        distances = np.linalg.norm(places, axis=1, keepdims=True)
        self.positions: Vectors = places / distances * (outside + distances * (BOUNDS - outside))
        rotations = random.normal(size=(count, 4))
        self.rotations: Vectors = rotations / np.linalg.norm(rotations, axis=1, keepdims=True)
        self.collisions = 0

    def step(self) -> None:
        """Run 1 / PHYSICS_HZ seconds of physics."""
        dt = 1 / PHYSICS_HZ
        self._steer(dt)
        self._collide()
        self.positions += self._velocities * dt
        self._turn(dt)

    def _steer(self, dt: float) -> None:
        distances = np.linalg.norm(self.positions, axis=1)
        is_outside = distances > BOUNDS
        inward = -self.positions / distances[:, None]
        pulled = self._velocities + inward * BOUNDS_ACCELERATION * dt
        speeds = np.maximum(np.linalg.norm(self._velocities, axis=1), 1e-9)
        wanted = speeds + np.clip(self._speeds - speeds, -ACCELERATION * dt, ACCELERATION * dt)
        self._velocities = np.where(is_outside[:, None], pulled, self._velocities * (wanted / speeds)[:, None])

    def _turn(self, dt: float) -> None:
        spins = np.linalg.norm(self._spins, axis=1, keepdims=True)
        self._spins *= np.minimum(1.0, SPIN_LIMIT / np.maximum(spins, 1e-9))
        x, y, z = self._spins.T
        qx, qy, qz, qw = self.rotations.T
        change = (
            x * qw + y * qz - z * qy,
            y * qw + z * qx - x * qz,
            z * qw + x * qy - y * qx,
            -x * qx - y * qy - z * qz,
        )
        turned = self.rotations + 0.5 * dt * np.stack(change, axis=1)
        self.rotations = turned / np.linalg.norm(turned, axis=1, keepdims=True)

    def _collide(self) -> None:
        offsets = self.positions[:, None, :] - self.positions[None, :, :]
        squared = np.einsum("ijk,ijk->ij", offsets, offsets)
        touching = squared < (self._radii[:, None] + self._radii[None, :]) ** 2
        for one, other in zip(*np.nonzero(np.triu(touching, 1)), strict=True):
            self._touch(int(one), int(other))
        near = np.linalg.norm(self.positions, axis=1) < self._radii + PLANETOID_RADIUS
        for one in np.flatnonzero(near):
            self._touch(int(one), None)

    def _touch(self, one: int, other: int | None) -> None:
        """Apply the impulse of a contact of two bodies, or of a body and the planetoid."""
        normal = self.positions[one] - (0.0 if other is None else self.positions[other])
        normal = normal / np.linalg.norm(normal)
        relative = self._surface_velocity(one, -normal)
        inverse_mass = 1 / self._masses[one]
        if other is not None:
            relative = relative - self._surface_velocity(other, normal)
            inverse_mass += 1 / self._masses[other]
        approach = float(relative @ normal)
        if approach >= 0:
            return
        self.collisions += 1
        push = -approach / inverse_mass
        sliding = relative - approach * normal
        speed = float(np.linalg.norm(sliding))
        impulse = push * normal
        if speed > 1e-9:
            impulse = impulse - sliding / speed * min(self._friction * push, _STICKING * speed / inverse_mass)
        self._push(one, impulse, -normal)
        if other is not None:
            self._push(other, -impulse, normal)

    def _surface_velocity(self, body: int, direction: Vectors) -> Any:
        return self._velocities[body] + np.cross(self._spins[body], self._radii[body] * direction)

    def _push(self, body: int, impulse: Vectors, direction: Vectors) -> None:
        mass, radius = self._masses[body], self._radii[body]
        self._velocities[body] += impulse / mass
        self._spins[body] += np.cross(radius * direction, impulse) / (0.4 * mass * radius**2)


def _directions(random: np.random.Generator, count: int) -> Vectors:
    vectors = random.normal(size=(count, 3))
    directions: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions


def _in_sphere(random: np.random.Generator, count: int) -> Vectors:
    """Return vectors that fill the unit sphere evenly."""
    return _directions(random, count) * random.uniform(size=(count, 1)) ** (1 / 3)
