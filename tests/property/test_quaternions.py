"""Quaternions as three numbers: any rotation, through any changes, within the documented error."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tickwire.schemas.quaternions import (
    BITS_MAX,
    BITS_MIN,
    FORM_BITS,
    FORMS,
    IDENTITY,
    KEEP_RATIO,
    LIMIT,
    angle_error,
    pack,
    slerp,
    step,
    unpack,
)
from tickwire.server.replication.column_groups import quaternion
from tickwire.server.replication.table import Table

ROTATIONS = arrays(np.float32, (5, 4), elements=st.floats(-1, 1, width=32))
ANYTHING = arrays(np.float32, (5, 4), elements=st.floats(width=32))
HALF_TURNS = [(0.5, 0.5, 0.5, 0.5), (0, 0, 0.5**0.5, -(0.5**0.5)), (1, 0, 0, 0), (0.5, -0.5, 0.5, -0.5), (3, 4, 0, 0)]


def angles_between(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Return the angles between rotations, in radians; exact for small ones, unlike the arc cosine."""
    these, those = (np.asarray(q, np.float64) / np.linalg.norm(q, axis=1)[:, None] for q in (these, those))
    chords = np.minimum(np.linalg.norm(these - those, axis=1), np.linalg.norm(these + those, axis=1))
    return 4 * np.arcsin(chords / 2)


def normalisable(quaternions: np.ndarray) -> np.ndarray:
    quaternions[np.linalg.norm(quaternions, axis=1) < 0.01] = IDENTITY
    return quaternions


@given(st.sampled_from([BITS_MIN, 10, BITS_MAX]), st.lists(ROTATIONS, min_size=1, max_size=3))
def test_a_client_reads_every_rotation_within_the_error(bits: int, ticks: list[np.ndarray]) -> None:
    class TurnedBodies(Table):
        rotation = quaternion(bits=bits)

    bodies = TurnedBodies()
    for turn in HALF_TURNS:
        bodies.spawn(rotation=turn)
    for rotations in [np.array(HALF_TURNS), *ticks]:
        bodies.rotation = normalisable(rotations)
        form, *numbers = bodies.quantise()
        shown = unpack(form, np.array([f.dequantise(n) for f, n in zip(bodies.fields[1:], numbers, strict=True)]))
        assert (angles_between(shown, bodies.rotation) <= angle_error(bits)).all()
    assert bodies.clamped == {}


@given(st.sampled_from([BITS_MIN, 8, 10, BITS_MAX]), arrays(np.float64, (3, 5), elements=st.floats(0.48, 0.52)))
def test_the_error_holds_where_the_dropped_component_is_smallest(bits: int, numbers: np.ndarray) -> None:
    """There the rounding of the numbers changes the dropped component the most."""
    numbers *= np.minimum(1, np.sqrt((1 - 0.477**2) / (numbers**2).sum(axis=0)))
    forms = np.zeros(5, np.int64)
    rotations = unpack(forms, numbers)
    for signs in np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T:
        shown = unpack(forms, numbers + signs[:, None] * step(bits) / 2)
        dropped = rotations[:, 3] * KEEP_RATIO >= rotations[:, :3].max(axis=1)
        assert (angles_between(shown, rotations)[dropped] <= angle_error(bits)).all()


def test_the_error_of_ten_bits_is_below_a_third_of_a_degree() -> None:
    assert np.degrees(angle_error(10)) < 0.3


@given(ROTATIONS, arrays(np.float32, (5, 4), elements=st.floats(-0.03125, 0.03125, width=32)))
def test_small_turns_make_small_differences(start: np.ndarray, turn: np.ndarray) -> None:
    """Also where the form changes: a delta of the numbers has few bits in every tick."""
    rotations = normalisable(start).astype(np.float64)
    rotations /= np.linalg.norm(rotations, axis=1)[:, None]
    forms, before = pack(rotations, np.zeros(5, np.int64))
    for _ in range(20):
        rotations += turn
        rotations /= np.linalg.norm(rotations, axis=1)[:, None]
        forms, numbers = pack(rotations, forms)
        # The rotation has turned by up to 0.13 rad, and an exchange adds at most the difference of both components.
        assert np.abs(numbers - before).max() < 0.2
        before = numbers


def test_a_rotation_on_the_border_of_two_forms_keeps_its_form() -> None:
    rotations = np.array([[0.0, 0.0, 0.5**0.5, 0.5**0.5]])
    forms = np.zeros(1, np.int64)
    for sign in (1, -1, 1, -1):
        forms, _ = pack(rotations + np.array([0, 0, sign, -sign]) * 1e-3, forms)
        assert forms.tolist() == [0]


@given(ANYTHING, st.lists(st.integers(0, (1 << FORM_BITS) - 1), min_size=5, max_size=5))
def test_any_numbers_of_a_game_are_packed_as_a_rotation(rotations: np.ndarray, forms: list[int]) -> None:
    """Also with the forms that are not sent, which a stored world may contain."""
    before = np.array(forms)
    packed, numbers = pack(rotations, before)
    assert packed.min() >= 0
    assert ((packed < FORMS) | (packed == before)).all()
    assert np.abs(numbers).max() <= LIMIT + 1e-12
    bad = np.array([[np.nan, 0, 0, 1], [0, 0, 0, 0], [np.inf, 0, 0, 0], [1e-30, 0, 0, 0], [0, 0, 0, -np.inf]])
    identities = unpack(*pack(bad, np.array(forms)))
    assert np.allclose(np.abs(identities), [IDENTITY] * 5)


@given(
    st.lists(st.integers(0, (1 << FORM_BITS) - 1), min_size=5, max_size=5),
    arrays(np.float64, (3, 5), elements=st.floats(-LIMIT, LIMIT)),
)
def test_any_numbers_of_a_server_are_read_as_a_unit_quaternion(forms: list[int], numbers: np.ndarray) -> None:
    assert np.allclose(np.linalg.norm(unpack(np.array(forms), numbers), axis=1), 1)


@given(ROTATIONS, ROTATIONS, st.floats(0, 1))
def test_slerp_turns_by_the_shorter_way_at_a_constant_speed(a: np.ndarray, b: np.ndarray, fraction: float) -> None:
    here, there = (normalisable(q).astype(np.float64) for q in (a, b))
    here, there = (q / np.linalg.norm(q, axis=1)[:, None] for q in (here, there))
    between = slerp(here, there, fraction)
    whole = angles_between(here, there)
    assert np.allclose(angles_between(here, between), fraction * whole, atol=1e-6)
    assert np.allclose(angles_between(between, there), (1 - fraction) * whole, atol=1e-6)
