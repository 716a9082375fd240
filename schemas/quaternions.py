"""Quaternions as three numbers: the "smallest three", in a form that changes without jumps.

A unit quaternion has a component that follows from the other three, because q and -q are the same rotation. The
encoder drops a large one, makes it positive, and sends the others as `a`, `b` and `c`, in `bits` bits each. The
`form` names the dropped component, the component in each of `a`, `b` and `c`, and those of them that are negated:

    form = 8 * index + 1 if a is negated + 2 if b is negated + 4 if c is negated
    index: of (dropped, a, b, c) among the permutations of (w, x, y, z), in lexicographic order of (0, 1, 2, 3)

The usual encoding has a fixed order and no signs: whenever another component becomes the largest, its numbers jump,
and a delta of a jump has hundreds of bits. Here the old dropped component takes the place of the new one, which had
the same size, and the signs keep all numbers where they were: a delta sees a curve. Forms change together, because
one changed form costs a bit for each entity: when a component of any entity is KEEP_RATIO times as large as the
dropped one, all entities change whose component is CHANGE_RATIO times as large. A body at rest on the border keeps
its form.

Pure; imports numpy only.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Quaternions = NDArray[np.floating[Any]]
"""(entities, 4): x, y, z, w."""
Forms = NDArray[np.integer[Any]]
BITS_MIN, BITS_MAX = 6, 16
FORM_BITS = 8
PARTS = ("form", "a", "b", "c")
IDENTITY = (0.0, 0.0, 0.0, 1.0)
KEEP_RATIO = 1.05
CHANGE_RATIO = 1.001
LIMIT = KEEP_RATIO / math.sqrt(1 + KEEP_RATIO**2)
"""The greatest number of a, b and c: 0.7241. It is reached if the other two are 0."""

# The places of (dropped, a, b, c) in (x, y, z, w), by order and by form.
_W_FIRST = (3, 0, 1, 2)
_ORDERS = [tuple(_W_FIRST[place] for place in order) for order in permutations(range(4))]
_INDICES = {order: index for index, order in enumerate(_ORDERS)}
FORMS = 8 * len(_ORDERS)
"""The number of forms that are sent; those from FORMS to 255 read as forms of the first order."""
_ORDER_OF_FORM = [_ORDERS[form >> 3 if form < FORMS else 0] for form in range(1 << FORM_BITS)]
_PLACES = np.array(_ORDER_OF_FORM, np.intp)
_SIGNS = np.array([[1 - 2 * (form >> number & 1) for number in range(3)] for form in range(1 << FORM_BITS)], float)


def _exchange(form: int, place: int, *, is_negative: bool) -> int:
    """Return the form in which the component of `place` is dropped instead, and all numbers are as they were.

    Args:
        form: the form before.
        place: the place of the component in (x, y, z, w).
        is_negative: whether the component is negative; then all others are negated with it.
    """
    order = _ORDER_OF_FORM[form]
    at = order.index(place)
    changed = list(order)
    changed[0], changed[at] = order[at], order[0]
    flips = 0b111 & ~(1 << at >> 1) if is_negative else 0
    return 8 * _INDICES[tuple(changed)] + (form & 7 ^ flips)


_NEXT = np.array(
    [
        [[_exchange(form, place, is_negative=sign) for sign in (False, True)] for place in range(4)]
        for form in range(1 << FORM_BITS)
    ]
)
"""The form after an exchange, by form, place and sign."""


def step(bits: int) -> float:
    """Return the step of a, b and c: 2^bits - 1 values from -LIMIT to LIMIT, with an exact 0 between them."""
    return 2 * LIMIT / ((1 << bits) - 2)


def angle_error(bits: int) -> float:
    """Return the greatest angle, in radians, between a rotation and the one that a client reads.

    Each of a, b and c differs by at most e = step / 2. The dropped component d = sqrt(1 - a^2 - b^2 - c^2) then
    differs by at most (|a| + |b| + |c|) / |d| * e, which is at most 3 * KEEP_RATIO * e. So the two quaternions are
    at most e * sqrt(3 + 9 * KEEP_RATIO^2) apart, and an angle between rotations is twice that between quaternions:
    step * sqrt(3 + 9 * KEEP_RATIO^2). The terms of second order are below 2 * step of it, and the rounding of 32-bit
    floats is below 2e-6. In degrees: 0.3 for 10 bits.
    """
    size = step(bits)
    return size * math.sqrt(3 + 9 * KEEP_RATIO**2) * (1 + 2 * size) + 2e-6


def is_rotation(quaternions: Quaternions) -> NDArray[np.bool_]:
    """Return whether each quaternion can be normalised: finite, and not about 0."""
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", quaternions, quaternions, dtype=np.float64)
    is_good: NDArray[np.bool_] = np.isfinite(squares) & (squares > 1e-12)
    return is_good


def normalise(quaternions: Quaternions) -> NDArray[np.float64]:
    """Return the quaternions with length 1, (entities, 4) in a new array; IDENTITY for one that is not a rotation."""
    units: NDArray[np.float64] = quaternions.astype(np.float64)
    units[~is_rotation(quaternions)] = IDENTITY
    units /= np.sqrt(np.einsum("ij,ij->i", units, units))[:, None]
    return units


def pack(quaternions: Quaternions, forms: Forms) -> tuple[Forms, NDArray[np.float64]]:
    """Return the form and the numbers of each quaternion.

    Args:
        quaternions: (entities, 4), of any length; one that cannot be normalised is packed as IDENTITY.
        forms: (entities,): the forms that were sent last; 0 for a new entity.

    Returns:
        The forms, (entities,), and a, b and c, (3, entities), from -LIMIT to LIMIT.
    """
    units = normalise(quaternions)
    rows = np.arange(len(units))
    dropped = units[rows, _PLACES[forms, 0]]
    units[dropped < 0] *= -1
    sizes = np.abs(units)
    largest, kept = sizes.max(axis=1), np.abs(dropped)
    if (largest > KEEP_RATIO * kept).any():
        changes = np.flatnonzero(largest > CHANGE_RATIO * kept)
        places = sizes[changes].argmax(axis=1)
        is_negative = units[changes, places] < 0
        units[changes[is_negative]] *= -1
        forms = forms.copy()
        forms[changes] = _NEXT[forms[changes], places, is_negative.astype(np.intp)]
    return forms, (units[rows[:, None], _PLACES[forms, 1:]] * _SIGNS[forms]).T


def slerp(here: Quaternions, there: Quaternions, fraction: float) -> NDArray[np.float64]:
    """Return rotations between two of each row, (entities, 4), by the shorter way and at a constant angular speed.

    Args:
        here: unit quaternions, (entities, 4).
        there: unit quaternions, (entities, 4).
        fraction: from 0, `here`, to 1, `there`.
    """
    cosines = np.einsum("ij,ij->i", here, there, dtype=np.float64)
    angles = np.arccos(np.minimum(np.abs(cosines), 1.0))[:, None]
    sines = np.maximum(np.sin(angles), 1e-12)
    is_near = angles < 1e-4  # the weights are then the same as those of a line
    first = np.where(is_near, 1 - fraction, np.sin((1 - fraction) * angles) / sines)
    second = np.where(is_near, fraction, np.sin(fraction * angles) / sines)
    mixed = first * here + second * np.where(cosines < 0, -1.0, 1.0)[:, None] * there
    units: NDArray[np.float64] = mixed / np.linalg.norm(mixed, axis=1)[:, None]
    return units


def unpack(forms: Forms, numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Return the unit quaternions, (entities, 4), of forms and of numbers (3, entities). Any input is a rotation."""
    abc = numbers.T.astype(np.float64)
    squares = np.einsum("ij,ij->i", abc, abc)
    units = np.empty((len(abc), 4))
    rows = np.arange(len(abc))
    units[rows, _PLACES[forms, 0]] = np.sqrt(np.maximum(1.0 - squares, 0.0))
    units[rows[:, None], _PLACES[forms, 1:]] = abc * _SIGNS[forms]
    units /= np.maximum(np.sqrt(squares), 1.0)[:, None]
    return units
