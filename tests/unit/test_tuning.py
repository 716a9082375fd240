"""The tuning version of a room, and the validation of tuning values."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.runtimes import create_host
from tickwire import Room, Tuning
from tickwire.server.admin.tuning_service import TuningService
from tickwire.server.errors import Malformed
from tickwire.server.rooms.tuning import applies_to, find_active, find_version, parse_tuning
from tickwire.server.storage import TuningVersion


class Weather(Tuning, frozen=True):
    speed: Annotated[float, msgspec.Meta(gt=0, le=50)] = 12.0
    is_windy: bool = False


ROOMS = [f"room-{number}" for number in range(2000)]


def test_a_percentage_selects_that_share_of_rooms_and_a_larger_one_includes_it() -> None:
    chosen = {
        share: {room for room in ROOMS if applies_to(TuningVersion(1, {}, share), room, {})}
        for share in (1, 10, 50, 100)
    }
    assert chosen[1] < chosen[10] < chosen[50] < chosen[100] == set(ROOMS)
    assert 0.08 < len(chosen[10]) / len(ROOMS) < 0.12
    assert 0.46 < len(chosen[50]) / len(ROOMS) < 0.54


def test_a_room_has_the_newest_version_that_applies_to_it() -> None:
    everybody, some = TuningVersion(1, {}), TuningVersion(2, {}, labels={"region": "eu", "map": "dust"})
    nobody = TuningVersion(3, {}, percentage=0.0)
    versions = [nobody, some, everybody]
    assert find_version(versions, "a", {"region": "eu", "map": "dust", "more": "x"}) is some
    assert find_version(versions, "a", {"region": "eu"}) is everybody
    assert find_version([nobody], "a", {}) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 50.0, 50.0, 100.0]),
            st.dictionaries(st.sampled_from(["region", "map"]), st.sampled_from("ab")),
        ),
        max_size=12,
    )
)
def test_the_active_versions_suffice_for_every_room(scopes: list[tuple[float, dict[str, str]]]) -> None:
    versions = [
        TuningVersion(number, {}, percentage, labels) for number, (percentage, labels) in enumerate(scopes, start=1)
    ][::-1]
    kept = find_active(versions)
    for room in ROOMS[:50]:
        for labels in ({}, {"map": "a"}, {"region": "b"}, {"region": "a", "map": "a"}, {"region": "b", "map": "a"}):
            assert find_version(kept, room, labels) is find_version(versions, room, labels)


def test_a_version_that_newer_ones_supersede_is_not_active() -> None:
    west, share, everybody = (
        TuningVersion(1, {}, labels={"map": "west"}),
        TuningVersion(2, {}, 50.0),
        TuningVersion(3, {}),
    )
    assert find_active([share, west]) == [share, west]
    assert find_active([everybody, share, west]) == [everybody]
    assert find_active([west, everybody]) == [west, everybody]


def test_a_value_missing_in_a_version_has_its_default() -> None:
    assert parse_tuning(Weather, {"speed": 20}) == Weather(20.0, False)
    assert parse_tuning(Weather, {}) == Weather()


@pytest.mark.parametrize(
    ("values", "words"),
    [({"speed": 0}, "> 0"), ({"speed": 51}, "<= 50"), ({"speed": "fast"}, "float"), ({"sped": 1}, "sped")],
)
def test_an_invalid_tuning_is_refused_by_field_name(values: dict[str, object], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        parse_tuning(Weather, values, "arena: ")


class Climate(Tuning, frozen=True):
    """The values of `Weather` in a later version of the game."""

    speed: float = 12.0
    humidity: float = 0.5


def test_a_reloaded_room_has_its_own_type_of_tuning() -> None:
    unused: Any = None
    service = TuningService(unused, create_host(), {}, lambda: 0.0, unused)
    service.versions = [TuningVersion(1, {"valley": {"speed": 20.0}})]
    for tuning in (Weather, Climate):
        kind: type[Room] = type("Valley", (Room,), {"room_type": "valley", "tuning_type": tuning})
        room = kind(room_id="r", name="", seed=1)
        service.apply(room)
        assert room.tuning == tuning(speed=20.0)
        assert room.tuning_version == 1
