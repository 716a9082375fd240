"""Which version of the tuning a room has, and what may be in one."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from server.errors import Malformed
from server.rooms import Tuning
from server.rooms.tuning import is_for, read, version_for
from server.storage import TuningVersion


class Pace(Tuning, frozen=True):
    speed: Annotated[float, msgspec.Meta(gt=0, le=50)] = 12.0
    is_windy: bool = False


ROOMS = [f"room-{number}" for number in range(2000)]


def test_a_percentage_is_that_share_of_all_rooms_and_a_larger_one_keeps_who_had_it() -> None:
    chosen = {
        share: {room for room in ROOMS if is_for(TuningVersion(1, {}, share), room, {})} for share in (1, 10, 50, 100)
    }
    assert chosen[1] < chosen[10] < chosen[50] < chosen[100] == set(ROOMS)
    assert 0.08 < len(chosen[10]) / len(ROOMS) < 0.12
    assert 0.46 < len(chosen[50]) / len(ROOMS) < 0.54


def test_a_room_has_the_newest_version_that_is_meant_for_it() -> None:
    everybody, some = TuningVersion(1, {}), TuningVersion(2, {}, labels={"region": "eu", "map": "dust"})
    nobody = TuningVersion(3, {}, percentage=0.0)
    versions = [nobody, some, everybody]
    assert version_for(versions, "a", {"region": "eu", "map": "dust", "more": "x"}) is some
    assert version_for(versions, "a", {"region": "eu"}) is everybody
    assert version_for([nobody], "a", {}) is None


def test_what_a_version_does_not_say_is_as_declared() -> None:
    assert read(Pace, {"speed": 20}) == Pace(20.0, False)
    assert read(Pace, {}) == Pace()


@pytest.mark.parametrize(
    ("values", "words"),
    [({"speed": 0}, "> 0"), ({"speed": 51}, "<= 50"), ({"speed": "fast"}, "float"), ({"sped": 1}, "sped")],
)
def test_what_may_not_be_is_refused_in_words_that_name_it(values: dict[str, object], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read(Pace, values, "arena: ")
